// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What an orchestrator did, and whether it did what it had to.

mod table;

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;

use super::Short;
use crate::plan::model::orchestrator::priority_word;
use crate::plan::{Plan, PolicyPlan, ShareExpect};
use crate::run::hosted::shares::{self, Window, WINDOW_MIN};
use crate::run::machine::{SeatTotals, Totals};
use crate::run::{Run, Violations};

/// Who was due what, and had it.
#[derive(Clone, Debug, Serialize)]
struct SeatReport {
    name: String,
    client: String,
    priority: &'static str,
    weight: u16,
    #[serde(flatten)]
    seen: SeatTotals,
}

#[derive(Clone, Debug, Serialize)]
struct ClientReport {
    name: String,
    #[serde(flatten)]
    seen: SeatTotals,
}

#[derive(Clone, Debug, Serialize)]
struct SlotReport {
    slot: u16,
    engine: String,
    busy_ns: u64,
    binds: u64,
    warm: u64,
}

#[derive(Clone, Debug, Serialize)]
struct GangReport {
    name: String,
    stays: u64,
    longest_parted_ns: u64,
}

/// How shares were in the window that was judged.
#[derive(Clone, Debug, Serialize)]
struct ShareReport {
    window_ns: u64,
    queues: usize,
    error_ppm: u64,
    fairness_ppm: u64,
    worst: String,
    had_ns: u64,
    ideal_ns: u64,
}

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub(in crate::run) struct Hosting {
    policy: &'static str,
    slots: Vec<SlotReport>,
    queues: Vec<SeatReport>,
    clients: Vec<ClientReport>,
    groups: Vec<GangReport>,
    shares: Option<ShareReport>,
    #[serde(skip)]
    elapsed_ns: u64,
    /// Of all devices together: rules that the slots themselves broke.
    #[serde(skip)]
    wrong: Option<(u64, String)>,
    /// Contexts may have been taken off their slots by a recovery.
    #[serde(skip)]
    disturbed: bool,
}

impl Hosting {
    /// What there is to see at the end of a run, before anything is torn down; `None` where the
    /// firmware gives out the slots.
    pub(in crate::run) fn take(
        run: &Run<'_>,
        window: Option<&Window>,
        elapsed: Duration,
    ) -> Option<Self> {
        let plan = run.plan;
        let wanted = plan.device().orchestrator?;
        let recoveries = run.machine.recoveries();
        let disturbed = recoveries.queue_resets
            + recoveries.device_resets
            + recoveries.migrations
            + recoveries.gone;
        let devices = run.machine.devices();
        let unplugged = devices.iter().any(|device| device.unplugged_at().is_some());
        let wrong = devices.iter().flat_map(|device| device.occupancy.iter());
        let wrong = wrong.filter_map(|occupancy| occupancy.verdict());
        let wrong = wrong.reduce(|(count, how), (more, _)| (count + more, how));
        Some(Self {
            policy: match wanted.policy {
                PolicyPlan::Fair(_) => "fair",
                PolicyPlan::Fifo(_) => "fifo",
            },
            slots: slots(run),
            queues: queues(run),
            clients: clients(run),
            groups: groups(run),
            shares: window.and_then(|window| share_report(plan, window)),
            elapsed_ns: u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX),
            wrong,
            disturbed: disturbed > 0 || unplugged,
        })
    }

    /// Notes what did not hold.
    pub(super) fn judge(&self, plan: &Plan, totals: &Totals, violations: &mut Violations) {
        let mut note = |rule, count: u64, how: String| {
            if count > 0 {
                violations.entry(rule).or_insert((0, how)).0 += count;
            }
        };
        if let Some((count, how)) = &self.wrong {
            note("slots", *count, how.clone());
        }
        let astray = format!("{} stays on slots of a wrong kind", totals.astray);
        note("slots", totals.astray, astray);
        // A recovery takes contexts off their slots before the orchestrator can know.
        if !self.disturbed {
            let off = format!("{} jobs were run while on no slot", totals.off);
            note("slots", totals.off, off);
            let parted = format!(
                "{} jobs were run while one of a group was away",
                totals.parted
            );
            note("groups in parts", totals.parted, parted);
        }
        let patience = plan
            .device()
            .orchestrator
            .map_or(0, |wanted| wanted.patience.as_nanos());
        for gang in &self.groups {
            if u128::from(gang.longest_parted_ns) > patience && !self.disturbed {
                let how = format!("{} for {}", gang.name, Short(gang.longest_parted_ns));
                note("groups in parts", 1, how);
            }
        }
        for how in self.surprises(plan) {
            note("expectations", 1, how);
        }
    }

    /// What the plan expects of the orchestrator and does not find.
    fn surprises(&self, plan: &Plan) -> Vec<String> {
        let mut all = Vec::new();
        if let Some(expect) = &plan.expect().shares {
            self.share_surprises(expect, &mut all);
        }
        for wait in &plan.expect().waits {
            let bound = u64::try_from(wait.longest.as_nanos()).unwrap_or(u64::MAX);
            let waits = wait
                .queues
                .iter()
                .filter_map(|queue| self.queues.get(queue.0));
            let Some(worst) = waits.max_by_key(|queue| queue.seen.longest_wait_ns) else {
                continue;
            };
            if worst.seen.longest_wait_ns > bound {
                all.push(format!(
                    "{} waited {} for a slot, {} expected at most for {}",
                    worst.name,
                    Short(worst.seen.longest_wait_ns),
                    Short(bound),
                    wait.name
                ));
            }
        }
        all
    }

    fn share_surprises(&self, expect: &ShareExpect, all: &mut Vec<String>) {
        let window = self.shares.as_ref().map_or(0, |shares| shares.window_ns);
        let long = u128::from(window) >= WINDOW_MIN.as_nanos();
        let Some(shares) = self.shares.as_ref().filter(|_| long) else {
            all.push(format!(
                "the queues had work at the same time for {} only, which says nothing of shares",
                Short(window)
            ));
            return;
        };
        if let Some(most) = expect
            .error
            .map(u64::from)
            .filter(|&most| shares.error_ppm > most)
        {
            all.push(format!(
                "the share of {} is off by {}, {} expected at most: it had {} in the place of {}",
                shares.worst,
                Percent(shares.error_ppm),
                Percent(most),
                Short(shares.had_ns),
                Short(shares.ideal_ns),
            ));
        }
        let least = expect.fairness.map(u64::from);
        if let Some(least) = least.filter(|&least| shares.fairness_ppm < least) {
            all.push(format!(
                "the shares have a fairness of {}, {} expected at least",
                Percent(shares.fairness_ppm),
                Percent(least)
            ));
        }
    }
}

