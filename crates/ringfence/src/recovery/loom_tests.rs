// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Every interleaving of what wakes the recovery thread and its end.
//!
//! `cargo test -p ringfence --features loom --lib --release loom_`. A wake-up that is lost leaves
//! everybody asleep, which loom reports as a deadlock. With a queue it is too much for loom's
//! stacks: that is shuttle's (`tests/shuttle/attempts.rs`).

use super::Hang;
use crate::sync::thread;
use crate::Device;

#[test]
fn loom_the_thread_ends_whatever_wakes_it() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let device = Device::builder("d");
        let device = device.recovery(|_: &Device, _: &Hang<'_>| {}).unwrap();
        let other = device.clone();
        let asker = thread::spawn(move || {
            if let Some(desk) = other.scope.desk() {
                desk.wake();
            }
        });
        device.unbind().unwrap();
        asker.join().unwrap();
    });
}
