// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `cargo xtask kernel core-check`: the kernel compiles the core that cargo compiles.
//!
//! Both builds say which files they read. The sets must be the same, and nothing in the files may
//! ask who compiles them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::build::{Kernel, Kind, Workshop};
use super::cache::{failed, key};
use super::lint::walk;
use super::place::Shared;
use crate::run::{cargo_step, output, root, Failed};

/// Core, as Kbuild names what it makes.
const CORE: &str = "crates/core/src/lib.o";

/// Contents by name.
type Files = BTreeMap<PathBuf, String>;

pub(crate) fn check(workshop: &mut Workshop) -> Result<(), Failed> {
    let asked = questions(&root().join("crates/core/src"))?;
    if !asked.is_empty() {
        return Err(Failed(format!(
            "core asks who compiles it:\n  {}",
            asked.join("\n  ")
        )));
    }
    let kernel = workshop.kernel(Kind::Release)?;
    workshop.objects(&kernel, "core", CORE)?;
    let ours = by_cargo()?;
    let theirs = by_the_kernel(workshop, &kernel)?;
    let differences = differences(&ours, &theirs);
    if !differences.is_empty() {
        return Err(Failed(format!(
            "the kernel's core is not cargo's:\n  {}",
            differences.join("\n  ")
        )));
    }
    println!(
        "core: the same {} files for cargo and the kernel",
        ours.len()
    );
    Ok(())
}

/// The files that cargo's compiler read.
fn by_cargo() -> Result<Files, Failed> {
    let args = ["build", "--locked", "--package", "ringfence-core"];
    let messages = output(cargo_step(&args).args(["--message-format", "json", "--quiet"]))?;
    let library = messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let name = message.get("target")?.get("name")?.as_str()?;
        let files = message.get("filenames")?.as_array()?;
        let mut files = files.iter().filter_map(|file| file.as_str());
        let rlib = files.rfind(|file| file.ends_with(".rlib"))?;
        (name == "ringfence_core").then(|| rlib.to_owned())
    });
    let library = library.ok_or_else(|| Failed("cargo does not say where core is".into()))?;
    let path = Path::new(&library).with_extension("d");
    let text = fs::read_to_string(&path).map_err(|error| failed(&path, error))?;
    let names = text.lines().next().map_or("", |line| {
        line.split_once(": ").map_or("", |(_, names)| names)
    });
    contents(names.split(' ').map(PathBuf::from))
}

/// The files that the kernel's compiler read.
fn by_the_kernel(workshop: &Workshop, kernel: &Kernel) -> Result<Files, Failed> {
    let folder = kernel.modules.host.join("crates/core/src");
    let path = folder.join(".lib.o.cmd");
    let text = fs::read_to_string(&path).map_err(|_| {
        let path = path.display();
        Failed(format!("the kernel does not build core: no {path}"))
    })?;
    let repository = Shared::repository();
    let place = workshop.place();
    let names = dependencies(&text).into_iter();
    contents(names.map(|name| place.outside(name, &[&repository])))
}

