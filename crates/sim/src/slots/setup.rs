// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What there is in a world: slots, queues, clients, costs, and what is to go wrong. Times are in
//! nanoseconds of virtual time.

use std::time::Duration;

use ringfence_core::ClosePolicy;
use ringfence_orchestrator_core::{FairConfig, Kinds, Preemption, Priority, Weight};

/// Which policy decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// Fair shares.
    Fair(FairConfig),
    /// First come, first served, with turns of this length.
    Fifo(Duration),
}

/// A whole world.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What is drawn while it runs is drawn from here.
    pub seed: u64,
    /// Who goes first.
    pub rule: Rule,
    /// Whether the device can take a context off its slot while it has jobs.
    pub preemption: Preemption,
    /// How long the device may take for an answer.
    pub patience_ns: u64,
    /// The kind of each slot.
    pub slots: Vec<u8>,
    /// How long the device takes to make a context resident.
    pub bind_ns: u64,
    /// How long it takes to take one off. Its jobs go on until then.
    pub vacate_ns: u64,
    /// How long a reset of the device takes.
    pub reset_ns: u64,
    /// The queues, each with its seat.
    pub queues: Vec<QueueSetup>,
    /// Queues that must be resident together.
    pub groups: Vec<Vec<usize>>,
    /// Who submits.
    pub clients: Vec<ClientSetup>,
    /// What is done at which time.
    pub acts: Vec<(u64, Act)>,
    /// What goes wrong by chance.
    pub rates: Rates,
    /// From then on nothing goes wrong any more, and clients that would go on for ever stop.
    pub quiet_at: u64,
    /// Clients submit one job each in turn, and each job waits for the one before.
    pub chained: bool,
    /// What can be done at the same time is done in any order, and check all invariants all the time.
    pub shuffled: bool,
}

/// A queue and its seat.
#[derive(Clone, Copy, Debug)]
pub struct QueueSetup {
    /// How important it is.
    pub priority: Priority,
    /// Its share.
    pub weight: Weight,
    /// The kinds of slots that it may be on.
    pub kinds: Kinds,
    /// Whether its driver is asked before it gets a slot.
    pub checked: bool,
    /// Jobs on the hardware at a time.
    pub credits: u32,
    /// Jobs in line at a time: a power of two.
    pub entries: usize,
    /// How long a job may be at the head of the line, on a slot; `None` for ever.
    pub timeout_ns: Option<u64>,
}

impl Default for QueueSetup {
    fn default() -> Self {
        Self {
            priority: Priority::Normal,
            weight: Weight::DEFAULT,
            kinds: Kinds::ALL,
            checked: false,
            credits: 1,
            entries: 16,
            timeout_ns: None,
        }
    }
}

/// Somebody who submits jobs to one queue.
#[derive(Clone, Copy, Debug)]
pub struct ClientSetup {
    /// To which.
    pub queue: usize,
    /// What.
    pub load: Load,
    /// From when on.
    pub starts_at: u64,
}

/// What a client submits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Load {
    /// As the kernel's tests do ([`Workload`](super::cases::Workload)).
    Cycles {
        /// Jobs in a cycle.
        jobs: u32,
        /// How long each takes.
        job_ns: u64,
        /// Whether the last job of a cycle is waited for.
        sync: bool,
        /// How long it sleeps after a cycle.
        wait_ns: u64,
        /// How many cycles.
        cycles: u64,
    },
    /// There are always so many jobs in line, each from `least_ns` to `most_ns` long.
    Backlog {
        /// How many.
        depth: u32,
        /// The shortest.
        least_ns: u64,
        /// The longest.
        most_ns: u64,
    },
    /// Every now and then some jobs, which may wait for one of another queue.
    Bursts {
        /// How many at most.
        jobs: u32,
        /// The longest.
        most_ns: u64,
        /// The longest time between two bursts.
        wait_ns: u64,
        /// How many of a hundred wait for a job of another queue.
        crossing: u32,
    },
}

/// Something that is done to the world.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// A queue is killed, and with it its jobs on the device.
    Kill(usize),
    /// It is closed.
    Close(usize, ClosePolicy),
    /// It is suspended for so long.
    Suspend(usize, u64),
    /// The newest job of a queue is cancelled.
    Cancel(usize),
    /// What its seat is due is another from now on.
    Change(usize, Priority, Weight),
    /// Its seat goes, and comes back with other kinds of slots.
    Move(usize, Kinds),
    /// The device is reset.
    Reset,
    /// The device lets go of one context by itself.
    Evict(usize),
    /// The orchestrator's timer fires although it should not.
    StrayTimer,
}

/// What goes wrong, in parts of a thousand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rates {
    /// Jobs that never end.
    pub hang: u32,
    /// Requests to the device that it never answers.
    pub silent: u32,
    /// Contexts that cannot be bound.
    pub bind_fails: u32,
    /// Requests after which nobody knows what is on the slot.
    pub breaks: u32,
    /// Drivers that are not ready when they are asked.
    pub not_yet: u32,
    /// Run callbacks that take their time.
    pub slow_run: u32,
    /// Reports that are overtaken by others.
    pub late_report: u32,
    /// Hangs that a callback can deal with itself.
    pub handled: u32,
}

impl Setup {
    /// A world without costs and faults: one policy, so many slots of one kind, no queue yet.
    pub fn plain(rule: Rule, preemption: Preemption, slots: usize) -> Self {
        Self {
            seed: 0,
            rule,
            preemption,
            patience_ns: 500_000_000,
            slots: vec![0; slots],
            bind_ns: 0,
            vacate_ns: 0,
            reset_ns: 1_000_000,
            queues: Vec::new(),
            groups: Vec::new(),
            clients: Vec::new(),
            acts: Vec::new(),
            rates: Rates::default(),
            quiet_at: 0,
            chained: false,
            shuffled: false,
        }
    }

    /// Adds a queue, and who submits to it from the beginning. Returns its number.
    pub fn add(&mut self, queue: QueueSetup, load: Load) -> usize {
        self.queues.push(queue);
        let queue = self.queues.len() - 1;
        self.clients.push(ClientSetup {
            queue,
            load,
            starts_at: 0,
        });
        queue
    }
}
