// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Events of the device, and what queues say about recovery.

use super::Resolver;
use crate::plan::diagnostic::Diagnostic;
use crate::plan::model::{EventKind, EventPlan};

/// The most events in a plan: each job submitted looks for its own.
const MAX_EVENTS: usize = 16;

impl Resolver<'_> {
    /// The events, each of which must happen in a run.
    pub(super) fn find_events(&mut self) -> Vec<EventPlan> {
        let jobs: u64 = self
            .raw
            .streams
            .iter()
            .map(|stream| stream.jobs.value.saturating_mul(stream.count))
            .sum();
        let mut all = Vec::new();
        let mut moves = 0;
        for event in &self.raw.events {
            let Some(kind) = &event.kind else { continue };
            let every = event.every.as_ref().map(|every| every.value);
            let after = event.after.as_ref().map(|after| after.value);
            let Some(first) = after.or(every) else {
                continue;
            };
            let given = event.after.as_ref().or(event.every.as_ref());
            if let Some(given) = given.filter(|_| first >= jobs && jobs > 0) {
                let message = format!("this event never happens: the plan has {jobs} jobs");
                let key = if after.is_some() { "after" } else { "every" };
                self.problems.push(
                    Diagnostic::new(given.span.clone(), message)
                        .expected(format!("less than {jobs}"))
                        .write(format!("{key} = {}", jobs / 2)),
                );
                continue;
            }
            let kind_of = match kind.value {
                "change" => self.find_change(event),
                word => Some(event_kind(word)),
            };
            let Some(kind_of) = kind_of else { continue };
            let plan = EventPlan {
                kind: kind_of,
                after: first,
                every,
            };
            if plan.kind == EventKind::Migrate {
                let again = every.map_or(0, |every| (jobs - 1 - first) / every.max(1));
                moves += 1 + again;
                if moves > self.raw.device.standby {
                    let message = format!(
                        "everything moves {moves} times by here, and the device has {} on standby",
                        self.raw.device.standby
                    );
                    self.problems.push(
                        Diagnostic::new(kind.span.clone(), message)
                            .note("help", "each move takes a fresh device")
                            .write(format!("[device] standby = {moves}")),
                    );
                }
            }
            all.push(plan);
        }
        if let (true, Some(kind)) = (all.len() > MAX_EVENTS, self.last_event()) {
            let message = format!("the plan has {} events", all.len());
            self.problems.push(
                Diagnostic::new(kind, message)
                    .expected(format!("at most {MAX_EVENTS}"))
                    .note("help", "`every` makes one happen many times"),
            );
        }
        all
    }

    fn last_event(&self) -> Option<std::ops::Range<usize>> {
        let last = self.raw.events.last()?;
        last.kind.as_ref().map(|kind| kind.span.clone())
    }

    /// Keys of queues that mean nothing alone.
    pub(super) fn check_strikes(&mut self) {
        for queue in &self.raw.queues {
            if let Some(within) = queue.strikes_within.as_ref().filter(|_| queue.strikes == 0) {
                self.problems.push(
                    Diagnostic::new(
                        within.span.clone(),
                        "`strikes_within` means nothing without `strikes`",
                    )
                    .write("strikes = 3"),
                );
            }
        }
    }
}

fn event_kind(word: &str) -> EventKind {
    match word {
        "surprise-unplug" => EventKind::SurpriseUnplug,
        "migrate" => EventKind::Migrate,
        "reset" => EventKind::Reset,
        _ => EventKind::Unplug,
    }
}