fn share_report(plan: &Plan, window: &Window) -> Option<ShareReport> {
    let expect = plan.expect().shares.as_ref()?;
    let (worst, fairness_ppm) = shares::judge(plan, expect, window)?;
    Some(ShareReport {
        window_ns: window.span_ns,
        queues: expect.queues.len(),
        error_ppm: worst.ppm,
        fairness_ppm,
        worst: worst.name,
        had_ns: worst.had,
        ideal_ns: worst.ideal,
    })
}

fn queues(run: &Run<'_>) -> Vec<SeatReport> {
    let queues = run.plan.queues().iter().enumerate();
    let report = |(place, queue): (usize, &crate::plan::QueuePlan)| {
        let (priority, weight) = run.machine.due(place);
        SeatReport {
            name: queue.name.clone(),
            client: run.plan.clients()[queue.due.client].clone(),
            priority: priority_word(priority),
            weight: weight.get(),
            seen: run.machine.seat_totals(place),
        }
    };
    queues.map(report).collect()
}

fn clients(run: &Run<'_>) -> Vec<ClientReport> {
    let names = run.plan.clients().iter().enumerate();
    let report = |(place, name): (usize, &String)| {
        let mut seen = SeatTotals::default();
        for device in run.machine.devices() {
            if let Some(hosted) = &device.hosted {
                let usage = hosted.orchestrator.usage(&hosted.clients[place]);
                seen.add(&SeatTotals::of_stats(&usage.stats));
            }
        }
        ClientReport {
            name: name.clone(),
            seen,
        }
    };
    names.map(report).collect()
}

fn slots(run: &Run<'_>) -> Vec<SlotReport> {
    let mut all: Vec<SlotReport> = Vec::new();
    for device in run.machine.devices() {
        let Some(hosted) = &device.hosted else {
            continue;
        };
        for slot in hosted.orchestrator.snapshot().slots {
            let place = usize::from(slot.slot);
            if let Some(sum) = all.get_mut(place) {
                sum.busy_ns += slot.busy_ns;
                sum.binds += slot.binds;
                sum.warm += slot.warm;
                continue;
            }
            all.push(SlotReport {
                slot: slot.slot,
                engine: slot.engine,
                busy_ns: slot.busy_ns,
                binds: slot.binds,
                warm: slot.warm,
            });
        }
    }
    all
}

fn groups(run: &Run<'_>) -> Vec<GangReport> {
    let gangs = run.plan.gangs().iter().zip(&run.machine.gangs);
    let report = |(plan, watch): (&crate::plan::GangPlan, &std::sync::Arc<_>)| {
        let watch: &crate::run::hosted::gang::GangWatch = watch;
        let (longest_parted_ns, stays) = watch.seen();
        GangReport {
            name: plan.name.clone(),
            stays,
            longest_parted_ns,
        }
    };
    gangs.map(report).collect()
}

/// Jobs that had to be over by a deadline.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Deadlines {
    jobs: u64,
    pub(super) late: u64,
    longest_ns: u64,
}

impl Deadlines {
    /// What was counted; `None` where no stream has a deadline.
    pub(super) fn take(run: &Run<'_>) -> Option<Self> {
        let with = |stream: &&crate::plan::StreamPlan| stream.deadline.is_some();
        let streams = run.plan.streams().iter().filter(with);
        let jobs: u64 = streams.map(|stream| stream.jobs).sum();
        (jobs > 0).then(|| Self {
            jobs,
            late: run.late.load(Ordering::Relaxed),
            longest_ns: run.slowest.load(Ordering::Relaxed),
        })
    }
}

impl fmt::Display for Deadlines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} jobs with a deadline, {} late; the slowest took {}",
            self.jobs,
            self.late,
            Short(self.longest_ns)
        )
    }
}

/// Parts per million in percent.
struct Percent(u64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:.1}%", self.0 as f64 / 1e4))
    }
}
