// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is wrong with a queue, and who is to blame.
//!
//! Time alone proves no guilt: on a loaded machine the device itself may not have run. So a job is
//! guilty of a hang only if the firmware, asked twice for a sign of life, has given both and the job
//! has got nothing done in between, on the slot on which its context was all the time.

use std::sync::atomic::Ordering;

use ringfence::Errno;

use super::ContextRing;
use super::Station;
use crate::{ContextState, Fault, GpuError};

/// What is wrong with a queue.
pub(super) enum Diagnosis {
    Nothing,
    /// This job is to blame.
    Guilty(Guilt),
    /// Its work is lost, and nobody there is to blame.
    Lost,
    /// The firmware does not answer.
    Dead,
    Gone,
}

/// Who is to blame, and for what.
#[derive(Clone, Copy)]
pub(super) struct Guilt {
    pub(super) seqno: u64,
    pub(super) error: Errno,
    /// It hung; else it failed.
    pub(super) hung: bool,
}

/// Finds out what is wrong. The queue is stopped. Sleeps.
pub(super) fn diagnose(station: &Station, ring: &ContextRing, asked: Option<u64>) -> Diagnosis {
    ring.complete_reached();
    let context = ring.context.now();
    let reached = context.fence_value();
    match (context.state(), context.fault()) {
        (ContextState::Gone, _) => return Diagnosis::Gone,
        (_, Some(fault)) => {
            return Diagnosis::Guilty(Guilt {
                // The ring's commands are done in order.
                seqno: reached + 1,
                error: errno(fault),
                hung: false,
            });
        }
        (ContextState::Faulted, None) => return Diagnosis::Lost,
        _ => {}
    }
    let exhausted = ring.exhausted.swap(false, Ordering::AcqRel);
    let Some(seqno) = asked.filter(|&seqno| seqno > reached) else {
        return Diagnosis::Nothing;
    };
    let (before, stays) = (context.progress(), context.stays());
    let waited = context.waits_for_slot();
    for _ in 0..2 {
        match station.gpu().ping() {
            Ok(()) => {}
            Err(GpuError::Gone) => return Diagnosis::Gone,
            Err(GpuError::Stopped) => return Diagnosis::Nothing,
            Err(_) => return Diagnosis::Dead,
        }
    }
    ring.complete_reached();
    let was_away = waited || context.waits_for_slot() || context.stays() != stays;
    let moves = context.progress() != before || was_away;
    if context.fence_value() >= seqno || (moves && !exhausted) {
        return Diagnosis::Nothing;
    }
    Diagnosis::Guilty(Guilt {
        seqno,
        error: Errno::ETIME,
        hung: true,
    })
}

/// What a job's fence says about a fault: an address, or a stream that could not be read.
fn errno(fault: Fault) -> Errno {
    if fault.kind.is_stream() {
        Errno::EBADMSG
    } else {
        Errno::EFAULT
    }
}
