// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is said of an orchestrator: whether there is one, and whom it is about.

use std::ops::Range;
use std::time::Duration;

use ringfence_orchestrator::Priority;

use super::gangs::Owners;
use super::{Resolver, Selection};
use crate::plan::diagnostic::Diagnostic;
use crate::plan::model::orchestrator::{priority, KIND_WORDS};
use crate::plan::model::{DuePlan, EventKind, QueueIndex, QueuePlan, ShareExpect, WaitExpect};
use crate::plan::raw::{RawDue, RawEvent};
use crate::plan::reader::At;

fn indices(found: Selection) -> impl Iterator<Item = QueueIndex> {
    (found.start..found.start + found.count).map(QueueIndex)
}

impl Resolver<'_> {
    /// Notes what means nothing with an orchestrator, or without.
    pub(super) fn check_orchestrator(&mut self) {
        let device = &self.raw.device;
        if device.orchestrator.is_some() {
            if let Some(span) = &device.time_slice_at {
                let message = "`time_slice` means nothing beside [orchestrator]";
                let problem = Diagnostic::new(span.clone(), message);
                self.problems
                    .push(problem.write("[orchestrator] slice = \"2ms\""));
            }
            return self.check_kinds();
        }
        let mut alone: Vec<(&str, Range<usize>)> = Vec::new();
        if let Some(kinds) = &device.slot_kinds {
            alone.push(("kinds", kinds.span.clone()));
        }
        for queue in &self.raw.queues {
            let due = &queue.due;
            let keys = [
                ("priority", due.priority.as_ref().map(|at| &at.span)),
                ("weight", due.weight.as_ref().map(|at| &at.span)),
                ("kinds", due.kinds.as_ref().map(|at| &at.span)),
                ("group", due.group.as_ref().map(|at| &at.span)),
                ("client", due.client.as_ref().map(|at| &at.span)),
            ];
            alone.extend(
                keys.into_iter()
                    .filter_map(|(key, span)| Some((key, span?.clone()))),
            );
        }
        let sharing = &self.raw.expect.sharing;
        alone.extend(
            sharing
                .fairness
                .iter()
                .map(|at| ("fairness", at.span.clone())),
        );
        alone.extend(
            sharing
                .error
                .iter()
                .map(|at| ("share_error", at.span.clone())),
        );
        alone.extend(sharing.of.iter().map(|at| ("share_of", at.span.clone())));
        alone.extend(
            sharing
                .waits
                .iter()
                .map(|(at, _)| ("longest_wait", at.span.clone())),
        );
        for kind in self
            .raw
            .events
            .iter()
            .filter_map(|event| event.kind.as_ref())
        {
            if kind.value == "change" {
                alone.push(("change", kind.span.clone()));
            }
        }
        for (key, span) in alone {
            let message = format!("`{key}` means nothing where the firmware gives out the slots");
            self.problems.push(
                Diagnostic::new(span, message)
                    .expected("a table [orchestrator] in the plan")
                    .write("[orchestrator]"),
            );
        }
    }

    /// Whether there is a slot for each queue.
    fn check_kinds(&mut self) {
        let there = self.slot_kinds();
        for queue in &self.raw.queues {
            let Some(kinds) = &queue.due.kinds else {
                continue;
            };
            if kinds.value.iter().any(|kind| there.contains(kind)) {
                continue;
            }
            let words = KIND_WORDS.iter().filter(|word| {
                let kind = crate::plan::model::orchestrator::slot_kind(word);
                kind.is_some_and(|kind| there.contains(&kind))
            });
            let words: Vec<&str> = words.copied().collect();
            let message = format!("no slot of the device is for {:?}", queue.name.value);
            self.problems.push(
                Diagnostic::new(kinds.span.clone(), message)
                    .expected(format!("some of {}", words.join(", ")))
                    .note("help", "[device] `kinds` says what the slots are for"),
            );
        }
    }

    /// Who is looked at for fair shares.
    pub(super) fn find_shares(&mut self, owners: &Owners) -> Option<ShareExpect> {
        let sharing = &self.raw.expect.sharing;
        let Some(wanted) = sharing.error.as_ref().or(sharing.fairness.as_ref()) else {
            if let Some(of) = &sharing.of {
                let message = "`share_of` means nothing without `share_error` or `fairness`";
                let problem = Diagnostic::new(of.span.clone(), message);
                self.problems.push(problem.write("share_error = \"2%\""));
            }
            return None;
        };
        let mut queues: Vec<QueueIndex> = Vec::new();
        match &sharing.of {
            None => queues.extend((0..self.queues.total()).map(QueueIndex)),
            Some(names) => {
                for name in &names.value {
                    match self.queues.find(name, "after") {
                        Ok(found) => queues.extend(indices(found)),
                        Err(problem) => self.problems.push(problem),
                    }
                }
            }
        }
        // A gang is one: its members have their share together.
        for gang in &owners.gangs {
            if gang.members.iter().any(|member| queues.contains(member)) {
                queues.extend(&gang.members);
            }
        }
        queues.sort_unstable();
        queues.dedup();
        self.check_comparable(wanted, &queues);
        Some(ShareExpect {
            error: sharing.error.as_ref().map(|at| at.value),
            fairness: sharing.fairness.as_ref().map(|at| at.value),
            queues,
        })
    }

    /// Shares are by weight between queues that compete for the same slots.
    fn check_comparable(&mut self, wanted: &At<u32>, queues: &[QueueIndex]) {
        let mut terms = self.raw.queues.iter().flat_map(|queue| {
            let due = &queue.due;
            let kinds = due.kinds.as_ref().map(|kinds| kinds.value.clone());
            let terms = (rank(due), kinds);
            std::iter::repeat_n((&queue.name.value, terms), queue.count as usize)
        });
        let mut seen = 0;
        let mut first = None;
        for index in queues {
            let Some((name, terms)) = terms.nth(index.0 - seen) else {
                return;
            };
            seen = index.0 + 1;
            let (other, same) = first.get_or_insert((name, terms.clone()));
            if *same != terms {
                let message = format!("{other:?} and {name:?} have no shares of the same");
                self.problems.push(
                    Diagnostic::new(wanted.span.clone(), message)
                        .expected("queues of one priority and of the same kinds of slots")
                        .write(format!("share_of = [\"{other}\"]")),
                );
                return;
            }
        }
    }

    /// Whose waits are bounded.
    pub(super) fn find_waits(&mut self) -> Vec<WaitExpect> {
        let mut all = Vec::new();
        for (name, nanos) in &self.raw.expect.sharing.waits {
            let queues: Vec<QueueIndex> = match priority(&name.value) {
                Some(priority) => self.of_priority(priority),
                None => match self.queues.find(name, "after") {
                    Ok(found) => indices(found).collect(),
                    Err(problem) => {
                        let words = "or a priority: kernel, high, normal or low";
                        self.problems.push(problem.note("help", words));
                        continue;
                    }
                },
            };
            if queues.is_empty() {
                let message = format!("no queue has the priority {:?}", name.value);
                self.problems.push(
                    Diagnostic::new(name.span.clone(), message)
                        .expected("a priority that a queue has, or a queue"),
                );
            }
            all.push(WaitExpect {
                name: name.value.clone(),
                queues,
                longest: Duration::from_nanos(*nanos),
            });
        }
        all
    }

    fn of_priority(&self, priority: Priority) -> Vec<QueueIndex> {
        let counted = self.raw.queues.iter().flat_map(|queue| {
            std::iter::repeat_n(rank(&queue.due) == priority, queue.count as usize)
        });
        let places = counted.enumerate().filter(|(_, has)| *has);
        places.map(|(place, _)| QueueIndex(place)).collect()
    }

    /// Whom a change is about.
    pub(super) fn find_change(&mut self, event: &RawEvent) -> Option<EventKind> {
        let name = event.queue.as_ref()?;
        match self.queues.find(name, "queue") {
            Ok(found) => Some(EventKind::Change {
                first: QueueIndex(found.start),
                count: found.count,
                priority: event.priority.as_ref().map(|at| at.value),
                weight: event.weight.as_ref().map(|at| at.value),
            }),
            Err(problem) => {
                self.problems.push(problem);
                None
            }
        }
    }

    /// Whether lateness can be counted.
    pub(super) fn check_late(&mut self) {
        let Some(late) = &self.raw.expect.late else {
            return;
        };
        if self
            .raw
            .streams
            .iter()
            .all(|stream| stream.deadline.is_none())
        {
            let message = "`late` means nothing where no stream has a deadline";
            let problem = Diagnostic::new(late.span.clone(), message);
            self.problems
                .push(problem.write("[[stream]] deadline = \"16ms\""));
        }
    }
}

fn rank(due: &RawDue) -> Priority {
    due.priority
        .as_ref()
        .map_or(Priority::Normal, |at| at.value)
}

/// Adds to each queue what it is due.
pub(super) fn add_dues(queues: &mut [QueuePlan], owners: &Owners) {
    for (place, queue) in queues.iter_mut().enumerate() {
        queue.due.gang = owners.gang_of.get(place).copied().flatten();
        queue.due.client = owners.client_of.get(place).copied().unwrap_or(0);
    }
}

/// What a table says, before its gang and client are known.
pub(super) fn due(raw: &RawDue) -> DuePlan {
    DuePlan {
        priority: rank(raw),
        weight: raw.weight.as_ref().map(|at| at.value).unwrap_or_default(),
        kinds: raw
            .kinds
            .as_ref()
            .map_or_else(Vec::new, |at| at.value.clone()),
        gang: None,
        client: 0,
    }
}
