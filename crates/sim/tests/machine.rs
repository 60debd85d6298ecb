// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Short stories of a whole machine: what becomes of jobs on its worst days, in plans written by
//! hand. Every judge of the simulator listens, too.

use std::time::Duration;

use ringfence_core::{Ban, ClosePolicy, Config, Errno, Outcome};
use ringfence_sim::{
    Event, Inside, LogLine, Op, Options, Patience, Rates, Reach, Rest, Scenario, Shape,
    SimCoverage, SimOp, SimPlan, Simulator, Summary,
};

/// What came of a story.
struct Told {
    log: Vec<LogLine>,
    coverage: SimCoverage,
    summary: Summary,
}

impl Told {
    fn seen(&self, name: &str) -> u64 {
        let rows = self.coverage.rows();
        let row = rows.iter().find(|row| row.name == name);
        row.unwrap_or_else(|| panic!("nothing is called {name:?}"))
            .count
    }

    /// How the jobs of a queue ended, in the order in which their fences signalled.
    fn ends(&self, queue: u8) -> Vec<Outcome> {
        let of_queue = |line: &&LogLine| line.queue == Some(queue);
        let outcome = |line: &LogLine| match line.detail {
            ringfence_sim::Detail::Outcome(outcome) if line.event == Event::TakeSignal => {
                Some(outcome)
            }
            _ => None,
        };
        self.log
            .iter()
            .filter(of_queue)
            .filter_map(outcome)
            .collect()
    }

    fn count(&self, event: Event) -> usize {
        self.log.iter().filter(|line| line.event == event).count()
    }

    fn first(&self, event: Event) -> &LogLine {
        let found = self.log.iter().find(|line| line.event == event);
        found.unwrap_or_else(|| panic!("{event:?} never happened"))
    }
}

/// So many queues of 8 entries and a device on which nothing goes wrong.
fn machine(queues: usize) -> Scenario {
    let shape = Shape {
        entries: 8,
        config: Config {
            timeout: Some(Duration::from_nanos(300)),
            ..Config::default()
        },
        reap_in_irq: false,
        signals_first: false,
        ring: 8,
        policy: ClosePolicy::Drain,
        patience: Patience::AsksForReset,
        rest: Rest::Replay,
    };
    Scenario {
        queues: vec![shape; queues],
        rates: Rates::default(),
        job_ns: 40,
        reset_ns: 50,
        salt: 1,
        close_first: false,
    }
}

/// Jobs are sure to be still on the hardware, and may be.
fn takes_long(scenario: &mut Scenario) {
    scenario.job_ns = 1_000_000;
    for shape in &mut scenario.queues {
        shape.config.timeout = None;
    }
}

fn push(queue: u8) -> SimOp {
    let op = Op::Push { cost: 1, open: 0 };
    SimOp::Queue { queue, op }
}

fn on(queue: u8, op: Op) -> SimOp {
    SimOp::Queue { queue, op }
}

/// Every visit that there is goes on to its end.
fn go_on() -> Vec<SimOp> {
    let step = SimOp::Step {
        visit: 0,
        steps: 100,
        inside: Inside::Nothing,
    };
    vec![step]
}

/// So many jobs of a queue on the hardware.
fn run(queue: u8, jobs: usize) -> Vec<SimOp> {
    let mut ops = vec![push(queue); jobs];
    ops.extend(go_on());
    ops.push(on(queue, Op::Enter));
    ops.extend(go_on());
    ops
}

fn recover(queue: u8, reach: Reach) -> Vec<SimOp> {
    let go = SimOp::Recovery { steps: 200 };
    let mut ops = vec![SimOp::Recover { queue, reach }];
    // Stopping leaves visits to be carried on, and a reset takes time.
    for _ in 0..4 {
        ops.push(go);
        ops.extend(go_on());
        ops.push(SimOp::Pass(1000));
    }
    ops
}

