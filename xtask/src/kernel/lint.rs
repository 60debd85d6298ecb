// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `cargo xtask kernel lint`: the kernel's own formatter, lints and patch checker on our sources.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::build::{warnings, Kind, Workshop};
use super::cache::{failed, remove};
use super::place::Shared;
use super::steps::{read, End};
use crate::run::{root, Failed};

/// The macros of trace events are laid out in columns of their own in all of the kernel.
const IN_TRACES: &str = "PARENTHESIS_ALIGNMENT,OPEN_ENDED_LINE";
/// Rust's symbols are exported as in the kernel's own `rust/exports.c`: nothing stands before.
const IN_EXPORTS: &str = "EXPORT_SYMBOL,MACRO_ARG_REUSE";
/// A worker that lets others have a turn waits for nothing, which is what yield() is wrong for.
const IN_SHIM: &str = "YIELD";
/// All of that, for patches, which have several files.
pub(crate) const IGNORED: [&str; 3] = [IN_TRACES, IN_EXPORTS, IN_SHIM];

/// What checkpatch says of a file that cannot apply to it.
fn ignored(file: &Path) -> &'static str {
    match file.file_name().and_then(|name| name.to_str()) {
        Some(name) if name.ends_with("trace.h") => IN_TRACES,
        Some("exports.c") => IN_EXPORTS,
        Some("shim.c") => IN_SHIM,
        _ => "",
    }
}

pub(crate) fn run(workshop: &mut Workshop) -> Result<(), Failed> {
    let mut bad = Vec::new();
    for check in [formatting, clippy, checkpatch] {
        if let Err(Failed(why)) = check(workshop) {
            eprintln!("xtask: {why}");
            bad.push(why);
        }
    }
    match bad.first() {
        None => Ok(()),
        Some(first) => Err(Failed(first.clone())),
    }
}

/// rustfmt, of the kernel's toolchain, by the kernel's rules.
fn formatting(workshop: &mut Workshop) -> Result<(), Failed> {
    let files = sources(&["rs"])?;
    if files.is_empty() {
        return Err(Failed("no Rust file in linux/".into()));
    }
    let repository = Shared::repository();
    let source = workshop.place().path(&workshop.source);
    let mut command = workshop
        .place()
        .command("rustfmt", &[&workshop.source, &repository]);
    command.args([
        "--check",
        "--color",
        "never",
        "--edition",
        "2021",
        "--config-path",
    ]);
    command.arg(format!("{source}/.rustfmt.toml"));
    for file in &files {
        command.arg(inside(workshop, file));
    }
    workshop.steps.run("rustfmt", command)?;
    println!("rustfmt: {} files", files.len());
    Ok(())
}

/// clippy at the kernel's level. Everything is compiled anew: what is up to date says nothing.
fn clippy(workshop: &mut Workshop) -> Result<(), Failed> {
    let kernel = workshop.kernel(Kind::Release)?;
    let folder = kernel.modules.host.with_extension("clippy");
    remove(&folder)?;
    fs::create_dir_all(&folder).map_err(|error| failed(&folder, error))?;
    let into = Shared::new("modules", folder);
    let command = workshop.modules_make(&kernel, &into, &["CLIPPY=1", "modules"])?;
    workshop.steps.run("clippy", command)?;
    let path = workshop.steps.log("clippy");
    let log = read(&path);
    // Nothing was looked at where clippy was not run.
    if !log.contains("CLIPPY [M]") {
        let path = path.display();
        return Err(Failed(format!("clippy looked at nothing; its log: {path}")));
    }
    let found = warnings(&log, &workshop.ours());
    if found.is_empty() {
        println!("clippy: no warning");
        return Ok(());
    }
    for line in &found {
        eprintln!("  | {line}");
    }
    Err(Failed(format!("clippy; its log: {}", path.display())))
}

fn checkpatch(workshop: &mut Workshop) -> Result<(), Failed> {
    let files = sources(&["c", "h"])?;
    let mut groups: BTreeMap<&str, Vec<&Path>> = BTreeMap::new();
    for file in &files {
        groups.entry(ignored(file)).or_default().push(file);
    }
    let _old = fs::remove_file(workshop.steps.log("checkpatch"));
    let mut done = End::Well;
    for (ignored, files) in groups {
        let command = checkpatch_command(workshop, &files, ignored);
        let end = workshop.steps.watch("checkpatch", command, None)?;
        done = if end == End::Well { done } else { end };
    }
    if done != End::Well {
        return Err(workshop.steps.complain("checkpatch"));
    }
    println!("checkpatch: {} files", files.len());
    Ok(())
}

fn checkpatch_command(workshop: &Workshop, files: &[&Path], ignored: &str) -> Command {
    let repository = Shared::repository();
    let place = workshop.place();
    let source = place.path(&workshop.source);
    let mut command = place.command("perl", &[&workshop.source, &repository]);
    command
        .arg(format!("{source}/scripts/checkpatch.pl"))
        .args(["--strict", "--no-tree", "--terse", "--no-summary"]);
    if !ignored.is_empty() {
        command.args(["--ignore", ignored]);
    }
    command.arg("-f");
    for file in files {
        command.arg(inside(workshop, file));
    }
    command
}

/// The name of a file of ours where the tools are.
fn inside(workshop: &Workshop, file: &Path) -> String {
    let file = file.strip_prefix(root()).unwrap_or(file);
    format!("{}/{}", workshop.ours(), file.display())
}

/// Our kernel sources with one of these endings.
fn sources(endings: &[&str]) -> Result<Vec<PathBuf>, Failed> {
    let mut files = Vec::new();
    walk(&root().join("linux"), &mut |path| {
        let ending = path.extension().and_then(|ending| ending.to_str());
        if ending.is_some_and(|ending| endings.contains(&ending)) {
            files.push(path.to_owned());
        }
    })?;
    files.sort();
    Ok(files)
}

/// Shows every file in a folder to somebody.
pub(crate) fn walk(folder: &Path, see: &mut dyn FnMut(&Path)) -> Result<(), Failed> {
    for entry in fs::read_dir(folder).map_err(|error| failed(folder, error))? {
        let path = entry.map_err(|error| failed(folder, error))?.path();
        if path.is_dir() {
            walk(&path, see)?;
        } else {
            see(&path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_sources_are_found() {
        let files = sources(&["c"]).unwrap();
        let violation = root().join("linux/tests/violation.c");
        assert!(files.contains(&violation));
        assert!(files.iter().all(|file| file.extension().unwrap() == "c"));
    }
}
