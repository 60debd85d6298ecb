// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The defects of the existing scheduler, each as a story of a few operations on the simulated
//! machine, with the bug that makes it go wrong.
//!
//! A story that is told on real threads, too (`crates/ringfence/tests/conformance`), has the same
//! name there. Numbers are those of the table in `docs/reliability.md`.

use std::time::Duration;

use ringfence_core::{ClosePolicy::Drain, Config, Context};
use ringfence_sim::{
    Canary, Inside, Op, Patience, Pick, Reach, Rest, Scenario, Shape, SimOp, SimPlan,
};

/// A story: what happens, and the bug that must be noticed in it.
pub(crate) struct Story {
    pub(crate) name: &'static str,
    pub(crate) canary: Canary,
    /// What is said of the bug.
    pub(crate) says: &'static str,
    pub(crate) plan: fn() -> SimPlan,
}

macro_rules! stories {
    ($($(#[$doc:meta])* $name:ident($canary:ident, $says:literal) $plan:block)*) => {
        $($(#[$doc])* #[test] fn $name() { crate::tell(stringify!($name)); })*

        pub(crate) const STORIES: &[Story] = &[$(Story {
            name: stringify!($name),
            canary: Canary::$canary,
            says: $says,
            plan: || $plan,
        },)*];
    };
}

/// A queue of 8 entries and credits, 100 ns until a job times out, on a ring for four jobs.
fn shape() -> Shape {
    Shape {
        entries: 8,
        config: Config {
            credits: 8,
            timeout: Some(Duration::from_nanos(100)),
            extensions_max: 2,
            ..Config::default()
        },
        reap_in_irq: false,
        signals_first: false,
        ring: 4,
        policy: Drain,
        patience: Patience::Handles,
        rest: Rest::Replay,
    }
}

/// So many queues on a device that does all right; jobs take up to 40 ns.
fn machine(queues: usize) -> Scenario {
    Scenario {
        queues: vec![shape(); queues],
        job_ns: 40,
        salt: 1,
        ..Scenario::default()
    }
}

fn plan(scenario: Scenario, ops: &[&[SimOp]]) -> SimPlan {
    SimPlan {
        seed: 0,
        scenario,
        ops: ops.concat(),
    }
}

fn on(queue: u8, op: Op) -> SimOp {
    SimOp::Queue { queue, op }
}

fn step(visit: u8, steps: u8, inside: Inside) -> SimOp {
    SimOp::Step {
        visit,
        steps,
        inside,
    }
}

/// All visits go on until they are over.
fn settle() -> SimOp {
    step(0, 200, Inside::Nothing)
}

/// Pushes a job that waits for so many fences, and leaves it to the worker.
fn push(queue: u8, open: u8) -> [SimOp; 2] {
    [on(queue, Op::Push { cost: 1, open }), settle()]
}

/// The worker does all there is to do.
fn work(queue: u8) -> [SimOp; 2] {
    [on(queue, Op::Enter), settle()]
}

/// The worker comes and takes what there is.
fn worker_takes(queue: u8) -> [SimOp; 2] {
    [on(queue, Op::Enter), step(0, 1, Inside::Nothing)]
}

/// The device has done its next job; its interrupt arrives and its visit begins.
fn done(queue: u8) -> [SimOp; 2] {
    [SimOp::Next { late: 0 }, SimOp::Interrupt { queue }]
}

fn timer(queue: u8) -> SimOp {
    on(queue, Op::Timer { due: true })
}

stories! {
    drm_4_1_pending_jobs_leak_at_teardown(JobsLeakAtTeardown, "closed was said too early") {
        plan(machine(1), &[&push(0, 0), &work(0), &push(0, 0), &[on(0, Op::Unbind)]])
    }

    drm_4_2_teardown_blocks_until_empty(CloseBoundIgnored, "no timer for the end of closing") {
        let mut machine = machine(1);
        machine.rates.hang = 1000;
        machine.queues[0].config.close_timeout = Some(Duration::from_nanos(50));
        machine.queues[0].config.timeout = None;
        plan(machine, &[&push(0, 0), &work(0), &[on(0, Op::Close(Drain))]])
    }

    drm_4_3_cancelled_out_of_order(CancelledOutOfOrder, "out of order") {
        plan(machine(1), &[&push(0, 0), &push(0, 0), &[on(0, Op::Kill)]])
    }

    /// The second job is cancelled and waits for what it waited for.
    drm_4_4_kill_in_a_fence_callback(WorkInFenceCallback, "was handed out in Nested") {
        let cancel = on(1, Op::Cancel(Pick::Fit(0)));
        plan(machine(2), &[&push(0, 0), &work(0), &push(1, 1), &[cancel], &done(0), &[settle()]])
    }

    drm_4_4_dependency_added_in_a_fence_callback(
        WaitAddedInFenceCallback,
        "wait for a fence inside a fence callback"
    ) {
        let on_hardware = [push(0, 0), push(0, 0), push(0, 0), work(0)].concat();
        plan(machine(2), &[&on_hardware, &push(1, 3), &done(0), &[settle()]])
    }

    /// The job completes and signals while the driver looks into it.
    drm_4_5_job_used_after_free_in_timeout(PayloadDroppedInTimeout, "dropped while lent: Timeout") {
        let mut machine = machine(1);
        machine.rates.hang = 1000;
        plan(machine, &[
            &push(0, 0), &work(0), &[timer(0), settle()],
            &worker_takes(0), &[step(0, 1, Inside::Nothing)],
            &[on(0, Op::Complete { job: Pick::Fit(0), ok: true }), step(1, 4, Inside::Nothing)],
            &[on(0, Op::Begin(Context::Task)), step(1, 1, Inside::Nothing)],
        ])
    }

    /// The timer fires between the completion and the worker.
    drm_4_6_finished_job_times_out(FinishedJobTimesOut, "timed out and is finished") {
        plan(machine(1), &[
            &push(0, 0), &work(0), &done(0), &[timer(0), on(0, Op::Enter)],
            &[step(2, 3, Inside::Nothing)],
        ])
    }

    drm_4_6_job_without_hang_leaks(JobWithoutHangLost, "credits are taken, jobs on the hardware hold 0") {
        let mut machine = machine(1);
        machine.job_ns = 10_000;
        machine.salt = 1;
        machine.queues[0].config.extensions_max = 255;
        plan(machine, &[&push(0, 0), &work(0), &[timer(0), settle()], &work(0), &done(0)])
    }

    /// The worker has run, signalled and reaped the job before its submitter goes on.
    drm_4_7_job_used_after_free_at_push(UsedAfterPush, "whose payload is gone") {
        let mut machine = machine(1);
        machine.rates.at_once = 1000;
        let push = on(0, Op::Push { cost: 1, open: 0 });
        plan(machine, &[&[push, on(0, Op::Enter), step(1, 100, Inside::Nothing)]])
    }

    /// A job is pushed while the worker is on its way to sleep.
    drm_4_8_idle_without_a_lock(IdleWithoutALook, "nobody comes") {
        let push = on(0, Op::Push { cost: 1, open: 0 });
        plan(machine(1), &[&[
            on(0, Op::Enter), push, step(1, 1, Inside::Nothing), on(0, Op::Leave), settle(),
        ]])
    }

    drm_4_8_kick_lost_at_push(KickLost, "nobody comes") {
        plan(machine(1), &[&push(0, 0)])
    }

    drm_4_9_kill_while_the_worker_runs(PayloadDroppedInRun, "dropped while lent: Run") {
        plan(machine(1), &[
            &push(0, 0), &worker_takes(0), &[step(0, 1, Inside::Kill), step(1, 4, Inside::Nothing)],
            &[on(0, Op::Begin(Context::Task)), step(1, 1, Inside::Nothing)],
        ])
    }

    drm_4_11_name_of_a_fence_after_teardown(FenceNeedsItsQueue, "its queue, which is gone") {
        plan(machine(1), &[&push(0, 0), &work(0), &done(0), &[settle()]])
    }

    /// A reset puts the job on the hardware again.
    drm_4_12_run_called_twice(RunAgain, "which it has taken") {
        let recover = SimOp::Recover { queue: 0, reach: Reach::Device };
        plan(machine(1), &[&push(0, 0), &work(0), &[recover, SimOp::Recovery { steps: 50 }]])
    }

    /// One job is on the hardware, the next is with the run callback.
    drm_4_13_jobs_walked_without_a_stop(WalkWithoutStop, "a walk that may not be") {
        plan(machine(1), &[
            &push(0, 0), &work(0), &push(0, 0), &worker_takes(0), &[step(0, 1, Inside::Nothing)],
            &[on(0, Op::Stop), on(0, Op::Walk(0))],
        ])
    }

    drm_4_13_reset_while_the_driver_is_inside(StopDoesNotWait, "while the driver of queue 0") {
        let recover = SimOp::Recover { queue: 0, reach: Reach::Device };
        plan(machine(1), &[
            &push(0, 0), &worker_takes(0), &[step(0, 1, Inside::Nothing)],
            &[recover, SimOp::Recovery { steps: 50 }],
        ])
    }

    drm_4_14_payload_dropped_behind_the_queues_back(
        PayloadDroppedByDriver,
        "before its fence signalled"
    ) {
        plan(machine(1), &[&push(0, 0), &work(0), &done(0), &[settle()]])
    }

    drm_4_15_wait_for_teardown(UnbindEndsEarly, "one of its callbacks was running") {
        plan(machine(1), &[
            &push(0, 0), &worker_takes(0), &[step(0, 1, Inside::Nothing), on(0, Op::Unbind)],
        ])
    }

    /// The only job has completed and signalled, and its run callback is still inside.
    drm_4_15_closed_while_the_driver_has_a_job(ClosedEarly, "closed was said too early") {
        let complete = on(0, Op::Complete { job: Pick::Fit(0), ok: true });
        plan(machine(1), &[
            &push(0, 0), &worker_takes(0), &[step(0, 1, Inside::Close(Drain))],
            &[complete, step(1, 4, Inside::Nothing)],
            &[on(0, Op::Begin(Context::Task)), step(1, 1, Inside::Nothing)],
        ])
    }

    drm_4_16_queue_outlives_its_device(UnbindNotTold, "is queued, not done") {
        plan(machine(1), &[&push(0, 0), &[on(0, Op::Unbind)], &push(0, 0), &work(0)])
    }

    /// Two queues ask for a reset of the device.
    drm_4_17_timeouts_on_a_forgotten_workqueue(TwoResetsAtOnce, "while another one goes on") {
        let mut machine = machine(2);
        machine.rates.hang = 1000;
        machine.reset_ns = 50;
        for queue in &mut machine.queues {
            queue.patience = Patience::AsksForReset;
        }
        let hang = |queue| [push(queue, 0), work(queue)].concat();
        let ask = |queue| [&[timer(queue), settle()], &work(queue)[..]].concat();
        plan(machine, &[&hang(0), &hang(1), &ask(0), &ask(1), &[SimOp::Recovery { steps: 50 }]])
    }

    drm_4_19_resources_of_the_wrong_queue(ResourceOfAnotherQueue, "nobody comes") {
        let mut machine = machine(2);
        machine.rates.busy = 1000;
        let interrupt = SimOp::Interrupt { queue: 0 };
        plan(machine, &[
            &push(0, 0), &work(0), &push(1, 0), &work(1), &[interrupt, settle()], &work(1),
        ])
    }

    drm_4_20_timer_armed_for_a_finished_job(TimerForFinishedJob, "nothing is timed") {
        plan(machine(1), &[&push(0, 0), &work(0), &done(0), &[settle()]])
    }

    drm_4_21_signalled_before_its_callbacks(FlagBeforeCallbacks, "before its callbacks ran") {
        plan(machine(2), &[&push(0, 0), &work(0), &push(1, 1), &done(0), &[settle()]])
    }
}
