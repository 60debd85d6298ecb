// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Whether slots are shared fairly, by the time that the device says it has executed.
//!
//! Only while all the queues that are looked at have work all the time is it known what each should
//! have: the longest such time of a run is the *window* that is judged. In it, the time that all of
//! them had together is dealt out anew by weight, each at most one slot all the time, and compared.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use super::super::machine::{Machine, QueueParts};
use crate::plan::{Plan, QueueIndex, ShareExpect};

/// How often the queues are looked at.
const PERIOD: Duration = Duration::from_millis(2);

/// A look that took longer was interrupted: it did not see one moment.
const BLINK_NS: u64 = 500_000;

/// A window shorter than this says nothing.
pub(in crate::run) const WINDOW_MIN: Duration = Duration::from_millis(200);

/// What was seen in the window.
#[derive(Clone, Debug, Default)]
pub(in crate::run) struct Window {
    /// How long it was.
    pub(in crate::run) span_ns: u64,
    /// How long each queue executed in it.
    pub(in crate::run) busy: Vec<u64>,
    /// What was due to each, by weight.
    pub(in crate::run) weights: Vec<u16>,
}

/// One queue as it was at a moment.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Look {
    busy: u64,
    has_work: bool,
    /// Changes when it has been without work.
    idles: u64,
}

/// All queues as they were at a moment.
#[derive(Clone)]
struct Moment {
    at: u64,
    changes: u64,
    looks: Vec<Look>,
}

/// A queue of the plan, with what those that were replaced had executed.
struct Seen {
    index: QueueIndex,
    parts: Arc<QueueParts>,
    before: u64,
}

impl Seen {
    fn look(&mut self, machine: &Machine<'_>) -> Look {
        let now = machine.queue(self.index.0);
        if !Arc::ptr_eq(&now, &self.parts) {
            self.before += self.parts.busy();
            self.parts = now;
        }
        let (has_work, idles) = self.parts.watch.work();
        Look {
            busy: self.before + self.parts.busy(),
            has_work,
            idles,
        }
    }
}

/// Looks at the queues that `expect` names until the run is `over`.
pub(in crate::run) fn watch(
    machine: &Machine<'_>,
    expect: &ShareExpect,
    over: &AtomicBool,
) -> Window {
    let mut queues: Vec<Seen> = expect
        .queues
        .iter()
        .map(|&index| Seen {
            index,
            parts: machine.queue(index.0),
            before: 0,
        })
        .collect();
    let mut first: Option<Moment> = None;
    let mut best = Window::default();
    while !over.load(Ordering::Acquire) {
        std::thread::park_timeout(PERIOD);
        let at = ringfence::monotonic().as_ns();
        let changes = machine.changes();
        let looks: Vec<Look> = queues.iter_mut().map(|queue| queue.look(machine)).collect();
        let took = ringfence::monotonic().as_ns().saturating_sub(at);
        if took > BLINK_NS {
            continue;
        }
        let now = Moment { at, changes, looks };
        first = match first {
            Some(begun) if goes_on(&begun, &now) => {
                if now.at - begun.at > best.span_ns {
                    best = window(machine, &begun, &now, expect);
                }
                Some(begun)
            }
            _ => now.looks.iter().all(|look| look.has_work).then_some(now),
        };
    }
    best
}

/// Whether all have had work from one moment to the other, and nobody's due has changed.
fn goes_on(begun: &Moment, now: &Moment) -> bool {
    let mut both = begun.looks.iter().zip(&now.looks);
    begun.changes == now.changes && both.all(|(then, now)| now.has_work && then.idles == now.idles)
}

fn window(machine: &Machine<'_>, begun: &Moment, now: &Moment, expect: &ShareExpect) -> Window {
    let both = begun.looks.iter().zip(&now.looks);
    let weights = expect.queues.iter();
    Window {
        span_ns: now.at - begun.at,
        busy: both
            .map(|(then, now)| now.busy.saturating_sub(then.busy))
            .collect(),
        weights: weights.map(|queue| machine.due(queue.0).1.get()).collect(),
    }
}

/// A queue or a gang, and how far its share is off.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::run) struct Worst {
    /// What it is called.
    pub(in crate::run) name: String,
    /// What it had and what it should have had, in nanoseconds.
    pub(in crate::run) had: u64,
    pub(in crate::run) ideal: u64,
    /// The difference in parts per million of what it should have had.
    pub(in crate::run) ppm: u64,
}

/// What has a share: a queue, or a gang.
struct Unit {
    name: String,
    weight: f64,
    busy: f64,
    /// The most it can have.
    most: f64,
}

