// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Faults on demand.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use crate::sync::lock;

/// A fault to inject. Each injection happens once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Injection {
    /// The context stops making progress, until it is reset.
    Hang,
    /// The context touches this address and faults.
    FaultAddress(u64),
    /// The firmware stops: no context runs, no request is answered, until the device is reset.
    FirmwareDeath {
        /// Without a [`FirmwareDied`](crate::Interrupt::FirmwareDied) interrupt.
        silent: bool,
    },
    /// An interrupt says that this fence value was reached, whether or not it was.
    SpuriousInterrupt(u64),
    /// The fence is written but no interrupt is raised.
    LostInterrupt,
    /// The fence is written at once, its interrupt comes this much later.
    LateInterrupt(Duration),
    /// The fence's interrupt is delivered twice.
    DoubleInterrupt,
    /// A reset takes this much longer.
    SlowReset(Duration),
}

/// The kinds of [`Injection`], to count by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
#[expect(missing_docs, reason = "they are named and explained in Injection")]
#[non_exhaustive]
pub enum InjectionKind {
    Hang,
    FaultAddress,
    FirmwareDeath,
    SpuriousInterrupt,
    LostInterrupt,
    LateInterrupt,
    DoubleInterrupt,
    SlowReset,
}

const KINDS: usize = 8;

impl Injection {
    /// The kind.
    pub fn kind(&self) -> InjectionKind {
        match self {
            Self::Hang => InjectionKind::Hang,
            Self::FaultAddress(_) => InjectionKind::FaultAddress,
            Self::FirmwareDeath { .. } => InjectionKind::FirmwareDeath,
            Self::SpuriousInterrupt(_) => InjectionKind::SpuriousInterrupt,
            Self::LostInterrupt => InjectionKind::LostInterrupt,
            Self::LateInterrupt(_) => InjectionKind::LateInterrupt,
            Self::DoubleInterrupt => InjectionKind::DoubleInterrupt,
            Self::SlowReset(_) => InjectionKind::SlowReset,
        }
    }

    fn at(&self) -> Place {
        match self {
            Self::Hang
            | Self::FaultAddress(_)
            | Self::FirmwareDeath { .. }
            | Self::SpuriousInterrupt(_) => Place::Command,
            Self::LostInterrupt | Self::LateInterrupt(_) | Self::DoubleInterrupt => Place::Fence,
            Self::SlowReset(_) => Place::Reset,
        }
    }
}

/// When an injection happens.
///
/// What happens to commands (hang, fault address, firmware death, spurious interrupt) happens
/// before one; what happens to interrupts happens when a fence is written; a slow reset happens
/// when a reset is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum When {
    /// At the next opportunity: the next command, the next fence, the next reset. (Firmware death
    /// and spurious interrupts do not wait for a command; they happen at once.)
    Now,
    /// At the job whose fence has this value: when it begins, if it says
    /// [`BeginJob`](crate::Command::BeginJob), else before its fence is written. Not for resets.
    Fence(u64),
    /// At the `n`-th job (or reset) from now; 1 is the next that begins.
    Nth(u64),
}

/// An injection that has been armed. Dropping it changes nothing.
#[derive(Clone, Debug)]
pub struct Armed {
    charge: Arc<Charge>,
    list: Weak<Injections>,
}

impl Armed {
    /// Whether it has happened.
    pub fn fired(&self) -> bool {
        self.charge.fired.load(Ordering::Acquire)
    }

    /// Takes it back; `false` if it has happened already.
    pub fn disarm(&self) -> bool {
        self.list
            .upgrade()
            .is_some_and(|list| list.remove(&self.charge))
    }
}

#[derive(Debug)]
struct Charge {
    injection: Injection,
    when: When,
    /// Opportunities that have gone by, for [`When::Nth`].
    seen: AtomicU64,
    fired: AtomicBool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Command,
    Fence,
    Reset,
}

