// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The fairness scenarios of Linux's scheduler, exact.

use ringfence_orchestrator_core::Preemption;
use ringfence_sim::slots::cases::{
    CHANGE_PRIORITY, FLOODS, MANY_CLIENTS, MODIFY_SCHED, PING_PONG, PRIORITIES, QUEUE_OVERHEAD,
    TWO_CLIENTS,
};
use ringfence_sim::slots::{play, run, Options, Outcome, Setup};

const BOTH: [Preemption; 2] = [Preemption::Supported, Preemption::RunToCompletion];
const MS: u64 = 1_000_000;

fn live(setup: &Setup) -> Outcome {
    run(setup, &Options::default()).unwrap_or_else(|broken| panic!("{broken}"))
}

fn last_end(outcome: &Outcome) -> u64 {
    let ends = outcome.clients.iter().map(|client| client.ended_at);
    ends.max().expect("there are clients")
}

#[test]
fn two_clients_one_credit() {
    two_clients(1);
}

#[test]
fn two_clients_two_credits() {
    two_clients(2);
}

fn two_clients(credits: u32) {
    for case in &TWO_CLIENTS {
        for preemption in BOTH {
            let outcome = live(&play::two_clients(case, preemption, credits));
            let name = case.name;
            play::judge_two(case, preemption, credits, &outcome)
                .unwrap_or_else(|late| panic!("{name}, {preemption:?}: {late}"));
            let Some([first, second]) = case.parts else {
                continue;
            };
            // Both have a second of work: who gets the larger part is done when it has had that.
            let ends: Vec<u64> = outcome.clients.iter().map(|c| c.ended_at).collect();
            assert_eq!(last_end(&outcome), 2_000 * MS, "{name}: nothing is lost");
            let ideal = match first == second {
                true => 2_000 * MS,
                false => 1_000 * MS * (first + second) / first,
            };
            let earlier = ends.iter().min().expect("there are two");
            // A slice, and what cannot be preempted.
            let piece = match preemption {
                Preemption::Supported => 2 * MS,
                Preemption::RunToCompletion => (2 + 8 * u64::from(credits)) * MS,
            };
            assert!(
                earlier.abs_diff(ideal) <= piece,
                "{name}, {preemption:?}: {earlier} for {ideal}"
            );
        }
    }
}

/// What virtual time makes of the clients that somebody waits for, to the microsecond: whoever changes
/// a policy sees here what that does to them.
#[test]
fn interactive_clients_are_late_by_exactly_so_much() {
    let late: Vec<[u64; 4]> = TWO_CLIENTS[4..]
        .iter()
        .map(|case| {
            let late = |preemption, credits| {
                let outcome = live(&play::two_clients(case, preemption, credits));
                play::delay_us(&case.clients[1], &outcome.clients[1])
            };
            let first = live(&play::two_clients(case, Preemption::Supported, 1));
            let to_completion = |credits| late(Preemption::RunToCompletion, credits);
            [
                play::delay_us(&case.clients[0], &first.clients[0]),
                late(Preemption::Supported, 1),
                to_completion(1),
                to_completion(2),
            ]
        })
        .collect();
    let exact = [
        [500, 3_000, 1_500, 1_500],
        [0, 3_000, 1_500, 1_500],
        [0, 3_000, 1_500, 1_500],
        [0, 500, 2_500, 5_000],
        [1_000, 2_000, 2_500, 5_000],
        [23_000, 2_000, 50_000, 100_000],
    ];
    assert_eq!(late, exact);
}

#[test]
fn many_clients() {
    for case in &MANY_CLIENTS {
        for preemption in BOTH {
            let outcome = live(&play::many_clients(case, preemption));
            let name = case.name;
            assert!(
                outcome.apart <= case.apart,
                "{name}: {} apart",
                outcome.apart
            );
            let cycles = case.workload.cycles(1_000_000 / case.clients);
            let work = case.clients * cycles * case.workload.work_us() * 1_000;
            assert_eq!(last_end(&outcome), work, "{name}: nothing is lost");
        }
    }
}

#[test]
fn queue_overhead_and_ping_pong_take_the_time_of_the_work() {
    for case in [QUEUE_OVERHEAD, PING_PONG] {
        for preemption in BOTH {
            let outcome = live(&play::flood(&case, preemption, 0));
            assert_eq!(last_end(&outcome), 1_000 * MS, "{}", case.name);
        }
    }
}

#[test]
fn a_switch_costs_what_it_costs_and_nothing_else() {
    let mut setup = play::flood(&PING_PONG, Preemption::Supported, 0);
    (setup.bind_ns, setup.vacate_ns) = (30_000, 20_000);
    // The first job needs a bind, each other one a switch: its queue has lost the slot.
    assert_eq!(
        last_end(&live(&setup)),
        1_000 * MS + 1_000 * 50_000 - 20_000
    );
}

#[test]
fn priorities_end_in_their_order() {
    let outcome = live(&play::flood(&PRIORITIES, Preemption::Supported, 0));
    let ends: Vec<u64> = outcome.clients.iter().map(|c| c.ended_at / MS).collect();
    // The highest has 25 jobs; two lower ones have come to a slice each when the second has had its own.
    assert_eq!(ends, [25, 54, 79, 100]);
    assert!(last_end(&outcome) <= PRIORITIES.within_us * 1_000);
}

#[test]
fn queues_that_are_stirred_lose_nothing() {
    for case in [CHANGE_PRIORITY, MODIFY_SCHED] {
        for preemption in BOTH {
            for seed in 0..20 {
                let outcome = live(&play::flood(&case, preemption, seed));
                let jobs: u64 = outcome.queues.iter().map(|queue| queue.jobs).sum();
                assert_eq!(jobs, u64::from(case.jobs), "{}, seed {seed}", case.name);
                assert!(last_end(&outcome) <= case.within_us * 1_000);
            }
        }
    }
}

#[test]
fn names_are_the_kernels() {
    let names: Vec<_> = FLOODS.iter().map(|case| case.name).collect();
    assert_eq!(
        names,
        [
            "queue_overhead",
            "ping_pong",
            "priorities",
            "change_priority",
            "modify_sched"
        ]
    );
    let cycles = |case: usize, client: usize| TWO_CLIENTS[case].clients[client].cycles(1_000_000);
    assert_eq!((cycles(0, 0), cycles(4, 1), cycles(7, 0)), (125, 200, 125));
}
