// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a queue says through its gate.

/// What a queue wants, and what it has out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GateReport {
    /// Grows with each report: an older one that comes later is ignored.
    pub version: u64,
    /// Something is on the hardware, or could be put there but for the gate.
    pub wants: bool,
    /// What is out, while the gate is not open.
    pub out: Out,
}

/// What a queue has out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Out {
    /// Its gate is open: anything may be.
    Open,
    /// A driver callback.
    Inside,
    /// Jobs on the hardware, and no callback.
    OnHardware,
    /// Nothing.
    Nothing,
}
