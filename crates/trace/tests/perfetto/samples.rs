// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Recordings to be written.

use std::path::Path;

use proptest::prelude::*;
use ringfence_trace::{
    ftrace, Event, EventKind, FenceId, InstantKind, Place, QueueTrack, SlotId, SlotTrack, Trace,
    Tracks,
};

pub(crate) fn tracks() -> Tracks {
    let queue = |name: &str, context| QueueTrack {
        name: name.into(),
        context,
        device: "soft".into(),
        ring: name.into(),
        client_id: 0,
    };
    Tracks {
        process: "ringfence".into(),
        pid: 7,
        queues: vec![queue("render", 1), queue("copy", 2), queue("idle", 3)],
        slots: vec![
            SlotTrack {
                name: "slot 0".into(),
            },
            SlotTrack {
                name: "slot 1".into(),
            },
        ],
    }
}

/// A bit of everything: overlap, a hang, a cancelled and an unfinished job, an unknown fence.
pub(crate) fn everything() -> Trace {
    use EventKind::*;
    let render = |seqno| FenceId::new(1, seqno);
    let copy = |seqno| FenceId::new(2, seqno);
    let queued = |job| Queued {
        job,
        cost: 2,
        waiting: 1,
        on_hardware: 0,
    };
    let run = |job| Run {
        job,
        waiting: 0,
        on_hardware: 1,
    };
    let instant = |what, place| Instant {
        place,
        what,
        job: Some(render(2)),
    };
    let kinds = vec![
        (100, queued(render(1))),
        (110, queued(render(2))),
        (110, run(render(1))),
        (
            115,
            DependencyAdded {
                job: copy(1),
                on: render(1),
            },
        ),
        (
            115,
            DependencyAdded {
                job: copy(1),
                on: FenceId::new(77, 5),
            },
        ),
        (115, queued(copy(1))),
        (
            116,
            Unschedulable {
                job: copy(1),
                waits_for: render(1),
            },
        ),
        (
            117,
            SliceBegin {
                slot: SlotId(0),
                context: 1,
                seqno: Some(1),
            },
        ),
        // A bypass job seems to run before it is queued, and takes no time.
        (119, run(render(3))),
        (120, run(render(2))),
        (120, queued(render(3))),
        (
            120,
            Done {
                job: render(3),
                error: 0,
            },
        ),
        (130, SliceEnd { slot: SlotId(0) }),
        (
            130,
            Done {
                job: render(1),
                error: 0,
            },
        ),
        (130, run(copy(1))),
        (
            131,
            SliceBegin {
                slot: SlotId(0),
                context: 2,
                seqno: None,
            },
        ),
        (131, SliceEnd { slot: SlotId(1) }),
        (140, instant(InstantKind::Timeout, Place::Queue(1))),
        (141, instant(InstantKind::Hang, Place::Slot(SlotId(0)))),
        (
            141,
            SliceBegin {
                slot: SlotId(0),
                context: 1,
                seqno: Some(2),
            },
        ),
        // Depends on the hung job, is cancelled with it, and never runs.
        (142, queued(copy(2))),
        (
            142,
            DependencyAdded {
                job: copy(2),
                on: render(2),
            },
        ),
        (
            150,
            Done {
                job: render(2),
                error: -62,
            },
        ),
        (
            151,
            Done {
                job: copy(2),
                error: -62,
            },
        ),
        (152, queued(copy(3))),
        (
            152,
            DependencyAdded {
                job: copy(3),
                on: copy(2),
            },
        ),
        // Not in the tracks.
        (153, queued(FenceId::new(9, 1))),
        (154, run(FenceId::new(9, 1))),
        (
            155,
            instant(InstantKind::Fault, Place::Slot(SlotId(4_000_000_000))),
        ),
    ];
    let event = |(timestamp, kind)| Event { timestamp, kind };
    Trace {
        tracks: tracks(),
        events: kinds.into_iter().map(event).collect(),
        dropped: 0,
    }
}

pub(crate) fn recording(name: &str) -> Trace {
    let file = format!("../../data/gpu_scheduler/{name}.trace.txt");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    ftrace::parse(&std::fs::read(path).unwrap()).to_trace()
}

pub(crate) fn arbitrary_event() -> impl Strategy<Value = Event> {
    let fence = || (1_u64..4, 1_u64..5).prop_map(|(context, seqno)| FenceId::new(context, seqno));
    (0_u64..20, 0..8, fence(), fence(), 0_u32..3).prop_map(|(timestamp, kind, job, on, slot)| {
        let slot = SlotId(slot);
        let kind = match kind {
            0 => EventKind::Queued {
                job,
                cost: 1,
                waiting: 0,
                on_hardware: 0,
            },
            1 => EventKind::Run {
                job,
                waiting: 0,
                on_hardware: 0,
            },
            2 => EventKind::Done { job, error: 0 },
            3 | 4 => EventKind::DependencyAdded { job, on },
            5 => EventKind::SliceBegin {
                slot,
                context: job.context,
                seqno: None,
            },
            6 => EventKind::SliceEnd { slot },
            _ => EventKind::Instant {
                place: Place::Queue(job.context),
                what: InstantKind::Kill,
                job: None,
            },
        };
        Event { timestamp, kind }
    })
}
