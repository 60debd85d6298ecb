// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Gates that are set by several threads, and a keeper who answers each report at once.

use std::sync::atomic::AtomicUsize;
use std::sync::OnceLock;

use ringfence::{Gate, GateControl, GateReport};

use super::*;

/// Opens to a queue that wants, and shuts the gate when it wants no more.
#[derive(Default)]
pub(crate) struct Keeper {
    control: OnceLock<GateControl>,
    newest: std::sync::Mutex<Option<GateReport>>,
    reporting: AtomicUsize,
    detached: AtomicUsize,
    /// Reports that met the last word.
    astray: AtomicUsize,
}

impl Keeper {
    fn control(&self) -> &GateControl {
        self.control.get().expect("attached")
    }

    /// The queue has ended: it was told so once, and nothing after.
    pub(crate) fn finish(&self) {
        while self.detached.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        assert_eq!(self.detached.load(Ordering::SeqCst), 1);
        assert_eq!(self.astray.load(Ordering::SeqCst), 0);
    }
}

impl Gate for Keeper {
    fn attached(&self, control: GateControl) {
        assert!(self.control.set(control).is_ok());
    }

    fn report(&self, report: GateReport) {
        self.reporting.fetch_add(1, Ordering::SeqCst);
        thread::yield_now();
        let news = {
            let mut newest = self.newest.lock().unwrap();
            let news = newest.is_none_or(|newest| newest.version < report.version);
            if news {
                *newest = Some(report);
            }
            news
        };
        // Not of a report that is out of date: the newer one has been answered.
        match (news, report.wants) {
            (true, true) => drop(self.control().open()),
            (true, false) => drop(self.control().shut()),
            (false, _) => {}
        }
        let late = self.detached.load(Ordering::SeqCst);
        self.astray.fetch_add(late, Ordering::SeqCst);
        self.reporting.fetch_sub(1, Ordering::SeqCst);
    }

    fn detached(&self) {
        let reporting = self.reporting.load(Ordering::SeqCst);
        self.astray.fetch_add(reporting, Ordering::SeqCst);
        self.detached.fetch_add(1, Ordering::SeqCst);
    }
}

fn gated(bypass: bool) -> Arc<World> {
    World::made(bypass, |_| Device::new("d"), Some(Arc::default()))
}

/// Somebody who has nothing to say about the gate. The keeper is told of each change.
fn meddler(world: &World) {
    let control = world.keeper.as_ref().expect("a gated world").control();
    control.yield_now();
    thread::yield_now();
    control.shut();
}

#[test]
fn a_gate_that_opens_and_shuts_loses_no_job() {
    check(|| race(gated(false), &[submitter, submitter, completer]));
}

#[test]
fn a_gate_that_others_set_loses_no_job() {
    check(|| race(gated(true), &[submitter, completer, meddler]));
}

#[test]
fn a_gate_races_with_kill_and_unbind() {
    check(|| {
        race(
            gated(true),
            &[submitter, meddler, World::unbind, |world| {
                world.queue.kill(Errno::EIO);
            }],
        );
    });
}
