// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A gate that keeps what it is told, and notices rules that are broken.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use ringfence::{Gate, GateControl, GateReport, Out};

type Answer = fn(&GateControl, GateReport);

pub(crate) struct Porter {
    control: OnceLock<GateControl>,
    told: Mutex<Vec<GateReport>>,
    detached: AtomicUsize,
    /// Reports that came after the last word, or before the first.
    astray: AtomicUsize,
    answer: Option<Answer>,
    silent: AtomicBool,
    /// The deepest that a report was inside another.
    depth: AtomicUsize,
}

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// A report.
pub(crate) fn report(version: u64, wants: bool, out: Out) -> GateReport {
    GateReport {
        version,
        wants,
        out,
    }
}

impl Porter {
    pub(crate) fn new() -> Arc<Self> {
        Self::made(None)
    }

    /// One that does something about each report while it is told.
    pub(crate) fn answering(answer: Answer) -> Arc<Self> {
        Self::made(Some(answer))
    }

    fn made(answer: Option<Answer>) -> Arc<Self> {
        Arc::new(Self {
            control: OnceLock::new(),
            told: Mutex::default(),
            detached: AtomicUsize::new(0),
            astray: AtomicUsize::new(0),
            answer,
            silent: AtomicBool::new(false),
            depth: AtomicUsize::new(0),
        })
    }

    pub(crate) fn control(&self) -> GateControl {
        self.control.get().expect("attached").clone()
    }

    /// Does nothing about reports from now on.
    pub(crate) fn be_silent(&self) {
        self.silent.store(true, Ordering::SeqCst);
    }

    /// The newest report.
    pub(crate) fn last(&self) -> Option<GateReport> {
        let told = self.told.lock().unwrap();
        told.iter().copied().max_by_key(|report| report.version)
    }

    pub(crate) fn detached(&self) -> usize {
        self.detached.load(Ordering::SeqCst)
    }

    pub(crate) fn depth(&self) -> usize {
        self.depth.load(Ordering::SeqCst)
    }

    /// Each version was told once, none is missing, none came when it should not.
    #[track_caller]
    pub(crate) fn assert_kept_the_rules(&self) {
        let mut told = self.told.lock().unwrap().clone();
        told.sort_by_key(|report| report.version);
        let versions = told.iter().map(|report| report.version);
        assert!(versions.eq(1..=told.len() as u64), "{told:?}");
        assert_eq!(self.astray.load(Ordering::SeqCst), 0);
    }
}

impl Gate for Porter {
    fn attached(&self, control: GateControl) {
        assert!(self.control.set(control).is_ok(), "attached once");
    }

    fn report(&self, report: GateReport) {
        if ringfence::section::CHECKED {
            assert!(ringfence::section::in_section());
        }
        if self.control.get().is_none() || self.detached() != 0 {
            self.astray.fetch_add(1, Ordering::SeqCst);
        }
        self.told.lock().unwrap().push(report);
        let depth = DEPTH.get() + 1;
        DEPTH.set(depth);
        self.depth.fetch_max(depth, Ordering::SeqCst);
        if let (Some(answer), false) = (self.answer, self.silent.load(Ordering::SeqCst)) {
            answer(&self.control(), report);
        }
        DEPTH.set(depth - 1);
        if self.detached() != 0 {
            self.astray.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn detached(&self) {
        self.detached.fetch_add(1, Ordering::SeqCst);
    }
}
