// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The orchestrator's decisions in the kernel: the same crate, in virtual time, beside a device that does
//! everything at once.
//!
//! There is no host for it here yet. This shows that the policy is the same code, needs nothing that the
//! kernel has not, and decides the same.

mod device;

use kernel::prelude::*;

use ringfence_orchestrator_core::{Fair, Fifo, Preemption, Priority};

use device::{Device, SLOTS};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// A queue of this priority with jobs of so many nanoseconds.
fn normal(device: &mut Device<Fair>, count: u64, weight: u16) -> Result {
    for number in 0..count {
        let _seat = device.add(Priority::Normal, weight, (number * 37 % 50 + 1) * 100_000)?;
    }
    Ok(())
}

/// Twenty queues that always have work: each has its share, but for a slice and a job.
pub(crate) fn backlogged_queues_have_equal_shares() -> Result {
    for preemption in [Preemption::Supported, Preemption::RunToCompletion] {
        let mut device = Device::new(preemption, Fair::default())?;
        normal(&mut device, 20, 100)?;
        device.run_until(10 * SECOND)?;
        let share = 10 * SECOND * SLOTS as u64 / 20;
        for number in 0..20 {
            let busy = device.busy_ns(number)?;
            let longest_job = 5 * MS;
            ensure!(busy.abs_diff(share) <= 2 * MS + longest_job);
        }
    }
    Ok(())
}

/// Four with a weight of 300 beside twelve of 100, on two slots' worth of each.
pub(crate) fn weights_are_shares() -> Result {
    let mut device = Device::new(Preemption::Supported, Fair::default())?;
    normal(&mut device, 4, 300)?;
    normal(&mut device, 12, 100)?;
    device.run_until(10 * SECOND)?;
    let unit = 10 * SECOND * SLOTS as u64 / (4 * 3 + 12);
    for number in 0..16 {
        let share = if number < 4 { 3 * unit } else { unit };
        ensure!(device.busy_ns(number)?.abs_diff(share) <= share / 50);
    }
    Ok(())
}

/// The higher priority has nearly everything, and the lower one does not starve.
pub(crate) fn a_lower_priority_has_what_is_guaranteed() -> Result {
    let mut device = Device::new(Preemption::Supported, Fair::default())?;
    for priority in [Priority::High, Priority::Low] {
        for _ in 0..8 {
            let _seat = device.add(priority, 100, MS / 2)?;
        }
    }
    device.run_until(10 * SECOND)?;
    let mut low = 0;
    for number in 8..16 {
        low += device.busy_ns(number)?;
    }
    let all = 10 * SECOND * SLOTS as u64;
    // One part in 16 of what the higher one had.
    ensure!(low.abs_diff(all / 17) <= all / 200);
    Ok(())
}

/// As the kernel's scheduler has it: first come, first served, and lower priorities starve.
pub(crate) fn first_come_first_served() -> Result {
    let mut device = Device::new(Preemption::Supported, Fifo::default())?;
    for priority in [Priority::High, Priority::Low] {
        for _ in 0..8 {
            let _seat = device.add(priority, 100, MS / 2)?;
        }
    }
    device.run_until(SECOND)?;
    for number in 0..8 {
        ensure!(device.busy_ns(number)? >= SECOND * SLOTS as u64 / 8 - 4 * MS);
        ensure_eq!(device.busy_ns(8 + number)?, 0);
    }
    Ok(())
}

/// A group of three among single ones: all of it is bound before any of it runs, which the device checks.
pub(crate) fn a_group_is_on_its_slots_as_a_whole() -> Result {
    let mut device = Device::new(Preemption::Supported, Fair::default())?;
    let group = [
        device.add(Priority::Normal, 300, MS)?,
        device.add(Priority::Normal, 100, 2 * MS)?,
        device.add(Priority::Normal, 100, 3 * MS)?,
    ];
    device.group(&group)?;
    normal(&mut device, 6, 100)?;
    device.start()?;
    device.run_until(SECOND)?;
    for number in 0..3 {
        ensure_eq!(device.busy_ns(number)?, device.busy_ns(0)?);
        ensure!(device.busy_ns(number)? > SECOND / 10);
    }
    Ok(())
}

suite! { ringfence_slots of slots {
    backlogged_queues_have_equal_shares,
    weights_are_shares,
    a_lower_priority_has_what_is_guaranteed,
    first_come_first_served,
    a_group_is_on_its_slots_as_a_whole,
}}
