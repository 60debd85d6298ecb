// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What has an end: patience with guilty queues, with teardown, with replays; and unbind during all
//! of it.

use std::sync::{mpsc, Arc};
use std::thread;
use std::time::Duration;

use ringfence::{
    Ban, ClosePolicy, Device, Errno, Guilty, Hang, InspectError, Inspection, PrepareError, Queue,
    Replayed, Request, Rest, Standing, StopError, Timeout, UnbindError,
};

use super::recovery::on_hardware;
use crate::common::mock::{Mock, TimedOut, What, AT_ONCE};
use crate::common::{done, eventually, submit, Rig, LONG};

/// Longer than any test takes.
const AGES: Duration = Duration::from_secs(100_000);

const BAN: Ban = Ban {
    strikes: 2,
    within: None,
};

pub(crate) fn ban_after_strikes() {
    let rig = Rig::new();
    let queue = rig.build(Queue::<Mock>::builder("q").timeout(AT_ONCE).ban(BAN));
    assert_eq!(queue.standing(), Standing::Good { strikes: 0 });
    let first = submit(&queue, rig.gpu.waits(1), &[]);
    assert_eq!(done(&first), Err(Errno::ETIME));
    eventually("a strike", || {
        queue.standing() == Standing::Good { strikes: 1 }
    });
    queue.suspend();
    let second = submit(&queue, rig.gpu.waits(2), &[]);
    let third = submit(&queue, rig.gpu.done(3), &[&second]);
    queue.resume();
    assert_eq!(done(&second), Err(Errno::ETIME));
    assert!(done(&third).is_err(), "what has not run ends");
    eventually("banned", || queue.standing() == Standing::Banned);
    let refused = queue.prepare(rig.gpu.done(4), 1).unwrap_err();
    assert_eq!(refused.error, PrepareError::Banned);
    assert_eq!(refused.error.errno(), Errno::EIO);
    assert!(refused.to_string().contains("banned"));
    drop(refused);
    assert_eq!(done(&queue.closed()), Ok(()));
    drop(queue);
    rig.finish();
}

/// Strikes by whoever recovers; what is on the hardware of a banned queue goes on.
pub(crate) fn ban_by_who_stopped_the_queue() {
    let rig = Rig::new();
    let queue = rig.build(Queue::<Mock>::builder("q").ban(BAN));
    let fences = on_hardware(&rig, &queue, 2);
    let mut stopped = queue.stop().unwrap();
    let guilty = Guilty {
        seqno: 1,
        error: Errno::EFAULT,
    };
    stopped.recover(Some(guilty), Rest::Replay);
    let behind = submit(&queue, rig.gpu.done(3), &[]);
    assert_eq!(stopped.strike(), Standing::Banned);
    drop(stopped);
    assert_eq!(done(&fences[0]), Err(Errno::EFAULT));
    rig.gpu.complete(2, Ok(()));
    assert_eq!(done(&fences[1]), Ok(()));
    assert_eq!(done(&behind), Err(Errno::ECANCELED));
    drop(queue);
    rig.finish();
}

/// The job's own word counts before its queue's, that before its device's.
pub(crate) fn timeouts_from_narrow_to_wide() {
    let rig = Rig::new();
    let device = Device::builder("patient").timeout(AGES).build();
    let build = |builder: ringfence::Builder| {
        let driver = rig.gpu.driver();
        builder.build(&device, &rig.pool, driver).unwrap()
    };
    let inherits = build(Queue::<Mock>::builder("inherits"));
    let hasty = build(Queue::<Mock>::builder("hasty").timeout(AT_ONCE));
    let never = build(Queue::<Mock>::builder("never").timeout(Timeout::Never));
    let said = |queue: &Queue<Mock>, tag, timeout| {
        let request = Request {
            cost: 1,
            timeout,
            ..Request::default()
        };
        queue
            .prepare_with(rig.gpu.waits(tag), request)
            .unwrap()
            .submit()
    };
    let by_device = said(&inherits, 1, Timeout::Inherit);
    let by_queue = said(&hasty, 2, Timeout::Inherit);
    let by_job = said(&never, 3, Timeout::After(AT_ONCE));
    assert_eq!(done(&by_queue), Err(Errno::ETIME));
    assert_eq!(done(&by_job), Err(Errno::ETIME));
    eventually("the device's is counting", || {
        inherits.snapshot().contains("times out in")
    });
    let forever = said(&never, 4, Timeout::Inherit);
    eventually("it is on the hardware", || {
        never.snapshot().contains("#2      pending")
    });
    assert!(!never.snapshot().contains("times out in"));
    rig.gpu.complete(1, Ok(()));
    rig.gpu.complete(4, Ok(()));
    assert_eq!((done(&by_device), done(&forever)), (Ok(()), Ok(())));
    drop((inherits, hasty, never));
    device.unbind().unwrap();
    rig.finish();
}

