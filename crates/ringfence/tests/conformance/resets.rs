// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Recovery of a device: who asks for it, who is served, and what ends it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{mpsc, Arc, Mutex};
use std::thread;

use ringfence::{
    BuildError, Device, Errno, Fence, Guilty, Hang, Queue, RequestError, Rest, StopError,
    UnbindError,
};

use super::recovery::on_hardware;
use crate::common::mock::{Mock, What, Work};
use crate::common::{done, eventually, on_signal, submit, Order, Rig};

/// Jobs whose timeout callback asks for a recovery.
fn hangs(rig: &Rig, tag: u64) -> Work {
    rig.gpu
        .waits(tag)
        .when_timed_out(|job| job.reset().expect("there is a recovery"))
}

/// Ends the time of the head of the line once it is on the hardware.
#[track_caller]
fn time_is_up(queue: &Queue<Mock>) {
    eventually("its head is on the hardware", || queue.trigger_timeout());
}

fn wants_recovery(queue: &Queue<Mock>) -> bool {
    queue.snapshot().contains("wants a recovery")
}

fn guilty(hang: &Hang<'_>) -> Option<Guilty> {
    let error = Errno::ETIME;
    hang.seqno().map(|seqno| Guilty { seqno, error })
}

pub(crate) fn recovery_of_one_queue() {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&calls);
    let rig = Rig::with_recovery(move |_: &Device, hang: &Hang<'_>| {
        let mut stop = hang.stop_queue().unwrap();
        assert_eq!(stop.queue().wants_recovery(), hang.seqno());
        let mut stopped = stop.typed::<Mock>().unwrap();
        stopped.driver().hardware += 1;
        let recovered = stopped.recover(guilty(hang), Rest::Replay);
        seen.lock()
            .unwrap()
            .push((hang.context(), hang.seqno(), recovered.replayed));
    });
    let (queue, other) = (rig.queue("q"), rig.queue("other"));
    let apart = submit(&other, rig.gpu.waits(100), &[]);
    let hung = submit(&queue, hangs(&rig, 1), &[]);
    let behind = submit(&queue, rig.gpu.waits(2), &[]);
    let queued = submit(&queue, rig.gpu.done(3), &[&behind]);
    rig.gpu.wait_running(2);
    time_is_up(&queue);
    assert_eq!(done(&hung), Err(Errno::ETIME));
    rig.gpu.wait_for(2, What::Replay);
    rig.gpu.complete(2, Ok(()));
    assert_eq!((done(&behind), done(&queued)), (Ok(()), Ok(())));
    let seen = calls.lock().unwrap().clone();
    assert_eq!(seen, [(queue.context(), Some(1), 1)]);
    assert_eq!(rig.gpu.count(100, What::Replay), 0, "innocent of it all");
    rig.gpu.complete(100, Ok(()));
    assert_eq!(done(&apart), Ok(()));
    assert_eq!(queue.stats().recoveries, 1);
    drop((queue, other));
    rig.finish();
}

/// Several queues hang; whoever deals with all of them spares the others a recovery each.
pub(crate) fn many_ask_and_one_reset_serves_all() {
    let calls = Arc::new(AtomicU64::new(0));
    let (seen, (go, wait)) = (Arc::clone(&calls), mpsc::channel::<()>());
    let rig = Rig::with_recovery(move |_: &Device, hang: &Hang<'_>| {
        seen.fetch_add(1, Ordering::SeqCst);
        // The sender's end ends it.
        let _ = wait.recv();
        let mut all = hang.stop_all().unwrap();
        let mut guilty = Vec::new();
        all.for_each(|queue| {
            guilty.extend(
                queue
                    .wants_recovery()
                    .map(|seqno| (queue.context(), seqno, Errno::ETIME)),
            );
        });
        let recovered = all.recover(&guilty, Rest::Replay);
        assert_eq!((recovered.failed, recovered.replayed), (3, 4));
    });
    let queues: Vec<_> = (0..4).map(|_| rig.queue("q")).collect();
    let fences: Vec<Fence> = (0..8)
        .map(|tag| match tag {
            0..3 => submit(&queues[tag], hangs(&rig, tag as u64), &[]),
            3 => submit(&queues[3], rig.gpu.done(3), &[]),
            _ => submit(&queues[tag % 4], rig.gpu.waits(tag as u64), &[]),
        })
        .collect();
    for tag in 4..8 {
        rig.gpu.wait_running(tag);
    }
    for queue in &queues[..3] {
        time_is_up(queue);
        eventually("it asks", || wants_recovery(queue));
    }
    drop(go);
    for fence in &fences[..3] {
        assert_eq!(done(fence), Err(Errno::ETIME));
    }
    for tag in 4..8 {
        rig.gpu.wait_for(tag, What::Replay);
        rig.gpu.complete(tag, Ok(()));
        assert_eq!(done(&fences[usize::try_from(tag).unwrap()]), Ok(()));
    }
    // The thread is through with the round: unbind waits for it.
    rig.device.unbind().unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    drop(queues);
    rig.finish();
}

