// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `cargo xtask kernel test`: our KUnit suites in a booted kernel.

use std::time::Duration;

use super::boot::Boot;
use super::build::{Kernel, Kind, Workshop};
use super::ktap::{Count, Results};
use super::log::Log;
use crate::run::Failed;

/// How much of what a failed test said is shown.
const SAID: usize = 40;

/// A rule broken on purpose, and what the checker of that rule says then.
const VIOLATIONS: [(&str, &str); 3] = [
    (
        "mutex-under-spinlock",
        "BUG: sleeping function called from invalid context",
    ),
    (
        "allocation-while-signalling",
        "possible circular locking dependency detected",
    ),
    ("use-after-free", "BUG: KASAN: slab-use-after-free"),
];

/// A mistake to make on purpose in a test: a run that stays green with one sees nothing. The numbers are
/// those of `linux/tests/plant.rs`.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Plant {
    /// A fence that nobody signals.
    LeakedFence = 1,
    /// A mutex under a spin lock.
    SleepUnderTheLock = 2,
    /// `GFP_KERNEL` in a run callback.
    AllocationInASignallingSection = 3,
    /// The second fence of a timeline before the first.
    SignalOutOfOrder = 4,
}

pub(crate) fn run(
    workshop: &mut Workshop,
    kind: Kind,
    filter: &str,
    plant: Option<Plant>,
) -> Result<(), Failed> {
    let kernel = workshop.kernel(kind)?;
    workshop.modules(&kernel)?;
    if kind == Kind::Debug {
        watched(workshop, &kernel)?;
    }
    kernel.wants(&["ringfence", "ringfence_kunit"])?;
    let step = format!("{} tests", kind.name());
    let boot = Boot {
        step: &step,
        script: "test",
        settings: plant
            .map(|plant| ("RINGFENCE_PLANT", (plant as u32).to_string()))
            .into_iter()
            .collect(),
        // Each device that ends waits for a grace period: let those be short.
        arguments: [
            "kunit.enable=1",
            "kunit.autorun=1",
            "rcutree.jiffies_till_first_fqs=0",
            "rcutree.jiffies_till_next_fqs=1",
            "rcupdate.rcu_expedited=1",
        ]
        .map(str::to_owned)
        .into_iter()
        .chain([format!("kunit.filter_glob={filter}")])
        .collect(),
        processors: 2,
        limit: Duration::from_secs(match kind {
            Kind::Release => 240,
            Kind::Debug => 900,
        }),
    };
    let log = workshop.boot(&kernel, &boot)?;
    let results = Results::parse(log.lines());
    show(&results);
    // What is wrong with the whole boot explains what is wrong with its results.
    let judged = workshop.judge(&step, &log);
    let counted = verdict(&results, filter);
    let done = judged.and(counted);
    let Count { passed, failed, .. } = results.count();
    // A boot that is bad for another reason is a failure, too.
    let failed = if done.is_err() { failed.max(1) } else { failed };
    println!("{passed} passed, {failed} failed");
    done
}

/// Shows the checkers a mistake each: one that does not notice it is not looking.
fn watched(workshop: &mut Workshop, kernel: &Kernel) -> Result<(), Failed> {
    kernel.wants(&["ringfence_violation"])?;
    for (kind, wanted) in VIOLATIONS {
        let step = format!("violation {kind}");
        let boot = Boot {
            step: &step,
            script: "violation",
            settings: vec![("RINGFENCE_KIND", kind.to_owned())],
            // No suites: they have a boot of their own.
            arguments: vec!["kunit.enable=0".to_owned()],
            processors: 2,
            limit: Duration::from_secs(120),
        };
        let log = workshop.boot(kernel, &boot)?;
        if !noticed(&log, wanted) {
            let Failed(what) = workshop.steps.complain(&step);
            return Err(Failed(format!(
                "the checkers sleep: {kind} was not noticed ({wanted}): {what}"
            )));
        }
        println!("xtask: {kind} is noticed");
    }
    Ok(())
}

/// Whether a mistake was reported after it was made, and nothing else before.
fn noticed(log: &Log, wanted: &str) -> bool {
    let before = log
        .lines()
        .take_while(|line| !made(line))
        .collect::<Vec<_>>();
    let quiet = Log::new(&before.join("\n")).complaint().is_none();
    let after: Vec<&str> = log.lines().skip_while(|line| !made(line)).collect();
    quiet && after.iter().any(|line| line.contains(wanted))
}

fn made(line: &str) -> bool {
    line.starts_with("ringfence-boot: insmod")
}

/// Every suite in a line, every failure with what was said.
fn show(results: &Results) {
    for suite in &results.suites {
        let Count {
            passed,
            failed,
            skipped,
        } = suite.count();
        let mut line = format!("{:<40} {passed:>4} passed", suite.name);
        if failed > 0 {
            line += &format!(", {failed} failed");
        }
        if skipped > 0 {
            line += &format!(", {skipped} skipped");
        }
        println!("{line}");
        for (name, said) in suite.failures() {
            println!("  FAILED {name}");
            if said.len() > SAID {
                println!("    | ... {} lines before", said.len() - SAID);
            }
            for line in &said[said.len().saturating_sub(SAID)..] {
                println!("    | {line}");
            }
        }
    }
}

fn verdict(results: &Results, filter: &str) -> Result<(), Failed> {
    if let Some(first) = results.incomplete.first() {
        return Err(Failed(format!("KUnit's results are incomplete: {first}")));
    }
    let count = results.count();
    if count.failed > 0 {
        return Err(Failed(format!("{} KUnit tests", count.failed)));
    }
    if count.passed == 0 {
        return Err(Failed(format!("no test passed ({filter})")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict_of(log: &str) -> Result<(), Failed> {
        verdict(&Results::parse(Log::new(log).lines()), "ringfence*")
    }

    #[test]
    fn only_complete_and_good_results_are_good() {
        let good = "KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: a\n    1..1\n    ok 1 x\nok 1 a\n";
        assert!(verdict_of(good).is_ok());
        assert!(verdict_of(&good.replace("    ok 1 x", "    not ok 1 x")).is_err());
        assert!(verdict_of(&good.replace("ok 1 a\n", "")).is_err());
        assert!(verdict_of(&good.replace("ok 1 x", "ok 1 x # SKIP no")).is_err());
        assert!(verdict_of("").is_err());
    }

    #[test]
    fn a_mistake_counts_only_when_it_is_noticed_after_it_is_made() {
        let wanted = "BUG: KASAN: slab-use-after-free";
        let made = "ringfence-boot: insmod ringfence_violation kind=use-after-free";
        let said = "BUG: KASAN: slab-use-after-free in violation_init";
        assert!(noticed(&Log::new(&format!("x\n{made}\n{said}\n")), wanted));
        assert!(!noticed(&Log::new(&format!("x\n{made}\ny\n")), wanted));
        assert!(!noticed(&Log::new(&format!("{said}\n{made}\n")), wanted));
        let broken = format!("WARNING: bad unlock balance detected!\n{made}\n{said}\n");
        assert!(!noticed(&Log::new(&broken), wanted));
    }
}
