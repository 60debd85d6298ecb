// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The hardware: what is on it is finished by whoever comes along, in any order and from any
//! context.

use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::{Arc, ArcBorrow};
use kernel::time::hrtimer::{
    ArcHrTimerHandle, HrTimer, HrTimerCallback, HrTimerCallbackContext, HrTimerPointer,
    HrTimerRestart, RelativeHardMode,
};
use kernel::time::{Delta, Monotonic};

use ringfence::{Completion, Errno, Fence, Lock, Prepared, Signaller};

use crate::driver::Chaos;
use crate::random::Random;
use crate::tally::{count, Kind};
use crate::watch::{Draft, Watched};

/// How much the hardware holds.
const ROOM: usize = 2048;
/// How many jobs wait for an interrupt to submit them.
const PARCELS: usize = 16;

/// Something that the hardware is to finish.
pub(crate) enum Item<const I: bool> {
    Job(Completion<Chaos<I>>),
    Fence(Signaller),
}

impl<const I: bool> Item<I> {
    /// Finishes it, in one way or another.
    pub(crate) fn finish(self, random: &mut Random, in_irq: bool) {
        let result = match random.below(12) {
            0 => Err(Errno::EIO),
            _ => Ok(()),
        };
        match self {
            Self::Job(completion) => match random.below(16) {
                0 => {
                    count(Kind::completions_dropped);
                    drop(completion);
                }
                1..8 if !in_irq => {
                    count(Kind::completed_here);
                    completion.complete(result);
                }
                // In an interrupt the word is the driver's, too.
                1 => {
                    count(Kind::completed_in_irq);
                    completion.complete(result);
                }
                _ => {
                    count(Kind::completed_in_irq);
                    completion.complete_in_irq(result);
                }
            },
            Self::Fence(signaller) => {
                count(if in_irq {
                    Kind::fences_in_irq
                } else {
                    Kind::fences
                });
                signaller.signal(result);
            }
        }
    }
}

struct On<const I: bool> {
    /// The scope whose hardware it is.
    scope: u64,
    /// The queue, by fence context.
    context: u64,
    /// Nobody finishes it of his own accord.
    hangs: bool,
    item: Item<I>,
}

/// A job that an interrupt is to submit, and what its fence is watched with.
pub(crate) struct Parcel<const I: bool> {
    pub(crate) scope: u64,
    pub(crate) job: Prepared<'static, Chaos<I>>,
    pub(crate) watch: Draft,
}

/// What is on the hardware.
pub(crate) struct Hardware<const I: bool> {
    on: Lock<KVec<On<I>>>,
    parcels: Lock<KVec<Parcel<I>>>,
    /// Fences of jobs that interrupts have submitted.
    arrived: Lock<KVec<Watched>>,
}

impl<const I: bool> Hardware<I> {
    pub(crate) fn new() -> Result<Arc<Self>> {
        let this = Self {
            on: Lock::new(KVec::with_capacity(ROOM, GFP_KERNEL)?),
            parcels: Lock::new(KVec::with_capacity(PARCELS, GFP_KERNEL)?),
            arrived: Lock::new(KVec::with_capacity(2 * PARCELS, GFP_KERNEL)?),
        };
        Ok(Arc::new(this, GFP_KERNEL)?)
    }

