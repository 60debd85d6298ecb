// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `ringfence check`: reads a plan and prints what it would run.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use crate::args::CheckArgs;
use crate::input::Input;
use crate::plan::model::orchestrator::{KINDS, KIND_WORDS};
use crate::plan::units::Kind;
use crate::plan::{DevicePlan, OrchestratorPlan, Plan, PolicyPlan, QueueIndex};
use crate::EXIT_USAGE;

/// How many queues are printed before the rest is only counted.
const SHOWN: usize = 12;

/// Checks the plan that the arguments name: prints a summary, or what is wrong.
pub fn check(args: &CheckArgs) -> ExitCode {
    let plan = match Input::load(args.plan.as_deref()) {
        Ok(Input::Plan { file, text }) => Plan::parse(&file, &text).map_err(|e| e.to_string()),
        Ok(Input::Recording { file, .. }) => Err(format!(
            "{file}: this is a recording, not a plan\n  = help: `ringfence run` replays recordings"
        )),
        Err(error) => Err(error.to_string()),
    };
    match plan {
        Ok(plan) => {
            let summary = Summary {
                plan: &plan,
                seed: args.seed.unwrap_or(plan.seed()),
            };
            // A reader that has gone away (`| head`) has seen what it wanted.
            let _ = write!(io::stdout().lock(), "{summary}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// A plan in a few lines.
struct Summary<'a> {
    plan: &'a Plan,
    seed: u64,
}

impl Summary<'_> {
    /// How often each fault hits.
    fn faults(&self) -> BTreeMap<&'static str, u64> {
        let mut hits = BTreeMap::new();
        for stream in self
            .plan
            .streams()
            .iter()
            .filter(|stream| !stream.faults.is_empty())
        {
            for fault in (0..stream.jobs).filter_map(|job| stream.fault(job, self.seed)) {
                *hits.entry(fault.word()).or_insert(0) += 1;
            }
        }
        hits
    }

    /// The jobs of every queue.
    fn jobs(&self) -> Vec<u64> {
        let mut jobs = vec![0; self.plan.queues().len()];
        for stream in self.plan.streams() {
            let QueueIndex(queue) = stream.queue;
            jobs[queue] += stream.jobs;
        }
        jobs
    }

    fn expectations(&self) -> String {
        let expect = self.plan.expect();
        let all = [
            ("completed", expect.completed),
            ("failed", expect.failed),
            ("cancelled", expect.cancelled),
            ("timed out", expect.timed_out),
            ("late", expect.late),
        ];
        let mut given: Vec<String> = all
            .iter()
            .filter_map(|(word, bounds)| bounds.map(|bounds| format!("{bounds} {word}")))
            .collect();
        if let Some(shares) = &expect.shares {
            let percent = |ppm: u32| f64::from(ppm) / 1e4;
            given.extend(
                shares
                    .error
                    .map(|ppm| format!("shares within {}%", percent(ppm))),
            );
            given.extend(
                shares
                    .fairness
                    .map(|ppm| format!("fairness of {}%", percent(ppm))),
            );
        }
        for wait in &expect.waits {
            given.push(format!(
                "{} waits {} at most",
                wait.name,
                show(wait.longest)
            ));
        }
        if given.is_empty() {
            "nothing in particular".to_owned()
        } else {
            given.join(", ")
        }
    }
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.plan;
        let device = plan.device();
        let bypass = plan.queues().iter().filter(|queue| queue.bypass).count();
        let faults = self.faults();
        let listed: Vec<String> = faults
            .iter()
            .map(|(word, hits)| format!("{hits} {word}"))
            .collect();
        let listed = if listed.is_empty() {
            "none".to_owned()
        } else {
            listed.join(", ")
        };
        writeln!(f, "plan          {}", plan.name())?;
        if let Some(description) = plan.description() {
            for line in description.trim().lines() {
                writeln!(f, "              {}", line.trim())?;
            }
        }
        writeln!(f, "seed          {}", self.seed)?;
        writeln!(
            f,
            "device        {}, {} of memory ({} needed){}",
            slots(device),
            Kind::Size.show(device.vram),
            Kind::Size.show(plan.memory().next_multiple_of(1024)),
            match device.orchestrator {
                Some(_) => String::new(),
                None => format!(", time slice {}", show(device.time_slice)),
            },
        )?;
        if let Some(orchestrator) = &device.orchestrator {
            self.write_orchestrator(orchestrator, f)?;
        }
        writeln!(
            f,
            "queues        {} ({bypass} with bypass)",
            plan.queues().len()
        )?;
        writeln!(f, "streams       {}", plan.streams().len())?;
        writeln!(f, "jobs          {}", plan.jobs())?;
        writeln!(f, "dependencies  {}", plan.dependencies())?;
        if plan.least_time() > Duration::ZERO {
            writeln!(f, "pace          at least {} long", show(plan.least_time()))?;
        }
        writeln!(f, "faults        {listed}")?;
        writeln!(f, "expects       {}", self.expectations())?;
        writeln!(f)?;
        self.write_queues(f)
    }
}

/// How many slots there are, of each kind where the plan says.
fn slots(device: &DevicePlan) -> String {
    let kinds = KIND_WORDS.iter().zip(KINDS).filter_map(|(word, kind)| {
        let count = device
            .slot_kinds
            .iter()
            .filter(|other| **other == kind)
            .count();
        (count > 0).then(|| format!("{count} {word}"))
    });
    let kinds: Vec<String> = kinds.collect();
    let kinds = match kinds.is_empty() {
        true => String::new(),
        false => format!(" ({})", kinds.join(", ")),
    };
    format!("{} slots{kinds}", device.slots)
}

impl Summary<'_> {
    fn write_orchestrator(
        &self,
        orchestrator: &OrchestratorPlan,
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        let policy = match orchestrator.policy {
            PolicyPlan::Fair(fair) => format!("fair, slice {}", show(fair.slice)),
            PolicyPlan::Fifo(turn) => format!("fifo, slice {}", show(turn)),
        };
        let preemption = if orchestrator.preemption {
            ""
        } else {
            ", no preemption"
        };
        let cost = match orchestrator.switch_cost.is_zero() {
            true => String::new(),
            false => format!(", a switch costs {}", show(orchestrator.switch_cost)),
        };
        writeln!(f, "orchestrator  {policy}{preemption}{cost}")?;
        let (clients, gangs) = (self.plan.clients().len(), self.plan.gangs().len());
        writeln!(f, "clients       {clients}")?;
        if gangs > 0 {
            writeln!(f, "groups        {gangs}")?;
        }
        Ok(())
    }

    fn write_queues(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queues = self.plan.queues();
        let shown = queues.iter().zip(self.jobs()).take(SHOWN);
        let longest = queues
            .iter()
            .take(SHOWN)
            .map(|queue| queue.name.len())
            .max();
        let width = longest.unwrap_or(0).max("queue".len());
        writeln!(
            f,
            "{:width$}  {:>9}  {:>7}  {:>8}  {:>7}",
            "queue", "jobs", "credits", "capacity", "timeout"
        )?;
        for (queue, jobs) in shown {
            writeln!(
                f,
                "{:width$}  {jobs:>9}  {:>7}  {:>8}  {:>7}",
                queue.name,
                queue.credits,
                queue.capacity,
                show(queue.timeout),
            )?;
        }
        match queues.len().checked_sub(SHOWN).filter(|&hidden| hidden > 0) {
            Some(hidden) => writeln!(f, "... and {hidden} more"),
            None => Ok(()),
        }
    }
}

fn show(duration: Duration) -> String {
    Kind::Duration.show(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}
