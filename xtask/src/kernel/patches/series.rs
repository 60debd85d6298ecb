// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A series of patches, by git, which needs no kernel's history for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Patch;
use crate::kernel::build::Workshop;
use crate::kernel::cache::{failed, remove};
use crate::run::{output, root, Failed, Step};

const COVER: &str = "drm/ringfence: job queues for drivers whose firmware schedules\n\n\
    Drivers in Rust for hardware with a firmware scheduler need little of\n\
    drm_sched, and ownership that the compiler checks. This series adds queues that\n\
    hold jobs until their dependencies have signalled and the ring has room, watch\n\
    them, and signal their fences exactly once and in order, through timeouts, resets\n\
    and teardown.\n\n\
    The first patch is the state machine that decides all of it, the same as in user\n\
    space. The second surrounds it with the kernel's locks, workqueues, timers and\n\
    fences. Then come tests, a sample driver, and documentation.";

/// Writes a patch for each, and a letter before them.
pub(super) fn write(
    workshop: &Workshop,
    patches: &[Patch],
    out: &Path,
) -> Result<Vec<PathBuf>, Failed> {
    let history = workshop.scratch("series")?;
    let git = |args: &[&str]| git(&history, args);
    git(&["init", "--quiet", "--initial-branch", "ringfence"])?;
    // Of the kernel only what changes: patches look the same.
    for name in patches.iter().flat_map(|patch| patch.files.keys()) {
        if let Ok(text) = fs::read_to_string(workshop.source.host.join(name)) {
            put(&history, name, &text)?;
        }
    }
    git(&["add", "--all"])?;
    git(&["commit", "--quiet", "--message", "Linux 7.3"])?;
    git(&["tag", "base"])?;
    for patch in patches {
        for (name, text) in &patch.files {
            put(&history, name, text)?;
        }
        git(&["add", "--all"])?;
        let message = format!("{}\n\n{}", patch.subject, patch.body);
        git(&["commit", "--quiet", "--signoff", "--message", &message])?;
    }
    git(&["config", "branch.ringfence.description", COVER])?;
    fs::create_dir_all(out).map_err(|error| failed(out, error))?;
    let out = out.canonicalize().map_err(|error| failed(out, error))?;
    let names = git(&[
        "format-patch",
        "--cover-letter",
        "--cover-from-description=subject",
        "--output-directory",
        &out.display().to_string(),
        "base..ringfence",
    ])?;
    remove(&history)?;
    Ok(names.lines().map(PathBuf::from).collect())
}

fn put(folder: &Path, name: &str, text: &str) -> Result<(), Failed> {
    let path = folder.join(name);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|error| failed(parent, error))?;
    }
    fs::write(&path, text).map_err(|error| failed(&path, error))
}

/// git, as whoever wrote the last commit here, at its time: the same series every time.
fn git(folder: &Path, args: &[&str]) -> Result<String, Failed> {
    let format = ["log", "-1", "--format=%an%n%ae%n%aI"];
    let last = output(Step::new("git").args(format))?;
    let mut last = last.lines();
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(args);
    for name in ["NAME", "EMAIL", "DATE"] {
        let value = last.next().unwrap_or_default();
        command.env(format!("GIT_AUTHOR_{name}"), value);
        command.env(format!("GIT_COMMITTER_{name}"), value);
    }
    command.env("GIT_CEILING_DIRECTORIES", root());
    let text = format!("git {}", args.first().unwrap_or(&""));
    let output = command
        .output()
        .map_err(|error| Failed(format!("{text}: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(Failed(format!("{text}: {why}")))
}
