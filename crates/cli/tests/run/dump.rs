// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Queues shown while they work: when `--dump` says so, on signals, and where nothing happens.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::{kill_process, Pid, Signal};
use serde_json::Value;

use super::{adds_up, count, errors, json, name, plan, ringfence, shipped, SMALL};

/// One job that takes longer than any test, and one that waits for it.
const ENDLESS: &str = r#"
name = "endless"
[[queue]]
name = "first"
timeout = "60s"
[[queue]]
name = "second"
[[stream]]
name = "sources"
queue = "first"
jobs = 2
work = "fill"
[[stream]]
name = "sinks"
queue = "second"
jobs = 1
work = "fill"
after = ["sources"]
[[fault]]
kind = "hang"
stream = "sources"
job = 0
"#;

/// A run in the background, and what it says on standard error.
struct Running {
    child: Child,
    errors: std::io::Lines<BufReader<ChildStderr>>,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringfence"))
            .arg("run")
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let errors = child.stderr.take().expect("a pipe");
        Self {
            child,
            errors: BufReader::new(errors).lines(),
        }
    }

    fn tell(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("it is there");
    }

    /// Reads on until a line has `part` in it; returns that line.
    #[track_caller]
    fn line_with(&mut self, part: &str) -> String {
        let mut before = String::new();
        for line in self.errors.by_ref() {
            let line = line.expect("text");
            if line.contains(part) {
                return line;
            }
            before.push_str(&line);
            before.push('\n');
        }
        panic!("no {part:?} in:\n{before}");
    }

    /// Waits for the end: the status, and standard output.
    fn end(self) -> (Option<i32>, String) {
        let Self { child, errors } = self;
        // So that it cannot block on a full pipe.
        let rest = std::thread::spawn(move || errors.count());
        let output = child.wait_with_output().expect("it ends");
        rest.join().expect("no panic");
        let text = String::from_utf8(output.stdout).expect("text");
        (output.status.code(), text)
    }
}

#[test]
fn dump_shows_every_queue_in_mid_run() {
    let file = plan(SMALL);
    let has_queues = |text: &str| {
        ["queue first: open", "queue second: open"]
            .iter()
            .all(|title| text.matches(title).count() == 1)
    };
    let output = ringfence(&["--dump", name(file.path())]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(has_queues(&text), "{text}");
    let title = text.lines().next().unwrap_or_default();
    assert!(title.contains(" s (in mid-run): 6"), "{title}");
    assert!(title.contains(" of 1200 jobs submitted, "), "{title}");
    // Not when all was over.
    assert!(
        text.find("queue first").expect("a dump") < text.find("everything held").expect("an end")
    );
    // Whether there are jobs in them at that moment is chance, but there were.
    let events = text.lines().filter(|line| line.ends_with(" submitted"));
    assert!(events.count() > 0, "no event: {text}");
    let output = ringfence(&["--dump", "--json", name(file.path())]);
    adds_up(&json(&output));
    assert!(has_queues(&errors(&output)), "{}", errors(&output));
}

#[test]
fn what_is_violated_is_followed_by_what_the_queues_did_last() {
    let file = plan(&SMALL.replace("failed = 3", "failed = 4"));
    let output = ringfence(&["--dump", name(file.path())]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text.matches(" s (in mid-run): ").count(), 1, "{text}");
    let last = text.find(" s (something was violated): 1200 of 1200 jobs submitted, 1200 over");
    let last = &text[last.expect("a dump at the end")..];
    assert!(last.contains("queue second: open"), "{last}");
    assert!(last.contains(" signal\n"), "{last}");
    // Only where somebody wants to see it.
    let output = ringfence(&[name(file.path())]);
    assert!(!String::from_utf8_lossy(&output.stdout).contains("queue first:"));
}

#[test]
fn a_run_that_hangs_can_be_looked_at_and_ended() {
    let file = plan(ENDLESS);
    let mut run = Running::start(&["--dump=20ms", "--json", name(file.path())]);
    // Until it has got as far as it will: the one job hangs on the hardware, the other waits for it.
    run.line_with("3 of 3 jobs submitted, 0 over");
    run.line_with(" times out in ");
    run.line_with("queue second: open");
    run.tell(Signal::USR1);
    let title = run.line_with("(asked by SIGUSR1)");
    assert!(title.ends_with("3 of 3 jobs submitted, 0 over"), "{title}");
    run.line_with("queue first: open");
    let hung = run.line_with("#1 ");
    assert!(
        hung.contains(" pending ") && hung.contains(" times out in "),
        "{hung}"
    );
    run.line_with("queue second: open");
    let waits = run.line_with("#1 ");
    assert!(waits.contains(" queued "), "{waits}");
    assert!(waits.trim_end().ends_with(" waits for 1 fence"), "{waits}");
    // Again and again, until somebody ends it.
    run.line_with("(it is time)");
    run.line_with("(it is time)");
    run.tell(Signal::INT);
    run.line_with("(interrupted)");
    run.line_with("queue first: open");
    run.tell(Signal::INT);
    let (status, _) = run.end();
    assert_eq!(status, Some(130));
}

#[test]
fn an_interrupted_run_tells_how_far_it_came() {
    // Half a minute of jobs.
    let file = plan(&SMALL.replace("jobs = 600", "jobs = 600\nevery = \"50ms\""));
    let mut run = Running::start(&["--dump=10ms", "--json", name(file.path())]);
    run.line_with("(it is time)");
    run.tell(Signal::INT);
    run.line_with("(interrupted)");
    let last = run.line_with("interrupted when ");
    assert!(
        last.ends_with(" of 1200 jobs were over: everything held"),
        "{last}"
    );
    let (status, text) = run.end();
    assert_eq!(status, Some(130), "{text}");
    let object: Value = serde_json::from_str(&text).expect("an object all the same");
    assert!(count(&object, "/jobs/submitted") < 1200, "{object}");
}

#[test]
fn a_replay_can_be_looked_at_and_ended() {
    let recording = shipped("tour").with_file_name("../data/gpu_scheduler/concurrent.trace.txt");
    // A thousandth of its pace: for hours.
    let mut run = Running::start(&["--speed", "0.001x", "--dump=20ms", name(&recording)]);
    run.line_with("(it is time): on the way");
    run.tell(Signal::USR1);
    run.line_with("(asked by SIGUSR1)");
    run.tell(Signal::INT);
    run.line_with("(interrupted)");
    let (status, text) = run.end();
    assert_eq!((status, text.as_str()), (Some(130), ""));
}

#[test]
fn when_to_dump_must_make_sense() {
    for when in ["--dump=0ms", "--dump=often", "--dump="] {
        let output = ringfence(&[when]);
        assert_eq!(output.status.code(), Some(2), "{when}");
        let told = errors(&output);
        assert!(told.contains("half") && told.contains("500ms"), "{told}");
    }
}
