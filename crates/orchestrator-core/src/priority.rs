// SPDX-License-Identifier: GPL-2.0 OR MIT
//! How important a seat is, and how much of the hardware it is due.

/// How important a seat is beside others, with the names of the kernel's `drm_sched_priority`.
///
/// What it means is for the [policy](crate::Policy) to say.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
pub enum Priority {
    /// The driver's own work, for which memory management waits.
    Kernel = 0,
    /// What somebody watches: a compositor.
    High = 1,
    /// Everything else.
    #[default]
    Normal = 2,
    /// What can wait.
    Low = 3,
}

impl Priority {
    /// How many there are.
    pub const COUNT: usize = 4;

    /// All of them, the most important first.
    pub const ALL: [Self; Self::COUNT] = [Self::Kernel, Self::High, Self::Normal, Self::Low];

    /// Its place among all, from 0 for the most important.
    pub const fn level(self) -> usize {
        self as usize
    }
}

/// A seat's share beside others of its priority, in the units of cgroup v2's `cpu.weight`
/// (`Documentation/admin-guide/cgroup-v2.rst`): 1 to 10 000, and 100 if nothing is said.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct Weight(u16);

impl Weight {
    /// What everybody has.
    pub const DEFAULT: Self = Self(100);
    /// The least there is.
    pub const MIN: Self = Self(1);
    /// The most there is.
    pub const MAX: Self = Self(10_000);

    /// A weight; `None` outside 1 to 10 000.
    pub const fn new(weight: u16) -> Option<Self> {
        if weight >= Self::MIN.0 && weight <= Self::MAX.0 {
            Some(Self(weight))
        } else {
            None
        }
    }

    /// Its value.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self::DEFAULT
    }
}
