// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What `ringfence sim` says of a planted bug, and that the command it prints shows the bug again.
//!
//! Needs the feature `canary`: `cargo test -p ringfence-cli --features canary --test canaries`.

use std::process::{Command, Output};

use ringfence_sim::Canary;

/// More seeds than any bug needs.
const SEEDS: &str = "20000";

fn ringfence(args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
    let Output { status, stdout, .. } = command.args(args).output().expect("the program starts");
    (status.code(), String::from_utf8(stdout).expect("text"))
}

/// The line that begins with `begin`, without it.
fn line<'a>(text: &'a str, begin: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(begin))
}

#[test]
fn each_bug_is_found_and_the_command_that_is_printed_shows_it_again() {
    for canary in Canary::ALL {
        let (code, told) = ringfence(&["sim", "--seeds", SEEDS, "--canary", canary.name()]);
        assert_eq!(code, Some(1), "{canary}: {told}");
        let violation = line(&told, "violation: ").unwrap_or_else(|| panic!("{canary}: {told}"));
        let command = line(&told, "  cargo run ").unwrap_or_else(|| panic!("{canary}: {told}"));
        let (how, args) = command
            .split_once(" -- ")
            .expect("arguments of the program");
        assert!(how.contains("--features canary"), "{how}");
        let args: Vec<_> = args.split(' ').collect();
        assert!(args.contains(&canary.name()), "{args:?}");
        let (code, again) = ringfence(&args);
        assert_eq!(code, Some(1), "{canary}, {args:?}: {again}");
        assert_eq!(line(&again, "violation: "), Some(violation), "{canary}");
        // The same seed holds where no bug is planted.
        let without = &args[..args.len() - 2];
        let (code, told) = ringfence(without);
        assert_eq!(code, Some(0), "{without:?}: {told}");
    }
}

/// Which seeds each needs is known to `crates/sim/tests/slots/canaries.rs`; here it is the command.
#[test]
fn a_bug_of_slots_is_found_and_the_command_that_is_printed_shows_it_again() {
    let bug = ["--slot-canary", "vacated-too-early"];
    let (code, told) = ringfence(&[&["sim", "--orchestrator", "--seeds", "50"], &bug[..]].concat());
    assert_eq!(code, Some(1), "{told}");
    let violation = line(&told, "violation: ").unwrap_or_else(|| panic!("{told}"));
    let command = line(&told, "to see it again: cargo run ").unwrap_or_else(|| panic!("{told}"));
    let (_, args) = command
        .split_once(" -- ")
        .expect("arguments of the program");
    let args: Vec<_> = args.split(' ').collect();
    let (code, again) = ringfence(&args);
    assert_eq!(code, Some(1), "{args:?}: {again}");
    assert_eq!(line(&again, "violation: "), Some(violation));
    let (code, told) = ringfence(&args[..args.len() - 2]);
    assert_eq!(code, Some(0), "{told}");
}

#[test]
fn a_bug_that_nobody_knows_is_refused() {
    // A bug of queues would not be planted into slots.
    let (code, _) = ringfence(&["sim", "--orchestrator", "--canary", "kick-lost"]);
    assert_eq!(code, Some(2));
    let (code, _) = ringfence(&["sim", "--canary", "no-such-bug"]);
    assert_eq!(code, Some(2));
}
