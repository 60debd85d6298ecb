// SPDX-License-Identifier: GPL-2.0 OR MIT
//! From events to stays, and from stays to pictures.

use ringfence_trace::SlotId;

use super::*;

const PLAN: &str = r#"
name = "a <small> one"
[device]
slots = 2
[orchestrator]
[[queue]]
name = "frames"
priority = "high"
[[queue]]
name = "hogs"
count = 2
[[stream]]
name = "frames"
queue = "frames"
jobs = 10
deadline = "1ms"
work = "copy"
[[stream]]
name = "hogs"
count = 2
queue = "hogs"
jobs = 10
work = "spin"
"#;

/// The contexts of the queues.
const CONTEXTS: [(usize, u64); 3] = [(0, 70), (1, 71), (2, 72)];

fn at(ms: u64, kind: EventKind) -> Event {
    Event::new(1_000_000_000 + ms * 1_000_000, kind)
}

fn begin(ms: u64, slot: u32, context: u64, seqno: Option<u64>) -> Event {
    let slot = SlotId(slot);
    at(
        ms,
        EventKind::SliceBegin {
            slot,
            context,
            seqno,
        },
    )
}

fn end(ms: u64, slot: u32) -> Event {
    at(ms, EventKind::SliceEnd { slot: SlotId(slot) })
}

fn cut(ms: u64, slot: u32) -> Event {
    let place = Place::Slot(SlotId(slot));
    at(
        ms,
        EventKind::Instant {
            place,
            what: InstantKind::Preempt,
            job: None,
        },
    )
}

/// A hog comes to slot 0 in the middle of a job, ends it, begins another, and has to leave in it; the
/// other hog has slot 1 all the time; frames follow on slot 0.
fn events() -> Vec<Event> {
    vec![
        begin(0, 1, 72, Some(1)),
        begin(2, 0, 71, Some(4)),
        end(4, 0),
        begin(4, 0, 71, None),
        end(5, 0),
        begin(5, 0, 71, Some(5)),
        end(8, 0),
        cut(8, 0),
        begin(8, 0, 70, None),
        end(9, 0),
        begin(9, 0, 70, Some(1)),
        end(10, 0),
    ]
}

fn stay(slot: usize, queue: usize, ms: Range<u64>, jobs: &[Range<u64>], cut: bool) -> Stay {
    let ns = |ms: u64| ms * 1_000_000;
    Stay {
        slot,
        queue,
        from: ns(ms.start),
        to: ns(ms.end),
        jobs: jobs.iter().map(|job| ns(job.start)..ns(job.end)).collect(),
        cut,
    }
}

fn picture(span: &str) -> Picture {
    let plan = Plan::parse("plan", PLAN).expect("a good plan");
    let span: Span = span.parse().expect("a span");
    Picture::new(&plan, events(), &CONTEXTS, Some(&span))
}

#[test]
fn stays_are_whole_with_the_jobs_in_them() {
    let whole = picture("0..10ms");
    assert_eq!(
        whole.stays,
        [
            stay(0, 1, 2..8, &[2..4, 5..8], true),
            stay(0, 0, 8..10, std::slice::from_ref(&(9..10)), false),
            stay(1, 2, 0..10, std::slice::from_ref(&(0..10)), false),
        ]
    );
}

#[test]
fn a_part_has_what_is_in_it() {
    let part = picture("3..9ms");
    assert_eq!(
        part.stays,
        [
            stay(0, 1, 0..5, &[0..1, 2..5], true),
            stay(0, 0, 5..6, &[], false),
            stay(1, 2, 0..6, std::slice::from_ref(&(0..6)), false),
        ]
    );
}

#[test]
fn letters_say_who_is_where() {
    let text = text::draw(&picture("0..10ms"));
    let rows: Vec<&str> = text.lines().collect();
    let row = |parts: &[(char, usize)]| -> String {
        let letters = parts.iter().map(|&(c, n)| c.to_string().repeat(n));
        letters.collect()
    };
    assert_eq!(
        rows[1],
        format!("slot 0 |{}|", row(&[('.', 20), ('B', 60), ('A', 20)]))
    );
    assert_eq!(rows[2], format!("slot 1 |{}|", row(&[('C', 100)])));
    assert_eq!(
        rows[3..],
        ["A frames (high)", "B hogs-0 (normal)", "C hogs-1 (normal)"]
    );
}

#[test]
fn a_span_may_be_as_long_as_time_is() {
    let all = picture("0..18446744073s");
    let drawn = text::draw(&all);
    let first = drawn.lines().nth(2).expect("a slot");
    assert_eq!(first, format!("slot 1 |C{}|", ".".repeat(99)));
    assert!(svg::draw(&all).ends_with("</svg>\n"));
}

#[test]
fn the_drawing_is_well_formed_and_has_everybody() {
    let drawn = svg::draw(&picture("0..10ms"));
    assert!(drawn.contains("a &lt;small&gt; one"), "{drawn}");
    assert!(drawn.contains("frames (high)") && drawn.contains("hogs (normal, 2 queues)"));
    assert_eq!(drawn.matches("class=\"track\"").count(), 2);
    assert_eq!(drawn.matches("<g><title>").count(), 3);
    // Once where it was, once in the legend.
    assert_eq!(drawn.matches("class=\"cut\"").count(), 2);
    for tag in ["svg", "g", "text", "title", "style"] {
        let opened =
            drawn.matches(&format!("<{tag}>")).count() + drawn.matches(&format!("<{tag} ")).count();
        assert_eq!(
            opened,
            drawn.matches(&format!("</{tag}>")).count(),
            "{tag}: {drawn}"
        );
    }
}

#[test]
fn spans_are_read_or_refused() {
    let span = |from, to| Ok(Span(Duration::from_millis(from)..Duration::from_millis(to)));
    assert_eq!("200..250ms".parse::<Span>(), span(200, 250));
    assert_eq!("1s..1050ms".parse::<Span>(), span(1_000, 1_050));
    for text in ["", "50ms", "250..200ms", "200..250", "5ms..5ms"] {
        assert!(text.parse::<Span>().is_err(), "{text:?}");
    }
}
