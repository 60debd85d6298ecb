// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The gate of a queue: whether it may use the hardware, which somebody outside decides.
//!
//! Where there are more queues than the hardware has places for, somebody must say whose turn it
//! is. He [sets](crate::Queue::set_gate) the gates of the queues, and each queue tells him what it
//! wants and how far it has let go of the hardware ([`GateReport`]). Nothing here knows who he is.

/// What a [gated](crate::Config::gated) queue may do now.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Gate {
    /// Everything: jobs are run as if there were no gate.
    Open,
    /// No job is handed to the driver to be run. What is on the hardware goes on, its time passes,
    /// and the driver is asked about it when that is up.
    Yield,
    /// No driver callback begins, and the time of the head of the line stands still, as while the
    /// queue is suspended: its jobs may be on the hardware, but the hardware does not do them now.
    /// Closing waits, too, for what needs the driver.
    Shut,
}

impl Gate {
    /// A word or two, as snapshots print them.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Yield => "yields",
            Self::Shut => "shut",
        }
    }
}

/// How much of a queue is out of its hands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Out {
    /// The gate is open: anything may be, and is not told.
    Open,
    /// A driver callback is running, or somebody who has stopped the queue looks at a job.
    Inside,
    /// That is not so, but there are jobs on the hardware.
    OnHardware,
    /// Nothing is.
    Nothing,
}

/// What a gated queue tells who sets its gate.
///
/// Reports may arrive in another order than they were made in: what has a smaller version than one
/// that has arrived is out of date.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct GateReport {
    /// Grows by one with each report, from 1.
    pub version: u64,
    /// The queue has use for the hardware: something is with the driver or on the hardware, or a
    /// job could be run now if the gate were open.
    pub wants: bool,
    /// What is out. [`Out::Open`] while the gate is, unless the queue was killed: then nothing can
    /// get out any more.
    pub out: Out,
}

/// What a queue knows of its gate.
///
/// # Invariants
///
/// The gate of a queue that is not gated is open, and nothing was told about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GateDesk {
    pub(crate) gate: Gate,
    /// The last report.
    pub(crate) told: GateReport,
    /// The gate has been changed since.
    pub(crate) changed: bool,
}

impl GateDesk {
    pub(crate) const fn new(gated: bool) -> Self {
        Self {
            gate: if gated { Gate::Shut } else { Gate::Open },
            told: GateReport {
                version: 0,
                wants: false,
                out: Out::Nothing,
            },
            changed: false,
        }
    }
}
