// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Core stays pure: it decides, and needs nothing for it.
//!
//! Three looks at it: its sources name nothing they must not, cargo finds no dependency, and it
//! builds for a machine without an operating system, where one is installed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::run::{cargo, cargo_step, output, root, Failed, Step};

/// What core's sources must not say, tests apart, and why not.
const FORBIDDEN: [(&str, &str); 12] = [
    ("std::", "the standard library"),
    ("extern crate", "another crate"),
    ("alloc::", "allocation"),
    ("Box<", "allocation"),
    ("Vec<", "allocation"),
    ("String", "allocation"),
    ("unsafe ", "unsafe code"),
    ("sync::atomic", "atomics"),
    ("Atomic", "atomics"),
    ("Instant", "a clock"),
    ("SystemTime", "a clock"),
    ("#[path", "modules from elsewhere"),
];

/// What its root must say.
const REQUIRED: [&str; 2] = [
    "#![cfg_attr(not(kernel), no_std)]",
    "#![forbid(unsafe_code)]",
];

/// The crates that decide, with what each may depend on: the queue's knows nobody, the
/// orchestrator's knows the queue's, and no crate of the queue knows the orchestrator.
const CORES: [(&str, &str, &[&str]); 2] = [
    ("crates/core", "ringfence-core", &[]),
    (
        "crates/orchestrator-core",
        "ringfence-orchestrator-core",
        &["ringfence-core"],
    ),
];

pub(crate) fn check() -> Result<(), Failed> {
    for (folder, package, others) in CORES {
        let complaints = sources(&root().join(folder))?;
        if !complaints.is_empty() {
            return Err(Failed(complaints.join("\n  ")));
        }
        println!("xtask: the sources of {package} are pure");
        let found = dependencies(package)?;
        if found != others {
            return Err(Failed(format!("{package} depends on {found:?}")));
        }
        println!("xtask: {package} depends on {others:?} and nothing else");
        bare_builds(package)?;
    }
    let queue = dependencies("ringfence")?;
    if let Some(found) = queue.iter().find(|name| name.contains("orchestrator")) {
        return Err(Failed(format!("the queue's host depends on {found}")));
    }
    println!("xtask: the queue knows no orchestrator");
    Ok(())
}

fn sources(core: &Path) -> Result<Vec<String>, Failed> {
    let mut complaints = Vec::new();
    let lib = read(&core.join("src/lib.rs"))?;
    for required in REQUIRED {
        if !lib.lines().any(|line| line.trim() == required) {
            complaints.push(format!("{}/src/lib.rs: no {required}", core.display()));
        }
    }
    let mut files = Vec::new();
    rust_files(&core.join("src"), &mut files)?;
    if files.len() < 5 {
        return Err(Failed(format!("only {} files of core found", files.len())));
    }
    for file in files {
        let name = file
            .strip_prefix(root())
            .unwrap_or(&file)
            .display()
            .to_string();
        for (number, line) in without_tests(&read(&file)?) {
            for (word, what) in FORBIDDEN.iter().filter(|(word, _)| names(line, word)) {
                complaints.push(format!("{name}:{number}: `{word}`: core has no {what}"));
            }
        }
    }
    Ok(complaints)
}

/// Whether code, not a comment, says `word`, not as the end of a longer one.
fn names(line: &str, word: &str) -> bool {
    let code = line.split("//").next().unwrap_or("");
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

/// The numbered lines of a source, without modules of tests.
fn without_tests(source: &str) -> Vec<(usize, &str)> {
    let mut kept = Vec::new();
    let mut lines = source.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        if line != "#[cfg(test)]" {
            kept.push((index + 1, line));
            continue;
        }
        // A module elsewhere ends with its line, one here with a brace in the first column.
        let ends_at_once = lines.next().is_some_and(|(_, line)| line.ends_with(';'));
        if !ends_at_once {
            let _end = lines.find(|(_, line)| *line == "}");
        }
    }
    kept
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failed> {
    let failed = |error| Failed(format!("{}: {error}", folder.display()));
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            rust_files(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, Failed> {
    fs::read_to_string(path).map_err(|error| Failed(format!("{}: {error}", path.display())))
}

/// What a package depends on, in cargo's own opinion: for all platforms and features, tests' needs
/// apart.
fn dependencies(package: &str) -> Result<Vec<String>, Failed> {
    let args = [
        "tree",
        "--locked",
        "--package",
        package,
        "--edges",
        "normal,build",
        "--target",
        "all",
        "--all-features",
        "--prefix",
        "none",
        "--no-dedupe",
    ];
    let tree = output(cargo_step(&args))?;
    let mut names = tree
        .lines()
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned));
    if names.next().as_deref() != Some(package) {
        return Err(Failed(format!("cargo does not begin with {package}")));
    }
    let mut names: Vec<String> = names.collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// Builds a core where there is no std to be had, for each such target that is installed.
fn bare_builds(package: &str) -> Result<(), Failed> {
    let sysroot = output(Step::new("rustc").args(["--print", "sysroot"]))?;
    let libraries = Path::new(sysroot.trim()).join("lib/rustlib");
    let mut bare: Vec<String> = fs::read_dir(&libraries)
        .map_err(|error| Failed(format!("{}: {error}", libraries.display())))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.contains("-none"))
        .collect();
    bare.sort();
    if bare.is_empty() {
        println!(
            "xtask: no bare target is installed, so core was not built for one \
             (`rustup target add x86_64-unknown-none`)"
        );
    }
    for target in bare {
        cargo(&[
            "build",
            "--locked",
            "--package",
            package,
            "--target",
            &target,
        ])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forbidden_words_are_found_in_code_only() {
        assert!(names("    let x: Vec<u8>;", "Vec<"));
        assert!(names("use std::sync;", "std::"));
        assert!(!names("// use std::sync;", "std::"));
        assert!(!names("my_std::thing()", "std::"));
        assert!(names("unsafe { }", "unsafe "));
    }

    #[test]
    fn tests_may_do_what_they_like() {
        let source = "a\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\nb\n";
        assert_eq!(without_tests(source), [(1, "a"), (6, "b")]);
        let source = "#[cfg(test)]\nmod tests;\nb\n";
        assert_eq!(without_tests(source), [(3, "b")]);
    }

    #[test]
    fn core_is_pure() {
        for (folder, _, _) in CORES {
            assert_eq!(sources(&root().join(folder)).unwrap(), [""; 0]);
        }
    }

    #[test]
    fn an_impure_core_is_found_out() {
        // The host is everything that core must not be.
        let complaints = sources(&root().join("crates/ringfence")).unwrap();
        for what in [
            "no #![cfg_attr(not(kernel), no_std)]",
            "the standard library",
            "allocation",
            "unsafe code",
        ] {
            assert!(
                complaints.iter().any(|complaint| complaint.contains(what)),
                "{what}"
            );
        }
    }
}