/// An interrupt reports a fault before any time is up.
pub(crate) fn recovery_requested_by_an_interrupt() {
    let (say, said) = mpsc::channel();
    let rig = Rig::with_recovery(move |_: &Device, hang: &Hang<'_>| {
        // It may have been closed since.
        let Ok(mut stop) = hang.stop_queue() else {
            return;
        };
        let recovered = stop.recover(None, Rest::Cancel);
        if recovered.cancelled == 0 {
            return;
        }
        say.send((hang.context(), hang.seqno(), recovered.cancelled))
            .unwrap();
    });
    let queues: Vec<_> = (0..40).map(|_| rig.queue("q")).collect();
    for queue in queues.iter().rev() {
        let fence = submit(queue, rig.gpu.waits(queue.context()), &[]);
        rig.gpu.wait_for(queue.context(), What::RunEnds);
        rig.device.request_recovery(queue.context()).unwrap();
        assert_eq!(done(&fence), Err(Errno::ECANCELED));
        assert_eq!(said.recv().unwrap(), (queue.context(), None, 1));
    }
    let gone = queues[7].context();
    drop(queues);
    // Tokens keep their queue.
    rig.gpu.drop_hardware();
    eventually("it is gone", || {
        rig.device.request_recovery(gone) == Err(RequestError::NoSuchQueue)
    });
    assert_eq!(
        rig.device.request_recovery(0),
        Err(RequestError::NoSuchQueue)
    );
    rig.device.unbind().unwrap();
    assert_eq!(
        rig.device.request_recovery(gone),
        Err(RequestError::NoRecovery)
    );
    rig.finish();
}

pub(crate) fn reset_without_a_recovery_is_refused() {
    let rig = Rig::new();
    assert!(!rig.device.has_recovery());
    let queue = rig.queue("q");
    let work = rig.gpu.waits(1).when_timed_out(|job| {
        let job = job.reset().expect_err("nobody would do it");
        job.handled(Errno::EIO)
    });
    let fence = submit(&queue, work, &[]);
    time_is_up(&queue);
    assert_eq!(done(&fence), Err(Errno::EIO));
    assert_eq!(
        rig.device.request_recovery(queue.context()),
        Err(RequestError::NoRecovery)
    );
    drop(queue);
    rig.finish();
}