    /// Puts something on the hardware. Where that is full it is lost, as hardware does.
    pub(crate) fn put(&self, scope: u64, context: u64, hangs: bool, item: Item<I>) {
        let on = On {
            scope,
            context,
            hangs,
            item,
        };
        let refused = self.on.lock().push_within_capacity(on);
        if let Err(refused) = refused {
            // Without the lock.
            refused.0.item.finish(&mut Random::new(scope), false);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.on.lock().len()
    }

    /// Takes anything off, in any order. What hangs only if `all`.
    pub(crate) fn take(&self, random: &mut Random, all: bool) -> Option<Item<I>> {
        let mut on = self.on.lock();
        for _ in 0..4 {
            if on.is_empty() {
                return None;
            }
            let index = random.index(on.len());
            if all || !on[index].hangs {
                return take_at(&mut on, index);
            }
        }
        None
    }

    /// The hardware lets go of a job.
    pub(crate) fn take_job(&self, context: u64, seqno: u64) -> Option<Item<I>> {
        let mut on = self.on.lock();
        let is_it = |on: &On<I>| match &on.item {
            Item::Job(completion) => on.context == context && completion.seqno() == seqno,
            Item::Fence(_) => false,
        };
        let index = on.iter().position(is_it)?;
        take_at(&mut on, index)
    }

    /// Everything of a scope goes: its device has.
    pub(crate) fn purge(&self, scope: u64, random: &mut Random) {
        loop {
            let item = {
                let mut on = self.on.lock();
                let index = on.iter().position(|on| on.scope == scope);
                index.and_then(|index| take_at(&mut on, index))
            };
            match item {
                Some(item) => item.finish(random, false),
                None => break,
            }
        }
        while let Some(parcel) = self.take_parcel(Some(scope)) {
            drop(parcel);
        }
    }

    pub(crate) fn post(&self, parcel: Parcel<I>) {
        let refused = self.parcels.lock().push_within_capacity(parcel);
        if refused.is_err() {
            // Dropped without the lock, it gives its room back.
            count(Kind::released);
        }
    }

    fn take_parcel(&self, scope: Option<u64>) -> Option<Parcel<I>> {
        let mut parcels = self.parcels.lock();
        let index = match scope {
            Some(scope) => parcels.iter().position(|parcel| parcel.scope == scope)?,
            None => 0,
        };
        parcels.remove(index).ok()
    }

    /// Submits a parcel, in an interrupt.
    fn deliver(&self) {
        if self.arrived.lock().len() > PARCELS {
            return;
        }
        let Some(parcel) = self.take_parcel(None) else {
            return;
        };
        let fence: ARef<Fence> = parcel.job.submit();
        count(Kind::by_interrupts);
        let watched = parcel.watch.watch(fence);
        let refused = self.arrived.lock().push_within_capacity(watched);
        if refused.is_err() {
            broken!("more parcels than there are");
        }
    }

    /// The fence of a job that an interrupt has submitted.
    pub(crate) fn arrived(&self) -> Option<Watched> {
        self.arrived.lock().pop()
    }
}

/// Without shifting what follows.
fn take_at<const I: bool>(on: &mut KVec<On<I>>, index: usize) -> Option<Item<I>> {
    let last = on.len().checked_sub(1)?;
    on.swap(index, last);
    on.pop().map(|on| on.item)
}

/// The hardware's interrupt: a timer in hard interrupt context.
#[pin_data]
pub(crate) struct Irq<const I: bool> {
    #[pin]
    timer: HrTimer<Self>,
    hardware: Arc<Hardware<I>>,
    random: Lock<Random>,
}

impl<const I: bool> Irq<I> {
    /// Interrupts from now on, until what this returns is dropped.
    pub(crate) fn begin(
        hardware: &Arc<Hardware<I>>,
        random: Random,
    ) -> Result<ArcHrTimerHandle<Self>> {
        let irq = Arc::pin_init(
            pin_init!(Self {
                timer <- HrTimer::new(),
                hardware: hardware.clone(),
                random: Lock::new(random),
            }),
            GFP_KERNEL,
        )?;
        Ok(irq.start(Delta::from_micros(100)))
    }
}

impl<const I: bool> HrTimerCallback for Irq<I> {
    type Pointer<'a> = Arc<Self>;

    fn run(this: ArcBorrow<'_, Self>, mut ctx: HrTimerCallbackContext<'_, Self>) -> HrTimerRestart {
        let began = ringfence::monotonic().as_ns();
        // A copy: the lock is let go of at once.
        let mut random = this.random.lock().fork();
        for _ in 0..random.below(5) {
            let Some(item) = this.hardware.take(&mut random, false) else {
                break;
            };
            item.finish(&mut random, true);
        }
        if random.one_in(4) {
            this.hardware.deliver();
        }
        // Where everything is slow, threads have their turn, too.
        let took = ringfence::monotonic().as_ns() - began;
        let pause = 200_000 + random.below(1_500_000) + 10 * took;
        ctx.forward_now(Delta::from_nanos(pause as i64));
        HrTimerRestart::Restart
    }
}

kernel::impl_has_hr_timer! {
    impl{const I: bool} HasHrTimer<Self> for Irq<I> {
        mode: RelativeHardMode<Monotonic>, field: self.timer
    }
}
