// SPDX-License-Identifier: GPL-2.0 OR MIT
//! KUnit: what every host of core must do, as scenarios with the names they have in user space
//! (`crates/ringfence/tests/conformance`), and those of the kernel's own scheduler
//! (`drivers/gpu/drm/scheduler/tests`).
//!
//! A scenario returns an error when something does not hold, and has said what: assertions in
//! workers only print, and one that fails in a test's thread leaves without destructors.

use kernel::prelude::*;

#[macro_use]
mod suite;
#[macro_use]
mod rig;

mod basic;
mod bounds;
mod drm_callbacks;
mod drm_sched;
mod drm_teardown;
mod drm_timeout;
mod interop;
mod jobqueue;
mod limits;
mod load;
mod plant;
mod recovery;
mod resets;
mod scope;
mod slots;
mod unbind;

module! {
    type: Suites,
    name: "ringfence_kunit",
    authors: ["The Ringfence authors"],
    description: "KUnit tests of ringfence",
    license: "Dual MIT/GPL",
    params: {
        plant: u32 {
            default: 0,
            description: "A mistake to make on purpose: 1 to 4, see linux/tests/plant.rs",
        },
    },
}

struct Suites;

impl kernel::Module for Suites {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        rig::thread::open()?;
        Ok(Self)
    }
}

impl Drop for Suites {
    fn drop(&mut self) {
        rig::thread::close();
    }
}