pub(crate) fn recovery_that_does_nothing() {
    let rig = Rig::with_recovery(|_: &Device, _: &Hang<'_>| {});
    let queue = rig.queue("q");
    let hung = submit(&queue, hangs(&rig, 1), &[]);
    let behind = submit(&queue, rig.gpu.waits(2), &[]);
    rig.gpu.wait_running(2);
    time_is_up(&queue);
    assert_eq!(done(&hung), Err(Errno::ETIME), "not left in limbo");
    rig.gpu.complete(2, Ok(()));
    assert_eq!(done(&behind), Ok(()));
    assert_eq!(
        done(&submit(&queue, rig.gpu.done(3), &[])),
        Ok(()),
        "and the queue goes on"
    );
    drop(queue);
    rig.finish();
}

pub(crate) fn panic_in_recovery() {
    let rig = Rig::with_recovery(|_: &Device, hang: &Hang<'_>| {
        let _stopped = hang.stop_queue().unwrap();
        panic!("meant");
    });
    let (queue, other) = (rig.queue("q"), rig.queue("other"));
    let fences = [
        submit(&queue, hangs(&rig, 1), &[]),
        submit(&other, rig.gpu.waits(2), &[]),
    ];
    rig.gpu.wait_running(2);
    time_is_up(&queue);
    for fence in &fences {
        assert_eq!(done(fence), Err(Errno::EOWNERDEAD));
    }
    // The guard that it held was let go of: both close.
    assert_eq!(
        (done(&queue.closed()), done(&other.closed())),
        (Ok(()), Ok(()))
    );
    assert!(!rig.device.has_recovery());
    let builder = Queue::<Mock>::builder("late");
    let refused = builder.build(&rig.device, &rig.pool, rig.gpu.driver());
    assert_eq!(refused.unwrap_err(), BuildError::Gone(Errno::EOWNERDEAD));
    drop((queue, other));
    rig.finish();
}

/// Two resets of one device at a time: each undoes the other.
pub(crate) fn drm_4_17_resets_of_one_device_overlap() {
    let inside = Arc::new(AtomicU64::new(0));
    let reset = |inside: &AtomicU64| {
        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "resets overlap");
        thread::yield_now();
        inside.fetch_sub(1, Ordering::SeqCst);
    };
    let own = Arc::clone(&inside);
    let rig = Rig::with_recovery(move |_: &Device, hang: &Hang<'_>| {
        let mut stop = hang.stop_queue().unwrap();
        reset(&own);
        stop.recover(guilty(hang), Rest::Keep);
    });
    let queues: Vec<_> = (0..3).map(|_| rig.queue("q")).collect();
    thread::scope(|scope| {
        for queue in &queues {
            scope.spawn(|| {
                for tag in 0..20 {
                    let fence = submit(queue, hangs(&rig, tag), &[]);
                    time_is_up(queue);
                    assert_eq!(done(&fence), Err(Errno::ETIME));
                }
            });
        }
        scope.spawn(|| {
            for round in 0..60 {
                if round % 2 == 0 {
                    let _all = rig.device.stop_all().unwrap();
                    reset(&inside);
                } else {
                    let _one = queues[0].stop().unwrap();
                    reset(&inside);
                }
            }
        });
    });
    drop(queues);
    rig.finish();
}

/// Recovery inside the timeout callback is what freed jobs under it.
pub(crate) fn drm_4_5_stop_in_a_callback() {
    let rig = Rig::new();
    let queue = Arc::new(rig.queue("q"));
    let (say, said) = mpsc::channel();
    let stop = {
        let (queue, device) = (Arc::clone(&queue), rig.device.clone());
        move || {
            let one = queue.stop().map(drop).unwrap_err();
            let all = device.stop_all().map(drop).unwrap_err();
            say.send((one, all)).unwrap();
        }
    };
    let (in_run, in_timeout, in_fence) = (stop.clone(), stop.clone(), stop);
    let work = rig.gpu.calls(1, move |submission| {
        in_run();
        submission.done()
    });
    queue.suspend();
    let first = submit(&queue, work, &[]);
    let watch = on_signal(&first, move |_| in_fence());
    queue.resume();
    assert_eq!(done(&first), Ok(()));
    let work = rig.gpu.waits(2).when_timed_out(move |job| {
        in_timeout();
        job.handled(Errno::ETIME)
    });
    let second = submit(&queue, work, &[]);
    time_is_up(&queue);
    assert_eq!(done(&second), Err(Errno::ETIME));
    let refused = (StopError::InCallback, StopError::InCallback);
    assert_eq!(said.iter().take(3).collect::<Vec<_>>(), [refused; 3]);

    let stopped = queue.stop().unwrap();
    assert_eq!(queue.stop().unwrap_err(), StopError::Nested);
    assert_eq!(rig.device.stop_all().unwrap_err(), StopError::Nested);
    assert_eq!(rig.device.unbind(), Err(UnbindError::Stopped));
    let elsewhere = Rig::new();
    drop(elsewhere.queue("q").stop().unwrap());
    elsewhere.finish();
    drop(stopped);
    drop((watch, queue));
    rig.finish();
}

