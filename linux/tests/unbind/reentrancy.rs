// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Nothing is called out with the queue's lock held: whatever is called enters the queue again, in
//! every way that is allowed there, and nothing hangs.
//!
//! Left out: callbacks of fences, which may complete jobs and nothing else
//! (`drm_callbacks::completed_in_a_fence_callback`), and observers, which are trace events here.

use kernel::alloc::Flags;
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::{Atomic, Full, Relaxed};
use kernel::sync::Arc;

use ringfence::{Completion, Device, Errno, Executor, Fence, Queue, SubmissionGuard, Timeline};
use ringfence::{StopError, UnbindError};

use crate::drm_timeout::{blocks, time_is_up};
use crate::recovery::refused;
use crate::rig::channel::Channel;
use crate::rig::{done, eventually, on_signal, outcome, submit, Gpu, Mock, Rig, What};

/// What a callback can get at.
struct Reach {
    queue: Arc<Queue<Mock>>,
    other: Arc<Queue<Mock>>,
    device: Arc<Device>,
    gpu: Arc<Gpu>,
    /// Fences of jobs that callbacks submitted.
    made: Channel<ARef<Fence>>,
    /// Set once the callback has been where it was to be.
    entered: Atomic<i32>,
    failed: Channel<Error>,
    /// Goes last.
    _here: Here,
}

/// Says when it has gone.
struct Here(Arc<Atomic<i32>>);

impl Drop for Here {
    fn drop(&mut self) {
        self.0.store(1, Relaxed);
    }
}

/// Where the queue calls out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    RunOnWorker,
    RunOnSubmitter,
    TimedOut,
    DropOnWorker,
    DropOnSubmitter,
    DropOnCompleter,
}

impl Place {
    /// In a driver callback, which is a signalling section, and for which unbind would wait.
    fn is_driver(self) -> bool {
        matches!(
            self,
            Self::RunOnWorker | Self::RunOnSubmitter | Self::TimedOut
        )
    }

    /// By what memory may be taken.
    fn flags(self) -> Flags {
        match self.is_driver() {
            true => GFP_ATOMIC,
            false => GFP_KERNEL,
        }
    }
}

