// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a pool says about its scheduling, where the system gives it and where not.

use std::process::Command;
use std::{env, io};

use ringfence::{Pool, Queue, RealTimePriority, Scheduling};
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
use rustix::thread::{capabilities, set_capabilities, CapabilitySet};

use crate::common::mock::Mock;
use crate::common::{done, submit, Rig};
use crate::{real_time, tells, told};

/// What a worker of the pool says about itself.
fn worker_says(pool: &Pool) -> Scheduling {
    let rig = Rig::new();
    let queue = rig.build_on(Queue::<Mock>::builder("q"), pool.executor());
    let (work, ran) = tells(&rig, 1);
    done(&submit(&queue, work, &[])).unwrap();
    let scheduling = told(&ran).scheduling;
    drop(queue);
    rig.finish();
    scheduling
}

#[test]
fn a_pool_says_what_its_workers_have() {
    let pool = real_time(2);
    assert_eq!(worker_says(&pool), pool.scheduling());
    let asked = Scheduling::Fifo(RealTimePriority::LOWEST);
    match pool.refusal() {
        None => assert_eq!(pool.scheduling(), asked),
        Some(refusal) => assert_eq!(refusal.asked(), asked),
    }
    let pool = Pool::builder().nice(5).build().unwrap();
    assert_eq!(
        (worker_says(&pool), pool.refusal()),
        (Scheduling::Nice(5), None)
    );
    let pool = Pool::new(1).unwrap();
    assert_eq!(
        (worker_says(&pool), pool.refusal()),
        (crate::scheduling(), None)
    );
}

/// Takes away what allows this thread, and those it starts, to be real-time or less nice ones.
fn give_up_rights() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Rtprio, none).unwrap();
    let none = Rlimit {
        current: Some(0),
        ..getrlimit(Resource::Nice)
    };
    setrlimit(Resource::Nice, none).unwrap();
    let mut sets = capabilities(None).unwrap();
    sets.effective.remove(CapabilitySet::SYS_NICE);
    sets.permitted.remove(CapabilitySet::SYS_NICE);
    set_capabilities(None, sets).unwrap();
}

/// Has the system refuse to schedule this thread, and those it starts, in any other way, as sandboxes
/// do. Being nice is another call.
fn forbid_policies() {
    let statement = |code: u32, k: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    };
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    let mut filter = [
        // The number of the call is the first thing that a filter sees.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter {
            jf: 1,
            ..statement(
                libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
                libc::SYS_sched_setscheduler as u32,
            )
        },
        statement(libc::BPF_RET | libc::BPF_K, refuse),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: The kernel copies the program, which lives that long.
    let failed = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            | libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            )
    };
    assert_eq!(failed, 0, "{}", io::Error::last_os_error());
}

/// Runs the test of this name again in a process of its own, which may do with its limits what it
/// likes. What that has said.
fn in_a_process_of_its_own(test: &str) -> String {
    let output = Command::new(env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env("RINGFENCE_ALONE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let ran = String::from_utf8_lossy(&output.stdout);
    assert!(ran.contains("1 passed"), "{ran}");
    said
}

fn is_alone() -> bool {
    env::var_os("RINGFENCE_ALONE").is_some()
}

#[test]
fn refused_real_time_is_said_once_and_can_be_asked_for() {
    if !is_alone() {
        let said =
            in_a_process_of_its_own("granted::refused_real_time_is_said_once_and_can_be_asked_for");
        let warnings: Vec<&str> = said
            .lines()
            .filter(|line| line.starts_with("ringfence: "))
            .collect();
        let [warning] = warnings[..] else {
            panic!("not once: {said}");
        };
        for part in [
            "ordinary scheduling instead",
            "SCHED_FIFO priority 1 was refused",
            "RTPRIO",
        ] {
            assert!(warning.contains(part), "{warning}");
        }
        return;
    }
    give_up_rights();
    for _ in 0..2 {
        let pool = real_time(2);
        assert_eq!(pool.scheduling(), Scheduling::Ordinary);
        assert_eq!(worker_says(&pool), Scheduling::Ordinary);
        let refusal = pool.refusal().expect("refused");
        assert_eq!(refusal.asked(), Scheduling::Fifo(RealTimePriority::LOWEST));
        assert_eq!(refusal.error().kind(), io::ErrorKind::PermissionDenied);
    }
}

#[test]
fn where_policies_are_forbidden_workers_are_as_little_nice_as_they_may() {
    if !is_alone() {
        let test = "granted::where_policies_are_forbidden_workers_are_as_little_nice_as_they_may";
        let said = in_a_process_of_its_own(test);
        assert!(said.contains("ringfence: workers have "), "{said}");
        return;
    }
    forbid_policies();
    let pool = real_time(2);
    assert!(pool.refusal().is_some());
    assert_eq!(worker_says(&pool), pool.scheduling());
    let rights = capabilities(None).unwrap().effective;
    if rights.contains(CapabilitySet::SYS_NICE) {
        assert_eq!(pool.scheduling(), Scheduling::Nice(-20));
    } else {
        assert!(!matches!(pool.scheduling(), Scheduling::Fifo(_)));
    }
}
