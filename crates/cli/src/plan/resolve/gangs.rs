// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Queues that have their slots together, and whose queues they are.

use std::collections::BTreeMap;

use ringfence_softgpu::SlotKind;

use super::{Resolver, Selection};
use crate::plan::diagnostic::Diagnostic;
use crate::plan::model::orchestrator::KINDS;
use crate::plan::model::{FaultKind, GangPlan, QueueIndex};
use crate::plan::names::member_name;
use crate::plan::reader::At;

/// What is known of gangs and clients, by the place of a queue in the plan.
#[derive(Default)]
pub(super) struct Owners {
    pub(super) gangs: Vec<GangPlan>,
    pub(super) gang_of: Vec<Option<usize>>,
    pub(super) clients: Vec<String>,
    pub(super) client_of: Vec<usize>,
}

impl Resolver<'_> {
    /// Whether any queue is in a gang, and where that is said.
    pub(super) fn first_group(&self) -> Option<&At<String>> {
        let mut queues = self.raw.queues.iter();
        queues.find_map(|queue| queue.due.group.as_ref())
    }

    pub(super) fn find_owners(&mut self) -> Owners {
        let mut owners = Owners::default();
        let mut clients = BTreeMap::new();
        let mut tables: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let mut starts = Vec::new();
        for (at, queue) in self.raw.queues.iter().enumerate() {
            let due = &queue.due;
            let client = due.client.as_ref().or(due.group.as_ref());
            let client = &client.unwrap_or(&queue.name).value;
            let number = *clients.entry(client).or_insert_with(|| {
                owners.clients.push(client.clone());
                owners.clients.len() - 1
            });
            starts.push(owners.client_of.len());
            let count = queue.count as usize;
            owners.client_of.extend(std::iter::repeat_n(number, count));
            if let Some(group) = &due.group {
                tables.entry(&group.value).or_default().push(at);
            }
        }
        owners.gang_of = vec![None; owners.client_of.len()];
        for (name, tables) in tables {
            if self.check_gang(name, &tables) {
                self.add_gangs(name, &tables, &starts, &mut owners);
            }
        }
        owners
    }

    fn add_gangs(&self, name: &str, tables: &[usize], starts: &[usize], owners: &mut Owners) {
        let count = self.raw.queues[tables[0]].count as usize;
        for at in 0..count {
            let gang = owners.gangs.len();
            let members = tables.iter().map(|&table| starts[table] + at);
            let members: Vec<QueueIndex> = members.map(QueueIndex).collect();
            for member in &members {
                owners.gang_of[member.0] = Some(gang);
            }
            owners.gangs.push(GangPlan {
                name: member_name(name, at, count),
                members,
            });
        }
    }

    fn check_gang(&mut self, name: &str, tables: &[usize]) -> bool {
        let queues = &self.raw.queues;
        let first = &queues[tables[0]];
        let Some(group) = &first.due.group else {
            return false;
        };
        let problem = if tables.len() == 1 {
            let message = format!("{name:?} is a group of one queue");
            Some(
                Diagnostic::new(group.span.clone(), message)
                    .expected("another [[queue]] of the same group")
                    .note(
                        "help",
                        "of queues with `count`, member i of each belong together",
                    ),
            )
        } else if let Some(other) = tables
            .iter()
            .map(|&table| &queues[table])
            .find(|queue| queue.count != first.count)
        {
            let message = format!(
                "{:?} has {} members and {:?} has {}",
                first.name.value, first.count, other.name.value, other.count
            );
            let span = other.due.group.as_ref().map_or(0..0, |at| at.span.clone());
            Some(
                Diagnostic::new(span, message)
                    .note("help", "member i of each belong together")
                    .write(format!("count = {}", first.count)),
            )
        } else if !self.fits(tables) {
            let message = format!("the device has not enough slots for all of {name:?}");
            Some(
                Diagnostic::new(group.span.clone(), message)
                    .expected(format!("{} slots, of their kinds, at a time", tables.len()))
                    .note("help", "give the device more `slots`"),
            )
        } else {
            None
        };
        let good = problem.is_none();
        self.problems.extend(problem);
        good
    }

    /// Whether there is a slot for each of them at the same time: by Hall's theorem, if no set of
    /// kinds is wanted by more than it has slots.
    fn fits(&self, tables: &[usize]) -> bool {
        let there = self.slot_kinds();
        (0..1_u32 << KINDS.len()).all(|set| {
            let within = |kind: &SlotKind| {
                let place = KINDS.iter().position(|other| other == kind);
                place.is_some_and(|place| set >> place & 1 == 1)
            };
            let slots = there.iter().filter(|kind| within(kind)).count();
            let wanting = tables.iter().filter(|&&table| {
                let kinds = &self.raw.queues[table].due.kinds;
                let all = kinds.as_ref().map_or(&KINDS[..], |kinds| &kinds.value);
                all.iter().filter(|kind| there.contains(kind)).all(within)
            });
            wanting.count() <= slots
        })
    }

    /// The kind of each slot.
    pub(super) fn slot_kinds(&self) -> Vec<SlotKind> {
        let device = &self.raw.device;
        match &device.slot_kinds {
            Some(kinds) => kinds.value.clone(),
            None => vec![SlotKind::default(); device.slots as usize],
        }
    }

    /// A queue in a gang is never replaced: its successor could not join what works.
    pub(super) fn check_gangs_last(&mut self, targets: &[Option<Selection>]) {
        let grouped = |stream: &Selection| {
            let target = targets.get(stream.group).copied().flatten();
            let queue = target.and_then(|target| self.raw.queues.get(target.group));
            queue.is_some_and(|queue| queue.due.group.is_some())
        };
        let ends = |kind: &FaultKind| matches!(kind, FaultKind::Close | FaultKind::Kill);
        let mut problems = Vec::new();
        for fault in &self.raw.faults {
            let Some(at) = fault.stream.as_ref() else {
                continue;
            };
            // What is not found has been told.
            let found = self.streams.find(at, "stream").ok();
            if fault.kinds.iter().any(ends) && found.is_some_and(|stream| grouped(&stream)) {
                problems.push(replaced(at.span.clone(), "closes or kills the queue"));
            }
        }
        let queues = self.raw.queues.iter();
        for queue in queues.filter(|queue| queue.strikes > 0) {
            if let Some(group) = &queue.due.group {
                problems.push(replaced(group.span.clone(), "has `strikes`"));
            }
        }
        let unplugs = |word: &str| word.ends_with("unplug");
        let mut events = self
            .raw
            .events
            .iter()
            .filter_map(|event| event.kind.as_ref());
        if let (Some(event), Some(_)) =
            (events.find(|kind| unplugs(kind.value)), self.first_group())
        {
            problems.push(replaced(event.span.clone(), "pulls the device out"));
        }
        self.problems.extend(problems);
    }
}

fn replaced(span: std::ops::Range<usize>, what: &str) -> Diagnostic {
    let message = format!("this {what}, and a queue of a group cannot be replaced");
    Diagnostic::new(span, message).note("help", "take it out of its group, or leave this out")
}
