// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is wrong with a plan, where, and what to write instead.

use std::fmt;
use std::ops::Range;

/// How many problems are printed before the rest is only counted.
const SHOWN: usize = 20;
/// The widest piece of a source line that is printed, in characters.
const WIDEST: usize = 96;

/// One problem in a plan's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    span: Range<usize>,
    message: String,
    notes: Vec<(&'static str, String)>,
}

impl Diagnostic {
    /// Describes a problem with the bytes `span` of the text.
    pub fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            span,
            message: message.into(),
            notes: Vec::new(),
        }
    }

    /// Says what would have been right here.
    #[must_use]
    pub fn expected(self, what: impl Into<String>) -> Self {
        self.note("expected", what)
    }

    /// Gives text that can be written in place of the wrong one.
    #[must_use]
    pub fn write(self, text: impl Into<String>) -> Self {
        self.note("write", text)
    }

    /// Adds a fact that helps to understand the problem.
    #[must_use]
    pub fn note(mut self, label: &'static str, text: impl Into<String>) -> Self {
        self.notes.push((label, text.into()));
        self
    }

    /// What is wrong, in one line.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// All that is wrong with one plan.
///
/// # Invariants
///
/// There is at least one problem, and the problems stand in the order of their positions.
#[derive(Clone, Debug)]
pub struct PlanErrors {
    file: String,
    text: String,
    list: Vec<Diagnostic>,
}

impl PlanErrors {
    /// Collects the problems of the plan `text`; `None` where there is none.
    pub(crate) fn new(file: &str, text: &str, mut list: Vec<Diagnostic>) -> Option<Self> {
        if list.is_empty() {
            return None;
        }
        list.sort_by_key(|problem| (problem.span.start, problem.span.end));
        list.dedup();
        Some(Self {
            file: file.to_owned(),
            text: text.to_owned(),
            list,
        })
    }

    /// A single problem.
    pub(crate) fn one(file: &str, text: &str, problem: Diagnostic) -> Self {
        Self {
            file: file.to_owned(),
            text: text.to_owned(),
            list: vec![problem],
        }
    }

    /// The problems, in the order of their positions.
    pub fn list(&self) -> &[Diagnostic] {
        &self.list
    }
}

impl fmt::Display for PlanErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in self.list.iter().take(SHOWN) {
            let place = Place::find(&self.text, &problem.span);
            writeln!(
                f,
                "{}:{}:{}: {}",
                self.file,
                place.line,
                place.column,
                printable(&problem.message)
            )?;
            place.draw(f)?;
            let margin = place.margin();
            for (label, text) in &problem.notes {
                writeln!(f, "{margin} = {label}: {}", printable(text))?;
            }
        }
        if let Some(hidden) = self.list.len().checked_sub(SHOWN).filter(|&n| n > 0) {
            writeln!(f, "... and {hidden} more")?;
        }
        let plural = if self.list.len() == 1 { "" } else { "s" };
        write!(
            f,
            "{}: {} error{plural}; docs/plans.md explains every key",
            self.file,
            self.list.len()
        )
    }
}

impl std::error::Error for PlanErrors {}

/// What a message quotes from the plan, without control characters, which would reach the
/// terminal.
fn printable(text: &str) -> String {
    let shown = |c: char| {
        if c.is_control() && c != '\n' {
            '\u{fffd}'
        } else {
            c
        }
    };
    text.chars().map(shown).collect()
}

/// A span in the terms of a reader: line and column from 1, and the line itself.
struct Place {
    line: usize,
    column: usize,
    shown: String,
    caret_at: usize,
    caret_width: usize,
}

impl Place {
    fn find(text: &str, span: &Range<usize>) -> Self {
        let start = floor_boundary(text, span.start);
        let end = floor_boundary(text, span.end).max(start);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let before = text[line_start..start].chars().count();
        let width = text[start..end.min(line_end)].chars().count().max(1);
        let source: Vec<char> = text[line_start..line_end].trim_end().chars().collect();
        // A long line is shown from shortly before the caret.
        let cut = if source.len() > WIDEST {
            before.saturating_sub(WIDEST / 3)
        } else {
            0
        };
        // Control characters would reach the terminal otherwise.
        let shown: String = source
            .iter()
            .skip(cut)
            .take(WIDEST)
            .map(|&c| {
                if c == '\t' {
                    ' '
                } else if c.is_control() {
                    '\u{fffd}'
                } else {
                    c
                }
            })
            .collect();
        let caret_at = before - cut;
        Self {
            line: text[..start].matches('\n').count() + 1,
            column: before + 1,
            caret_width: width
                .min(shown.chars().count().saturating_sub(caret_at))
                .max(1),
            caret_at,
            shown,
        }
    }

    fn margin(&self) -> String {
        " ".repeat(self.line.to_string().len() + 1)
    }

    fn draw(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let margin = self.margin();
        let caret = format!(
            "{}{}",
            " ".repeat(self.caret_at),
            "^".repeat(self.caret_width)
        );
        writeln!(f, " {} | {}", self.line, self.shown)?;
        writeln!(f, "{margin} | {caret}")
    }
}

/// The nearest character boundary at or before `at`.
fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The name among `known` that somebody who wrote `found` most likely meant.
pub(crate) fn nearest<'a>(
    found: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let found = found.to_lowercase().replace('_', "-");
    // Far longer than any name: not a slip of the finger, and the distance is quadratic.
    if found.len() > 64 {
        return None;
    }
    known
        .into_iter()
        .map(|name| {
            let plain = name.replace('_', "-");
            (strsim::damerau_levenshtein(&found, &plain), name)
        })
        .filter(|&(distance, name)| distance <= (name.len().max(found.len()) / 3).max(1))
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests;