/// Finds no hang, whatever happens.
fn blind() -> TimedOut {
    Box::new(|mut job| {
        job.payload().set_timed_out(blind());
        job.no_hang()
    })
}

/// A driver that never gives up must not keep a process from being killed.
pub(crate) fn drm_4_2_hung_device_does_not_hold_teardown() {
    for policy in [ClosePolicy::Cancel, ClosePolicy::Drain] {
        let rig = Rig::new();
        let builder = Queue::<Mock>::builder("q")
            .credits(2)
            .timeout(AGES)
            .close_timeout(Duration::from_millis(5));
        let queue = rig.build(builder);
        let work = |tag| rig.gpu.waits(tag).when_timed_out(blind());
        let hung: Vec<_> = (1..=2).map(|tag| submit(&queue, work(tag), &[])).collect();
        let behind = submit(&queue, work(3), &[]);
        rig.gpu.wait_running(2);
        let closed = queue.closed();
        queue.close_with(policy);
        assert_eq!(closed.wait_timeout(LONG), Ok(Ok(())));
        for fence in &hung {
            assert_eq!(fence.status(), Some(Err(Errno::ETIME)));
        }
        assert_eq!(behind.status(), Some(Err(Errno::ECANCELED)));
        drop(queue);
        rig.finish();
    }
}

/// Where nothing is begun any more, a replay ends the job instead of leaving it in between.
pub(crate) fn replay_after_the_time_for_closing() {
    let rig = Rig::new();
    let builder = Queue::<Mock>::builder("q").close_timeout(AT_ONCE);
    let queue = rig.build(builder);
    let fences = on_hardware(&rig, &queue, 2);
    let mut stopped = queue.stop().unwrap();
    queue.close();
    eventually("overdue", || queue.snapshot().contains("overdue"));
    let mut walk = stopped.pending();
    assert_eq!(
        walk.next().unwrap().replay(),
        Replayed::Failed(Errno::ETIME)
    );
    let recovered = stopped.recover(None, Rest::Replay);
    assert_eq!((recovered.failed, recovered.replayed), (1, 0));
    drop(stopped);
    for fence in &fences {
        assert_eq!(done(fence), Err(Errno::ETIME));
    }
    assert_eq!(rig.gpu.tags(What::Replay), []);
    drop(queue);
    rig.finish();
}

pub(crate) fn replayed_too_often() {
    let rig = Rig::new();
    let queue = rig.queue("q");
    let fences = on_hardware(&rig, &queue, 1);
    let mut stopped = queue.stop().unwrap();
    for _ in 0..255 {
        assert_eq!(stopped.recover(None, Rest::Replay).replayed, 1);
    }
    assert_eq!(stopped.recover(None, Rest::Replay).failed, 1);
    drop(stopped);
    assert_eq!(done(&fences[0]), Err(Errno::ECANCELED));
    drop(queue);
    rig.finish();
}

/// Fences do not wait for whoever has stopped the queue; unbind does.
pub(crate) fn unbind_waits_for_the_guard() {
    let rig = Rig::new();
    let queue = rig.queue("q");
    let fences = on_hardware(&rig, &queue, 2);
    let mut stopped = queue.stop().unwrap();
    let device = rig.device.clone();
    let (say, said) = mpsc::channel();
    let unbinds = thread::spawn(move || {
        let unbound = device.unbind();
        say.send(()).unwrap();
        unbound
    });
    for fence in &fences {
        assert_eq!(done(fence), Err(Errno::ENODEV));
    }
    assert!(said.try_recv().is_err());
    stopped.driver().hardware += 1;
    assert!(stopped.pending().next().is_none());
    assert_eq!(stopped.recover(None, Rest::Replay).replayed, 0);
    assert_eq!(rig.gpu.leftovers().1, 1);
    drop(stopped);
    assert_eq!(unbinds.join().unwrap(), Ok(()));
    assert_eq!(rig.gpu.leftovers().1, 0);
    assert_eq!(queue.stop().unwrap_err(), StopError::Unbound);
    assert_eq!(rig.device.stop_all().unwrap_err(), StopError::Unbound);
    drop(queue);
    rig.finish();
}

