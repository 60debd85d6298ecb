// SPDX-License-Identifier: GPL-2.0 OR MIT
//! From the Kbuild at the repository's root to the Makefile of a folder in the kernel.
//!
//! Only what modules need that are in the kernel by then is left, and only the kernel's own way to
//! switch them on.

/// Where our folders go, in the order in which names are looked up.
const MOVES: [(&str, &str); 4] = [
    ("crates/core/src", "core"),
    ("crates/orchestrator-core/src", "orchestrator-core"),
    ("linux/ringfence", "host"),
    ("linux", ""),
];

/// Where a file of ours goes, in our folder in the kernel.
pub(crate) fn moved(path: &str) -> String {
    for (from, to) in MOVES {
        let rest = path.strip_prefix(from);
        if let Some(rest) = rest.and_then(|rest| rest.strip_prefix('/')) {
            return match to {
                "" => rest.to_owned(),
                to => format!("{to}/{rest}"),
            };
        }
    }
    path.to_owned()
}

/// The objects of a module.
pub(crate) fn objects(kbuild: &str, module: &str) -> Vec<String> {
    let name = format!("{module}-y");
    let of = |statement: String| -> Option<Vec<String>> {
        let (left, right) = statement.split_once(":=")?;
        let words = right.split_whitespace().map(str::to_owned);
        (left.trim() == name).then(|| words.collect())
    };
    statements(kbuild)
        .into_iter()
        .find_map(of)
        .unwrap_or_default()
}

/// The Makefile for these modules, of all that the Kbuild makes.
pub(crate) fn makefile(kbuild: &str, all: &[&str], modules: &[&str]) -> String {
    let others: Vec<&str> = all
        .iter()
        .copied()
        .filter(|m| !modules.contains(m))
        .collect();
    let mut foreign: Vec<String> = others.iter().map(|name| format!("{name}.o")).collect();
    for other in &others {
        let kept = |object: &String| !modules.iter().any(|m| objects(kbuild, m).contains(object));
        foreign.extend(objects(kbuild, other).into_iter().filter(kept));
        foreign.push(format!("{other}-y"));
    }
    // The words before the first blank line say how it is built elsewhere.
    let (_, kbuild) = kbuild.split_once("\n\n").unwrap_or(("", kbuild));
    let mut text = "# SPDX-License-Identifier: GPL-2.0 OR MIT\n\n".to_owned();
    let mut blank = true;
    for statement in statements(kbuild) {
        let Some(line) = left_over(&in_kernel(&statement), &foreign) else {
            continue;
        };
        if line.is_empty() && blank {
            continue;
        }
        blank = line.is_empty();
        text += &relocated(&line);
        text += "\n";
    }
    text
}

/// Lines, those that go on joined, as they are otherwise.
fn statements(kbuild: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut open = String::new();
    for line in kbuild.lines() {
        if let Some(more) = line.strip_suffix('\\').filter(|_| !line.starts_with('#')) {
            open += more;
            open += "\\\n";
            continue;
        }
        all.push(std::mem::take(&mut open) + line);
    }
    all
}

/// Without the way of a build outside the kernel.
fn in_kernel(statement: &str) -> String {
    statement
        .replace("$(rf-ringfence)", "$(CONFIG_DRM_RINGFENCE)")
        .replace(
            "$(or $(rf-module),$(CONFIG_DRM_RINGFENCE_MOCK_GPU))",
            "$(CONFIG_DRM_RINGFENCE_MOCK_GPU)",
        )
        .replace(
            "$(or $(rf-module),$(CONFIG_DRM_RINGFENCE_KUNIT))",
            "$(CONFIG_DRM_RINGFENCE_KUNIT)",
        )
}

/// What is left of a statement without what belongs to others; nothing of one that is theirs.
fn left_over(statement: &str, foreign: &[String]) -> Option<String> {
    let is_outside = [
        "rf-module :=",
        "rf-ringfence :=",
        "obj-$(rf-module)",
        "#obj",
    ];
    if is_outside.iter().any(|start| statement.starts_with(start)) {
        return None;
    }
    // Comments and recipes are for everybody; what nobody names any more is seen when it is read.
    if statement.starts_with('#') || statement.starts_with('\t') || statement.trim().is_empty() {
        return Some(statement.to_owned());
    }
    let is_foreign = |word: &str| {
        foreign.iter().any(|name| {
            let stem = word.strip_prefix("$(obj)/").unwrap_or(word);
            let of_flags = stem.split_once('_').map_or("", |(_, rest)| rest);
            stem == name || (word.contains("FLAGS_") && of_flags == name)
        })
    };
    if !statement
        .split_whitespace()
        .any(|word| is_foreign(word.trim_end_matches(':')))
    {
        return Some(statement.to_owned());
    }
    let words: Vec<&str> = statement
        .split_whitespace()
        .filter(|word| *word != "\\" && !is_foreign(word.trim_end_matches(':')))
        .collect();
    // `a b: c` without a and b, or `x += ` without a value.
    let is_operator = |word: &&str| [":=", "+=", ":", "="].contains(word);
    let first = words.first()?;
    let last = words.last()?;
    let ends_nowhere = is_operator(last) || last.ends_with(':');
    // Its colon goes with the last target: then the targets that are left need it back.
    let is_rule = statement.contains(": ") && !statement.contains(":=");
    let has_colon = words.iter().any(|word| word.ends_with(':'));
    if is_operator(first) || ends_nowhere || (is_rule && words.len() < 2) {
        return None;
    }
    if is_rule && !has_colon {
        let (targets, needs) = words.split_at(words.len() - 1);
        if targets.is_empty() {
            return None;
        }
        return Some(format!("{}: {}", targets.join(" "), needs.join(" ")));
    }
    Some(words.join(" "))
}