/// The sources that a `.cmd` file of Kbuild names: the first, and the list behind `deps_`.
pub(crate) fn dependencies(text: &str) -> Vec<&str> {
    let is_source = |name: &str| [".rs", ".c", ".h"].iter().any(|end| name.ends_with(end));
    let mut names = Vec::new();
    let mut in_list = false;
    for line in text.lines() {
        if let Some(source) = line.strip_prefix("source_") {
            names.extend(source.split_once(" := ").map(|(_, name)| name.trim()));
        }
        in_list |= line.starts_with("deps_");
        in_list &= !line.trim().is_empty();
        let word = line.trim_end_matches('\\').trim();
        if in_list && is_source(word) {
            names.push(word);
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// Keeps the files of core, by their true names.
fn contents(names: impl Iterator<Item = PathBuf>) -> Result<Files, Failed> {
    let core = root().join("crates/core/src");
    let core = core.canonicalize().map_err(|error| failed(&core, error))?;
    let mut files = Files::new();
    for name in names {
        let Ok(path) = name.canonicalize() else {
            continue;
        };
        if let Ok(short) = path.strip_prefix(&core) {
            let text = fs::read_to_string(&path).map_err(|error| failed(&path, error))?;
            files.insert(short.to_owned(), key(&[&text]));
        }
    }
    if files.len() < 5 {
        return Err(Failed(format!("only {} files of core found", files.len())));
    }
    Ok(files)
}

fn differences(ours: &Files, theirs: &Files) -> Vec<String> {
    let mut found = Vec::new();
    for (name, hash) in ours {
        match theirs.get(name) {
            None => found.push(format!("{}: cargo's only", name.display())),
            Some(other) if other != hash => found.push(format!("{}: differs", name.display())),
            Some(_) => {}
        }
    }
    for name in theirs.keys().filter(|name| !ours.contains_key(*name)) {
        found.push(format!("{}: the kernel's only", name.display()));
    }
    found
}

/// Where core's sources ask how they are compiled.
fn questions(folder: &Path) -> Result<Vec<String>, Failed> {
    let mut files = Vec::new();
    walk(folder, &mut |path| files.push(path.to_owned()))?;
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).map_err(|error| failed(&file, error))?;
        let name = file.strip_prefix(root()).unwrap_or(&file);
        for (index, line) in text.lines().enumerate().filter(|(_, line)| asks(line)) {
            found.push(format!("{}:{}: {}", name.display(), index + 1, line.trim()));
        }
    }
    Ok(found)
}

/// Whether a line of code is compiled or not for a reason other than tests. That the kernel says
/// `no_std` itself is the one thing that may be asked.
fn asks(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or("").trim();
    let is_no_std = code.starts_with("#![cfg_attr(") && code.ends_with(", no_std)]");
    let code = code.replace("cfg(test)", "");
    !is_no_std
        && ["cfg(", "cfg!(", "cfg_attr("]
            .iter()
            .any(|word| code.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tests_and_no_std_may_ask() {
        for line in [
            "#[cfg(test)]",
            "#![cfg_attr(not(kernel), no_std)]",
            "// cfg(x)",
            "config(x)",
        ] {
            assert!(!asks(line) || line == "config(x)", "{line}");
        }
        for line in [
            "#[cfg(kernel)]",
            "#[cfg(not(test))]",
            "if cfg!(debug_assertions) {",
            "#[cfg_attr(kernel, inline)]",
            "#[cfg(test)] #[cfg(unix)]",
        ] {
            assert!(asks(line), "{line}");
        }
    }

    #[test]
    fn names_are_read_from_a_cmd_file() {
        let text = "\
savedcmd_crates/core/src/lib.o := rustc --emit=obj /ringfence/repository/crates/core/src/lib.rs

source_crates/core/src/lib.o := /ringfence/repository/crates/core/src/lib.rs

deps_crates/core/src/lib.o := \\
  /ringfence/repository/crates/core/src/credit.rs \\
    $(wildcard include/config/FOO) \\
  /ringfence/build/rust/libcore.rmeta \\
  /ringfence/repository/crates/core/src/queue.rs \\

crates/core/src/lib.o: $(deps_crates/core/src/lib.o)
not/in/the/list.rs
";
        assert_eq!(
            dependencies(text),
            [
                "/ringfence/repository/crates/core/src/credit.rs",
                "/ringfence/repository/crates/core/src/lib.rs",
                "/ringfence/repository/crates/core/src/queue.rs",
            ]
        );
    }

    #[test]
    fn differences_are_found_both_ways() {
        let files = |pairs: &[(&str, &str)]| -> Files {
            let own = |(name, hash): &(&str, &str)| (PathBuf::from(name), (*hash).to_owned());
            pairs.iter().map(own).collect()
        };
        let ours = files(&[("a.rs", "1"), ("b.rs", "2"), ("c.rs", "3")]);
        assert_eq!(differences(&ours, &ours), [""; 0]);
        let theirs = files(&[("a.rs", "1"), ("b.rs", "0"), ("d.rs", "4")]);
        assert_eq!(
            differences(&ours, &theirs),
            [
                "b.rs: differs",
                "c.rs: cargo's only",
                "d.rs: the kernel's only"
            ]
        );
    }
}
