// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Moments that cannot be hit from outside.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use super::{HandlerSlot, Interrupt};

#[test]
fn a_handler_removed_while_its_interrupt_is_on_the_way_is_not_called() {
    let slot = Arc::new(HandlerSlot::default());
    let calls = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&calls);
    let handler = move |_: &Interrupt| {
        count.fetch_add(1, Ordering::Relaxed);
    };
    let guard = slot.install(Box::new(handler)).expect("the place is free");
    // The interrupt thread has looked up the handler, and is overtaken before it calls.
    let found = slot.get().expect("a handler");
    assert_eq!(found.call(&Interrupt::FirmwareDied), Some(()));
    guard.remove();
    assert_eq!(found.call(&Interrupt::FirmwareDied), Some(()));
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[test]
fn a_late_removal_leaves_a_newer_handler_in_place() {
    let slot = Arc::new(HandlerSlot::default());
    let old = slot.install(Box::new(|_| {})).expect("the place is free");
    // As when the old handler's removal is still waiting for its last call.
    drop(slot.0.lock().expect("no panic").take());
    let _new = slot.install(Box::new(|_| {})).expect("the place is free");
    old.remove();
    assert!(slot.get().is_some());
}
