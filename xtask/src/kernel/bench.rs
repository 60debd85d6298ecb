// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `cargo xtask kernel bench`: ours beside `drm_sched`, in one module, on one CPU and on two.

mod samples;
mod table;

use std::time::Duration;

use super::boot::Boot;
use super::build::{Kernel, Kind, Workshop};
use super::log::Log;
use crate::run::Failed;
use samples::{rows, samples, Row};

/// What is promised to be measured; `--json` has these keys, and whatever else is measured.
const MEASURES: [&str; 12] = [
    "bypass_push_to_run",
    "worker_push_to_run",
    "completion_to_finished",
    "jobs_per_s_bypass_1",
    "jobs_per_s_bypass_64",
    "jobs_per_s_bypass_4096",
    "jobs_per_s_worker_1",
    "jobs_per_s_worker_64",
    "jobs_per_s_worker_1024",
    "jobs_per_s_worker_4096",
    "bytes_per_queue",
    "bytes_per_job",
];

pub(crate) fn run(workshop: &mut Workshop, json: bool, rounds: u32) -> Result<(), Failed> {
    let kernel = workshop.kernel(Kind::Release)?;
    workshop.modules(&kernel)?;
    kernel.wants(&["ringfence", "ringfence_bench"])?;
    let one = measure(workshop, &kernel, rounds, 1)?;
    let two = measure(workshop, &kernel, rounds, 2)?;
    if json {
        println!("{}", table::json(&one, &two));
    } else {
        print!("{}", table::text(&one, &two));
    }
    let is_there = |name: &&str| {
        one.iter()
            .any(|row| row.measure == *name && row.ratio.is_some())
    };
    let missing: Vec<&str> = MEASURES.into_iter().filter(|m| !is_there(m)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(", ");
    Err(Failed(format!("not measured on both sides: {list}")))
}

fn measure(
    workshop: &mut Workshop,
    kernel: &Kernel,
    rounds: u32,
    processors: u32,
) -> Result<Vec<Row>, Failed> {
    let step = match processors {
        1 => "bench on one CPU",
        _ => "bench on two CPUs",
    };
    let boot = Boot {
        step,
        script: "bench",
        settings: vec![("RINGFENCE_ROUNDS", rounds.to_string())],
        arguments: vec!["kunit.enable=0".to_owned()],
        processors,
        limit: Duration::from_secs(120 + 60 * u64::from(rounds)),
    };
    let log = workshop.boot(kernel, &boot)?;
    workshop.judge(step, &log)?;
    judged_rows(&log).map_err(|Failed(why)| {
        let path = workshop.steps.log(step);
        Failed(format!("{step}: {why}; its log: {}", path.display()))
    })
}

fn judged_rows(log: &Log) -> Result<Vec<Row>, Failed> {
    let samples = samples(log.lines())?;
    if samples.is_empty() {
        return Err(Failed("nothing was measured".into()));
    }
    Ok(rows(&samples))
}
