// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Files named on the command line: what they are, and why they cannot be read.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use crate::plan;

/// The largest plan, in bytes.
const MAX_PLAN: usize = 1 << 20;
/// The largest recording, in bytes.
const MAX_RECORDING: usize = 256 << 20;
/// How far into a file its nature shows.
const SNIFFED: usize = 64 << 10;

/// A file's content, by what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A plan, to be read by [`plan::Plan::parse`].
    Plan {
        /// What messages call the file.
        file: String,
        /// The text.
        text: String,
    },
    /// Scheduler events of the kernel as text. Recordings can be torn: nothing is known of the
    /// bytes but that they look like one.
    Recording {
        /// What messages call the file.
        file: String,
        /// The content.
        bytes: Vec<u8>,
    },
}

/// Why a file cannot be used at all.
#[derive(Debug)]
pub struct InputError {
    place: String,
    message: String,
    help: &'static str,
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}\n  = help: {}",
            self.place, self.message, self.help
        )
    }
}

impl std::error::Error for InputError {}

impl Input {
    /// Reads the file at `path`, or takes the built-in tour where there is none.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is too large, or is a plan that is no UTF-8.
    pub fn load(path: Option<&Path>) -> Result<Self, InputError> {
        let Some(path) = path else {
            return Ok(Self::Plan {
                file: plan::TOUR_FILE.to_owned(),
                text: plan::TOUR.to_owned(),
            });
        };
        let file = path.to_string_lossy().escape_debug().to_string();
        let fail = |message: String, help| InputError {
            place: file.clone(),
            message,
            help,
        };
        let bytes = read(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => fail(
                "there is no such file".into(),
                "plans come with the sources, in plans/",
            ),
            io::ErrorKind::IsADirectory => fail(
                "this is a directory".into(),
                "name one plan in it, such as plans/tour.toml",
            ),
            _ => fail(error.to_string(), "name a plan that can be read"),
        })?;
        if is_recording(path, &bytes) {
            if bytes.len() > MAX_RECORDING {
                let message = format!("a recording of more than {} MiB", MAX_RECORDING >> 20);
                return Err(fail(message, "cut it into shorter ones"));
            }
            return Ok(Self::Recording { file, bytes });
        }
        if bytes.len() > MAX_PLAN {
            let message = format!("larger than {} KiB", MAX_PLAN >> 10);
            return Err(fail(
                message,
                "a plan is a short text; `count` repeats queues and streams",
            ));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self::Plan { file, text }),
            Err(error) => Err(not_utf8(&file, &error)),
        }
    }
}

/// Reads no more than what is known to be too much.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    file.take(MAX_RECORDING as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn not_utf8(file: &str, error: &std::string::FromUtf8Error) -> InputError {
    let good = error.utf8_error().valid_up_to();
    let before = String::from_utf8_lossy(&error.as_bytes()[..good]).into_owned();
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .map_or(0, |last| last.chars().count())
        + 1;
    let byte = error.as_bytes().get(good).copied().unwrap_or_default();
    InputError {
        place: format!("{file}:{line}:{column}"),
        message: format!("the byte 0x{byte:02x} is not UTF-8"),
        help: "save the plan as UTF-8 text",
    }
}

/// Whether a file holds scheduler events: by its name, else by its first lines, which
/// `/sys/kernel/tracing/trace` and `trace-cmd report` write.
fn is_recording(path: &Path, bytes: &[u8]) -> bool {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("txt") => return true,
        Some("toml") => return false,
        _ => {}
    }
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(SNIFFED)]);
    start.lines().map(str::trim_start).any(|line| {
        line.starts_with("# tracer:")
            || line.starts_with("cpus=")
            || (!line.starts_with('#') && line.contains(": drm_sched_job"))
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::is_recording;

    #[test]
    fn tells_recordings_from_plans() {
        let event = b"  kworker-7 [000] ..... 1.5: drm_sched_job_queue: dev=x" as &[u8];
        let cases: [(&str, &[u8], bool); 7] = [
            ("a.trace.txt", b"", true),
            ("a.toml", event, false),
            ("a", event, true),
            ("a", b"# tracer: nop\n#\n", true),
            ("a.dat", b"cpus=2\n", true),
            ("a", b"name = \"plan\"\n# : drm_sched_job_run\n", false),
            ("a", b"", false),
        ];
        for (name, bytes, wanted) in cases {
            assert_eq!(
                is_recording(Path::new(name), bytes),
                wanted,
                "{name} {bytes:?}"
            );
        }
    }
}
