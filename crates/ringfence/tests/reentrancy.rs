// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Nothing is called out with the queue's lock held: whatever is called enters the queue again,
//! in every way there is, and nothing hangs.
#![cfg(not(any(feature = "loom", feature = "shuttle")))]

mod common;

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, Mutex, OnceLock};

use common::mock::{Does, Gpu, Mock, What};
use common::{done, eventually, on_signal, submit, without_deadlock, Rig};
use ringfence::fence::Callback;
use ringfence::section::{in_section, CHECKED};
use ringfence::{
    Completion, Device, Errno, Event, Fence, Observer, Queue, SubmissionGuard, Timeline,
    UnbindError,
};

/// What a callback can get at.
struct Reach {
    queue: Queue<Mock>,
    other: Queue<Mock>,
    device: Device,
    gpu: Arc<Gpu>,
    /// Fences of jobs that callbacks submitted.
    made: Mutex<Vec<Fence>>,
    /// Set once the callback has been where it was to be.
    entered: OnceLock<()>,
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
    FenceByWorker,
    FenceBySubmitter,
    FenceByCompleter,
    FenceByKiller,
    ClosedFence,
    ObserverOfRun,
}

const PLACES: [Place; 12] = [
    Place::RunOnWorker,
    Place::RunOnSubmitter,
    Place::TimedOut,
    Place::DropOnWorker,
    Place::DropOnSubmitter,
    Place::DropOnCompleter,
    Place::FenceByWorker,
    Place::FenceBySubmitter,
    Place::FenceByCompleter,
    Place::FenceByKiller,
    Place::ClosedFence,
    Place::ObserverOfRun,
];

impl Place {
    /// Payloads are dropped outside signalling sections; all else is called inside one.
    fn is_section(self) -> bool {
        !matches!(
            self,
            Place::DropOnWorker | Place::DropOnSubmitter | Place::DropOnCompleter
        )
    }

    /// Where unbind would wait for the driver callback that calls it.
    fn is_driver(self) -> bool {
        matches!(
            self,
            Place::RunOnWorker | Place::RunOnSubmitter | Place::TimedOut
        )
    }
}

/// A way into the queue.
type Way = (&'static str, fn(&Reach, Place));

const WAYS: [Way; 18] = [
    ("prepare", |reach, _| {
        // Refused where the queue has ended; either way it returns.
        drop(reach.queue.prepare(reach.gpu.done(50), 1));
    }),
    ("submit", |reach, _| reach.submit(&reach.queue)),
    ("submit elsewhere", |reach, _| reach.submit(&reach.other)),
    ("submit with dependencies", |reach, _| {
        let (signaller, open) = Timeline::new("t").signaller();
        if let Ok(mut job) = reach.queue.prepare(reach.gpu.done(51), 1) {
            job.depends_on(&open).unwrap();
            reach.made.lock().unwrap().push(job.submit());
        }
        signaller.signal(Ok(()));
    }),
    ("complete", |reach, _| {
        reach.tokens().for_each(|token| token.complete(Ok(())));
    }),
    ("complete in irq", |reach, _| {
        reach
            .tokens()
            .for_each(|token| token.complete_in_irq(Err(Errno::EIO)));
    }),
    ("drop the tokens", |reach, _| reach.tokens().for_each(drop)),
    ("cancel", |reach, _| {
        for seqno in 0..8 {
            let _ = reach.queue.cancel(seqno, Errno::ECANCELED);
        }
    }),
    ("kill", |reach, _| reach.queue.kill(Errno::EIO)),
    ("kill the other", |reach, _| reach.other.kill(Errno::EIO)),
    ("close", |reach, _| reach.queue.close()),
    ("suspend and resume", |reach, _| {
        reach.queue.suspend();
        assert!(reach.queue.resume());
    }),
    ("look", |reach, _| {
        let _ = (reach.queue.stats(), reach.queue.len());
        assert!(reach.queue.snapshot().contains("re-entered"));
        reach.queue.check_invariants().unwrap();
    }),
    ("trigger a timeout", |reach, _| {
        reach.queue.trigger_timeout();
    }),
    ("guard", |reach, place| {
        let jobs = [&reach.queue, &reach.other].map(|queue| queue.prepare(reach.gpu.done(52), 1));
        let guarded = catch_unwind(AssertUnwindSafe(|| {
            let mut guard = SubmissionGuard::over(&[&reach.other, &reach.queue]);
            for job in jobs.into_iter().flatten() {
                reach.made.lock().unwrap().push(guard.submit(job).unwrap());
            }
        }));
        // It is a sleeping lock: refused in a section, in builds that look.
        assert_eq!(guarded.is_err(), CHECKED && place.is_section());
    }),
    ("wait", |reach, _| {
        let waited = catch_unwind(|| Fence::already_signalled(Ok(())).wait());
        assert_eq!(waited.is_err(), CHECKED && in_section());
        assert!(!reach.device.is_unbound());
    }),
    ("unbind", |reach, place| {
        let unbound = catch_unwind(AssertUnwindSafe(|| reach.device.unbind()));
        if place.is_driver() {
            assert_eq!(unbound.unwrap(), Err(UnbindError::InCallback));
        } else if place.is_section() {
            // It waits, so it is not for sections. Where nobody looks it must not hang at least.
            assert!(!CHECKED || unbound.map_or(true, |unbound| unbound.is_err()));
        } else {
            // Done, or refused where this very visit owes the driver an answer.
            let _either = unbound.unwrap();
        }
    }),
    ("watch fences", |reach, _| {
        let made = reach.made.lock().unwrap().clone();
        let callback: Box<dyn FnMut(ringfence::fence::Status) + Send> = Box::new(|_| {});
        let mut callback = Some(Callback::new(callback));
        for fence in made {
            let rejected = match fence.add_callback(callback.take().unwrap()) {
                Ok(registration) => registration.into_callback(),
                Err(rejected) => Some(rejected.callback),
            };
            callback = rejected;
        }
    }),
];

impl Reach {
    /// The jobs on the hardware: on the other queue, and on this.
    fn tokens(&self) -> impl Iterator<Item = Completion<Mock>> + '_ {
        [90, 91]
            .into_iter()
            .filter_map(|tag| self.gpu.try_take(tag))
    }

    fn submit(&self, queue: &Queue<Mock>) {
        if let Ok(job) = queue.prepare(self.gpu.done(53), 1) {
            let fence = job.submit();
            self.made.lock().unwrap().push(fence);
        }
    }

    fn enter(&self, way: fn(&Reach, Place), place: Place, complaints: &Mutex<Vec<String>>) {
        if self.entered.set(()).is_err() {
            return;
        }
        if CHECKED && in_section() != place.is_section() {
            let complaint = format!("in a section: {}", in_section());
            complaints.lock().unwrap().push(complaint);
        }
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| way(self, place))) {
            let text = panic.downcast_ref::<String>().cloned();
            complaints.lock().unwrap().push(text.unwrap_or_default());
        }
    }
}