/// An opportunity for an injection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Moment {
    /// Before a command.
    Command {
        /// It is the first of its job.
        first: bool,
        /// The fence value that it names: it begins that job, or is its fence.
        value: Option<u64>,
    },
    /// A fence was written.
    Fence { value: u64 },
    /// A reset was asked for.
    Reset,
}

impl Moment {
    fn place(&self) -> Place {
        match self {
            Self::Command { .. } => Place::Command,
            Self::Fence { .. } => Place::Fence,
            Self::Reset => Place::Reset,
        }
    }

    fn value(&self) -> Option<u64> {
        match *self {
            Self::Command { value, .. } => value,
            Self::Fence { value } => Some(value),
            Self::Reset => None,
        }
    }

    fn counts(&self) -> bool {
        !matches!(self, Self::Command { first: false, .. })
    }
}

/// The injections armed for a context or for a device.
#[derive(Debug, Default)]
pub(crate) struct Injections {
    armed: Mutex<Vec<Arc<Charge>>>,
    /// How many are armed, to be read without the lock.
    count: AtomicUsize,
    fired: [AtomicU64; KINDS],
}

impl Injections {
    /// Arms one. `None` if it cannot happen at that time.
    pub(crate) fn arm(self: &Arc<Self>, injection: Injection, when: When) -> Option<Armed> {
        let possible = match when {
            When::Now => true,
            When::Fence(_) => injection.at() != Place::Reset,
            When::Nth(n) => n > 0,
        };
        if !possible {
            return None;
        }
        let charge = Arc::new(Charge {
            injection,
            when,
            seen: AtomicU64::new(0),
            fired: AtomicBool::new(false),
        });
        let mut armed = lock(&self.armed);
        armed.push(Arc::clone(&charge));
        self.count.store(armed.len(), Ordering::Release);
        drop(armed);
        Some(Armed {
            charge,
            list: Arc::downgrade(self),
        })
    }

    /// Marks one that needs no opportunity as happened.
    pub(crate) fn fire_now(self: &Arc<Self>, injection: Injection) -> Armed {
        self.fired[injection.kind() as usize].fetch_add(1, Ordering::Relaxed);
        let charge = Charge {
            injection,
            when: When::Now,
            seen: AtomicU64::new(0),
            fired: AtomicBool::new(true),
        };
        Armed {
            charge: Arc::new(charge),
            list: Arc::downgrade(self),
        }
    }

    /// Whether none is armed; cheap.
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Takes the first injection that happens at this opportunity. Ask once per opportunity.
    pub(crate) fn take(&self, moment: Moment) -> Option<Injection> {
        if self.is_empty() {
            return None;
        }
        let mut armed = lock(&self.armed);
        let mut found = None;
        for (index, charge) in armed.iter().enumerate() {
            if charge.injection.at() != moment.place() {
                continue;
            }
            let due = match charge.when {
                When::Now => true,
                When::Fence(value) => moment.value() == Some(value),
                When::Nth(n) => {
                    let step = u64::from(moment.counts());
                    charge.seen.fetch_add(step, Ordering::Relaxed) + step >= n
                }
            };
            if due && found.is_none() {
                found = Some(index);
            }
        }
        let charge = armed.remove(found?);
        self.count.store(armed.len(), Ordering::Release);
        self.fired[charge.injection.kind() as usize].fetch_add(1, Ordering::Relaxed);
        charge.fired.store(true, Ordering::Release);
        Some(charge.injection)
    }

    /// How many of this kind have happened.
    pub(crate) fn fired(&self, kind: InjectionKind) -> u64 {
        self.fired[kind as usize].load(Ordering::Relaxed)
    }

    fn remove(&self, charge: &Arc<Charge>) -> bool {
        let mut armed = lock(&self.armed);
        let before = armed.len();
        armed.retain(|other| !Arc::ptr_eq(other, charge));
        self.count.store(armed.len(), Ordering::Release);
        armed.len() < before
    }
}