/// A way into the queue.
type Way = (&'static str, fn(&Reach, Place) -> Result);

const WAYS: [Way; 18] = [
    ("prepare", |reach, place| {
        // Refused where the queue has ended; either way it returns.
        drop(reach.queue.prepare(reach.gpu.done(50), 1, place.flags()));
        Ok(())
    }),
    ("submit", |reach, place| reach.submit(&reach.queue, place)),
    ("submit elsewhere", |reach, place| {
        reach.submit(&reach.other, place)
    }),
    ("submit with dependencies", |reach, place| {
        let timeline = Timeline::new(c"test", c"t", place.flags())?;
        let (signaller, open) = timeline.signaller(place.flags())?;
        if let Ok(mut job) = reach.queue.prepare(reach.gpu.done(51), 1, place.flags()) {
            job.depends_on(&open, place.flags())?;
            reach.made.send(job.submit());
        }
        signaller.signal(Ok(()));
        Ok(())
    }),
    ("complete", |reach, _| {
        reach.tokens(|token| token.complete(Ok(())))
    }),
    ("complete in irq", |reach, _| {
        reach.tokens(|token| token.complete_in_irq(Err(Errno::EIO)))
    }),
    ("drop the tokens", |reach, _| reach.tokens(drop)),
    ("cancel", |reach, _| {
        for seqno in 0..8 {
            let _any = reach.queue.cancel(seqno, Errno::ECANCELED);
        }
        Ok(())
    }),
    ("kill", |reach, _| {
        reach.queue.kill(Errno::EIO);
        Ok(())
    }),
    ("kill the other", |reach, _| {
        reach.other.kill(Errno::EIO);
        Ok(())
    }),
    ("close", |reach, _| {
        reach.queue.close();
        Ok(())
    }),
    ("suspend and resume", |reach, _| {
        reach.queue.suspend();
        ensure!(reach.queue.resume());
        Ok(())
    }),
    ("look", |reach, place| {
        let _any = (reach.queue.stats(), reach.queue.len());
        ensure!(place.is_driver() || crate::rig::says(&reach.queue, "re-entered"));
        ensure_eq!(reach.queue.check_invariants(), Ok(()));
        Ok(())
    }),
    ("trigger a timeout", |reach, _| {
        reach.queue.trigger_timeout();
        Ok(())
    }),
    ("guard", |reach, place| {
        // It is a sleeping lock: not in a section.
        if place.is_driver() {
            return Ok(());
        }
        let jobs = [&reach.queue, &reach.other]
            .map(|queue| queue.prepare(reach.gpu.done(52), 1, place.flags()));
        let mut guard = SubmissionGuard::over(&[&*reach.other, &*reach.queue])?;
        for job in jobs.into_iter().flatten() {
            reach.made.send(guard.submit(job).map_err(|_| EINVAL)?);
        }
        Ok(())
    }),
    ("wait", |reach, place| {
        let timeline = Timeline::new(c"test", c"t", place.flags())?;
        let (signaller, fence) = timeline.signaller(place.flags())?;
        signaller.signal(Ok(()));
        ensure!(place.is_driver() || fence.wait() == Ok(()));
        ensure!(!reach.device.is_unbound());
        Ok(())
    }),
    ("stop and unbind", |reach, place| {
        if place.is_driver() {
            ensure_eq!(refused(reach.queue.stop()), Some(StopError::InCallback));
            ensure_eq!(
                refused(reach.device.stop_all()),
                Some(StopError::InCallback)
            );
            ensure_eq!(reach.device.unbind(), Err(UnbindError::InCallback));
        }
        Ok(())
    }),
    ("watch fences", |reach, _| {
        while let Some(fence) = reach.made.try_receive() {
            drop(on_signal(&fence, |_| {}));
        }
        Ok(())
    }),
];

impl Reach {
    /// The jobs on the hardware: on the other queue, and on this.
    fn tokens(&self, mut each: impl FnMut(Completion<Mock>)) -> Result {
        for tag in [90, 91] {
            if let Some(token) = self.gpu.try_take(tag) {
                each(token);
            }
        }
        Ok(())
    }

    fn submit(&self, queue: &Queue<Mock>, place: Place) -> Result {
        if let Ok(job) = queue.prepare(self.gpu.done(53), 1, place.flags()) {
            self.made.send(job.submit());
        }
        Ok(())
    }

    fn enter(&self, way: Way, place: Place) {
        if self.entered.xchg(1, Full) != 0 {
            return;
        }
        if let Err(error) = way.1(self, place) {
            self.failed.send(error);
        }
        self.entered.store(2, Relaxed);
    }
}

/// Has the queue call out at `place`, where `way` is taken. Then everything must end.
fn enter(place: Place, way: Way) -> Result {
    let rig = Rig::new()?;
    let bypass = matches!(place, Place::RunOnSubmitter | Place::DropOnSubmitter);
    let builder = Queue::<Mock>::builder(c"re-entered")
        .credits(64)
        .bypass(bypass);
    let other = Queue::<Mock>::builder(c"other").bypass(true);
    let gone = Arc::new(Atomic::new(0), GFP_KERNEL)?;
    let reach = Reach {
        queue: Arc::new(rig.build(builder)?, GFP_KERNEL)?,
        other: Arc::new(rig.build(other)?, GFP_KERNEL)?,
        device: rig.device.clone(),
        gpu: rig.gpu.clone(),
        made: Channel::new(8)?,
        entered: Atomic::new(0),
        failed: Channel::new(1)?,
        _here: Here(gone.clone()),
    };
    let reach = Arc::new(reach, GFP_KERNEL)?;
    // Job 90 is on the hardware, of the other queue. Job 91 will be, of this one.
    let first = submit(&reach.other, rig.gpu.waits(90), &[])?;
    rig.gpu.wait_running(90)?;
    let inner = reach.clone();
    let fences = call_out(&rig, &reach, place, move || inner.enter(way, place))?;
    eventually("the callback was entered", || {
        reach.entered.load(Relaxed) == 2
    })?;
    reach.tokens(|token| token.complete(Ok(())))?;
    let _any = done(&first)?;
    for fence in &fences {
        let _any = done(fence)?;
    }
    // What the callback submitted has ended, or does now.
    while let Some(fence) = reach.made.try_receive() {
        let _any = done(&fence)?;
    }
    ensure_eq!(reach.queue.check_invariants(), Ok(()));
    ensure_eq!(reach.other.check_invariants(), Ok(()));
    let failed = reach.failed.try_receive();
    rig.gpu.drop_hardware();
    drop((reach, fences));
    // Payloads hold what they reach: the device is to go with the rig.
    eventually("nobody reaches anything", || gone.load(Relaxed) == 1)?;
    rig.finish()?;
    match failed {
        None => Ok(()),
        Some(error) => Err(error),
    }
}

/// Brings the queue to call `go` at `place`.
fn call_out(
    rig: &Rig,
    reach: &Reach,
    place: Place,
    go: impl Fn() + Send + 'static,
) -> Result<KVec<ARef<Fence>>> {
    let (queue, gpu) = (&reach.queue, &rig.gpu);
    let mut fences = KVec::with_capacity(2, GFP_KERNEL)?;
    match place {
        Place::RunOnWorker | Place::RunOnSubmitter => {
            let work = gpu.calls(1, move |submission| {
                go();
                submission.done()
            })?;
            fences.push(submit(queue, gpu.waits(91), &[])?, GFP_KERNEL)?;
            gpu.wait_running(91)?;
            fences.push(submit(queue, work, &[])?, GFP_KERNEL)?;
        }
        Place::TimedOut => {
            let work = gpu.waits(1).when_timed_out(move |job| {
                go();
                job.handled(Errno::ETIME)
            })?;
            fences.push(submit(queue, work, &[])?, GFP_KERNEL)?;
            fences.push(submit(queue, gpu.waits(91), &[])?, GFP_KERNEL)?;
            gpu.wait_running(91)?;
            time_is_up(queue)?;
        }
        Place::DropOnSubmitter => {
            let work = gpu.done(1).when_dropped(go)?;
            fences.push(submit(queue, work, &[])?, GFP_KERNEL)?;
        }
        Place::DropOnWorker => {
            queue.suspend();
            let work = gpu.done(1).when_dropped(go)?;
            fences.push(submit(queue, work, &[])?, GFP_KERNEL)?;
            fences.push(submit(queue, gpu.waits(91), &[])?, GFP_KERNEL)?;
            ensure!(queue.resume());
        }
        Place::DropOnCompleter => {
            let work = gpu.waits(1).when_dropped(go)?;
            fences.push(submit(queue, work, &[])?, GFP_KERNEL)?;
            fences.push(submit(queue, gpu.waits(91), &[])?, GFP_KERNEL)?;
            gpu.wait_for(91, What::RunEnds)?;
            gpu.complete(1, Ok(()))?;
        }
    }
    Ok(fences)
}

fn every_way_in(place: Place) -> Result {
    for way in WAYS {
        if let Err(error) = enter(place, way) {
            pr_err!("{:?}, {}: {:?}\n", place, way.0, error);
            return Err(error);
        }
    }
    Ok(())
}

macro_rules! places {
    ($($name:ident: $place:ident,)*) => {
        $(
            pub(crate) fn $name() -> Result {
                every_way_in(Place::$place)
            }
        )*
    };
}

places! {
    run_on_a_worker: RunOnWorker,
    run_on_the_submitter: RunOnSubmitter,
    timed_out: TimedOut,
    payload_dropped_on_a_worker: DropOnWorker,
    payload_dropped_on_the_submitter: DropOnSubmitter,
    payload_dropped_on_the_completer: DropOnCompleter,
}

/// A payload's drop may sleep. Whether its visit has a run to answer, it does not know: stop and
/// unbind are done then, or refused.
pub(crate) fn stop_and_unbind_in_a_payload_drop() -> Result {
    for unbinds in [false, true] {
        let mut rig = Rig::new()?;
        rig.executor = Executor::real_time(c"one-thread")?;
        let (queue, busy) = (Arc::new(rig.queue(c"q")?, GFP_KERNEL)?, rig.queue(c"busy")?);
        let said = Channel::new(1)?;
        let (stopped, device, say) = (queue.clone(), rig.device.clone(), said.clone());
        let work = rig.gpu.waits(1).when_dropped(move || {
            say.send(match unbinds {
                true => device.unbind().is_ok(),
                false => stopped.stop().is_ok(),
            });
        })?;
        let (signaller, open) = Timeline::new(c"test", c"t", GFP_KERNEL)?.signaller(GFP_KERNEL)?;
        let fence = submit(&queue, work, &[])?;
        let behind = submit(&queue, rig.gpu.done(2), &[&open])?;
        rig.gpu.wait_running(1)?;
        // The one worker is busy; then it finds both, a payload to drop and a job to run.
        let (work, go) = blocks(&rig, 100)?;
        let blocking = submit(&busy, work, &[])?;
        rig.gpu.wait_for(100, What::RunBegins)?;
        rig.gpu.take(1)?.complete_in_irq(Ok(()));
        signaller.signal(Ok(()));
        drop(go);
        // Whatever the answer is, there is one.
        ensure!(said.receive()?.is_some());
        ensure_eq!(done(&fence)?, Ok(()));
        let _any = (done(&behind)?, done(&blocking)?);
        ensure!(unbinds || outcome(&queue, rig.gpu.done(3))? == Ok(()));
        rig.gpu.wait_for(1, What::Dropped)?;
        eventually("payloads are gone", || rig.gpu.leftovers().0 == 0)?;
        drop((queue, busy));
        rig.finish()?;
    }
    Ok(())
}
