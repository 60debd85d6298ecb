// SPDX-License-Identifier: GPL-2.0 OR MIT
//! One round's devices, queues and jobs, and the judgement at its end.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ringfence::fence::{Registration, Status};
use ringfence::{Ban, BuildError, ClosePolicy, Device, Fence, Pool, Queue};

use crate::driver::Mock;
use crate::hardware::Hardware;
use crate::ledger::{Broken, Ledger, Scope, Ticket, Watch};
use crate::plan::{Ending, Plan};
use crate::random::Random;
use crate::seen::Seen;
use crate::surgeon::Surgeon;
use crate::sync::Mutex;
use crate::wire;

const SEQ: Ordering = Ordering::SeqCst;

/// Fences that jobs may be made to wait for: the latest so many.
const BOARD: usize = 32;

/// A queue's handle and what is known about it.
pub(crate) struct Line {
    pub(crate) queue: Queue<Mock>,
    pub(crate) device: Device,
    pub(crate) watch: Arc<Watch>,
    pub(crate) bypass: bool,
    pub(crate) bans: bool,
}

impl Line {
    /// Gives up one count of the handle.
    pub(crate) fn let_go(line: Arc<Self>, in_callback: bool) {
        if let Some(line) = Arc::into_inner(line) {
            if in_callback {
                line.watch.saw(Seen::HandleInCallback);
            }
            drop(line);
        }
    }
}

pub(crate) type Callback = Box<dyn FnMut(Status) + Send>;

/// A job that was prepared.
pub(crate) struct Record {
    pub(crate) ticket: Arc<Ticket>,
    /// Once it is armed.
    pub(crate) fence: Arc<Mutex<Option<Fence>>>,
    pub(crate) registration: Option<Registration<Callback>>,
    /// A callback was registered before the fence could signal, and stays.
    pub(crate) listened: bool,
}

/// What of a queue is needed at the end, when its handle may be gone.
struct Made {
    hardware: Arc<Hardware>,
    closed: Fence,
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) devices: Vec<(Device, Arc<Scope>)>,
    pub(crate) lines: Vec<Mutex<Option<Arc<Line>>>>,
    /// Fences that no queue signals.
    pub(crate) outside: Arc<Hardware>,
    pool: Pool,
    made: Mutex<Vec<Made>>,
    board: Mutex<Vec<Fence>>,
    records: Mutex<Vec<Record>>,
}

impl World {
    pub(crate) fn new(plan: Plan, dice: &mut Random) -> Arc<Self> {
        let ledger = Arc::new(Ledger::default());
        let pool = Pool::new(plan.workers).expect("threads can be started");
        let devices = (0..plan.devices)
            .map(|number| {
                let scope = Arc::new(Scope::default());
                let builder = Device::builder(&format!("device {number}"));
                let device = if plan.recovers {
                    let surgeon = Surgeon::new(&ledger, &scope, &plan, dice.part(number));
                    let opened = builder.recovery(surgeon);
                    opened.expect("threads can be started")
                } else {
                    builder.build()
                };
                (device, scope)
            })
            .collect();
        let world = Arc::new(Self {
            lines: (0..plan.queues).map(|_| Mutex::new(None)).collect(),
            outside: Hardware::new(),
            made: Mutex::default(),
            board: Mutex::default(),
            records: Mutex::default(),
            plan,
            ledger,
            devices,
            pool,
        });
        for slot in 0..world.lines.len() {
            world.make_queue(slot, dice);
        }
        world
    }

    /// The queue in a slot. `None` if there is none.
    pub(crate) fn line(&self, slot: usize) -> Option<Arc<Line>> {
        self.lines[slot].lock().clone()
    }

