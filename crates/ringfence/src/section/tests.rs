// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What needs no special allocator; the rest is in `tests/section.rs`.

use super::*;

#[test]
fn sections_nest_and_end() {
    assert!(!in_section());
    let outer = SignallingSection::enter();
    let inner = SignallingSection::enter();
    drop(outer);
    assert_eq!(in_section(), CHECKED, "tokens may end in any order");
    drop(inner);
    assert!(!in_section());
    might_sleep("nothing");
    might_alloc("nothing");
}

#[test]
#[cfg_attr(
    debug_assertions,
    should_panic(expected = "a nap may sleep, in the signalling section")
)]
fn sleeping_in_a_section_fails() {
    let _section = SignallingSection::enter();
    might_sleep("a nap");
}

#[test]
#[cfg_attr(debug_assertions, should_panic(expected = "a list may allocate"))]
fn allocating_in_a_section_fails() {
    let _section = SignallingSection::enter();
    might_alloc("a list");
}

#[test]
#[cfg_attr(
    debug_assertions,
    should_panic(expected = "SleepingMutex::lock may sleep")
)]
fn a_sleeping_lock_in_a_section_fails() {
    let mutex = crate::SleepingMutex::new(1);
    *mutex.lock() += 1;
    let _section = SignallingSection::enter();
    assert_eq!(*mutex.lock(), 2);
}

#[test]
#[cfg_attr(debug_assertions, should_panic(expected = "Fence::wait may sleep"))]
fn waiting_in_a_callback_fails() {
    use crate::fence::Callback;
    let timeline = crate::Timeline::new("t");
    let (signaller, fence) = timeline.signaller();
    let (other, waited) = timeline.signaller();
    other.signal(Ok(()));
    let _registration = fence.add_callback(Callback::new(move |_| {
        assert_eq!(waited.wait(), Ok(()));
    }));
    signaller.signal(Ok(()));
}

#[test]
fn a_panic_in_a_section_leaves_it() {
    std::panic::catch_unwind(|| {
        let _section = SignallingSection::enter();
        panic!("on purpose");
    })
    .unwrap_err();
    assert!(!in_section());
}
