// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is wrong with a recording, and where.

use std::fmt;

/// One thing that is wrong with a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1, where one part of the line is at fault.
    pub column: Option<usize>,
    /// What sort of thing it is.
    pub kind: DiagnosticKind,
    /// What it is and what was done about it, for people.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    /// Writes `line L, column C: message`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        if let Some(column) = self.column {
            write!(f, ", column {column}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// The sorts of things that can be wrong with a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DiagnosticKind {
    /// A line that is no event, no header and no note of the tracer.
    NotAnEvent,
    /// A scheduler event whose fields cannot be read. The event is left out.
    BadEvent,
    /// The last line is not whole. It is left out.
    Torn,
    /// The tracer says that events were lost here.
    EventsLost,
    /// The header announces more events than follow.
    EventsMissing,
    /// An event is older than the one before it.
    TimeBackwards,
    /// The same job is queued, run or done, or the same dependency is added, a second time.
    Duplicate,
    /// An event for a job that is not known to have been queued.
    UnknownJob,
    /// A dependency on a fence that is no job's of this recording.
    UnknownFence,
    /// A dependency that would make jobs wait for each other in a circle.
    Cycle,
    /// Two events contradict each other.
    Contradiction,
    /// Events from before 6.16, which have other names and fields.
    OldKernel,
}

/// The diagnostics of a recording: the first [`LIMIT`](Self::LIMIT), and how many more there were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    left_out: u64,
}

impl Diagnostics {
    /// How many are kept. A file that is no recording at all would yield one for each line.
    pub const LIMIT: usize = 1000;

    /// Adds one, or counts it where there are too many.
    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        if self.list.len() < Self::LIMIT {
            self.list.push(diagnostic);
        } else {
            self.left_out += 1;
        }
    }

    /// Orders them by line; those of one line stay as they are.
    pub(super) fn sort(&mut self) {
        self.list.sort_by_key(|diagnostic| diagnostic.line);
    }

    /// Those that were kept, in the order of lines.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }

    /// How many were found, those that were not kept included.
    pub fn count(&self) -> u64 {
        self.list.len() as u64 + self.left_out
    }

    /// How many were not kept.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Whether nothing was wrong.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