    /// Puts a new queue where there is an old one or none.
    pub(crate) fn make_queue(&self, slot: usize, dice: &mut Random) {
        let (device, scope) = &self.devices[dice.below(self.devices.len())];
        let watch = Watch::new(Arc::clone(&self.ledger), Arc::clone(scope));
        let hardware = Hardware::new();
        let own = Arc::new(Mutex::new(Weak::new()));
        let driver = Mock::new(&watch, &hardware, &own, dice.part(slot as u64));
        let bypass = self.plan.bypass && dice.once_in(2);
        let bans = dice.once_in(4);
        let builder = self.builder(slot, bypass, bans, dice);
        let queue = match builder.build(device, &self.pool, driver) {
            Ok(queue) => queue,
            Err(BuildError::Unbound | BuildError::Gone(_)) => {
                let over =
                    scope.unbinding.load(SEQ) || scope.gone.load(SEQ) || scope.poisoned.load(SEQ);
                watch.check(over, "a queue refused without reason", 0);
                watch.saw(Seen::QueueRefused);
                return;
            }
            Err(error) => panic!("a queue that can be made: {error}"),
        };
        watch.context.store(queue.context(), SEQ);
        watch.saw(Seen::QueueMade);
        self.made.lock().push(Made {
            hardware,
            closed: queue.closed(),
        });
        let line = Arc::new(Line {
            queue,
            device: device.clone(),
            watch,
            bypass,
            bans,
        });
        *own.lock() = Arc::downgrade(&line);
        let old = self.lines[slot].lock().replace(line);
        // Without the lock: this may be its end.
        if let Some(old) = old {
            Line::let_go(old, false);
        }
    }

    fn builder(
        &self,
        slot: usize,
        bypass: bool,
        bans: bool,
        dice: &mut Random,
    ) -> ringfence::Builder {
        let mut builder = Queue::<Mock>::builder(&format!("queue {slot}"))
            .capacity(dice.pick(&[2, 8, 16, 64]))
            .credits(dice.pick(&[1, 2, 4, 16]))
            .bypass(bypass)
            .extensions(2)
            .close_policy(dice.pick(&[ClosePolicy::Cancel, ClosePolicy::Drain]));
        if dice.once_in(2) {
            builder = builder.timeout(Duration::from_micros(dice.pick(&[200, 1000, 5000])));
        }
        if bans {
            let within = dice.once_in(2).then_some(Duration::from_millis(2));
            builder = builder.ban(Ban { strikes: 2, within });
        }
        if self.plan.ending == Ending::Bounded || dice.once_in(3) {
            let bound = Duration::from_micros(dice.pick(&[0, 500, 3000]));
            builder = builder.close_timeout(bound);
        }
        builder
    }

    pub(crate) fn record(&self, record: Record) {
        self.records.lock().push(record);
    }

    /// Puts a fence where others find it.
    pub(crate) fn publish(&self, fence: Fence, dice: &mut Random) {
        let mut board = self.board.lock();
        if board.len() < BOARD {
            board.push(fence);
            return;
        }
        let at = dice.below(BOARD);
        let old = std::mem::replace(&mut board[at], fence);
        drop(board);
        drop(old);
    }

    /// Up to `most` fences of those published.
    pub(crate) fn fences(&self, most: usize, dice: &mut Random) -> Vec<Fence> {
        let board = self.board.lock();
        match board.len() {
            0 => Vec::new(),
            count => (0..dice.below(most + 1))
                .map(|_| board[dice.below(count)].clone())
                .collect(),
        }
    }

    /// Lets the hardware do something. False if it had nothing to do.
    pub(crate) fn step(&self, dice: &mut Random) -> bool {
        let hardware = {
            let made = self.made.lock();
            let some = made.get(dice.below(made.len().max(1)));
            some.map(|made| Arc::clone(&made.hardware))
        };
        let outside = dice.once_in(4) && self.outside.signal(dice);
        hardware.is_some_and(|hardware| hardware.step(dice)) || outside
    }

    /// Ends the round, waits until all is over, and judges.
    pub(crate) fn finish(self: Arc<Self>, dice: &mut Random) -> Option<Broken> {
        let lines: Vec<_> = (0..self.lines.len())
            .filter_map(|slot| self.lines[slot].lock().take())
            .collect();
        self.begin_end(&lines, dice);
        self.await_end(dice);
        for (device, scope) in &self.devices {
            unbind(device, scope);
        }
        self.outside.clear();
        wire::clear();
        self.made
            .lock()
            .iter()
            .for_each(|made| made.hardware.clear());
        self.judge_records();
        // After those: a job that was submitted last may just have been dropped by the worker.
        for line in &lines {
            self.judge_queue(line);
        }
        drop(lines);
        let ledger = Arc::clone(&self.ledger);
        drop(std::mem::take(&mut *self.made.lock()));
        let devices: Vec<_> = self
            .devices
            .iter()
            .map(|(_, scope)| Arc::clone(scope))
            .collect();
        drop(self);
        let left = || {
            ledger.drivers.load(SEQ) + ledger.replay_data.load(SEQ) + ledger.recoveries.load(SEQ)
        };
        // The worker may be about to let go of the last of it.
        while left() != 0 {
            nap();
        }
        drop(devices);
        ledger.broken()
    }

