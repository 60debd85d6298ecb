// SPDX-License-Identifier: GPL-2.0 OR MIT
use super::write;
use crate::event::{
    Event, EventKind, FenceId, InstantKind, Place, QueueTrack, SlotId, Trace, Tracks,
};

fn trace() -> Trace {
    let render = QueueTrack {
        name: "render".into(),
        context: 3,
        device: "soft gpu,0".into(),
        ring: "render".into(),
        client_id: 2,
    };
    let (first, second, stray) = (FenceId::new(3, 1), FenceId::new(3, 2), FenceId::new(9, 1));
    let kinds = [
        (
            1_999,
            EventKind::Queued {
                job: first,
                cost: 4,
                waiting: 0,
                on_hardware: 0,
            },
        ),
        (
            7_000,
            EventKind::Done {
                job: first,
                error: -5,
            },
        ),
        (
            2_000,
            EventKind::Run {
                job: first,
                waiting: 0,
                on_hardware: 1,
            },
        ),
        (
            2_500,
            EventKind::DependencyAdded {
                job: second,
                on: stray,
            },
        ),
        (
            2_500,
            EventKind::Queued {
                job: second,
                cost: 1,
                waiting: 0,
                on_hardware: 1,
            },
        ),
        (
            2_600,
            EventKind::Unschedulable {
                job: second,
                waits_for: stray,
            },
        ),
        (
            2_700,
            EventKind::SliceBegin {
                slot: SlotId(0),
                context: 3,
                seqno: Some(1),
            },
        ),
        (2_800, EventKind::SliceEnd { slot: SlotId(0) }),
        (
            2_900,
            EventKind::Instant {
                place: Place::Queue(3),
                what: InstantKind::Hang,
                job: None,
            },
        ),
        (
            1_234_567_890_123,
            EventKind::Queued {
                job: stray,
                cost: 1,
                waiting: 0,
                on_hardware: 0,
            },
        ),
    ];
    Trace {
        tracks: Tracks {
            process: "ringfence of mine\n".into(),
            pid: 4711,
            queues: vec![render],
            slots: vec![],
        },
        events: kinds
            .map(|(timestamp, kind)| Event { timestamp, kind })
            .into(),
        dropped: 3,
    }
}

#[test]
fn looks_as_the_kernel_prints_it() {
    let mut out = Vec::new();
    let written = write(&trace(), &mut out).unwrap();
    assert_eq!((written.events, written.left_out), (7, 3));
    insta::assert_snapshot!(String::from_utf8(out).unwrap());
}

#[test]
fn what_is_written_can_be_read() {
    let mut out = Vec::new();
    write(&trace(), &mut out).unwrap();
    let recording = super::parse(&out);
    assert_eq!(recording.jobs.len(), 3);
    assert_eq!(recording.rings[0].device, "soft_gpu_0");
    assert_eq!(recording.jobs[0].client_id, 2);
    assert_eq!(recording.jobs[0].done_ts, Some(7_000));
    assert_eq!(recording.events.unschedulable, 1);
    assert_eq!(recording.jobs[1].dependencies, [FenceId::new(9, 1)]);
    assert_eq!(recording.lost_events, 3);
}
