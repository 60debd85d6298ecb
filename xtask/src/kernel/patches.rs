// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `cargo xtask kernel patches`: what we have, as a series that adds it to Linux.
//!
//! Which files belong to what is asked of the builds: what the compilers read, and nothing else, goes
//! into the kernel.

mod check;
mod makefile;
mod rst;
mod series;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::build::{Kernel, Kind, Workshop};
use super::cache::failed;
use super::place::Shared;
use super::same_core::dependencies;
use crate::run::{root, Failed};
use makefile::{makefile, moved, objects};

/// Our folder in the kernel.
const FOLDER: &str = "drivers/gpu/drm/ringfence";
/// The document, here and there.
const DOCUMENT: (&str, &str) = ("docs/linux.md", "Documentation/gpu/ringfence.rst");

/// Everything that the Kbuild makes, in the kernel or not.
const ALL: [&str; 6] = [
    "ringfence",
    "ringfence_kunit",
    "ringfence_mock_gpu",
    "ringfence_bench",
    "ringfence_stress",
    "ringfence_violation",
];

/// A patch.
pub(crate) struct Patch {
    pub(crate) subject: &'static str,
    pub(crate) body: &'static str,
    /// Contents by name: new files, and those of the kernel that change.
    pub(crate) files: BTreeMap<String, String>,
}

/// Writes the series; with `check`, applies, builds and checks each patch.
pub(crate) fn run(workshop: &mut Workshop, out: &Path, check: bool) -> Result<(), Failed> {
    let kernel = workshop.kernel(Kind::Release)?;
    workshop.modules(&kernel)?;
    kernel.wants(&ALL[..3])?;
    let patches = patches(workshop, &kernel)?;
    let files = series::write(workshop, &patches, out)?;
    for file in &files {
        println!("{}", file.display());
    }
    if check {
        check::all(workshop, &kernel, &files)?;
        println!("every patch applies, builds and passes checkpatch");
    }
    Ok(())
}

fn patches(workshop: &Workshop, kernel: &Kernel) -> Result<Vec<Patch>, Failed> {
    let kbuild = text(&root().join("Kbuild"))?;
    let mut have = BTreeSet::new();
    let mut stage = |module: &str, core: bool| -> Result<BTreeMap<String, String>, Failed> {
        let mut files = BTreeMap::new();
        for object in objects(&kbuild, module) {
            if core && !object.starts_with("crates/core/") {
                continue;
            }
            for name in sources(workshop, kernel, &object)? {
                let contents = text(&root().join(&name))?;
                if have.insert(name.clone()) {
                    files.insert(format!("{FOLDER}/{}", moved(&name)), contents);
                }
            }
        }
        Ok(files)
    };
    let mut core = stage("ringfence", true)?;
    let mut host = stage("ringfence", false)?;
    let mut kunit = stage("ringfence_kunit", false)?;
    let mut sample = stage("ringfence_mock_gpu", false)?;
    for (files, modules) in [(&mut host, 1), (&mut kunit, 2), (&mut sample, 3)] {
        let name = |file: &str| format!("{FOLDER}/{file}");
        files.insert(name("Makefile"), makefile(&kbuild, &ALL, &ALL[..modules]));
        files.insert(name("Kconfig"), kconfig(&ALL[..modules])?);
    }
    core.insert("MAINTAINERS".to_owned(), maintainers(workshop)?);
    hook_in(workshop, &mut host)?;
    let mut document = BTreeMap::new();
    document.insert(
        DOCUMENT.1.to_owned(),
        rst::rst(&text(&root().join(DOCUMENT.0))?),
    );
    let index = "Documentation/gpu/index.rst";
    let listed = after(workshop, index, "   drm-compute\n", "   ringfence\n")?;
    document.insert(index.to_owned(), listed);
    Ok(described([core, host, kunit, sample, document]))
}

