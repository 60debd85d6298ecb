// SPDX-License-Identifier: GPL-2.0 OR MIT
//! One context's execution: from ring words to effects.

mod job;

use std::sync::Arc;

use super::operation::{Operation, Space};
use crate::clock::now_ns;
use crate::command::{check, decode, header, Command, MAX_PACKET_WORDS};
use crate::context::{ContextState, Shared};
use crate::device::Device;
use crate::fault::{Fault, FaultKind};
use crate::observer::{Observer, SlotEventKind};
use crate::slots::LossCause;
use crate::sync::read;

/// How much a context does before the next has its turn: words of simple work, a few
/// microseconds.
const QUANTUM: usize = 4096;
/// The longest that a quantum can count, in nanoseconds.
const QUANTUM_NS: u64 = 1_000_000;
/// What fetching a command costs of it.
const COMMAND_COST: usize = 64;

/// What surrounds a context while it executes.
pub(super) struct Env<'a> {
    pub(super) device: &'a Device,
    pub(super) observer: Option<&'a Observer>,
    pub(super) slot: u32,
}

/// Why a context stopped executing for now.
pub(super) enum Step {
    /// Its quantum is used up.
    Yield,
    /// It waits; see [`Wait`].
    Wait,
    /// Its ring is empty.
    Empty,
    Fault(Fault),
    /// Injected: the firmware dies.
    Died {
        silent: bool,
        /// The job it was dealing with.
        job: Option<u64>,
    },
    /// Injected: the device is pulled out.
    Unplugged {
        announced: bool,
    },
}

/// What a context waits for in the middle of its current command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    Nothing,
    /// The end of a spin.
    Spin {
        until: u64,
    },
    /// A slot, to spin for the rest.
    SpinOffSlot {
        left: u64,
    },
    Semaphore {
        address: u64,
        value: u32,
    },
    /// Where the host schedules: more in its ring.
    Doorbell,
    /// A reset.
    Hung,
}

/// Where the firmware keeps a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Idle,
    Waiting,
    Resident(usize),
    /// Where the host schedules: this slot is its, and switches to it.
    Switching(usize),
    Faulted,
    Resetting,
}

/// The firmware's half of a context.
pub(super) struct Exec {
    pub(super) shared: Arc<Shared>,
    pub(super) standing: Standing,
    pub(super) wait: Wait,
    /// The slot on which it was last, unless it has been reset since.
    pub(super) last_slot: Option<usize>,
    operation: Option<Operation>,
    /// The words of the command in progress.
    length: u64,
    /// A job has begun and its fence has not been written.
    in_job: bool,
    /// The job's fence value, if the stream said.
    pub(super) job: Option<u64>,
}

/// Whether to go on after a command.
enum Flow {
    Next,
    Stop(Step),
}