/// Everything ends at once, and each timeline in order.
pub(crate) fn drm_4_3_device_gone_ends_fences_in_order() {
    let rig = Rig::new();
    let queues: Vec<_> = (0..3).map(|_| rig.queue("q")).collect();
    let order: Vec<_> = queues.iter().map(|_| Order::default()).collect();
    let mut kept = Vec::new();
    for (queue, order) in queues.iter().zip(&order) {
        queue.suspend();
        let fences: Vec<_> = (0..8)
            .map(|tag| submit(queue, rig.gpu.waits(tag), &[]))
            .collect();
        kept.extend(order.watch_all(&fences));
        queue.resume();
        rig.gpu.wait_running(0);
    }
    let all = rig.device.stop_all().unwrap();
    assert_eq!(all.len(), 3);
    all.device_gone();
    for (queue, order) in queues.iter().zip(&order) {
        eventually("all have signalled", || order.seen().len() == 8);
        order.assert_in_order(8);
        assert!(order
            .seen()
            .iter()
            .all(|(_, status)| *status == Err(Errno::ENODEV)));
        assert_eq!(done(&queue.closed()), Ok(()));
    }
    let builder = Queue::<Mock>::builder("late");
    let refused = builder.build(&rig.device, &rig.pool, rig.gpu.driver());
    assert_eq!(refused.unwrap_err(), BuildError::Gone(Errno::ENODEV));
    drop((queues, kept));
    rig.finish();
}

/// All pending jobs go to fresh hardware, with what they need for that.
pub(crate) fn migration() {
    let rig = Rig::new();
    let queue = rig.queue("q");
    let order = Order::default();
    let fences = on_hardware(&rig, &queue, 5);
    let watches = order.watch_all(&fences);
    for hardware in 1..4 {
        let mut stopped = queue.stop().unwrap();
        stopped.driver().hardware = hardware;
        let recovered = stopped.recover(None, Rest::Replay);
        assert_eq!(recovered.replayed, 5);
        let mut walk = stopped.pending();
        while let Some(mut job) = walk.next() {
            assert_eq!(u32::from(job.attempt().replays()), hardware);
            let (driver, work, data) = job.parts();
            assert_eq!((driver.hardware, data.len() as u32), (hardware, hardware));
            assert!(data.iter().all(|tag| *tag == work.tag));
        }
    }
    for tag in 1..=5 {
        rig.gpu.complete(tag, Ok(()));
    }
    for fence in &fences {
        assert_eq!(done(fence), Ok(()));
    }
    order.assert_in_order(5);
    assert_eq!(rig.gpu.tags(What::Replay), [1, 2, 3, 4, 5].repeat(3));
    assert_eq!(queue.stats().replays, 15);
    drop((watches, queue));
    rig.finish();
}

pub(crate) fn queue_made_while_all_are_stopped() {
    let rig = Rig::new();
    let old = rig.queue("old");
    let mut all = rig.device.stop_all().unwrap();
    let young = rig.queue("young");
    let fences = [
        submit(&old, rig.gpu.done(1), &[]),
        submit(&young, rig.gpu.done(2), &[]),
    ];
    assert_eq!((all.len(), all.find(young.context()).is_none()), (1, true));
    assert!(all.find(old.context()).is_some());
    assert!(young.snapshot().contains("stopped"));
    assert_eq!(rig.gpu.tags(What::RunBegins), []);
    drop(all);
    for fence in &fences {
        assert_eq!(done(fence), Ok(()));
    }
    // There is room for both in the next stop.
    assert_eq!(rig.device.stop_all().unwrap().len(), 2);
    drop((old, young));
    rig.finish();
}