fn tell(scenario: Scenario, ops: Vec<SimOp>) -> Told {
    let mut simulator = Simulator::new(Options {
        log: true,
        ..Options::default()
    });
    let plan = SimPlan {
        seed: 0,
        scenario,
        ops,
    };
    let summary = simulator.run(&plan).unwrap_or_else(|found| {
        let log: Vec<_> = simulator.log().iter().map(LogLine::to_string).collect();
        panic!("{found}\n{}\n{}", LogLine::COLUMNS, log.join("\n"))
    });
    Told {
        log: simulator.log().to_vec(),
        coverage: simulator.take_coverage(),
        summary,
    }
}

#[test]
fn a_lost_interrupt_is_made_good_by_the_timeout() {
    let mut scenario = machine(1);
    scenario.rates.lost = 1000;
    let told = tell(scenario, run(0, 1));
    assert_eq!(told.seen("timeout: completion found"), 1);
    assert_eq!(told.ends(0), [Outcome::Completed]);
}

#[test]
fn a_hung_job_fails_and_other_queues_never_notice() {
    let mut scenario = machine(2);
    scenario.rates.hang = 1000;
    let mut ops = run(0, 1);
    // This one runs when faults have stopped.
    ops.push(push(1));
    let told = tell(scenario, ops);
    assert_eq!(told.ends(0), [Outcome::TimedOut(Errno::ENODATA)]);
    assert_eq!(told.ends(1), [Outcome::Completed]);
    assert_eq!(told.seen("guilty job ended"), 1);
}

#[test]
fn a_replayed_job_keeps_its_fence_and_a_completion_from_before_is_late() {
    let mut scenario = machine(1);
    scenario.rates = Rates {
        lost: 1000,
        blind: 1000,
        ..Rates::default()
    };
    let mut ops = run(0, 1);
    // The device has done it, the driver does not see that, and does it again.
    ops.push(SimOp::Pass(100));
    ops.extend(recover(0, Reach::Device));
    ops.push(SimOp::Interrupt { queue: 0 });
    let told = tell(scenario, ops);
    assert_eq!(told.seen("innocent job replayed"), 1);
    assert_eq!(told.seen("stale completion after replay"), 1);
    assert_eq!(told.count(Event::RunBegins), 1, "run is called once");
    assert_eq!(told.ends(0), [Outcome::Completed]);
    assert_eq!(told.summary.most_replays, 1);
}

#[test]
fn a_device_reset_replays_the_innocent_jobs_of_all_queues_in_order() {
    let mut scenario = machine(2);
    takes_long(&mut scenario);
    let mut ops = run(0, 2);
    ops.extend(run(1, 3));
    ops.extend(recover(0, Reach::Device));
    let told = tell(scenario, ops);
    assert_eq!(told.seen("innocent job replayed"), 5);
    assert_eq!(told.ends(0), [Outcome::Completed; 2]);
    assert_eq!(told.ends(1), [Outcome::Completed; 3]);
    let replays = told.log.iter().filter(|line| line.event == Event::Replay);
    let order: Vec<_> = replays.map(|line| (line.queue, line.job)).collect();
    assert!(order.is_sorted(), "queue by queue, oldest first: {order:?}");
}

#[test]
fn a_queue_s_own_reset_leaves_the_others_alone() {
    let mut scenario = machine(2);
    takes_long(&mut scenario);
    let mut ops = run(0, 2);
    ops.extend(run(1, 2));
    ops.extend(recover(0, Reach::Queue));
    let told = tell(scenario, ops);
    assert_eq!(told.seen("innocent job replayed"), 2);
    let stops = told.log.iter().filter(|line| line.event == Event::Stop);
    assert!(stops.into_iter().all(|line| line.queue == Some(0)));
    assert_eq!(told.ends(1), [Outcome::Completed; 2]);
}

#[test]
fn a_device_that_goes_ends_every_job_with_enodev() {
    let mut scenario = machine(2);
    takes_long(&mut scenario);
    let mut ops = run(0, 2);
    ops.push(push(1));
    ops.push(SimOp::DeviceGoes);
    ops.extend(recover(0, Reach::Device));
    let told = tell(scenario, ops);
    assert_eq!(told.ends(0), [Outcome::Failed(Errno::ENODEV); 2]);
    assert_eq!(told.ends(1), [Outcome::Cancelled(Errno::ENODEV)]);
    assert_eq!(told.seen("unplug"), 1);
}