/// With names as they are in the kernel.
fn relocated(line: &str) -> String {
    let mut line = line.to_owned();
    for (from, to) in MOVES {
        if to.is_empty() {
            line = line.replace(&format!("/{from}/"), "/");
            line = line.replace(&format!("{from}/"), "");
            line = line.replace(&format!(")/{from}"), ")");
        } else {
            line = line.replace(from, to);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const KBUILD: &str = "\
# SPDX-License-Identifier: GPL-2.0 OR MIT
# Words.

rf-module := $(if $(KBUILD_EXTMOD),m)
rf-ringfence := $(or $(rf-module),$(CONFIG_DRM_RINGFENCE))

obj-$(rf-ringfence) += ringfence.o
obj-$(or $(rf-module),$(CONFIG_DRM_RINGFENCE_KUNIT)) += ringfence_kunit.o
obj-$(rf-module) += ringfence_stress.o

ringfence-y := crates/core/src/lib.o linux/ringfence/lib.o linux/shim.o
ringfence_kunit-y := linux/tests/kunit.o linux/tests/hooks.o
ringfence_stress-y := linux/tests/stress.o

RUSTFLAGS_crates/core/src/lib.o := --crate-name ringfence_core \\
\t--emit=metadata=$(obj)/crates/core/src/libringfence_core.rmeta
RUSTFLAGS_linux/tests/kunit.o := --crate-name ringfence_kunit
RUSTFLAGS_linux/tests/stress.o := --crate-name ringfence_stress

$(obj)/linux/ringfence/lib.o: $(obj)/crates/core/src/lib.o
$(obj)/linux/tests/kunit.o \\
\t$(obj)/linux/tests/stress.o: $(obj)/linux/ringfence/lib.o
CFLAGS_linux/shim.o := -I $(src)/linux
";

    const ALL: [&str; 3] = ["ringfence", "ringfence_kunit", "ringfence_stress"];

    #[test]
    fn only_what_is_there_is_made() {
        let text = makefile(KBUILD, &ALL, &["ringfence"]);
        assert_eq!(
            text,
            "\
# SPDX-License-Identifier: GPL-2.0 OR MIT

obj-$(CONFIG_DRM_RINGFENCE) += ringfence.o

ringfence-y := core/lib.o host/lib.o shim.o

RUSTFLAGS_core/lib.o := --crate-name ringfence_core \\
\t--emit=metadata=$(obj)/core/libringfence_core.rmeta

$(obj)/host/lib.o: $(obj)/core/lib.o
CFLAGS_shim.o := -I $(src)
"
        );
    }

    #[test]
    fn more_modules_bring_their_lines() {
        let text = makefile(KBUILD, &ALL, &["ringfence", "ringfence_kunit"]);
        for line in [
            "obj-$(CONFIG_DRM_RINGFENCE_KUNIT) += ringfence_kunit.o",
            "ringfence_kunit-y := tests/kunit.o tests/hooks.o",
            "RUSTFLAGS_tests/kunit.o := --crate-name ringfence_kunit",
            "$(obj)/tests/kunit.o: $(obj)/host/lib.o",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        assert!(!text.contains("stress") && !text.contains("linux/"));
    }

    #[test]
    fn our_own_kbuild_leaves_nothing_of_its_places() {
        let kbuild = std::fs::read_to_string(crate::run::root().join("Kbuild")).unwrap();
        let all = super::super::ALL;
        for modules in 1..=3 {
            let text = makefile(&kbuild, &all, &all[..modules]);
            if std::env::var_os("SHOW").is_some() {
                println!("{text}");
            }
            for word in [
                "linux/",
                "crates/",
                "rf-module",
                "rf-ringfence",
                "stress",
                "bench",
                "violation",
            ] {
                let line = text
                    .lines()
                    .find(|line| !line.starts_with('#') && line.contains(word));
                assert_eq!(line, None, "{word}");
            }
            for (index, module) in all.iter().enumerate() {
                assert_eq!(
                    text.contains(&format!("{module}-y := ")),
                    index < modules,
                    "{module}"
                );
            }
        }
    }

    #[test]
    fn objects_and_files_have_their_places() {
        assert_eq!(
            objects(KBUILD, "ringfence_kunit"),
            ["linux/tests/kunit.o", "linux/tests/hooks.o"]
        );
        assert_eq!(moved("crates/core/src/queue/look.rs"), "core/queue/look.rs");
        assert_eq!(moved("linux/ringfence/fence.rs"), "host/fence.rs");
        assert_eq!(moved("linux/ringfence_trace.h"), "ringfence_trace.h");
    }
}
