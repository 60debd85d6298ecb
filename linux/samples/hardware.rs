// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The hardware: a ring that is worked off, with a hard interrupt for each job.
//!
//! Where a real driver writes words that a command processor reads, and its interrupt handler reads
//! a sequence number that this has written, here both are a ring of slots under a lock, and the
//! command processor is a timer.

use kernel::impl_has_hr_timer;
use kernel::prelude::*;
use kernel::sync::{Arc, ArcBorrow};
use kernel::time::hrtimer::{
    ArcHrTimerHandle, HrTimer, HrTimerCallback, HrTimerCallbackContext, HrTimerPointer,
    HrTimerRestart, RelativeHardMode,
};
use kernel::time::{Delta, Monotonic};

use ringfence::{monotonic, Completion, Errno, Lock};

use crate::driver::MockDriver;

/// How many jobs a ring holds: the credits of its queue.
pub(crate) const SLOTS: usize = 16;

/// What goes wrong with a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    None,
    /// It is never done.
    Hang,
    /// It is done, and nobody is told.
    LostInterrupt,
    /// It is done, and told twice.
    SpuriousInterrupt,
    /// It ends with an error.
    Fails,
}

/// A job in a ring.
struct Slot {
    /// The interrupt handler's right to complete it.
    completion: Completion<MockDriver>,
    ends_at: u64,
    fault: Fault,
    /// Its work is done: the interrupt has been sent, or lost.
    done: bool,
}

struct Slots {
    /// Oldest first from `head`.
    slots: [Option<Slot>; SLOTS],
    head: usize,
    len: usize,
    ticking: bool,
    spurious: u64,
}

impl Slots {
    fn first(&mut self) -> Option<&mut Slot> {
        self.slots.get_mut(self.head).and_then(Option::as_mut)
    }

    fn take_first(&mut self) -> Option<Slot> {
        let slot = self.slots.get_mut(self.head)?.take()?;
        self.head = (self.head + 1) % SLOTS;
        self.len -= 1;
        Some(slot)
    }

    /// When the ring has something to do next.
    fn next_end(&mut self) -> Option<u64> {
        let slot = self.first()?;
        (slot.fault != Fault::Hang && !slot.done).then_some(slot.ends_at)
    }
}

/// One context's ring.
#[pin_data]
pub(crate) struct Ring {
    slots: Lock<Slots>,
    #[pin]
    timer: HrTimer<Self>,
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for Ring {
        mode: RelativeHardMode<Monotonic>, field: self.timer
    }
}

/// Keeps a ring's timer. Dropped, the ring stands still.
pub(crate) type Ticking = ArcHrTimerHandle<Ring>;

/// Why the hardware was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Look {
    /// The oldest job was done; its interrupt had been lost.
    LostInterrupt,
    /// It is still at work on the oldest.
    Busy,
    /// It makes no progress.
    Hung,
    /// There is nothing on it.
    Empty,
}

impl Ring {
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                slots: Lock::new(Slots {
                    slots: [const { None }; SLOTS],
                    head: 0,
                    len: 0,
                    ticking: false,
                    spurious: 0,
                }),
                timer <- HrTimer::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// Writes a job into the ring and rings the doorbell. Returns the timer if that was not
    /// running. Gives the token back if there is no room, which the queue's credits keep from
    /// happening.
    pub(crate) fn write(
        self: &Arc<Self>,
        completion: Completion<MockDriver>,
        duration_ns: u64,
        fault: Fault,
        old: &mut Option<Ticking>,
    ) -> Result<(), Completion<MockDriver>> {
        let now = monotonic().as_ns();
        let mut slots = self.slots.lock();
        if slots.len == SLOTS {
            return Err(completion);
        }
        let place = (slots.head + slots.len) % SLOTS;
        let last = (slots.head + slots.len + SLOTS - 1) % SLOTS;
        let begins = match (slots.len, &slots.slots[last]) {
            (1.., Some(before)) if before.fault != Fault::Hang => before.ends_at.max(now),
            _ => now,
        };
        slots.slots[place] = Some(Slot {
            completion,
            ends_at: begins.saturating_add(duration_ns),
            fault,
            done: false,
        });
        slots.len += 1;
        let wait = match slots.next_end() {
            Some(at) if !slots.ticking => at.saturating_sub(now),
            _ => return Ok(()),
        };
        slots.ticking = true;
        drop(slots);
        // The handle that is dropped would stop the timer that is started.
        drop(old.take());
        *old = Some(self.clone().start(Delta::from_nanos(wait as i64)));
        Ok(())
    }

    /// Reads what the hardware says of its oldest job, as a timeout handler does.
    pub(crate) fn look(&self) -> (Look, Option<Completion<MockDriver>>) {
        let now = monotonic().as_ns();
        let mut slots = self.slots.lock();
        let Some(slot) = slots.first() else {
            return (Look::Empty, None);
        };
        if slot.fault == Fault::Hang {
            return (Look::Hung, None);
        }
        if slot.done || (slot.fault == Fault::LostInterrupt && slot.ends_at <= now) {
            let slot = slots.take_first();
            return (Look::LostInterrupt, slot.map(|slot| slot.completion));
        }
        (Look::Busy, None)
    }

    /// Takes everything off the ring. What the tokens said is void once their jobs are replayed or
    /// ended.
    pub(crate) fn reset(&self, mut each: impl FnMut(Completion<MockDriver>)) {
        loop {
            let slot = self.slots.lock().take_first();
            match slot {
                Some(slot) => each(slot.completion),
                None => return,
            }
        }
    }

    /// Interrupts that meant nothing.
    pub(crate) fn spurious(&self) -> u64 {
        self.slots.lock().spurious
    }

    /// The interrupt handler: completes what is done, oldest first. Hard interrupt context.
    fn interrupt(&self) {
        let now = monotonic().as_ns();
        loop {
            let mut slots = self.slots.lock();
            let is_done =
                |slot: &mut Slot| slot.done || (slot.fault != Fault::Hang && slot.ends_at <= now);
            let Some(slot) = slots.first().filter(|slot| slot.ends_at <= now) else {
                return;
            };
            if !is_done(slot) {
                return;
            }
            if slot.fault == Fault::LostInterrupt {
                // Nobody is told, and the ring waits behind it.
                slot.done = true;
                return;
            }
            let Some(slot) = slots.take_first() else {
                return;
            };
            if slot.fault == Fault::SpuriousInterrupt {
                // As if told twice: the second time there is nothing that it could be about.
                slots.spurious += 1;
            }
            // Not under the ring's lock: completing may run the queue's next job.
            drop(slots);
            slot.completion.complete_in_irq(match slot.fault {
                Fault::Fails => Err(Errno::EIO),
                _ => Ok(()),
            });
        }
    }
}

impl HrTimerCallback for Ring {
    type Pointer<'a> = Arc<Self>;

    fn run(
        this: ArcBorrow<'_, Self>,
        mut context: HrTimerCallbackContext<'_, Self>,
    ) -> HrTimerRestart {
        this.interrupt();
        let mut slots = this.slots.lock();
        let Some(at) = slots.next_end() else {
            slots.ticking = false;
            return HrTimerRestart::NoRestart;
        };
        drop(slots);
        let wait = at.saturating_sub(monotonic().as_ns()).max(1_000);
        context.forward_now(Delta::from_nanos(wait as i64));
        HrTimerRestart::Restart
    }
}
