// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Mistakes on purpose, one at a time: each must turn a run red, or the run sees nothing. Made only
//! where the module's parameter `plant` says so: `cargo xtask kernel test --debug --plant ...`.

use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc, Mutex};

use ringfence::{Lock, Timeline};

use crate::rig::{done, submit, Rig};

/// A fence that nobody will ever signal: its timeline is left over.
pub(crate) fn leaked_fence() -> Result {
    if planted() == 1 {
        let timeline = Timeline::new(c"test", c"leaked", GFP_KERNEL)?;
        let (signaller, _fence) = timeline.signaller(GFP_KERNEL)?;
        core::mem::forget(signaller);
    }
    Ok(())
}

/// A sleeping lock taken under a spin lock that turns interrupts off.
pub(crate) fn sleep_under_the_lock() -> Result {
    if planted() == 2 {
        let mutex: Pin<KBox<Mutex<u32>>> = KBox::pin_init(new_mutex!(0), GFP_KERNEL)?;
        let spin = Lock::new(0);
        let mut held = spin.lock();
        *held += *mutex.lock();
    }
    Ok(())
}

/// A driver that allocates in its run callback with `GFP_KERNEL`: memory management may wait for
/// the very fence that this is on the way to.
pub(crate) fn allocation_in_a_signalling_section() -> Result {
    if planted() != 3 {
        return Ok(());
    }
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let allocates = rig.gpu.calls(1, |submission| {
        drop(KBox::new([0u8; 64], GFP_KERNEL));
        submission.done()
    })?;
    let fence = submit(&queue, allocates, &[])?;
    ensure_eq!(done(&fence)?, Ok(()));
    drop(queue);
    rig.finish()
}

/// The second fence of a timeline signals before the first.
pub(crate) fn signal_out_of_order() -> Result {
    if planted() == 4 {
        let timeline = Arc::new(Timeline::new(c"test", c"disorder", GFP_KERNEL)?, GFP_KERNEL)?;
        let (first, _) = timeline.signaller(GFP_KERNEL)?;
        let (second, _) = timeline.signaller(GFP_KERNEL)?;
        second.signal(Ok(()));
        first.signal(Ok(()));
    }
    Ok(())
}

fn planted() -> u32 {
    crate::module_parameters::plant.value()
}

suite! { ringfence_plant of plant {
    leaked_fence,
    sleep_under_the_lock,
    allocation_in_a_signalling_section,
    signal_out_of_order,
} }