/// What the recovery is in the middle of, it ends; what it has not begun, it does not begin.
pub(crate) fn unbind_during_recovery() {
    for whole in [false, true] {
        let (say, said) = mpsc::channel();
        let (go, wait) = mpsc::channel::<()>();
        let rig = Rig::with_recovery(move |device: &Device, hang: &Hang<'_>| {
            say.send(device.unbind()).unwrap();
            // The sender's end ends it.
            let _ = wait.recv();
            // Unbind has begun, and waits for this.
            let refused = match whole {
                true => hang.stop_all().map(drop),
                false => hang.stop_queue().map(drop),
            };
            assert_eq!(refused, Err(StopError::Unbound));
        });
        let queues = [rig.queue("q"), rig.queue("r")];
        let mut fences = Vec::new();
        for (queue, tag) in queues.iter().zip(1..) {
            let work = rig.gpu.waits(tag);
            let work = work.when_timed_out(|job| job.reset().expect("there is a recovery"));
            fences.push(submit(queue, work, &[]));
            eventually("on the hardware", || queue.trigger_timeout());
        }
        assert_eq!(said.recv().unwrap(), Err(UnbindError::InCallback));
        let device = rig.device.clone();
        let unbinds = thread::spawn(move || device.unbind());
        for fence in &fences {
            assert_eq!(done(fence), Err(Errno::ENODEV));
        }
        assert!(!unbinds.is_finished());
        drop(go);
        assert_eq!(unbinds.join().unwrap(), Ok(()));
        assert!(said.recv().is_err(), "called once, and dropped since");
        drop(queues);
        rig.finish();
    }
}

/// Nobody has to unbind: a device that is let go of takes its recovery along.
pub(crate) fn recovery_ends_with_its_device() {
    let alive = Arc::new(());
    let held = Arc::clone(&alive);
    let device = Device::builder("short-lived").recovery(move |_: &Device, _: &Hang<'_>| {
        let _held = &held;
    });
    drop(device.unwrap());
    eventually("the recovery is dropped", || Arc::strong_count(&alive) == 1);
}

/// Looked at while it works: without memory of its own, in a callback, while stopped.
pub(crate) fn inspected_in_a_callback_and_while_stopped() {
    let rig = Rig::new();
    let queue = Arc::new(rig.build(Queue::<Mock>::builder("q").capacity(16)));
    let (say, said) = mpsc::channel();
    let (inspected, mut memory) = (Arc::clone(&queue), Inspection::new(16));
    let work = rig.gpu.calls(1, move |submission| {
        let mut text = String::with_capacity(1 << 14);
        let result = inspected.snapshot_into(&mut memory, &mut text);
        say.send(result.map(|()| text)).unwrap();
        submission.done()
    });
    assert_eq!(done(&submit(&queue, work, &[])), Ok(()));
    let text = said.recv().unwrap().unwrap();
    assert!(text.contains("in the run callback"), "{text}");
    let fences = on_hardware(&rig, &queue, 2);
    let mut stopped = queue.stop().unwrap();
    stopped.recover(None, Rest::Replay);
    let text = queue.snapshot();
    for says in ["stopped", "replayed 1 time", "#2      submitted"] {
        assert!(text.contains(says), "no '{says}' in {text}");
    }
    drop(stopped);
    let too_small = queue.snapshot_into(&mut Inspection::new(8), &mut String::new());
    assert_eq!(too_small, Err(InspectError::NoRoom { entries: 16 }));
    for tag in 1..=2 {
        rig.gpu.complete(tag, Ok(()));
    }
    assert!(fences.iter().all(|fence| done(fence).is_ok()));
    drop(queue);
    rig.finish();
}