type Hook = Arc<OnceLock<Box<dyn Fn() + Send + Sync>>>;

struct Watching(Hook);

impl Observer for Watching {
    fn observe(&self, event: &Event) {
        if let (ringfence::EventKind::Run { .. }, Some(hook)) = (event.kind, self.0.get()) {
            hook();
        }
    }
}

/// Has the queue call out at `place`, where `way` is taken. Then everything must end.
fn enter(place: Place, way: Way) {
    let rig = Rig::new();
    let hook: Hook = Arc::default();
    let mut builder = Queue::<Mock>::builder("re-entered").credits(64);
    builder = match place {
        Place::RunOnSubmitter | Place::DropOnSubmitter | Place::FenceBySubmitter => {
            builder.bypass(true)
        }
        Place::ObserverOfRun => builder.observer(Arc::new(Watching(Arc::clone(&hook)))),
        _ => builder,
    };
    let reach = Arc::new(Reach {
        queue: rig.build(builder),
        other: rig.build(Queue::<Mock>::builder("other").bypass(true)),
        device: rig.device.clone(),
        gpu: Arc::clone(&rig.gpu),
        made: Mutex::default(),
        entered: OnceLock::new(),
    });
    let complaints = Arc::new(Mutex::new(Vec::new()));
    // Job 90 is on the hardware, of the other queue. Job 91 will be, of this one.
    let first = submit(&reach.other, rig.gpu.waits(90), &[]);
    rig.gpu.wait_running(90);
    let (inner, noted) = (Arc::downgrade(&reach), Arc::clone(&complaints));
    let go = move || {
        if let Some(reach) = inner.upgrade() {
            reach.enter(way.1, place, &noted);
        }
    };
    let _ = hook.set(Box::new(go.clone()));
    let fences = call_out(&rig, &reach, place, go);
    eventually("the callback was entered", || reach.entered.get().is_some());
    reach.tokens().for_each(|token| token.complete(Ok(())));
    let _any = done(&first);
    for fence in &fences {
        let _any = done(fence);
    }
    // What the callback submitted has ended, or does now.
    let made = reach.made.lock().unwrap().clone();
    for fence in &made {
        let _any = done(fence);
    }
    reach.queue.check_invariants().unwrap();
    reach.other.check_invariants().unwrap();
    let heard = complaints.lock().unwrap().clone();
    assert!(heard.is_empty(), "{place:?}, {}: {heard:?}", way.0);
    rig.gpu.drop_hardware();
    drop(reach);
    drop(fences);
    rig.finish();
}

