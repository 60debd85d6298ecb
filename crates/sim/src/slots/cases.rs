// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The fairness scenarios of Linux's own GPU scheduler, as data: names, numbers, and what must hold.
//!
//! Names and numbers are those of `drivers/gpu/drm/scheduler/tests/tests_scheduler.c` and
//! `tests_basic.c` (Linux 7.3, both GPL-2.0; facts are taken over here, no code). The kernel's tests
//! ask that all jobs are done in time, and print the rest for people to judge. Here each case says how
//! late a client may be, or how far apart clients may come, and why that follows from the policy of
//! fair shares as it is set by default (slices of 2 ms, at least 500 us, one part in 16) on *one*
//! slot. Binding and vacating are taken as free: where they are not, each turn costs that much more.
//!
//! Nothing here knows of a host: the simulator plays the table in virtual time, and others can on
//! real threads.

use ringfence_orchestrator_core::Priority;

/// What one client does, again and again (`struct drm_sched_client_params`): submits `jobs` jobs of
/// `job_us` each, waits for the last of them if `sync`, then sleeps for `wait_us`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Workload {
    /// Of its queue.
    pub priority: Priority,
    /// Jobs in one cycle.
    pub jobs: u32,
    /// How long each takes, in microseconds.
    pub job_us: u64,
    /// Whether it waits for the last job of a cycle.
    pub sync: bool,
    /// How long it sleeps after a cycle, in microseconds.
    pub wait_us: u64,
}

impl Workload {
    /// The device time of a cycle, in microseconds.
    pub const fn work_us(&self) -> u64 {
        self.jobs as u64 * self.job_us
    }

    /// How long a cycle takes on a device of its own, in microseconds.
    pub const fn period_us(&self) -> u64 {
        self.work_us() + self.wait_us
    }

    /// How many cycles fill `duration_us`: as many as begin in it.
    pub const fn cycles(&self, duration_us: u64) -> u64 {
        duration_us.div_ceil(self.period_us())
    }
}

/// How long after it could have been done, on a device of its own, a cycle may be done at the latest,
/// in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delay {
    /// Where the device can preempt.
    pub preempted_us: u64,
    /// Where it cannot, and each queue has at most so many jobs on it: one, or two.
    pub to_completion_us: [u64; 2],
}

const fn delay(preempted_us: u64, one_credit: u64, two_credits: u64) -> Option<Delay> {
    Some(Delay {
        preempted_us,
        to_completion_us: [one_credit, two_credits],
    })
}

/// Two clients with a queue each, on one slot, for a second (`drm_sched_scheduler_two_clients`):
/// played with one credit in each queue and with two.
#[derive(Clone, Copy, Debug)]
pub struct TwoClients {
    /// The kernel's name for it.
    pub name: &'static str,
    /// What they do.
    pub clients: [Workload; 2],
    /// The parts that they get for as long as both have work, where both always have: as one to the
    /// other. `None` where they do not.
    pub parts: Option<[u64; 2]>,
    /// How late each cycle of each may be. `None` for one that does not wait for its jobs.
    pub delays: [Option<Delay>; 2],
}

/// How long clients of [`TWO_CLIENTS`] go on, in microseconds. Those of [`MANY_CLIENTS`] share it.
pub const DURATION_US: u64 = 1_000_000;

const fn backlog(priority: Priority) -> Workload {
    Workload {
        priority,
        jobs: 1,
        job_us: 8_000,
        sync: false,
        wait_us: 0,
    }
}

const fn client(priority: Priority, jobs: u32, job_us: u64, wait_us: u64) -> Workload {
    Workload {
        priority,
        jobs,
        job_us,
        sync: true,
        wait_us,
    }
}

const fn two(
    name: &'static str,
    clients: [Workload; 2],
    parts: Option<[u64; 2]>,
    delays: [Option<Delay>; 2],
) -> TwoClients {
    TwoClients {
        name,
        clients,
        parts,
        delays,
    }
}

use Priority::{High, Low, Normal};

/// `drm_sched_cases`, in the order there.
pub const TWO_CLIENTS: [TwoClients; 10] = [
    two(
        "Normal priority and normal priority",
        [backlog(Normal), backlog(Normal)],
        Some([1, 1]),
        [None, None],
    ),
    // The guarantee: for 16 parts that the higher one has had, the lower one is owed one.
    two(
        "Normal priority and low priority",
        [backlog(Normal), backlog(Low)],
        Some([16, 1]),
        [None, None],
    ),
    two(
        "High priority and normal priority",
        [backlog(High), backlog(Normal)],
        Some([16, 1]),
        [None, None],
    ),
    two(
        "High priority and low priority",
        [backlog(High), backlog(Low)],
        Some([16, 1]),
        [None, None],
    ),
    // A job that has begun is done, or makes way for one of the other client when its slice is over,
    // which for the shorter job never is. The longer one is made to wait before, and once in between.
    two(
        "50% and 50%",
        [
            client(Normal, 1, 1_500, 1_500),
            client(Normal, 1, 2_500, 2_500),
        ],
        None,
        [delay(2_500, 2_500, 2_500), delay(3_000, 1_500, 1_500)],
    ),
    // The higher one waits while a lower one must not be disturbed: a least run, or a slice where that
    // is its guarantee. The lower one waits for what comes of the higher one while it is not done.
    two(
        "50% and 50% low priority",
        [
            client(Normal, 1, 1_500, 1_500),
            client(Low, 1, 2_500, 2_500),
        ],
        None,
        [delay(2_000, 2_500, 2_500), delay(4_500, 1_500, 1_500)],
    ),
    two(
        "50% high priority and 50%",
        [
            client(High, 1, 1_500, 1_500),
            client(Normal, 1, 2_500, 2_500),
        ],
        None,
        [delay(2_000, 2_500, 2_500), delay(4_500, 1_500, 1_500)],
    ),
    // The hog makes way after a least run; or when its jobs on the hardware are done.
    two(
        "Low priority hog and interactive client",
        [
            Workload {
                sync: false,
                ..client(Low, 3, 2_500, 500)
            },
            client(Normal, 1, 500, 10_000),
        ],
        None,
        [None, delay(500, 2_500, 5_000)],
    ),
    // Who sleeps more than its share goes first when the slice of the other is over. The renderer is
    // interrupted once in ten milliseconds for one.
    two(
        "Heavy rendering and interactive client",
        [
            client(Normal, 3, 2_500, 2_500),
            client(Normal, 1, 1_000, 9_000),
        ],
        None,
        [delay(2_000, 2_000, 2_000), delay(2_000, 2_500, 5_000)],
    ),
    two(
        "Very heavy rendering and interactive client",
        [
            client(Normal, 4, 50_000, 1),
            client(Normal, 1, 1_000, 9_000),
        ],
        None,
        [delay(25_000, 5_000, 3_000), delay(2_000, 50_000, 100_000)],
    ),
];

