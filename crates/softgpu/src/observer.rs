// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What happens on the device's slots, told to who wants to draw it.

use std::sync::Arc;

use crate::context::ContextId;
use crate::fault::Fault;

/// Is told of every event on the slots, on the firmware's thread and in order.
///
/// It holds up the whole device while it runs, so it should only take notes. It may read the
/// context's state but must not wait for the device.
pub type Observer = Arc<dyn Fn(&SlotEvent) + Send + Sync>;

/// Something that happened on a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotEvent {
    /// When, in nanoseconds of [`now_ns`](crate::now_ns).
    pub at: u64,
    /// The slot.
    pub slot: u32,
    /// The context on it.
    pub context: ContextId,
    /// What.
    pub kind: SlotEventKind,
}

/// The kinds of [`SlotEvent`]. Between `Resident` and `Left` of a slot there is one context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotEventKind {
    /// The context came to the slot; `job` is the job it was taken away from, if its stream named
    /// it.
    Resident {
        /// The fence value of the job that goes on.
        job: Option<u64>,
    },
    /// The context left the slot: it has nothing to do, its time slice ended, it waits, it faulted
    /// or was reset.
    Left,
    /// A job named by [`BeginJob`](crate::Command::BeginJob) began.
    JobBegin {
        /// Its fence value.
        value: u64,
    },
    /// A job's fence was written.
    JobEnd {
        /// The value.
        value: u64,
    },
    /// The context faulted.
    Fault(Fault),
}
