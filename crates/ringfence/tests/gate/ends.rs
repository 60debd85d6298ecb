// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The last word to a gate is said once, however its queue ends.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::thread;

use ringfence::{ClosePolicy, Errno, Out, Queue};

use crate::common::manual::Manual;
use crate::common::mock::Mock;
use crate::common::{done, submit, Rig};
use crate::porter::Porter;
use crate::{builder, end, stepped};

#[test]
fn a_gate_is_detached_once_however_its_queue_ends() {
    type Ends = fn(&Rig, &Queue<Mock>);
    let ways: [(&str, Ends); 5] = [
        ("dropped", |_, _| {}),
        ("closed", |_, queue| queue.close()),
        ("killed", |_, queue| queue.kill(Errno::EIO)),
        ("unbound", |rig, _| rig.device.unbind().unwrap()),
        ("killed and unbound", |rig, queue| {
            queue.kill(Errno::EIO);
            rig.device.unbind().unwrap();
        }),
    ];
    for (what, ends) in ways {
        for open in [false, true] {
            let (rig, porter, manual, queue) = stepped(|builder| builder);
            if open {
                porter.control().open();
            }
            let fence = submit(&queue, rig.gpu.waits(1), &[]);
            manual.work();
            ends(&rig, &queue);
            let control = porter.control();
            if open && fence.status().is_none() {
                assert_eq!(porter.detached(), 0, "{what}: a job is on the hardware");
                rig.gpu.complete(1, Ok(()));
            }
            drop(queue);
            manual.work();
            assert!(fence.status().is_some(), "{what}");
            assert_eq!(porter.detached(), 1, "{what}");
            let last = porter.last().map(|report| (report.wants, report.out));
            let killed = what.contains("killed") || what == "unbound";
            let out = match open && !killed {
                true => Out::Open,
                false => Out::Nothing,
            };
            assert_eq!(last, Some((false, out)), "{what}");
            rig.finish();
            drop(fence);
            assert_eq!(control.open(), None, "{what}: the queue is gone");
            assert_eq!(porter.detached(), 1, "{what}");
            porter.assert_kept_the_rules();
        }
    }
}

#[test]
fn nothing_is_told_after_unbind_though_the_queue_is_not_closed() {
    let (rig, porter, manual, queue) = stepped(|builder| builder);
    let mut guard = queue.submission_guard();
    let job = queue.prepare(rig.gpu.done(1), 1).unwrap();
    let armed = guard.arm(job).unwrap();
    // Elsewhere: this thread holds a fence up.
    thread::scope(|scope| scope.spawn(|| rig.device.unbind()).join().unwrap()).unwrap();
    assert_eq!(porter.detached(), 1);
    let told = porter.last();
    assert!(
        porter.control().open().is_some(),
        "the queue is still there"
    );
    assert_eq!(porter.last(), told);
    armed.submit();
    drop(guard);
    end(rig, &porter, &manual, queue);
}

#[test]
fn a_queue_that_drains_wants_its_gate_open() {
    let (rig, porter, manual, queue) = stepped(|builder| builder.close_policy(ClosePolicy::Drain));
    let fence = submit(&queue, rig.gpu.done(1), &[]);
    let closed = queue.closed();
    drop(queue);
    manual.work();
    assert_eq!((fence.status(), porter.detached()), (None, 0));
    assert!(porter.last().unwrap().wants);
    porter.control().open();
    manual.work();
    assert_eq!((done(&fence), done(&closed)), (Ok(()), Ok(())));
    assert_eq!(porter.detached(), 1);
    rig.finish();
    porter.assert_kept_the_rules();
}

#[test]
fn a_build_that_fails_detaches() {
    let (rig, porter) = (Rig::new(), Porter::new());
    rig.device.unbind().unwrap();
    let built = builder(&porter).build(&rig.device, rig.pool.executor(), rig.gpu.driver());
    assert!(built.is_err());
    assert_eq!(porter.detached(), 1);
    porter.assert_kept_the_rules();
    rig.finish();
}

#[test]
fn a_gate_that_panics_when_it_is_attached_ends_its_queue() {
    let (rig, porter, manual) = (Rig::new(), Porter::new(), Manual::new());
    let first = rig.build_on(builder(&porter), manual.clone());
    // The porter is for one queue.
    let second = catch_unwind(AssertUnwindSafe(|| {
        rig.build_on(builder(&porter), manual.clone())
    }));
    assert!(second.is_err());
    manual.work();
    assert_eq!(porter.detached(), 1);
    drop(first);
    manual.work();
    assert_eq!(porter.detached(), 2);
    rig.finish();
}
