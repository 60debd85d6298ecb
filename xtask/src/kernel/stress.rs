// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `cargo xtask kernel stress`: a busy debug kernel, and a driver that comes and goes.

use std::time::Duration;

use super::boot::Boot;
use super::build::{Kind, Workshop};
use crate::run::Failed;

/// `cycles`: how often the driver comes and goes.
pub(crate) fn run(workshop: &mut Workshop, seconds: u32, cycles: u32) -> Result<(), Failed> {
    let kernel = workshop.kernel(Kind::Debug)?;
    workshop.modules(&kernel)?;
    kernel.wants(&["ringfence", "ringfence_stress", "ringfence_mock_gpu"])?;
    let step = "stress";
    let boot = Boot {
        step,
        script: "stress",
        settings: vec![
            ("RINGFENCE_SECONDS", seconds.to_string()),
            ("RINGFENCE_CYCLES", cycles.to_string()),
        ],
        arguments: vec!["kunit.enable=0".to_owned()],
        processors: 2,
        limit: Duration::from_secs(2 * u64::from(seconds) + 10 * u64::from(cycles) + 200),
    };
    let log = workshop.boot(&kernel, &boot)?;
    for line in log
        .lines()
        .filter(|line| line.starts_with("ringfence_stress: "))
    {
        println!("{line}");
    }
    workshop.judge(step, &log)?;
    // A script that skipped something would come to its end, too.
    for wanted in [
        "ringfence_stress: done".to_owned(),
        format!("ringfence-boot: {cycles} cycles"),
    ] {
        if !log.says(&wanted) {
            let path = workshop.steps.log(step);
            return Err(Failed(format!("no \"{wanted}\" in {}", path.display())));
        }
    }
    println!(
        "{seconds} s of stress, {cycles} cycles of insmod and rmmod: nothing to complain about"
    );
    Ok(())
}