fn described(files: [BTreeMap<String, String>; 5]) -> Vec<Patch> {
    let about = [
        (
            "drm/ringfence: Add the state machine that decides",
            "What becomes of a job, and when, is decided in one place, which has neither\n\
             locks nor clocks nor memory of its own, and no unsafe code. It is told what\n\
             happened and answers with what is to be done. The same files are compiled\n\
             for user space, where they are tested against a model and simulated.\n\n\
             Nothing builds it yet.",
        ),
        (
            "drm/ringfence: Add job queues for drivers in Rust",
            "A driver whose firmware schedules needs of a scheduler that jobs wait for\n\
             their dependencies and for room in the ring, that they are watched, and that\n\
             their fences signal exactly once, in order, whatever goes wrong. This adds\n\
             queues that do this, with the locks, workqueues, timers and fences that the\n\
             state machine lacks.",
        ),
        (
            "drm/ringfence: Add KUnit tests",
            "The scenarios are those of the user-space host, by name, those of\n\
             drm_sched's tests, and what is the kernel's own: interrupts, lockdep,\n\
             fences of others.",
        ),
        (
            "drm/ringfence: Add a mock GPU as a sample",
            "A driver to start from. Its hardware is a timer, so it runs anywhere.",
        ),
        (
            "Documentation/gpu: Describe drm/ringfence",
            "What it promises, what may be called where, and how to write a driver.",
        ),
    ];
    about
        .into_iter()
        .zip(files)
        .map(|((subject, body), files)| Patch {
            subject,
            body,
            files,
        })
        .collect()
}

/// Lets the kernel know of our folder.
fn hook_in(workshop: &Workshop, files: &mut BTreeMap<String, String>) -> Result<(), Failed> {
    let drm = "drivers/gpu/drm";
    let places = [
        (
            format!("{drm}/Makefile"),
            "obj-$(CONFIG_DRM_SCHED)\t+= scheduler/\n",
            "obj-$(CONFIG_DRM_RINGFENCE) += ringfence/\n",
        ),
        (
            format!("{drm}/Kconfig"),
            "source \"drivers/gpu/drm/renesas/Kconfig\"\n",
            "source \"drivers/gpu/drm/ringfence/Kconfig\"\n",
        ),
    ];
    for (name, line, more) in places {
        let text = after(workshop, &name, line, more)?;
        files.insert(name, text);
    }
    Ok(())
}

/// The kernel's list of who looks after what.
fn maintainers(workshop: &Workshop) -> Result<String, Failed> {
    let entry = "DRM RINGFENCE\nL:\tdri-devel@lists.freedesktop.org\nS:\tMaintained\n\
                 F:\tDocumentation/gpu/ringfence.rst\nF:\tdrivers/gpu/drm/ringfence/\n\n";
    let name = "MAINTAINERS";
    let old = text(&workshop.source.host.join(name))?;
    let behind = "DRM PRIVACY-SCREEN CLASS\n";
    let next = old
        .find(behind)
        .and_then(|at| Some(at + old[at..].find("\n\n")? + 2));
    let at = next.ok_or_else(|| Failed(format!("{name} has no {behind}")))?;
    Ok(format!("{}{entry}{}", &old[..at], &old[at..]))
}

/// A file of the kernel with more behind a line.
fn after(workshop: &Workshop, name: &str, line: &str, more: &str) -> Result<String, Failed> {
    let old = text(&workshop.source.host.join(name))?;
    match old.split_once(line) {
        Some((before, behind)) => Ok(format!("{before}{line}{more}{behind}")),
        None => Err(Failed(format!("{name} has no line {line:?}"))),
    }
}

/// Our Kconfig, without the options of modules that are not there yet.
fn kconfig(modules: &[&str]) -> Result<String, Failed> {
    let all = text(&root().join("linux/Kconfig"))?;
    let mut kept = String::new();
    let mut keep = true;
    for line in all.lines() {
        if let Some(option) = line.strip_prefix("config DRM_") {
            keep = modules.contains(&option.to_lowercase().as_str());
        } else if line.starts_with("endif") || line.starts_with("endmenu") {
            keep = true;
        }
        if keep {
            kept += line;
            kept += "\n";
        }
    }
    Ok(kept.trim_end().to_owned() + "\n")
}

/// The files of ours that went into an object.
fn sources(workshop: &Workshop, kernel: &Kernel, object: &str) -> Result<Vec<String>, Failed> {
    let path = PathBuf::from(object);
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Failed(format!("no object: {object}")));
    };
    let command = format!(".{}.cmd", name.display());
    let text = text(&kernel.modules.host.join(folder).join(command))?;
    let repository = Shared::repository();
    let files = dependencies(&text).into_iter().filter_map(|name| {
        let file = workshop.place().outside(name, &[&repository]);
        let ours = file.strip_prefix(root()).ok()?;
        Some(ours.display().to_string())
    });
    Ok(files.collect())
}

fn text(path: &Path) -> Result<String, Failed> {
    fs::read_to_string(path).map_err(|error| failed(path, error))
}
