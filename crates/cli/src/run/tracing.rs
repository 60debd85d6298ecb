// SPDX-License-Identifier: GPL-2.0 OR MIT
//! From what happens in queues and on slots to a trace, and from a trace to a file.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;

use ringfence::{Event, EventKind, Fence, Outcome};
use ringfence_softgpu::{SlotEvent, SlotEventKind};
use ringfence_trace::event::{EventKind as Traced, InstantKind, Place};
use ringfence_trace::{ftrace, perfetto, FenceId, QueueTrack, Recorder, SlotId, SlotTrack};
use ringfence_trace::{Trace, Tracks};

use crate::plan::Plan;

/// The most events that are kept: about 256 MiB.
const MOST_EVENTS: u64 = 4 << 20;
/// Events per job, slots included, in a run without much trouble.
const EVENTS_PER_JOB: u64 = 12;

/// A recorder with room for a run of `plan`.
pub(super) fn recorder(plan: &Plan) -> Arc<Recorder> {
    let events = plan.jobs() * EVENTS_PER_JOB + plan.dependencies() + 4096;
    Arc::new(Recorder::new(events.min(MOST_EVENTS) as usize))
}

/// Jobs of a queue that wait, and that are on the hardware.
#[derive(Clone, Copy)]
pub(super) struct Counts {
    pub(super) waiting: u64,
    pub(super) on_hardware: u64,
}

fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Records what happened in a queue. Neither allocates nor blocks.
pub(super) fn record(recorder: &Recorder, event: &Event, counts: Counts) {
    let job = FenceId::new(event.context, event.seqno);
    let (waiting, on_hardware) = (narrow(counts.waiting), narrow(counts.on_hardware));
    let queue = Place::Queue(event.context);
    let instant = |what| Traced::Instant {
        place: queue,
        what,
        job: Some(job),
    };
    let kind = match event.kind {
        EventKind::Queued { cost, depth } => Traced::Queued {
            job,
            cost,
            waiting: narrow(depth),
            on_hardware,
        },
        EventKind::Run { .. } => Traced::Run {
            job,
            waiting,
            on_hardware,
        },
        EventKind::Unschedulable { context, seqno } => Traced::Unschedulable {
            job,
            waits_for: FenceId::new(context, seqno),
        },
        EventKind::Done { outcome } => {
            if let Outcome::Cancelled(_) = outcome {
                recorder.record_at(event.time.as_ns(), instant(InstantKind::Cancel));
            }
            let error = outcome.result().err().map_or(0, ringfence::Errno::get);
            Traced::Done { job, error }
        }
        EventKind::TimedOut => instant(InstantKind::Timeout),
        // Recorded where they are added: queues do not mention those that were over already.
        _ => return,
    };
    recorder.record_at(event.time.as_ns(), kind);
}

/// Records what a job waits for.
pub(super) fn record_dependency(recorder: &Recorder, at: u64, job: (u64, u64), on: &Fence) {
    let kind = Traced::DependencyAdded {
        job: FenceId::new(job.0, job.1),
        on: FenceId::new(on.context(), on.seqno()),
    };
    recorder.record_at(at, kind);
}

/// Records what happened on a slot. `context` is the fence context of the queue on it; `cut` says
/// that it was taken away in the middle of a job.
pub(super) fn record_slot(recorder: &Recorder, event: &SlotEvent, context: u64, cut: bool) {
    let slot = SlotId(event.slot);
    let begin = |seqno| Traced::SliceBegin {
        slot,
        context,
        seqno,
    };
    match event.kind {
        SlotEventKind::Resident { job } => _ = recorder.record_at(event.at, begin(job)),
        SlotEventKind::JobBegin { value } => {
            recorder.record_at(event.at, Traced::SliceEnd { slot });
            recorder.record_at(event.at, begin(Some(value)));
        }
        SlotEventKind::JobEnd { .. } => {
            recorder.record_at(event.at, Traced::SliceEnd { slot });
            recorder.record_at(event.at, begin(None));
        }
        SlotEventKind::Left => {
            recorder.record_at(event.at, Traced::SliceEnd { slot });
            if cut {
                let preempt = Traced::Instant {
                    place: Place::Slot(slot),
                    what: InstantKind::Preempt,
                    job: None,
                };
                recorder.record_at(event.at, preempt);
            }
        }
        SlotEventKind::Fault(_) => {
            let fault = Traced::Instant {
                place: Place::Slot(slot),
                what: InstantKind::Fault,
                job: None,
            };
            recorder.record_at(event.at, fault);
        }
    }
}

/// What a slot is called: with its kind, where the plan says what it is for.
pub(super) fn slot_name(plan: &Plan, slot: u32) -> String {
    match plan.device().slot_kinds.get(slot as usize) {
        Some(kind) => format!("slot {slot} {kind:?}").to_lowercase(),
        None => format!("slot {slot}"),
    }
}

/// Writes the recording to `path`: as the kernel's text where that ends in `.txt`, else for
/// Perfetto. `contexts` are the fence contexts of all queues, with their places in the plan.
///
/// # Errors
///
/// What the file system says.
pub(super) fn write(
    path: &Path,
    recorder: &Recorder,
    plan: &Plan,
    contexts: &[(usize, u64)],
) -> io::Result<()> {
    let queues = contexts
        .iter()
        .filter_map(|&(place, context)| Some((plan.queues().get(place)?, context)));
    let trace = Trace {
        tracks: Tracks {
            process: "ringfence".to_owned(),
            pid: std::process::id(),
            queues: queues
                .map(|(queue, context)| QueueTrack {
                    name: queue.name.clone(),
                    context,
                    device: "soft".to_owned(),
                    ring: queue.name.clone(),
                    // 0 is nobody's, as in the kernel's events.
                    client_id: plan
                        .device()
                        .orchestrator
                        .map_or(0, |_| queue.due.client as u64 + 1),
                })
                .collect(),
            slots: (0..plan.device().slots)
                .map(|slot| SlotTrack {
                    name: slot_name(plan, slot),
                })
                .collect(),
        },
        events: recorder.events(),
        dropped: recorder.dropped(),
    };
    let mut out = BufWriter::new(File::create(path)?);
    if path.extension().is_some_and(|extension| extension == "txt") {
        ftrace::write(&trace, &mut out)?;
    } else {
        perfetto::write(&trace, &mut out)?;
    }
    out.flush()
}
