// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Recordings that were cut off at any byte: no crash, no hang, no job lost silently.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Cuts of each recording: 200 together.
const CUTS: [(&str, usize); 4] = [
    ("basic", 170),
    ("concurrent", 10),
    ("priority", 10),
    ("overhead", 10),
];
/// No cut takes nearly as long.
const MOST: Duration = Duration::from_secs(60);

/// Numbers that look random, always the same.
fn random(seed: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The fences of the jobs that whole lines say were queued.
fn queued(text: &str) -> usize {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let fence = |line: &str| {
        let (_, fields) = line.split_once(": drm_sched_job_queue: ")?;
        let (_, fence) = fields.split_once("fence=")?;
        Some(fence.split(',').next()?.to_owned())
    };
    let fences: HashSet<String> = whole.lines().filter_map(fence).collect();
    fences.len()
}

/// Replays `file` and returns its exit status and what it printed.
fn replay(file: &Path, output: &Path) -> (Option<i32>, String) {
    let out = fs::File::create(output).expect("a file");
    let mut program = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(["run", "--speed", "max", "--json"])
        .arg(file)
        .stdout(out)
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let begin = Instant::now();
    loop {
        if let Some(status) = program.try_wait().expect("a child") {
            let text = fs::read_to_string(output).expect("its output");
            return (status.code(), text);
        }
        if begin.elapsed() > MOST {
            program.kill().expect("a child");
            panic!("{} hangs", file.display());
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn check(text: &[u8], cut: usize, folder: &Path) {
    let file = folder.join(format!("{cut}.trace.txt"));
    fs::write(&file, &text[..cut]).expect("it is writable");
    let (code, printed) = replay(&file, &folder.join(format!("{cut}.json")));
    let expected = queued(&String::from_utf8_lossy(&text[..cut]));
    if expected == 0 {
        assert_eq!((code, printed.as_str()), (Some(2), ""), "cut at {cut}");
        return;
    }
    assert_eq!(code, Some(0), "cut at {cut}: {printed}");
    let object: Value = serde_json::from_str(&printed).expect("one object");
    let count = |key: &str| object.pointer(key).and_then(Value::as_u64);
    let replayed = count("/jobs/replayed").zip(count("/jobs/left_out"));
    let accounted = replayed.map(|(replayed, left_out)| (replayed + left_out) as usize);
    assert_eq!(accounted, Some(expected), "cut at {cut}: {object}");
    let ended = count("/jobs/completed").zip(count("/jobs/cancelled"));
    let ended = ended.map(|(completed, cancelled)| (completed + cancelled) as usize);
    assert_eq!(ended, Some(expected), "cut at {cut}: {object}");
    // A recording that ends within a line says so.
    if text[cut - 1] != b'\n' {
        let line = text[..cut]
            .rsplit(|&byte| byte == b'\n')
            .next()
            .unwrap_or(b"");
        let whole = line.ends_with(b"signaled") || line.starts_with(b"#");
        let told = count("/diagnostics");
        assert!(whole || told >= Some(1), "cut at {cut}: {object}");
    }
}

#[test]
fn two_hundred_cuts_lose_no_job_silently() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/gpu_scheduler");
    let mut cases: Vec<(PathBuf, u64)> = Vec::new();
    for (name, cuts) in CUTS {
        let file = data.join(format!("{name}.trace.txt"));
        cases.extend((0..cuts as u64).map(|seed| (file.clone(), seed)));
    }
    assert_eq!(cases.len(), 200);
    let folder = tempfile::tempdir().expect("a folder");
    let next = AtomicUsize::new(0);
    let work = || loop {
        let case = next.fetch_add(1, Ordering::Relaxed);
        let Some((file, seed)) = cases.get(case) else {
            return;
        };
        let text = fs::read(file).expect("it is in the repository");
        let cut = 1 + random(*seed + 1) as usize % (text.len() - 1);
        let own = folder.path().join(case.to_string());
        fs::create_dir(&own).expect("a folder");
        check(&text, cut, &own);
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(work);
        }
    });
}