/// Brings the queue to call `go` at `place`.
fn call_out(
    rig: &Rig,
    reach: &Reach,
    place: Place,
    go: impl Fn() + Send + Sync + Clone + 'static,
) -> Vec<Fence> {
    let (queue, gpu) = (&reach.queue, &rig.gpu);
    let entering = go.clone();
    let watch = Callback::new(move |_| go());
    match place {
        Place::RunOnWorker | Place::RunOnSubmitter => {
            let work = gpu.calls(1, move |submission| {
                entering();
                submission.done()
            });
            let before = submit(queue, gpu.waits(91), &[]);
            gpu.wait_running(91);
            vec![before, submit(queue, work, &[])]
        }
        Place::TimedOut => {
            let work = gpu.waits(1).when_timed_out(move |job| {
                entering();
                job.handled(Errno::ETIME)
            });
            let fence = submit(queue, work, &[]);
            let behind = submit(queue, gpu.waits(91), &[]);
            gpu.wait_running(91);
            eventually("a timeout", || queue.trigger_timeout());
            vec![fence, behind]
        }
        Place::DropOnSubmitter => {
            let fence = submit(queue, gpu.done(1).when_dropped(entering), &[]);
            vec![fence]
        }
        Place::DropOnWorker => {
            queue.suspend();
            let work = gpu.done(1).when_dropped(entering);
            let fences = vec![submit(queue, work, &[]), submit(queue, gpu.waits(91), &[])];
            assert!(queue.resume());
            fences
        }
        Place::DropOnCompleter => {
            let fence = submit(queue, gpu.waits(1).when_dropped(entering), &[]);
            let behind = submit(queue, gpu.waits(91), &[]);
            gpu.wait_for(91, What::RunEnds);
            gpu.complete(1, Ok(()));
            vec![fence, behind]
        }
        Place::FenceByWorker => {
            // A callback that is there before the job runs.
            queue.suspend();
            let fence = submit(queue, gpu.done(1), &[]);
            std::mem::forget(on_signal(&fence, move |_| entering()));
            let behind = submit(queue, gpu.waits(91), &[]);
            assert!(queue.resume());
            vec![fence, behind]
        }
        Place::FenceBySubmitter => {
            let mut guard = queue.submission_guard();
            let armed = guard.arm(queue.prepare(gpu.done(1), 1).unwrap()).unwrap();
            let fence = armed.finished();
            let registration = fence.add_callback(watch);
            std::mem::forget(registration);
            armed.submit();
            vec![fence]
        }
        Place::FenceByCompleter => {
            let fence = submit(queue, gpu.waits(1), &[]);
            std::mem::forget(on_signal(&fence, move |_| entering()));
            let behind = submit(queue, gpu.waits(91), &[]);
            gpu.wait_running(91);
            gpu.complete(1, Ok(()));
            vec![fence, behind]
        }
        Place::FenceByKiller => {
            let fence = submit(queue, gpu.waits(1), &[]);
            std::mem::forget(on_signal(&fence, move |_| entering()));
            let behind = submit(queue, gpu.waits(91), &[]);
            gpu.wait_running(91);
            queue.kill(Errno::EIO);
            vec![fence, behind]
        }
        Place::ClosedFence => {
            std::mem::forget(on_signal(&queue.closed(), move |_| entering()));
            queue.close();
            vec![]
        }
        Place::ObserverOfRun => {
            let room = Does::NoRoom(Fence::already_signalled(Ok(())), Box::new(Does::Done));
            vec![submit(queue, gpu.work(1, room), &[])]
        }
    }
}

fn every_way_in(place: Place) {
    assert!(PLACES.contains(&place));
    for way in WAYS {
        without_deadlock(&format!("{place:?}, {}", way.0), move || enter(place, way));
    }
}

macro_rules! places {
    ($($name:ident: $place:ident,)*) => {
        $(
            #[test]
            fn $name() {
                every_way_in(Place::$place);
            }
        )*

        #[test]
        fn every_place_is_tested() {
            assert_eq!(PLACES, [$(Place::$place),*]);
        }
    };
}

places! {
    run_on_a_worker: RunOnWorker,
    run_on_the_submitter: RunOnSubmitter,
    timed_out: TimedOut,
    payload_dropped_on_a_worker: DropOnWorker,
    payload_dropped_on_the_submitter: DropOnSubmitter,
    payload_dropped_on_the_completer: DropOnCompleter,
    fence_signalled_by_a_worker: FenceByWorker,
    fence_signalled_by_the_submitter: FenceBySubmitter,
    fence_signalled_by_the_completer: FenceByCompleter,
    fence_signalled_by_kill: FenceByKiller,
    fence_of_the_queues_end: ClosedFence,
    observer: ObserverOfRun,
}
