// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Plans through the program itself: what it prints and how it ends.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The folder of the plans that the repository ships.
fn plans() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plans")
}

fn sorted(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the folder is in the repository")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files
}

/// Runs the program in the folder `tests`, so that paths in messages are the same everywhere.
fn ringfence(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(args)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"))
        .output()
        .expect("the program starts")
}

/// What a user sees: the exit status and both outputs.
fn seen(output: &Output) -> String {
    let code = output
        .status
        .code()
        .map_or("killed".to_owned(), |code| code.to_string());
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    format!("exit {code}\n{out}{err}")
}

#[test]
fn every_bad_plan_is_refused_with_its_position_and_what_to_write() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad-plans");
    let files = sorted(&folder);
    assert!(files.len() >= 35, "only {} bad plans", files.len());
    for file in files {
        let stem = file
            .file_stem()
            .and_then(|stem| stem.to_str())
            .expect("a name")
            .to_owned();
        let path = format!("bad-plans/{stem}.toml");
        let output = ringfence(&["check", &path]);
        let text = seen(&output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(output.stdout.is_empty(), "{text}");
        let position = text
            .lines()
            .nth(1)
            .and_then(|line| line.strip_prefix(&format!("{path}:")))
            .map(|rest| {
                rest.splitn(3, ':')
                    .take(2)
                    .all(|n| n.parse::<usize>().is_ok())
            });
        assert_eq!(position, Some(true), "no line and column first:\n{text}");
        let helps = ["= write:", "= expected:", "= help:"];
        assert!(
            helps.iter().any(|help| text.contains(help)),
            "no way out is shown:\n{text}"
        );
        insta::assert_snapshot!(stem.clone(), text);
        // `run` reads plans the same way.
        let run = ringfence(&["run", &path]);
        assert_eq!(
            (run.status.code(), &run.stderr),
            (Some(2), &output.stderr),
            "{stem}"
        );
    }
}

#[test]
fn every_shipped_plan_is_good() {
    let files = sorted(&plans());
    assert!(files.len() >= 6, "only {} plans", files.len());
    for file in files {
        let stem = file
            .file_stem()
            .and_then(|stem| stem.to_str())
            .expect("a name");
        let output = ringfence(&["check", &format!("../../../plans/{stem}.toml")]);
        let text = seen(&output);
        assert_eq!(output.status.code(), Some(0), "{text}");
        insta::assert_snapshot!(format!("good-{stem}"), text);
    }
}

#[test]
fn without_a_file_the_tour_is_checked() {
    let output = ringfence(&["check"]);
    assert_eq!(
        output.stdout,
        ringfence(&["check", "../../../plans/tour.toml"]).stdout
    );
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_seed_on_the_command_line_replaces_the_plan_s() {
    let plan = "../../../plans/many-small-clients.toml";
    let one = seen(&ringfence(&["check", plan, "--seed", "1"]));
    let two = seen(&ringfence(&["check", plan, "--seed", "2"]));
    assert!(
        one.contains("seed          1\n") && two.contains("seed          2\n"),
        "{two}"
    );
    let faults = |text: &str| {
        text.lines()
            .find(|line| line.starts_with("faults"))
            .map(str::to_owned)
    };
    assert_ne!(faults(&one), faults(&two));
}

#[test]
fn files_that_are_no_plans_are_refused() {
    insta::assert_snapshot!("file-missing", seen(&ringfence(&["check", "no-such.toml"])));
    insta::assert_snapshot!("file-directory", seen(&ringfence(&["check", "bad-plans"])));
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("large.toml"), "#".repeat((1 << 20) + 1)).expect("written");
    std::fs::write(path("events.txt"), "# tracer: nop\n").expect("written");
    for (name, wanted) in [
        ("large.toml", "larger than 1024 KiB"),
        ("events.txt", "a recording"),
    ] {
        let file = path(name);
        let output = ringfence(&["check", file.to_str().expect("UTF-8")]);
        let text = seen(&output);
        assert!(
            output.status.code() == Some(2) && text.contains(wanted),
            "{text}"
        );
    }
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    let wrong: [&[&str]; 7] = [
        &["frobnicate"],
        &["check", "a.toml", "b.toml"],
        &["check", "--seed", "minus one"],
        &["run", "--device", "hard"],
        &["run", "--speed", "fast"],
        &["run", "--seed"],
        &["--no-such-flag"],
    ];
    for args in wrong {
        let output = ringfence(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", seen(&output));
        assert!(!output.stderr.is_empty(), "{args:?}");
    }
    assert_eq!(ringfence(&["--help"]).status.code(), Some(0));
    assert_eq!(ringfence(&["--version"]).status.code(), Some(0));
}
