// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `ringfence sim` as a user calls it.

use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{kill_process, Pid, Signal};
use serde_json::Value;

fn sim(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
    command.arg("sim").args(args);
    command.output().expect("the program starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn json(args: &[&str]) -> Value {
    let output = sim(&[args, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(output.stderr, b"", "nothing but the object");
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

#[test]
fn what_is_found_does_not_depend_on_who_looks() {
    let one = json(&["--seeds", "700", "--from", "5", "--workers", "1"]);
    let three = json(&["--seeds", "700", "--from", "5", "--workers", "3"]);
    for key in [
        "seeds",
        "events",
        "jobs",
        "virtual_ns",
        "worst",
        "fingerprint",
        "coverage",
    ] {
        assert!(!one[key].is_null(), "{key}");
        assert_eq!(one[key], three[key], "{key}");
    }
    assert_eq!(one["workers"], 1);
    assert_eq!(three["workers"], 3);
    assert!(one["violation"].is_null());
    let other = json(&["--seeds", "700", "--from", "6"]);
    assert_ne!(one["fingerprint"], other["fingerprint"]);
}

#[test]
fn a_run_tells_what_it_saw_and_names_what_it_did_not() {
    let output = sim(&["--seeds", "3", "--workers", "2"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = stdout(&output);
    for part in [
        "simulated ",
        " events (",
        "worst: teardown ",
        "fingerprint ",
        "\nstate x event\n  free x Arm ",
        "\nfault\n  hang ",
        "\nrecovery\n  timeout: no hang ",
        "\nnever seen\n",
        "\nno promise was broken\n",
    ] {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

#[test]
fn the_events_of_a_seed_are_the_same_every_time() {
    let args = ["--seeds", "1", "--from", "42", "--log"];
    let (first, second) = (sim(&args), sim(&args));
    assert_eq!(first.status.code(), Some(0), "{first:?}");
    assert_eq!(stdout(&first), stdout(&second));
    let text = stdout(&first);
    assert!(text.contains("time/ns    step  queue  job"), "{text}");
    let counted = json(&["--seeds", "1", "--from", "42"]);
    let fingerprint = counted["fingerprint"].as_str().expect("text");
    assert!(
        text.contains(fingerprint),
        "{fingerprint} is missing in:\n{text}"
    );
}

#[test]
fn the_naive_model_sees_the_same() {
    let without = json(&["--seeds", "300"]);
    let with = json(&["--seeds", "300", "--oracle"]);
    assert_eq!(without["fingerprint"], with["fingerprint"]);
}

#[test]
fn more_operations_can_be_asked_for() {
    let few = json(&["--seeds", "4", "--ops", "10"]);
    let many = json(&["--seeds", "4", "--ops", "3000"]);
    assert!(many["events"].as_u64() > few["events"].as_u64().map(|events| 10 * events));
}

#[test]
#[cfg(not(feature = "canary"))]
fn the_program_that_users_get_plants_no_bugs() {
    let output = sim(&["--canary", "kick-lost"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn wrong_command_lines_are_told() {
    for (args, told) in [
        (&["--seeds", "0"][..], "no seed"),
        (&["--seeds", "2", "--log"], "--seeds 1"),
        (&["--seeds", "1", "--log", "--json"], "one of them"),
        (&["--seeds", "2", "--from", "18446744073709551615"], "2^64"),
        (&["--seeds", "many"], "many"),
        (&["--workers", "0"], "0 is not in"),
        (&["--ops", "0"], "0 is not in"),
    ] {
        let output = sim(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(told), "{args:?}: {text}");
    }
}

#[test]
fn every_word_of_the_event_log_is_explained() {
    let page = include_str!("../../../docs/reliability.md");
    let mut words = std::collections::BTreeSet::new();
    for seed in 1..200 {
        let output = sim(&["--seeds", "1", "--log", "--from", &seed.to_string()]);
        let text = stdout(&output);
        let heading = "time/ns    step  queue  job";
        let lines = text.lines().skip_while(|line| !line.starts_with(heading));
        let mut lines = lines.take_while(|line| !line.is_empty());
        let columns = lines.next().expect("a heading");
        assert!(page.contains(columns), "{columns}");
        words.extend(lines.map(|line| line.split_whitespace().nth(5).unwrap_or("").to_owned()));
    }
    // Nearly all there are.
    assert!(words.len() > 45, "{words:?}");
    for word in words {
        assert!(
            page.contains(&format!("`{word}`")),
            "{word} is not explained"
        );
    }
}

/// Waits until the process catches interrupts: before, it would just end. SIGUSR1 is the last
/// signal for which it has a handler.
fn catches_interrupts(child: &Child) {
    let path = format!("/proc/{}/status", child.id());
    loop {
        let status = std::fs::read_to_string(&path).expect("it is there");
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.expect("Linux says so").trim();
        let caught = u64::from_str_radix(caught, 16).expect("a mask");
        if caught & 1 << (Signal::USR1.as_raw() - 1) != 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn who_interrupts_is_told_what_was_found_until_then() {
    let child = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(["sim", "--seeds", "1000000000000"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    catches_interrupts(&child);
    kill_process(Pid::from_child(&child), Signal::INT).expect("it is there");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = stdout(&output);
    assert!(text.starts_with("simulated "), "{text}");
    assert!(text.contains(" workers, until interrupted\n"), "{text}");
    assert!(text.ends_with("\nno promise was broken\n"), "{text}");
}

#[test]
fn slots_are_simulated_too() {
    let some = ["--orchestrator", "--seeds", "40", "--from", "9"];
    let output = sim(&some);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = stdout(&output);
    assert!(
        text.starts_with("simulated 40 seeds of queues on slots from 9"),
        "{text}"
    );
    assert!(text.ends_with("no promise was broken\n"), "{text}");
    let of = |workers| json(&[&some[..], &["--workers", workers]].concat());
    let (one, three) = (of("1"), of("3"));
    assert_eq!(one, three);
    assert_eq!(one["seeds"], 40);
    assert!(one["jobs"].as_u64().is_some_and(|jobs| jobs > 1_000));
    assert!(one["violation"].is_null());
}

#[test]
fn the_last_seeds_of_all_are_the_last() {
    let from = (u64::MAX - 2).to_string();
    let last = json(&[
        "--orchestrator",
        "--seeds",
        "2",
        "--from",
        &from,
        "--workers",
        "3",
    ]);
    assert_eq!(last["seeds"], 2);
    assert_eq!(last["interrupted"], false);
}

#[test]
fn one_seed_of_slots_is_told_event_by_event() {
    let output = sim(&["--orchestrator", "--seeds", "1", "--from", "4", "--log"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = stdout(&output);
    assert!(text.contains("seed 4 held: fingerprint "), "{text}");
    assert!(text.lines().count() > 100, "{text}");
}

#[test]
fn what_only_concerns_queues_is_refused_for_slots() {
    for wrong in [&["--ops", "5"][..], &["--oracle"]] {
        let output = sim(&[&["--orchestrator", "--seeds", "1"], wrong].concat());
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
}
