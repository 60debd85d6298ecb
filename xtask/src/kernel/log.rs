// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A kernel's log: its lines as they were meant, and what must not be in them.

use std::time::Duration;

/// What the kernel says when something is wrong. KUnit passes over all of it.
const COMPLAINTS: [&str; 24] = [
    "WARNING:",
    "BUG:",
    "KASAN:",
    "ODEBUG:",
    "Oops",
    "Kernel panic",
    "kernel BUG at",
    "Call Trace:",
    "suspicious",
    "possible recursive locking",
    "possible circular locking",
    "inconsistent lock state",
    "bad unlock balance",
    "bad contention",
    "held lock freed",
    "lock held when returning",
    "turned off",
    "turning off the locking correctness validator",
    "INFO: task ",
    "self-detected stall",
    "detected stalls",
    "refcount_t:",
    "corruption",
    "Segmentation fault",
];

/// What our own scripts and modules say then.
const OURS: &str = "FAILED";

/// The last line of a boot that went to its end.
const END: &str = "ringfence-boot: end";

/// How many lines are shown with a complaint.
const AROUND: usize = 24;

/// A boot's log.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    lines: Vec<String>,
    /// The time it was given, where that was not enough.
    pub(crate) killed: Option<Duration>,
}

impl Log {
    pub(crate) fn new(text: &str) -> Self {
        let lines = text.lines().map(|line| bare(line).to_owned());
        Self {
            lines: lines.collect(),
            killed: None,
        }
    }

    /// Its lines without time stamps.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// Whether the script of the boot came to its end.
    pub(crate) fn ended(&self) -> bool {
        self.lines().any(|line| line == END)
    }

    pub(crate) fn says(&self, what: &str) -> bool {
        self.lines().any(|line| line.contains(what))
    }

    /// The first thing that is wrong, with the lines that follow it.
    pub(crate) fn complaint(&self) -> Option<&[String]> {
        let is_bad = |line: &String| is_complaint(line);
        let at = self.lines.iter().position(is_bad)?;
        let end = self.lines.len().min(at + AROUND);
        Some(&self.lines[at..end])
    }
}

fn is_complaint(line: &str) -> bool {
    let ours = line.starts_with("ringfence") && line.contains(OURS);
    ours || COMPLAINTS.iter().any(|word| line.contains(word))
}

/// A line without what printk and consoles put around it; its indentation means something.
fn bare(line: &str) -> &str {
    let line = line.trim_end();
    let Some(rest) = line.strip_prefix('[') else {
        return line;
    };
    match rest.split_once(']') {
        Some((time, rest)) if is_time(time.trim()) => rest.strip_prefix(' ').unwrap_or(rest),
        _ => line,
    }
}

fn is_time(text: &str) -> bool {
    // `12.345678`, and with PRINTK_CALLER ` T123` in brackets of its own, which is off here.
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once('.')
        .is_some_and(|(seconds, rest)| digits(seconds) && digits(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stamps_and_carriage_returns_go_and_indentation_stays() {
        let log = Log::new("[    0.123456]     KTAP version 1\r\nplain\n[x] y\n[    1.000000]\n");
        let lines: Vec<&str> = log.lines().collect();
        assert_eq!(lines, ["    KTAP version 1", "plain", "[x] y", ""]);
    }

    #[test]
    fn only_its_last_line_ends_a_boot() {
        assert!(Log::new("a\r\nringfence-boot: end\r\n").ended());
        assert!(!Log::new("a\nringfence-boot: ending\n").ended());
    }

    #[test]
    fn each_complaint_is_seen_and_shown() {
        for line in [
            "WARNING: CPU: 0 PID: 1 at kernel/locking/lockdep.c:4900 lockdep_init_map_type",
            "BUG: sleeping function called from invalid context at kernel/locking/mutex.c:579",
            "BUG: KASAN: slab-use-after-free in violation_init+0x1b0/0x1000",
            "WARNING: possible circular locking dependency detected",
            "WARNING: suspicious RCU usage",
            "INFO: lockdep is turned off.",
            "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100",
            "ringfence-boot: FAILED insmod ringfence (1)",
            "ringfence_stress: FAILED a fence was lost",
            "rcu: INFO: rcu_preempt self-detected stall on CPU",
        ] {
            let log = Log::new(&format!("fine\n[    1.000000] {line}\r\nmore\n"));
            assert_eq!(log.complaint().unwrap(), [line, "more"], "{line}");
        }
        let log = Log::new("Memory: 1G\nringfence_kunit: loaded\nok 1 A_FAILED_job_is_reaped\n");
        assert_eq!(log.complaint(), None);
    }
}
