// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is done about hangs, faults, dead firmware and devices that are gone.
//!
//! ```text
//!   what is wrong?    nothing ─────────────► go on
//!                     one context ─► reset it ─► the guilty job fails, the others are replayed
//!                                      │ no answer               or cancelled
//!                                      ▼
//!                     the device ──► reset it ─► the guilty job fails, all others are replayed
//!                                      │ no answer
//!                                      ▼
//!                                    move to a fresh device, everything is replayed
//!                                      │ none
//!                                      ▼
//!                     it is gone ──► every fence ENODEV
//! ```

mod diagnosis;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use ringfence::{Device, DeviceStop, Errno, Guilty, Hang, Recovery, Rest, StopGuard};

use super::device::Reset;
use super::ring::ContextRing;
use super::station::Station;
use super::SoftDriver;
use crate::{Culprit, GpuError};
use diagnosis::{diagnose, Diagnosis, Guilt};

/// How often a reset of a context is tried before the whole device is reset.
const TRIES: u32 = 8;

/// How often a reset of the device, or of a context after that, is tried before it is given up.
const LAST_TRIES: u32 = 128;

/// How often the firmware may die of a job.
const DEATHS: u8 = 3;

/// The device's recovery.
pub(super) struct Doctor {
    station: Arc<Station>,
    reset: Reset,
}

/// What one queue's recovery leaves for all.
enum Wider {
    No,
    /// The whole device must be reset, because of this job of the queue with this context.
    Reset(Option<(u64, Guilt)>),
    Gone,
}

/// The device cannot be brought back.
enum Beyond {
    /// It does not do what it is told.
    Broken,
    Gone,
    /// It is being stopped: somebody ends everything.
    Stopped,
}

impl From<GpuError> for Beyond {
    fn from(error: GpuError) -> Self {
        match error {
            GpuError::Gone => Self::Gone,
            GpuError::Stopped => Self::Stopped,
            _ => Self::Broken,
        }
    }
}

fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

impl Recovery for Doctor {
    fn recover(&mut self, _device: &Device, hang: &Hang<'_>) {
        let station = &self.station;
        let moves = station.wants_move.swap(false, Ordering::AcqRel);
        let resets = station.wants_reset.swap(false, Ordering::AcqRel);
        if station.gpu().is_gone() {
            self.end(hang);
        } else if moves {
            self.everything(hang, Self::migrate);
        } else if resets || station.take_death() {
            self.everything(hang, |doctor, stop| doctor.reset_device(stop, None));
        } else {
            self.one_queue(hang);
        }
    }
}

impl Doctor {
    pub(super) fn new(station: Arc<Station>, reset: Reset) -> Self {
        Self { station, reset }
    }

    /// Deals with the one queue, if that is enough.
    fn one_queue(&self, hang: &Hang<'_>) {
        // Refused, it is closed or about to be unbound.
        let Ok(mut stop) = hang.stop_queue() else {
            return;
        };
        let Some(mut guard) = stop.typed::<SoftDriver>() else {
            return;
        };
        let wider = self.look_after(&mut guard, hang.seqno());
        drop(guard);
        drop(stop);
        match wider {
            Wider::No => {}
            Wider::Reset(guilt) => {
                self.everything(hang, |doctor, stop| doctor.reset_device(stop, guilt));
            }
            Wider::Gone => self.end(hang),
        }
    }

    fn look_after(&self, guard: &mut StopGuard<'_, SoftDriver>, asked: Option<u64>) -> Wider {
        let ring = Arc::clone(&guard.driver().ring);
        let guilt = match diagnose(&self.station, &ring, asked) {
            Diagnosis::Nothing => {
                count(&self.station.tally.nothing, 1);
                return Wider::No;
            }
            Diagnosis::Dead => return Wider::Reset(None),
            Diagnosis::Gone => return Wider::Gone,
            Diagnosis::Guilty(guilt) => Some(guilt),
            Diagnosis::Lost => None,
        };
        let whole = guilt.map(|guilt| (guard.context(), guilt));
        if self.reset == Reset::Device && guilt.is_some_and(|guilt| guilt.hung) {
            return Wider::Reset(whole);
        }
        match self.reset_queue(guard, &ring, guilt) {
            Ok(()) | Err(Beyond::Stopped) => Wider::No,
            Err(Beyond::Gone) => Wider::Gone,
            Err(Beyond::Broken) => Wider::Reset(whole),
        }
    }

    /// Resets one context. Its queue is stopped.
    fn reset_queue(
        &self,
        guard: &mut StopGuard<'_, SoftDriver>,
        ring: &ContextRing,
        guilt: Option<Guilt>,
    ) -> Result<(), Beyond> {
        let mut tries = 0;
        loop {
            match ring.context.now().reset() {
                Ok(_) => break,
                Err(GpuError::ResetFailed) if tries < TRIES => tries += 1,
                Err(error) => return Err(error.into()),
            }
        }
        count(&self.station.tally.queue_resets, 1);
        let rest = guard.driver().rest;
        self.treat(guard, ring, guilt, rest);
        Ok(())
    }

