// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Side by side with `drm_sched`, in one boot: the same steps, the same clock, the same way to
//! wait, in turn. Prints one line for each measure, side and round; `cargo xtask kernel bench`
//! makes the table.
//!
//! The backend is trivial on both sides: a job is done when its run callback returns, or completes
//! in a hard interrupt where that is what is measured. Each job costs one credit and has a payload
//! of a pointer, which leaves the window of outstanding jobs when it is freed.

use kernel::prelude::*;

mod ours;
mod peer;
mod samples;

use samples::{bytes, latency, rate, Clock};

module! {
    type: Bench,
    name: "ringfence_bench",
    authors: ["The Ringfence authors"],
    description: "Job queues side by side with drm_sched",
    license: "Dual MIT/GPL",
    params: {
        rounds: u32 {
            default: 7,
            description: "How often each side is measured",
        },
    },
}

struct Bench;

/// Jobs, one at a time, for a latency.
const STEPS: u32 = 2000;
/// Jobs for a rate.
const JOBS: u32 = 100_000;
/// At most so many of them are not freed yet.
const OUTSTANDING: u32 = 8192;
const CREDITS: [u32; 3] = [1, 64, 4096];

impl kernel::Module for Bench {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        // Early: what later measures leave behind blurs it.
        memory()?;
        let clock = Clock::new();
        let rounds = module_parameters::rounds.value();
        for round in 0..rounds {
            // Whoever comes first finds the caches as the other side left them: in turn.
            if round % 2 == 0 {
                theirs(round, &clock)?;
                ours(round, &clock)?;
            } else {
                ours(round, &clock)?;
                theirs(round, &clock)?;
            }
        }
        pr_info!("done\n");
        Ok(Self)
    }
}

fn memory() -> Result {
    for round in 0..3 {
        let (queue, job) = (peer::bytes_per_queue(500)?, peer::bytes_per_job(20_000)?);
        bytes(round, "drm_sched", "bytes_per_queue", queue);
        bytes(round, "drm_sched", "bytes_per_job", job);
        bytes(
            round,
            "ours",
            "bytes_per_queue",
            ours::bytes_per_queue(500)?,
        );
        bytes(round, "ours", "bytes_per_job", ours::bytes_per_job(16_384)?);
    }
    Ok(())
}

/// Each of our ways has the same one to compare with.
fn theirs(round: u32, clock: &Clock) -> Result {
    let side = "drm_sched";
    let mut stamps = peer::Stamps::new(STEPS)?;
    let scheduler = peer::Scheduler::new(64, peer::BACKEND_NONE)?;
    scheduler.push_to_run(&mut stamps)?;
    for (run, all) in [
        ("bypass_push_to_run", "bypass_prepare_to_run"),
        ("worker_push_to_run", "worker_prepare_to_run"),
    ] {
        latency(round, side, run, clock, &stamps, |at| at.run - at.push);
        latency(round, side, all, clock, &stamps, |at| at.run - at.alloc);
    }
    scheduler.dependency_to_run(&mut stamps)?;
    latency(round, side, "dependency_to_run", clock, &stamps, |at| {
        at.run - at.signal
    });
    latency(
        round,
        side,
        "prepare_and_submit_two_dependencies",
        clock,
        &stamps,
        |at| at.pushed - at.alloc,
    );
    drop(scheduler);
    let scheduler = peer::Scheduler::new(64, peer::BACKEND_IRQ)?;
    scheduler.completion_to_finished(&mut stamps)?;
    latency(
        round,
        side,
        "completion_to_finished",
        clock,
        &stamps,
        |at| at.finished - at.signal,
    );
    drop(scheduler);
    for credits in CREDITS {
        let scheduler = peer::Scheduler::new(credits, peer::BACKEND_NONE)?;
        let cycles = scheduler.throughput(JOBS, OUTSTANDING)?;
        for way in ["bypass", "worker"] {
            rate(
                round,
                side,
                format_args!("jobs_per_s_{way}_{credits}"),
                clock,
                JOBS,
                cycles,
            );
        }
    }
    let scheduler = peer::Scheduler::new(64, peer::BACKEND_NONE)?;
    let cycles = scheduler.throughput(JOBS, 1024)?;
    rate(
        round,
        side,
        format_args!("jobs_per_s_worker_1024"),
        clock,
        JOBS,
        cycles,
    );
    drop(scheduler);
    let cycles = peer::throughput_of_queues(1000, JOBS, OUTSTANDING)?;
    for way in ["bypass", "worker"] {
        rate(
            round,
            side,
            format_args!("jobs_per_s_{way}_1000_queues"),
            clock,
            JOBS,
            cycles,
        );
    }
    Ok(())
}

fn ours(round: u32, clock: &Clock) -> Result {
    let side = "ours";
    let mut stamps = peer::Stamps::new(STEPS)?;
    for (bypass, run, all) in [
        (true, "bypass_push_to_run", "bypass_prepare_to_run"),
        (false, "worker_push_to_run", "worker_prepare_to_run"),
    ] {
        ours::push_to_run(bypass, &mut stamps)?;
        latency(round, side, run, clock, &stamps, |at| at.run - at.push);
        latency(round, side, all, clock, &stamps, |at| at.run - at.alloc);
    }
    ours::dependency_to_run(&mut stamps)?;
    latency(round, side, "dependency_to_run", clock, &stamps, |at| {
        at.run - at.signal
    });
    latency(
        round,
        side,
        "prepare_and_submit_two_dependencies",
        clock,
        &stamps,
        |at| at.pushed - at.alloc,
    );
    ours::completion_to_finished(&mut stamps)?;
    latency(
        round,
        side,
        "completion_to_finished",
        clock,
        &stamps,
        |at| at.finished - at.signal,
    );
    for (bypass, way) in [(true, "bypass"), (false, "worker")] {
        for credits in CREDITS {
            let cycles = ours::throughput(1, bypass, credits, JOBS, OUTSTANDING)?;
            rate(
                round,
                side,
                format_args!("jobs_per_s_{way}_{credits}"),
                clock,
                JOBS,
                cycles,
            );
        }
        let cycles = ours::throughput(1000, bypass, 64, JOBS, OUTSTANDING)?;
        rate(
            round,
            side,
            format_args!("jobs_per_s_{way}_1000_queues"),
            clock,
            JOBS,
            cycles,
        );
    }
    let cycles = ours::throughput(1, false, 64, JOBS, 1024)?;
    rate(
        round,
        side,
        format_args!("jobs_per_s_worker_1024"),
        clock,
        JOBS,
        cycles,
    );
    Ok(())
}
