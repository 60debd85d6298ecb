// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What threads get from systems that refuse more or less.

use rustix::io::Errno;

use super::{apply_on, Granted, RealTimePriority, Scheduling, System, Wish};

/// A system with limits. `None`: it refuses even to listen, as a seccomp filter does.
struct Limited {
    real_time: Option<u8>,
    nice: Option<i8>,
    now: Scheduling,
}

impl Limited {
    fn new(real_time: Option<u8>, nice: Option<i8>) -> Self {
        Self {
            real_time,
            nice,
            now: Scheduling::Ordinary,
        }
    }
}

impl System for Limited {
    fn set_fifo(&mut self, priority: RealTimePriority) -> Result<(), Errno> {
        let limit = self.real_time.ok_or(Errno::NOSYS)?;
        if priority.get() > limit {
            return Err(Errno::PERM);
        }
        self.now = Scheduling::Fifo(priority);
        Ok(())
    }

    fn set_nice(&mut self, nice: i8) -> Result<(), Errno> {
        if nice < self.nice.ok_or(Errno::NOSYS)? {
            return Err(Errno::ACCESS);
        }
        self.now = Scheduling::Nice(nice);
        Ok(())
    }

    fn set_ordinary(&mut self) -> Result<(), Errno> {
        self.now = Scheduling::Ordinary;
        Ok(())
    }

    fn current(&self) -> Scheduling {
        self.now
    }

    fn fifo_limit(&self) -> Option<RealTimePriority> {
        RealTimePriority::new(self.real_time.unwrap_or(0))
    }

    fn nice_limit(&self) -> i8 {
        self.nice.unwrap_or(19)
    }
}

fn fifo(number: u8) -> RealTimePriority {
    RealTimePriority::new(number).expect("a priority")
}

/// What is granted, and the refusal in words.
fn ask(mut system: Limited, wish: Wish) -> (Scheduling, String) {
    let Granted {
        scheduling,
        refusal,
    } = apply_on(&mut system, wish);
    let said = refusal.map_or(String::new(), |refusal| refusal.to_string());
    (scheduling, said)
}

#[test]
fn what_is_allowed_is_given_without_a_word() {
    let nothing_said = String::new();
    let all = || Limited::new(Some(99), Some(-20));
    for (wish, scheduling) in [
        (Wish::Inherit, Scheduling::Ordinary),
        (Wish::Ordinary, Scheduling::Ordinary),
        (Wish::Nice(10), Scheduling::Nice(10)),
        (Wish::Nice(-20), Scheduling::Nice(-20)),
        (Wish::Fifo(fifo(99)), Scheduling::Fifo(fifo(99))),
    ] {
        assert_eq!(ask(all(), wish), (scheduling, nothing_said.clone()));
    }
    // Nobody needs leave to be less than others.
    let none = Limited::new(None, Some(0));
    assert_eq!(
        ask(none, Wish::Nice(10)),
        (Scheduling::Nice(10), nothing_said)
    );
}

#[test]
fn the_best_that_is_allowed_comes_instead_and_says_why() {
    let refused = "SCHED_FIFO priority 10 was refused: Operation not permitted (os error 1)";
    for (real_time, nice, scheduling) in [
        (3, -20, Scheduling::Fifo(fifo(3))),
        (0, -20, Scheduling::Nice(-20)),
        (0, -5, Scheduling::Nice(-5)),
        (0, 0, Scheduling::Ordinary),
        (0, 19, Scheduling::Ordinary),
    ] {
        let system = Limited::new(Some(real_time), Some(nice));
        assert_eq!(
            ask(system, Wish::Fifo(fifo(10))),
            (scheduling, refused.to_owned())
        );
    }
    let refused = "nice -10 was refused: Permission denied (os error 13)".to_owned();
    let system = Limited::new(Some(0), Some(-3));
    assert_eq!(
        ask(system, Wish::Nice(-10)),
        (Scheduling::Nice(-3), refused)
    );
}

#[test]
fn a_system_that_does_not_listen_leaves_ordinary_threads() {
    let (scheduling, said) = ask(Limited::new(None, None), Wish::Fifo(fifo(1)));
    assert_eq!(scheduling, Scheduling::Ordinary);
    assert!(said.contains("not implemented"), "{said}");
}

#[test]
fn a_pool_says_what_its_least_thread_has() {
    let granted = |scheduling| Granted {
        scheduling,
        refusal: None,
    };
    let by_rank = [
        Scheduling::Nice(19),
        Scheduling::Ordinary,
        Scheduling::Nice(-20),
        Scheduling::Fifo(fifo(1)),
        Scheduling::Fifo(fifo(99)),
    ];
    for (less, &lesser) in by_rank.iter().enumerate() {
        for &greater in &by_rank[less..] {
            let both = [(lesser, greater), (greater, lesser)];
            for (one, other) in both.map(|(one, other)| (granted(one), granted(other))) {
                assert_eq!(one.lesser(other).scheduling, lesser);
            }
        }
    }
}

#[test]
fn priorities_are_1_to_99() {
    let all = (0..=u8::MAX).filter_map(RealTimePriority::new);
    let numbers: Vec<u8> = all.map(RealTimePriority::get).collect();
    assert_eq!(numbers, (1..=99).collect::<Vec<_>>());
}
