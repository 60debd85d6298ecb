// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Applies a series to the kernel, patch by patch, and builds and checks each.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::FOLDER;
use crate::kernel::build::{Kernel, Workshop};
use crate::kernel::cache::{failed, remove};
use crate::kernel::lint;
use crate::kernel::place::Shared;
use crate::run::Failed;

/// Everything of ours in the kernel itself. What there is no option for yet is dropped in silence.
const OPTIONS: &str = "CONFIG_DRM_RINGFENCE=y\nCONFIG_DRM_RINGFENCE_KUNIT=y\n\
    CONFIG_DRM_RINGFENCE_MOCK_GPU=y\n";

pub(super) fn all(
    workshop: &mut Workshop,
    kernel: &Kernel,
    files: &[PathBuf],
) -> Result<(), Failed> {
    let source = Shared::new("source", workshop.scratch("patched-source")?);
    let build = Shared::new("build", workshop.scratch("patched-build")?);
    // Links for the source: applying a patch writes new files. A copy of what was built.
    copy(workshop, "-al", &workshop.source.host.clone(), &source.host)?;
    copy(workshop, "-a", &kernel.build.host, &build.host)?;
    let path = build.host.join("fragment");
    let text = fs::read_to_string(&path).map_err(|error| failed(&path, error))?;
    fs::write(&path, text + OPTIONS).map_err(|error| failed(&path, error))?;
    let letter = |file: &&PathBuf| !file.ends_with("0000-cover-letter.patch");
    for file in files.iter().filter(letter) {
        one(workshop, &source, &build, file)?;
    }
    remove(&source.host)?;
    remove(&build.host)
}

fn copy(workshop: &mut Workshop, how: &str, from: &Path, to: &Path) -> Result<(), Failed> {
    remove(to)?;
    let mut command = Command::new("cp");
    command.arg(how).arg(from).arg(to);
    workshop.steps.run("copies", command)
}

fn one(
    workshop: &mut Workshop,
    source: &Shared,
    build: &Shared,
    file: &Path,
) -> Result<(), Failed> {
    let name = file
        .file_name()
        .map_or_else(String::new, |name| name.display().to_string());
    let step = format!("patch {}", &name[..name.len().min(4)]);
    let mut apply = Command::new("git");
    apply
        .current_dir(&source.host)
        .env("GIT_CEILING_DIRECTORIES", "/")
        .args(["apply", "--whitespace=error-all"])
        .arg(file);
    workshop.steps.run(&step, apply)?;
    let all = format!(
        "KCONFIG_ALLCONFIG={}/fragment",
        workshop.place().path(build)
    );
    let folder = format!("{FOLDER}/");
    // Before there is a Makefile in it nothing is built there, and what is around it must not suffer.
    let has_makefile = source.host.join(FOLDER).join("Makefile").exists();
    let target = if has_makefile {
        folder.as_str()
    } else {
        "drivers/gpu/drm/"
    };
    for arguments in [vec![all.as_str(), "allnoconfig"], vec![target]] {
        let make = workshop.kernel_make(source, build, &arguments);
        workshop.steps.append(&step, make)?;
    }
    let patch = Shared::new("patches", file.parent().unwrap_or(file));
    let place = workshop.place();
    let mut command = place.command("perl", &[source, &patch]);
    command
        .arg(format!("{}/scripts/checkpatch.pl", place.path(source)))
        .args(["--strict", "--root", &place.path(source), "--ignore"])
        .arg(lint::IGNORED.join(","))
        .arg(format!("{}/{name}", place.path(&patch)));
    workshop.steps.append(&step, command)
}