impl Exec {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            standing: Standing::Idle,
            wait: Wait::Nothing,
            last_slot: None,
            operation: None,
            length: 0,
            in_job: false,
            job: None,
        }
    }

    /// Puts it in `standing` and tells the host.
    pub(super) fn stand(&mut self, standing: Standing) {
        self.standing = standing;
        self.shared.set_state(match standing {
            Standing::Idle => ContextState::Idle,
            Standing::Waiting | Standing::Switching(_) => ContextState::Waiting,
            Standing::Resident(slot) => ContextState::Resident(slot as u32),
            Standing::Faulted => ContextState::Faulted,
            Standing::Resetting => ContextState::Resetting,
        });
    }

    /// It is off its slot and may come back.
    pub(super) fn stand_by(&mut self) {
        self.stand(if self.has_work() {
            Standing::Waiting
        } else {
            Standing::Idle
        });
    }

    /// It has lost its slot.
    pub(super) fn lose(&mut self, cause: LossCause) {
        match cause {
            LossCause::Fault(_) => self.stand(Standing::Faulted),
            LossCause::ContextReset => self.stand(Standing::Resetting),
            LossCause::Stopped | LossCause::Gone => self.shared.set_state(ContextState::Stopped),
            // A dead firmware's contexts are on no slot, and one that is dropped is no more.
            LossCause::DeviceReset | LossCause::Dropped => {}
        }
    }

    /// Whether its ring is not empty: GET moves only when a command has ended.
    pub(super) fn has_work(&self) -> bool {
        self.shared.ring.put() != self.shared.ring.get()
    }

    /// Forgets what it was doing. The ring stays as it is.
    pub(super) fn kill(&mut self) {
        self.shared.spin_ends(now_ns());
        self.shared.set_blocked(false);
        self.wait = Wait::Nothing;
        self.operation = None;
        self.length = 0;
        self.in_job = false;
        self.job = None;
    }

    /// It comes to a slot.
    pub(super) fn arrive(&mut self, now: u64) {
        if let Wait::SpinOffSlot { left } = self.wait {
            self.wait = Wait::Spin {
                until: now.saturating_add(left),
            };
            self.shared.spin_begins(now);
        }
    }

    /// It leaves its slot.
    pub(super) fn leave(&mut self, now: u64) {
        match self.wait {
            Wait::Spin { until } => {
                self.wait = Wait::SpinOffSlot {
                    left: until.saturating_sub(now),
                };
                self.shared.spin_ends(now);
            }
            // It looks by itself when it comes back.
            Wait::Doorbell => self.wait = Wait::Nothing,
            _ => {}
        }
    }

    /// Whether it could do something on its slot now.
    pub(super) fn can_run(&self, device: &Device, now: u64) -> bool {
        match self.wait {
            Wait::Nothing => true,
            Wait::Spin { until } => now >= until,
            Wait::Semaphore { .. } => self.is_satisfied(device),
            Wait::SpinOffSlot { .. } | Wait::Doorbell | Wait::Hung => false,
        }
    }

    /// Whether a slot would be of use to it, as far as firmware can know: of a hang it cannot.
    pub(super) fn wants_slot(&self, device: &Device) -> bool {
        self.is_satisfied(device)
    }

    /// Whether it does not wait for a semaphore, or need not any more: the semaphore has been
    /// written, or can no longer be read.
    pub(super) fn is_satisfied(&self, device: &Device) -> bool {
        let Wait::Semaphore { address, value } = self.wait else {
            return true;
        };
        let table = read(&self.shared.page_table);
        let space = Space {
            memory: &device.memory,
            table: &table,
        };
        space.load(address).map_or(true, |word| word >= value)
    }

    /// Executes for a quantum at most.
    pub(super) fn step(&mut self, env: &Env<'_>) -> Step {
        let shared = Arc::clone(&self.shared);
        let table = read(&shared.page_table);
        let space = Space {
            memory: &env.device.memory,
            table: &table,
        };
        let mut budget = QUANTUM;
        if let Err(fault) = self.resume(&space) {
            return Step::Fault(fault);
        }
        let began = now_ns();
        let step = self.execute(env, &space, &mut budget);
        // A quantum is a few microseconds: the rest is time in which the firmware did not run.
        let spent = now_ns().saturating_sub(began);
        shared.was_busy(spent.min(QUANTUM_NS));
        step
    }

    fn execute(&mut self, env: &Env<'_>, space: &Space<'_>, budget: &mut usize) -> Step {
        while *budget > 0 {
            match self.proceed(env, space, budget) {
                Ok(Flow::Next) => {}
                Ok(Flow::Stop(step)) => return step,
                Err(fault) => return Step::Fault(fault),
            }
        }
        Step::Yield
    }

    /// Ends the wait, which is over.
    fn resume(&mut self, space: &Space<'_>) -> Result<(), Fault> {
        match self.wait {
            Wait::Spin { .. } => self.shared.spin_ends(now_ns()),
            Wait::Semaphore { address, .. } => {
                // It may be over because the semaphore has been unmapped.
                space.load(address)?;
                self.shared.set_blocked(false);
            }
            Wait::Nothing | Wait::SpinOffSlot { .. } | Wait::Doorbell | Wait::Hung => return Ok(()),
        }
        self.wait = Wait::Nothing;
        self.retire();
        Ok(())
    }

    /// Goes on with the command in progress, or begins the next.
    fn proceed(
        &mut self,
        env: &Env<'_>,
        space: &Space<'_>,
        budget: &mut usize,
    ) -> Result<Flow, Fault> {
        if let Some(operation) = &mut self.operation {
            let done = operation.advance(space, budget)?;
            if done {
                self.operation = None;
                self.retire();
            } else {
                self.shared.count_progress();
            }
            return Ok(Flow::Next);
        }
        let Some(command) = self.fetch()? else {
            return Ok(Flow::Stop(Step::Empty));
        };
        *budget = budget.saturating_sub(COMMAND_COST);
        if let Some(step) = self.inject_before(env, &command)? {
            return Ok(Flow::Stop(step));
        }
        if let Command::BeginJob { value } = command {
            self.job = Some(value);
            self.note(env, SlotEventKind::JobBegin { value });
        }
        self.in_job = true;
        self.begin(env, space, &command)
    }

    /// The command in progress has ended.
    fn retire(&mut self) {
        self.shared.ring.advance(self.length);
        self.length = 0;
        self.shared.count_progress();
    }

    /// Reads the next command from the ring; `None` if there is none.
    fn fetch(&mut self) -> Result<Option<Command>, Fault> {
        let ring = &self.shared.ring;
        let get = ring.get();
        let available = ring.put().wrapping_sub(get);
        if available == 0 {
            return Ok(None);
        }
        let bad = |kind| Fault { kind, address: get };
        if available > ring.capacity() as u64 {
            return Err(bad(FaultKind::RingOverrun));
        }
        let header = header(ring.word(get)).map_err(bad)?;
        if header.words as u64 > available {
            return Err(bad(FaultKind::Truncated));
        }
        let mut packet = [0; MAX_PACKET_WORDS];
        let words = header.words.min(MAX_PACKET_WORDS);
        for (offset, word) in packet.iter_mut().take(words).enumerate() {
            *word = ring.word(get.wrapping_add(offset as u64));
        }
        let command = decode(header, &packet).ok_or(bad(FaultKind::BadLength))?;
        check(&command)?;
        self.length = header.words as u64;
        Ok(Some(command))
    }

    fn begin(
        &mut self,
        env: &Env<'_>,
        space: &Space<'_>,
        command: &Command,
    ) -> Result<Flow, Fault> {
        if let Some(operation) = Operation::of(command) {
            self.operation = Some(operation);
            return Ok(Flow::Next);
        }
        match *command {
            Command::Spin { ns } => {
                let now = now_ns();
                self.shared.spin_begins(now);
                return Ok(self.wait(Wait::Spin {
                    until: now.saturating_add(ns),
                }));
            }
            Command::SemaphoreWait { address, value } if space.load(address)? < value => {
                return Ok(self.wait(Wait::Semaphore { address, value }));
            }
            Command::Hang => return Ok(self.wait(Wait::Hung)),
            Command::SemaphoreWrite { address, value } => space.store(address, value)?,
            Command::Timestamp { dst } => space.store_wide(dst, now_ns())?,
            Command::Fault { address } => {
                return Err(Fault {
                    kind: FaultKind::Unmapped,
                    address,
                });
            }
            Command::Fence { value } => {
                self.fence(env, value);
                return Ok(Flow::Next);
            }
            _ => {}
        }
        self.retire();
        Ok(Flow::Next)
    }

    fn wait(&mut self, wait: Wait) -> Flow {
        self.wait = wait;
        let blocked = matches!(wait, Wait::Semaphore { .. });
        self.shared.set_blocked(blocked);
        Flow::Stop(Step::Wait)
    }
}