#[test]
fn migration_takes_pending_jobs_to_a_fresh_device() {
    let mut scenario = machine(2);
    takes_long(&mut scenario);
    let mut ops = run(0, 2);
    ops.extend(run(1, 1));
    ops.push(SimOp::DeviceGoes);
    ops.extend(recover(0, Reach::Migration));
    let told = tell(scenario, ops);
    assert_eq!(told.seen("innocent job replayed"), 3);
    assert_eq!(told.ends(0), [Outcome::Completed; 2]);
    assert_eq!(told.ends(1), [Outcome::Completed]);
}

#[test]
fn a_reset_that_keeps_failing_gives_the_device_up() {
    let mut scenario = machine(1);
    takes_long(&mut scenario);
    scenario.rates.reset_fails = 1000;
    let mut ops = run(0, 1);
    ops.extend(recover(0, Reach::Device));
    let told = tell(scenario, ops);
    assert_eq!(told.seen("failing reset"), 3);
    assert_eq!(told.ends(0), [Outcome::Failed(Errno::ENODEV)]);
}

#[test]
fn a_hung_device_does_not_hold_a_queue_open_longer_than_its_bound() {
    let mut scenario = machine(1);
    scenario.rates.hang = 1000;
    scenario.queues[0].config.timeout = None;
    scenario.queues[0].config.close_timeout = Some(Duration::from_nanos(400));
    scenario.queues[0].patience = Patience::Hopes;
    let mut ops = run(0, 3);
    ops.push(on(0, Op::Close(ClosePolicy::Drain)));
    let told = tell(scenario, ops);
    assert_eq!(told.ends(0), [Outcome::TimedOut(Errno::ETIME); 3]);
    assert_eq!(told.summary.longest_teardown_ns, 400);
}

#[test]
fn draining_runs_all_that_was_armed_and_cancelling_runs_nothing_more() {
    for (policy, runs) in [(ClosePolicy::Drain, 3), (ClosePolicy::Cancel, 0)] {
        let ops = vec![push(0), push(0), push(0), on(0, Op::Close(policy))];
        let told = tell(machine(1), ops);
        assert_eq!(told.count(Event::TakeRun), runs, "{policy:?}");
        let end = match policy {
            ClosePolicy::Drain => Outcome::Completed,
            ClosePolicy::Cancel => Outcome::Cancelled(Errno::ECANCELED),
        };
        assert_eq!(told.ends(0), [end; 3]);
    }
}

#[test]
fn suspended_and_stopped_time_does_not_count() {
    for (hold, release) in [(Op::Suspend, Op::Resume), (Op::Stop, Op::Start)] {
        let mut scenario = machine(1);
        scenario.rates.hang = 1000;
        let mut ops = run(0, 1);
        ops.extend([on(0, hold), SimOp::Pass(10_000), on(0, release)]);
        let told = tell(scenario, ops);
        assert_eq!(told.first(Event::TakeTimedOut).time, 10_300, "{hold:?}");
    }
}

#[test]
fn a_queue_that_is_guilty_again_and_again_is_banned() {
    let mut scenario = machine(1);
    scenario.rates.hang = 1000;
    scenario.queues[0].config.ban = Some(Ban {
        strikes: 2,
        within: None,
    });
    scenario.queues[0].patience = Patience::Handles;
    let mut ops = run(0, 3);
    for _ in 0..2 {
        ops.push(on(0, Op::Timer { due: true }));
        ops.extend(go_on());
        ops.push(on(0, Op::Enter));
        ops.extend(go_on());
    }
    ops.push(push(0));
    let told = tell(scenario, ops);
    assert_eq!(told.seen("banned"), 1);
    assert_eq!(told.seen("prepare refused: banned"), 1);
    assert_eq!(told.ends(0)[..2], [Outcome::TimedOut(Errno::ENODATA); 2]);
}