/// Clients that all do the same, each for its part of a second, two credits in each queue
/// (`drm_sched_scheduler_many_clients`): none may come more cycles before another than `apart`.
#[derive(Clone, Copy, Debug)]
pub struct ManyClients {
    /// The kernel's name for it.
    pub name: &'static str,
    /// How many.
    pub clients: u64,
    /// What each does.
    pub workload: Workload,
    /// How many cycles the first may be before the last. A cycle is two slices, or one, and shares are
    /// equal to a slice and what cannot be preempted.
    pub apart: u64,
}

const fn many(name: &'static str, clients: u64, jobs: u32) -> ManyClients {
    ManyClients {
        name,
        clients,
        workload: client(Normal, jobs, 1_000, 0),
        apart: 1,
    }
}

/// `drm_sched_many_cases`, in the order there.
pub const MANY_CLIENTS: [ManyClients; 5] = [
    many("2 clients", 2, 4),
    many("3 clients", 3, 4),
    many("7 clients", 7, 4),
    many("13 clients", 13, 4),
    many("31 clients", 31, 2),
];

/// Jobs that are all there before the first begins.
#[derive(Clone, Copy, Debug)]
pub struct Flood {
    /// The kernel's name for it.
    pub name: &'static str,
    /// The priorities of the queues, which get the jobs in turn.
    pub queues: &'static [Priority],
    /// How many, all together.
    pub jobs: u32,
    /// How long each takes, in microseconds.
    pub job_us: u64,
    /// Whether each job waits for the one before it, of another queue.
    pub chained: bool,
    /// Jobs of a queue on the hardware at a time; `None` for all.
    pub credits: Option<u32>,
    /// Kinds of slots, with one slot each. Queues begin on one kind each, in turn.
    pub kinds: u8,
    /// What is done to one queue after the other while they run, if anything is.
    pub stir: Option<Stir>,
    /// By when all must be done, in microseconds. What the device needs for the work is less.
    pub within_us: u64,
}

/// What is done to the queues of a [`Flood`], every 200 to 500 us, to one after the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stir {
    /// It gets the next priority.
    Priority,
    /// It moves to the next kind of slot.
    Kind,
}

/// How often [`Stir`] happens, in microseconds: at least, and at most.
pub const STIR_US: [u64; 2] = [200, 500];

const fn flood(name: &'static str, queues: &'static [Priority], jobs: u32) -> Flood {
    Flood {
        name,
        queues,
        jobs,
        job_us: 1_000,
        chained: false,
        credits: None,
        kinds: 1,
        stir: None,
        within_us: jobs as u64 * 1_000 * 5,
    }
}

/// `drm_sched_scheduler_queue_overhead`: one queue, a job at a time. The kernel asks for five times
/// the work's time, and so does [`Flood::within_us`]; without costs it takes the work's time.
pub const QUEUE_OVERHEAD: Flood = Flood {
    credits: Some(1),
    ..flood("queue_overhead", &[Normal], 1_000)
};

/// `drm_sched_scheduler_ping_pong`: two queues, each job waits for the one before in the other queue.
pub const PING_PONG: Flood = Flood {
    credits: Some(1),
    chained: true,
    ..flood("ping_pong", &[Normal, Normal], 1_000)
};

/// `drm_sched_priorities`: a queue of each priority, 100 jobs in turn. The kernel waits a second.
pub const PRIORITIES: Flood = Flood {
    within_us: 1_000_000,
    ..flood("priorities", &Priority::ALL, 100)
};

/// `drm_sched_change_priority`: the same with 1000 jobs, while priorities change.
pub const CHANGE_PRIORITY: Flood = Flood {
    stir: Some(Stir::Priority),
    ..flood("change_priority", &Priority::ALL, 1_000)
};

/// `drm_sched_test_modify_sched`: thirteen queues on three schedulers, here kinds of slots, between
/// which they move. Primes, so that there is no pattern.
pub const MODIFY_SCHED: Flood = Flood {
    stir: Some(Stir::Kind),
    kinds: 3,
    ..flood("modify_sched", &[Normal; 13], 1_000)
};

/// All of them.
pub const FLOODS: [Flood; 5] = [
    QUEUE_OVERHEAD,
    PING_PONG,
    PRIORITIES,
    CHANGE_PRIORITY,
    MODIFY_SCHED,
];
