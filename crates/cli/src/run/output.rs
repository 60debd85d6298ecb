// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a run writes beside its report: traces, pictures, and what an orchestrator can say at any time.

use std::path::Path;

use ringfence_trace::Recorder;

use super::machine::{Machine, SetupError};
use super::{schedule, tracing};
use crate::args::RunArgs;
use crate::plan::Plan;

/// The slots, who is on them, and what each client has used, as they are now. Allocates.
pub(super) fn slots_text(machine: &Machine<'_>) -> String {
    let mut text = String::new();
    for device in machine.devices() {
        let Some(hosted) = &device.hosted else {
            continue;
        };
        text += &hosted.orchestrator.snapshot().to_string();
        for (_, fdinfo) in hosted.fdinfo() {
            text += "fdinfo\n";
            text.extend(fdinfo.lines().map(|line| format!("  {line}\n")));
        }
    }
    text
}

/// Writes what each client has used to a file of its name: of the second device that was plugged in,
/// and of those after it, with its number behind.
pub(super) fn write_fdinfo(folder: &Path, machine: &Machine<'_>) -> Result<(), SetupError> {
    let wrong = |path: &Path| {
        let path = path.display().to_string();
        move |error| SetupError::File(path, error)
    };
    std::fs::create_dir_all(folder).map_err(wrong(folder))?;
    for (number, device) in machine.devices().iter().enumerate() {
        let hosted = device.hosted.iter();
        for (name, text) in hosted.flat_map(|hosted| hosted.fdinfo()) {
            let file = match number {
                0 => name.to_owned(),
                _ => format!("{name}.{}", number + 1),
            };
            let path = folder.join(file);
            std::fs::write(&path, text).map_err(wrong(&path))?;
        }
    }
    Ok(())
}

/// Writes what was recorded as the arguments say. `contexts` are the fence contexts of all queues, with
/// their places in the plan.
pub(super) fn write_recording(
    args: &RunArgs,
    recorder: &Recorder,
    plan: &Plan,
    contexts: &[(usize, u64)],
) -> Result<(), SetupError> {
    if let Some(path) = &args.trace {
        tracing::write(path, recorder, plan, contexts)
            .map_err(|error| SetupError::Trace(path.display().to_string(), error))?;
    }
    if let Some(path) = &args.schedule {
        let span = args.schedule_span.as_ref();
        schedule::write(path, plan, recorder.events(), contexts, span)
            .map_err(|error| SetupError::File(path.display().to_string(), error))?;
    }
    Ok(())
}
