// SPDX-License-Identifier: GPL-2.0 OR MIT
use std::collections::BTreeSet;
use std::thread;

use super::Recorder;
use crate::event::{Event, EventKind, FenceId};

fn done(context: u64, seqno: u64) -> Event {
    Event::new(
        seqno,
        EventKind::Done {
            job: FenceId::new(context, seqno),
            error: 0,
        },
    )
}

#[test]
fn keeps_the_first_and_counts_the_rest() {
    let recorder = Recorder::new(3);
    assert!(recorder.is_empty());
    let kept: Vec<bool> = (1..=5)
        .map(|seqno| recorder.record(done(7, seqno)))
        .collect();
    assert_eq!(kept, [true, true, true, false, false]);
    assert_eq!(recorder.len(), 3);
    assert_eq!(recorder.dropped(), 2);
    assert_eq!(recorder.events(), [done(7, 1), done(7, 2), done(7, 3)]);
}

#[test]
fn room_for_nothing_drops_everything() {
    let recorder = Recorder::new(0);
    assert!(!recorder.record(done(1, 1)));
    assert_eq!(
        (recorder.len(), recorder.dropped(), recorder.capacity()),
        (0, 1, 0)
    );
}

#[test]
fn many_threads_lose_and_repeat_nothing() {
    const THREADS: u64 = 4;
    const EACH: u64 = 1000;
    let recorder = Recorder::new((THREADS * EACH) as usize - 10);
    thread::scope(|scope| {
        for context in 0..THREADS {
            let recorder = &recorder;
            scope.spawn(move || {
                for seqno in 1..=EACH {
                    recorder.record(done(context, seqno));
                }
            });
        }
    });
    let events = recorder.events();
    let distinct: BTreeSet<String> = events.iter().map(|event| format!("{event:?}")).collect();
    assert_eq!(events.len(), recorder.capacity());
    assert_eq!(distinct.len(), events.len());
    assert_eq!(recorder.dropped(), 10);
    // Each thread's own events stay in its order.
    for context in 0..THREADS {
        let own: Vec<u64> = events
            .iter()
            .filter_map(|event| match event.kind {
                EventKind::Done { job, .. } if job.context == context => Some(job.seqno),
                _ => None,
            })
            .collect();
        assert!(own.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
