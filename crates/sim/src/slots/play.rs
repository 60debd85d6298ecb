// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Plays the [cases](super::cases) in virtual time: makes setups of them, and says whether what came
//! of one keeps what the table promises.

use ringfence_core::queue::ENTRIES_MAX;
use ringfence_orchestrator_core::{FairConfig, Kinds, Preemption, Priority, SlotKind, Weight};

use super::cases::{Flood, ManyClients, Stir, TwoClients, Workload, DURATION_US, STIR_US};
use super::fluid::{self, Claim};
use super::setup::{Act, Load, QueueSetup, Rule, Setup};
use super::{ClientReport, Outcome};
use crate::prng::Prng;

const US: u64 = 1_000;

fn load(workload: &Workload, duration_us: u64) -> Load {
    Load::Cycles {
        jobs: workload.jobs,
        job_ns: workload.job_us * US,
        sync: workload.sync,
        wait_ns: workload.wait_us * US,
        cycles: workload.cycles(duration_us),
    }
}

fn plain(preemption: Preemption) -> Setup {
    Setup::plain(Rule::Fair(FairConfig::default()), preemption, 1)
}

/// Two clients on one slot, with so many credits in each queue.
pub fn two_clients(case: &TwoClients, preemption: Preemption, credits: u32) -> Setup {
    let mut setup = plain(preemption);
    for client in &case.clients {
        let queue = QueueSetup {
            priority: client.priority,
            credits,
            entries: 512,
            ..QueueSetup::default()
        };
        setup.add(queue, load(client, DURATION_US));
    }
    setup
}

/// How late a client's latest cycle was, in microseconds, rounded up.
pub fn delay_us(workload: &Workload, report: &ClientReport) -> u64 {
    let longest = report.cycle_ns.map_or(0, |(_, longest)| longest);
    longest.saturating_sub(workload.work_us() * US).div_ceil(US)
}

/// Whether two clients were as late as the case allows, and no later.
///
/// # Errors
///
/// Says who was late.
pub fn judge_two(
    case: &TwoClients,
    preemption: Preemption,
    credits: u32,
    outcome: &Outcome,
) -> Result<(), String> {
    for (at, workload) in case.clients.iter().enumerate() {
        let report = &outcome.clients[at];
        if report.cycles != workload.cycles(DURATION_US) {
            return Err(format!("client {at} has begun {} cycles", report.cycles));
        }
        let Some(delay) = case.delays[at] else {
            continue;
        };
        let most = match preemption {
            Preemption::Supported => delay.preempted_us,
            Preemption::RunToCompletion => delay.to_completion_us[credits as usize - 1],
        };
        let late = delay_us(workload, report);
        if late > most {
            return Err(format!(
                "client {at} was {late} us late, and {most} is the most"
            ));
        }
    }
    Ok(())
}

/// Clients that all do the same, on one slot.
pub fn many_clients(case: &ManyClients, preemption: Preemption) -> Setup {
    let mut setup = plain(preemption);
    for _ in 0..case.clients {
        let queue = QueueSetup {
            credits: 2,
            ..QueueSetup::default()
        };
        setup.add(queue, load(&case.workload, DURATION_US / case.clients));
    }
    setup
}

/// Jobs that are all there at once. `seed` draws when they are stirred.
pub fn flood(case: &Flood, preemption: Preemption, seed: u64) -> Setup {
    let mut setup = plain(preemption);
    setup.seed = seed;
    setup.slots = (0..case.kinds).collect();
    let queues = case.queues.len();
    let each = case.jobs.div_ceil(queues as u32);
    let entries = (each as usize + 1).next_power_of_two().min(ENTRIES_MAX);
    for (at, priority) in case.queues.iter().enumerate() {
        let queue = QueueSetup {
            priority: *priority,
            credits: case.credits.unwrap_or(each),
            entries,
            kinds: kind(at, case.kinds),
            ..QueueSetup::default()
        };
        // The first ones get what is left over.
        let jobs = (case.jobs as usize - at).div_ceil(queues) as u32;
        setup.add(
            queue,
            Load::Cycles {
                jobs,
                job_ns: case.job_us * US,
                sync: false,
                wait_ns: 0,
                cycles: 1,
            },
        );
    }
    setup.chained = case.chained;
    if let Some(stir) = case.stir {
        stirred(&mut setup, case, stir);
    }
    setup
}

fn kind(at: usize, kinds: u8) -> Kinds {
    SlotKind::new((at % usize::from(kinds)) as u8).map_or(Kinds::ALL, Kinds::only)
}

/// One queue after the other is stirred, for as long as the work takes.
fn stirred(setup: &mut Setup, case: &Flood, stir: Stir) {
    let mut prng = Prng::new(setup.seed);
    let mut priorities: Vec<Priority> = case.queues.to_vec();
    let (mut now, mut queue, mut next_kind) = (0, 0, 0);
    let end = u64::from(case.jobs) * case.job_us * US;
    while now < end {
        let act = match stir {
            Stir::Priority => {
                let level = (priorities[queue].level() + 1) % Priority::COUNT;
                priorities[queue] = Priority::ALL[level];
                Act::Change(queue, priorities[queue], setup.queues[queue].weight)
            }
            Stir::Kind => {
                next_kind += 1;
                Act::Move(queue, kind(next_kind, case.kinds))
            }
        };
        setup.acts.push((now, act));
        queue = (queue + 1) % case.queues.len();
        let [least, most] = STIR_US;
        now += (least + u64::from(prng.below((most - least + 1) as u32))) * US;
    }
}

/// Queues that always have work, for `span_ns` on slots of one kind: of each its weight and the length
/// of its jobs.
pub fn backlogged(
    queues: &[(Weight, u64)],
    slots: usize,
    preemption: Preemption,
    span_ns: u64,
) -> Setup {
    let mut setup = plain(preemption);
    setup.slots = vec![0; slots];
    setup.quiet_at = span_ns;
    for (weight, job_ns) in queues {
        let queue = QueueSetup {
            weight: *weight,
            credits: 2,
            ..QueueSetup::default()
        };
        setup.add(
            queue,
            Load::Backlog {
                depth: 3,
                least_ns: *job_ns,
                most_ns: *job_ns,
            },
        );
    }
    setup
}

/// What each queue of a [backlogged] setup has executed, and what it should have ideally.
pub fn shares(setup: &Setup, outcome: &Outcome) -> Vec<(u64, u64)> {
    let claims = setup.queues.iter();
    let claims = claims.map(|queue| Claim::backlogged(queue.weight.get().into()));
    let claims: Vec<Claim> = claims.collect();
    let ideal = fluid::shares(&claims, setup.slots.len() as u32);
    let parts = ideal.iter().map(|part| part.of(setup.quiet_at));
    let got = outcome.queues.iter().map(|queue| queue.executed_then_ns);
    got.zip(parts).collect()
}