    fn begin_end(&self, lines: &[Arc<Line>], dice: &mut Random) {
        match self.plan.ending {
            Ending::Complete => {}
            Ending::Bounded => {
                self.ledger.saw(Seen::BoundedClose);
                lines.iter().for_each(|line| line.queue.close());
            }
            Ending::Unbind => {
                for (device, scope) in &self.devices {
                    unbind(device, scope);
                }
            }
            Ending::Gone => {
                for (device, scope) in &self.devices {
                    scope.gone.store(true, SEQ);
                    if let Ok(stop) = device.stop_all() {
                        self.ledger.saw(Seen::DeviceGone);
                        stop.device_gone();
                    }
                }
            }
        }
        for line in lines {
            line.queue
                .close_with(dice.pick(&[ClosePolicy::Cancel, ClosePolicy::Drain]));
        }
    }

    /// Waits until every queue is closed and every fence has signalled.
    fn await_end(&self, dice: &mut Random) {
        let helps = self.plan.ending != Ending::Bounded;
        let mut closed: Vec<Fence> = Vec::new();
        for made in self.made.lock().iter() {
            made.hardware.healed.store(helps, SEQ);
            closed.push(made.closed.clone());
        }
        while !closed.iter().all(Fence::is_signaled) {
            self.outside.signal(dice);
            if helps {
                wire::pump();
            }
            if !(helps && self.step(dice)) {
                nap();
            }
        }
        while self.outside.signal(dice) {}
        let fences: Vec<Fence> = {
            let records = self.records.lock();
            let fences = records.iter().map(|record| record.fence.lock().clone());
            fences.flatten().collect()
        };
        for fence in fences {
            let _any = fence.wait();
        }
        let board = std::mem::take(&mut *self.board.lock());
        drop(board);
    }

    fn judge_queue(&self, line: &Line) {
        let (queue, watch) = (&line.queue, &line.watch);
        let sound = queue.check_invariants();
        if let Err(violation) = &sound {
            eprintln!("{}: {violation:?}\n{}", queue.name(), queue.snapshot());
        }
        watch.check(sound.is_ok(), "an invariant of core", 0);
        watch.check(queue.is_empty(), "a closed queue with jobs in it", 0);
        let stats = queue.stats();
        watch.check(
            stats.armed == stats.signalled,
            "armed is not signalled",
            stats.armed,
        );
        watch.check(
            stats.armed == stats.reaped,
            "armed is not reaped",
            stats.armed,
        );
        let prepared = stats.armed + stats.released;
        watch.check(stats.prepared >= prepared, "more jobs than rooms", prepared);
    }

    fn judge_records(&self) {
        let records = std::mem::take(&mut *self.records.lock());
        // Those that were never armed go with their callbacks.
        let mut kept = Vec::new();
        for record in records {
            let fence = record.fence.lock().take();
            drop(record.registration);
            kept.push((record.ticket, fence, record.listened));
        }
        while self.ledger.payloads.load(SEQ) != 0 {
            nap();
        }
        for (ticket, fence, listened) in kept {
            match fence {
                Some(fence) => ticket.judge(&fence, listened),
                None => ticket.check(ticket.runs.load(SEQ) == 0, "a job ran that was not armed"),
            }
        }
    }

    /// Every queue as text, for whoever wonders why this does not end.
    pub(crate) fn dump(&self) {
        for slot in &self.lines {
            let line = slot.lock().clone();
            if let Some(line) = line {
                eprintln!("{}", line.queue.snapshot());
            }
        }
        let made = self
            .made
            .lock()
            .iter()
            .filter(|made| !made.closed.is_signaled())
            .count();
        eprintln!("{made} queues not closed");
    }
}

/// Lets others work. A sleep, since valgrind runs one thread at a time, and one that yields has its
/// turn as any other.
pub(crate) fn nap() {
    std::thread::sleep(Duration::from_micros(20));
}

/// Unbinds a device, as often as one likes.
pub(crate) fn unbind(device: &Device, scope: &Scope) {
    scope.unbinding.store(true, SEQ);
    device.unbind().expect("no callback and no stop here");
    scope.unbound.store(true, SEQ);
}