/// Whose share is furthest off, and Jain's index of all shares in parts per million; `None` if nobody
/// did anything.
pub(in crate::run) fn judge(
    plan: &Plan,
    expect: &ShareExpect,
    window: &Window,
) -> Option<(Worst, u64)> {
    let units = units(plan, expect, window);
    let ideals = ideals(&units);
    let index = jain(
        units
            .iter()
            .zip(&ideals)
            .map(|(unit, ideal)| unit.busy / ideal.max(1.0)),
    )?;
    let off = units.iter().zip(ideals).map(|(unit, ideal)| Worst {
        name: unit.name.clone(),
        had: unit.busy as u64,
        ideal: ideal as u64,
        ppm: ((unit.busy - ideal).abs() / ideal.max(1.0) * 1e6) as u64,
    });
    let worst = off.max_by_key(|off| off.ppm)?;
    Some((worst, (index * 1e6) as u64))
}

/// Jain's fairness index: 1 if all are equal, 1/n if one of n has everything.
fn jain(shares: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for share in shares {
        count += 1.0;
        sum += share;
        squares += share * share;
    }
    (squares > 0.0).then(|| sum * sum / (count * squares))
}

fn units(plan: &Plan, expect: &ShareExpect, window: &Window) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    let mut of_gang = vec![None; plan.gangs().len()];
    let figures = window.busy.iter().zip(&window.weights);
    for (queue, (&busy, &weight)) in expect.queues.iter().zip(figures) {
        let queue = &plan.queues()[queue.0];
        let place = queue.due.gang.and_then(|gang| of_gang[gang]);
        if let Some(unit) = place.and_then(|place: usize| units.get_mut(place)) {
            unit.busy += busy as f64;
            unit.most += window.span_ns as f64;
            continue;
        }
        let mut name = &queue.name;
        if let Some(gang) = queue.due.gang {
            of_gang[gang] = Some(units.len());
            name = &plan.gangs()[gang].name;
        }
        units.push(Unit {
            name: name.clone(),
            weight: f64::from(weight),
            busy: busy as f64,
            most: window.span_ns as f64,
        });
    }
    units
}

/// Deals out all that there was by weight, to nobody more than it can have.
fn ideals(units: &[Unit]) -> Vec<f64> {
    let mut left: f64 = units.iter().map(|unit| unit.busy).sum();
    let mut ideals = vec![0.0; units.len()];
    let mut open: Vec<usize> = (0..units.len()).collect();
    loop {
        let weights: f64 = open.iter().map(|&at| units[at].weight).sum();
        let level = left / weights.max(f64::MIN_POSITIVE);
        let full = |at: usize| units[at].weight * level >= units[at].most;
        let (capped, rest): (Vec<usize>, Vec<usize>) = open.iter().partition(|&&at| full(at));
        for &at in &capped {
            ideals[at] = units[at].most;
            left -= units[at].most;
        }
        if capped.is_empty() {
            for at in rest {
                ideals[at] = units[at].weight * level;
            }
            return ideals;
        }
        open = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(weight: f64, busy: f64) -> Unit {
        Unit {
            name: String::new(),
            weight,
            busy,
            most: 100.0,
        }
    }

    #[test]
    fn what_there_was_is_dealt_out_by_weight() {
        let dealt = ideals(&[unit(1.0, 0.0), unit(3.0, 120.0)]);
        assert_eq!(dealt, [30.0, 90.0]);
    }

    #[test]
    fn nobody_can_have_more_than_a_slot() {
        let dealt = ideals(&[unit(10.0, 100.0), unit(1.0, 30.0), unit(1.0, 20.0)]);
        assert_eq!(dealt, [100.0, 25.0, 25.0]);
        // Everybody has all they can have.
        assert_eq!(
            ideals(&[unit(1.0, 100.0), unit(2.0, 100.0)]),
            [100.0, 100.0]
        );
    }

    #[test]
    fn the_index_is_one_for_equals_and_a_part_for_one_who_has_all() {
        assert_eq!(jain([2.0, 2.0, 2.0].into_iter()), Some(1.0));
        assert_eq!(jain([0.0, 0.0, 0.0, 4.0].into_iter()), Some(0.25));
        assert_eq!(jain([0.0; 3].into_iter()), None);
    }

    fn moment(at: u64, looks: &[(u64, bool, u64)]) -> Moment {
        let looks = looks.iter().map(|&(busy, has_work, idles)| Look {
            busy,
            has_work,
            idles,
        });
        Moment {
            at,
            changes: 0,
            looks: looks.collect(),
        }
    }

    #[test]
    fn a_window_ends_when_somebody_was_idle() {
        let begun = moment(0, &[(0, true, 0), (0, true, 0)]);
        assert!(goes_on(&begun, &moment(5, &[(1, true, 0), (1, true, 0)])));
        assert!(!goes_on(&begun, &moment(5, &[(1, true, 0), (1, false, 0)])));
        // It has work again, but had none in between.
        assert!(!goes_on(&begun, &moment(5, &[(1, true, 0), (1, true, 1)])));
        let mut changed = moment(5, &[(1, true, 0), (1, true, 0)]);
        changed.changes = 1;
        assert!(!goes_on(&begun, &changed));
    }
}
