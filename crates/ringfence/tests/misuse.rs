// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Misuse that does not compile, and what the compiler says to it.
//!
//! `TRYBUILD=overwrite cargo test -p ringfence --test misuse` writes what it says anew.
#![cfg(not(any(feature = "loom", feature = "shuttle")))]

use std::path::Path;
use std::process::{Command, Output};

#[test]
fn misuse_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}

/// `follow` and `no_resources` without `NAMES_FENCES` are refused when code is made of them,
/// which `cargo check`, and so trybuild, does not get to: this builds.
#[test]
fn naming_a_fence_without_saying_so_does_not_build() {
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("names-fences");
    for (answer, says) in [
        (
            "submission.follow(fence)",
            Some("set Driver::NAMES_FENCES to follow fences"),
        ),
        (
            "submission.no_resources(fence)",
            Some("set Driver::NAMES_FENCES to name a fence"),
        ),
        // Shows that nothing else keeps it from building.
        ("{ drop(fence); submission.done() }", None),
    ] {
        let output = build(&package, answer);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.success(), says.is_none(), "{answer}: {text}");
        assert!(text.contains(says.unwrap_or("")), "{answer}: {text}");
    }
}

/// Builds a program whose run callback gives that answer.
fn build(package: &Path, answer: &str) -> Output {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::create_dir_all(package.join("src")).unwrap();
    let manifest = format!(
        "[package]\nname = \"names-fences\"\nedition = \"2021\"\n\n[workspace]\n\n\
         [dependencies]\nringfence = {{ path = {here:?} }}\n"
    );
    std::fs::write(package.join("Cargo.toml"), manifest).unwrap();
    // The versions that are known here: nothing is fetched.
    std::fs::copy(here.join("../../Cargo.lock"), package.join("Cargo.lock")).unwrap();
    let source = SOURCE.replace("ANSWER", answer);
    std::fs::write(package.join("src/main.rs"), source).unwrap();
    Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--offline"])
        .current_dir(package)
        .env("CARGO_TARGET_DIR", package.join("target"))
        .output()
        .unwrap()
}

const SOURCE: &str = r#"
use ringfence::*;

struct Forgetful(Fence);

impl Driver for Forgetful {
    type Payload = ();
    type ReplayData = ();

    fn run(&mut self, submission: Submission<'_, Self>) -> RunOutcome {
        let fence = self.0.clone();
        ANSWER
    }

    fn timed_out(&mut self, job: TimedOutJob<'_, Self>) -> TimeoutOutcome {
        job.no_hang()
    }
}

fn main() {
    let (device, pool) = (Device::new("d"), Pool::new(1).unwrap());
    let driver = Forgetful(Fence::already_signalled(Ok(())));
    let _queue = Queue::<Forgetful>::builder("q").build(&device, &pool, driver);
}
"#;
