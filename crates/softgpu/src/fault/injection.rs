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
    /// The context stops making progress, until it is reset. It can be taken off its slot, by
    /// firmware and host alike (if the host may preempt at all), and hangs on when it comes back.
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
    /// A reset reports that it [failed](crate::GpuError::ResetFailed): what was to be reset stands
    /// still until one succeeds. For `n` failures in a row, arm `n`.
    FailedReset,
    /// The context is asked to [leave its slot](crate::Context::vacate) and cannot: it gets nothing
    /// more done, and the answer comes only when the context or the device is reset.
    StuckPreemption,
    /// A job's doorbell write returns only when the job's interrupt has been handled: who submits
    /// hears of the end before the submission has returned. Happens where nothing is ahead of the
    /// job, and stalls for 20 ms at most.
    EarlyCompletion,
    /// The device is pulled out, see [`Gpu::unplug`](crate::Gpu::unplug).
    Unplug {
        /// The bus says so, by [`Removed`](crate::Interrupt::Removed).
        announced: bool,
    },
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
    FailedReset,
    StuckPreemption,
    EarlyCompletion,
    Unplug,
}

const KINDS: usize = InjectionKind::ALL.len();

impl InjectionKind {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Hang,
        Self::FaultAddress,
        Self::FirmwareDeath,
        Self::SpuriousInterrupt,
        Self::LostInterrupt,
        Self::LateInterrupt,
        Self::DoubleInterrupt,
        Self::SlowReset,
        Self::FailedReset,
        Self::StuckPreemption,
        Self::EarlyCompletion,
        Self::Unplug,
    ];
}

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
            Self::FailedReset => InjectionKind::FailedReset,
            Self::StuckPreemption => InjectionKind::StuckPreemption,
            Self::EarlyCompletion => InjectionKind::EarlyCompletion,
            Self::Unplug { .. } => InjectionKind::Unplug,
        }
    }

    fn at(&self) -> Place {
        match self {
            Self::Hang
            | Self::FaultAddress(_)
            | Self::FirmwareDeath { .. }
            | Self::Unplug { .. }
            | Self::SpuriousInterrupt(_) => Place::Command,
            Self::LostInterrupt | Self::LateInterrupt(_) | Self::DoubleInterrupt => Place::Fence,
            Self::SlowReset(_) | Self::FailedReset => Place::Reset,
            Self::StuckPreemption => Place::Vacate,
            Self::EarlyCompletion => Place::Doorbell,
        }
    }
}

/// When an injection happens.
///
/// What happens to commands (hang, fault address, firmware death, unplugging, spurious interrupt)
/// happens before one; what happens to interrupts happens when a fence is written; a slow or failed
/// reset happens when a reset is asked for, a stuck preemption when a context on a slot is asked to
/// leave it; an early completion when the doorbell is rung.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum When {
    /// At the next opportunity: the next command, fence, reset or vacate. (Firmware death,
    /// unplugging and spurious interrupts do not wait for a command; they happen at once.)
    Now,
    /// At the job whose fence has this value: when it begins, if it says
    /// [`BeginJob`](crate::Command::BeginJob), else before its fence is written. Not for resets, nor for stuck preemptions.
    Fence(u64),
    /// At the `n`-th job (or reset, or vacate) from now; 1 is the next that begins. Not for early completions.
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
    Vacate,
    Doorbell,
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
    /// A context was asked to leave its slot.
    Vacate,
    /// The doorbell was rung, the newest job in the ring being this one.
    Doorbell { value: u64 },
}

impl Moment {
    fn place(&self) -> Place {
        match self {
            Self::Command { .. } => Place::Command,
            Self::Fence { .. } => Place::Fence,
            Self::Reset => Place::Reset,
            Self::Vacate => Place::Vacate,
            Self::Doorbell { .. } => Place::Doorbell,
        }
    }

    fn value(&self) -> Option<u64> {
        match *self {
            Self::Command { value, .. } => value,
            Self::Fence { value } | Self::Doorbell { value } => Some(value),
            Self::Reset | Self::Vacate => None,
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
            When::Fence(_) => !matches!(injection.at(), Place::Reset | Place::Vacate),
            When::Nth(n) => n > 0 && injection.at() != Place::Doorbell,
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

    /// Whether an injection waits for this very job at its doorbell.
    pub(crate) fn waits_at_doorbell(&self, value: u64) -> bool {
        !self.is_empty()
            && lock(&self.armed).iter().any(|charge| {
                charge.injection.at() == Place::Doorbell
                    && match charge.when {
                        When::Now => true,
                        When::Fence(at) => at == value,
                        When::Nth(_) => false,
                    }
            })
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