    /// Ends the guilty job, and does with the others of its queue what `rest` says. The hardware has
    /// let go of them.
    fn treat(
        &self,
        guard: &mut StopGuard<'_, SoftDriver>,
        ring: &ContextRing,
        guilt: Option<Guilt>,
        rest: Rest,
    ) {
        ring.complete_reached();
        let old = ring.take_tokens();
        let mut guilty = None;
        match guilt {
            Some(guilt) if guilt.hung => {
                guilty = Some(Guilty {
                    seqno: guilt.seqno,
                    error: guilt.error,
                });
            }
            Some(guilt) if fail(guard, guilt) => {
                count(&self.station.tally.guilty, 1);
                guard.strike();
            }
            _ => {}
        }
        // Without anybody to blame there is no reason to cancel what can be done again.
        let rest = if guilt.is_some() { rest } else { Rest::Replay };
        let done = guard.recover(guilty, rest);
        let tally = &self.station.tally;
        count(&tally.replayed, done.replayed);
        count(&tally.cancelled, done.cancelled);
        count(&tally.guilty, done.failed);
        ring.context.now().doorbell();
        ring.drop_tokens(old);
        ring.context.is_ready();
    }

    /// Stops all queues and does `what`; if that cannot help, moves to a fresh device, and if there
    /// is none, gives the device up.
    fn everything(
        &self,
        hang: &Hang<'_>,
        what: impl FnOnce(&Self, &mut DeviceStop<'_>) -> Result<(), Beyond>,
    ) {
        let Ok(mut stop) = hang.stop_all() else {
            return;
        };
        let done = match what(self, &mut stop) {
            Err(Beyond::Broken) => self.migrate(&mut stop),
            done => done,
        };
        match done {
            Ok(()) | Err(Beyond::Stopped) => {}
            Err(Beyond::Broken | Beyond::Gone) => {
                count(&self.station.tally.gone, 1);
                stop.device_gone();
            }
        }
    }

    /// Resets the whole device. All queues are stopped.
    fn reset_device(
        &self,
        stop: &mut DeviceStop<'_>,
        guilt: Option<(u64, Guilt)>,
    ) -> Result<(), Beyond> {
        let station = &self.station;
        let mut tries = 0;
        let report = loop {
            match station.gpu().reset() {
                Ok(report) => break report,
                // A slow reset happens all the same.
                Err(GpuError::ResetFailed | GpuError::NotResponding) if tries < LAST_TRIES => {
                    tries += 1;
                }
                Err(error) => return Err(error.into()),
            }
        };
        let _ = station.take_death();
        count(&station.tally.device_resets, 1);
        // First all of them stand still, then the first begins again.
        let mut result = Ok(());
        each(stop, |_, ring| {
            if result.is_ok() {
                result = clear(ring);
            }
        });
        result?;
        each(stop, |guard, ring| {
            let own = guilt.filter(|(context, _)| *context == guard.context());
            let own = own.map(|(_, guilt)| guilt);
            let own = own.or_else(|| killer(guard, ring, report.culprit));
            let rest = guard.driver().rest;
            self.treat(guard, ring, own, rest);
        });
        Ok(())
    }

    /// Moves everything to the next device on standby. All queues are stopped.
    fn migrate(&self, stop: &mut DeviceStop<'_>) -> Result<(), Beyond> {
        let station = &self.station;
        if station.gpu().is_gone() {
            return Err(Beyond::Gone);
        }
        station.gpu().stop();
        each(stop, |_, ring| ring.complete_reached());
        if !station.move_on() {
            return Err(Beyond::Broken);
        }
        count(&station.tally.migrations, 1);
        each(stop, |guard, ring| {
            self.treat(guard, ring, None, Rest::Replay);
        });
        Ok(())
    }

    /// The device is gone: everything ends.
    fn end(&self, hang: &Hang<'_>) {
        if let Ok(stop) = hang.stop_all() {
            count(&self.station.tally.gone, 1);
            stop.device_gone();
        }
    }
}

/// Ends the guilty job, which did not hang: the first from `guilt` on. False if it has ended by itself.
fn fail(guard: &mut StopGuard<'_, SoftDriver>, guilt: Guilt) -> bool {
    let mut walk = guard.pending();
    while let Some(job) = walk.next() {
        // In the ring are none but those that have run.
        if job.seqno() >= guilt.seqno {
            return job.fail(guilt.error);
        }
        job.keep();
    }
    false
}

/// The job of this queue that has killed the firmware once too often.
fn killer(
    guard: &mut StopGuard<'_, SoftDriver>,
    ring: &ContextRing,
    culprit: Option<Culprit>,
) -> Option<Guilt> {
    let culprit = culprit.filter(|culprit| culprit.context == ring.context.now().id())?;
    let mut walk = guard.pending();
    while let Some(mut job) = walk.next() {
        if Some(job.seqno()) == culprit.job {
            let deaths = &mut job.replay_data().deaths;
            *deaths = deaths.saturating_add(1);
            let too_often = *deaths > DEATHS;
            return too_often.then(|| Guilt {
                seqno: job.seqno(),
                error: Errno::EIO,
                hung: false,
            });
        }
        job.keep();
    }
    None
}

/// Has the context begin anew, after a reset of the device.
fn clear(ring: &ContextRing) -> Result<(), Beyond> {
    let mut tries = 0;
    loop {
        match ring.context.now().reset() {
            Ok(_) => return Ok(()),
            Err(GpuError::ResetFailed | GpuError::NotResponding) if tries < LAST_TRIES => {
                tries += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Calls `f` with every queue of ours.
fn each(
    stop: &mut DeviceStop<'_>,
    mut f: impl FnMut(&mut StopGuard<'_, SoftDriver>, &ContextRing),
) {
    stop.for_each(|mut queue| {
        if let Some(mut guard) = queue.typed::<SoftDriver>() {
            let ring = Arc::clone(&guard.driver().ring);
            f(&mut guard, &ring);
        }
    });
}
