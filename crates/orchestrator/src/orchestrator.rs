// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The handle, and how it is made.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ringfence::irq::{CountPlace, IrqLock};
use ringfence::{monotonic, Executor};
use ringfence_orchestrator_core::{
    self as core, AddError, ConfigError, Fair, GroupError, Policy, Refused, SeatConfig, SeatId,
    SlotId, SlotKind, KINDS_MAX,
};

use crate::act::Wait;
use crate::client::{add, Client, ClientUsage};
use crate::device::SlotDevice;
use crate::policy::AnyPolicy;
use crate::seat::{Entry, Seat};
use crate::shared::{Core, Room, Shared};
use crate::snapshot::Snapshot;

/// Seats that there is room for at first.
const ROOM: usize = 16;

/// Why an orchestrator could not be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The device has no slots, or too many.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Makes an orchestrator.
pub struct Builder<V: SlotDevice> {
    device: V,
    name: String,
    policy: Box<dyn Policy + Send>,
    patience: Option<Duration>,
    by_executor: bool,
    engines: [String; KINDS_MAX],
}

impl<V: SlotDevice> fmt::Debug for Builder<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<V: SlotDevice> Builder<V> {
    /// Who goes first. [`Fair`] with its defaults if not said. Where one of a program's own panics, it
    /// has said so, and the rest goes on as if it had not been asked.
    pub fn policy(mut self, policy: impl Policy + Send + 'static) -> Self {
        self.policy = Box::new(policy);
        self
    }

    /// How long the device may take to answer before it is [stuck](SlotDevice::stuck); `None` for
    /// ever. 500 ms if not said.
    pub fn patience(mut self, patience: Option<Duration>) -> Self {
        self.patience = patience;
        self
    }

    /// Has the executor alone act, never the thread on which something happened. That costs a wake-up
    /// for each event, and is what real-time queues want: else an ordinary thread that acts, and is
    /// preempted meanwhile, holds them up. Build it with a real-time executor then.
    pub fn act_on_executor(mut self) -> Self {
        self.by_executor = true;
        self
    }

    /// What slots of this kind are called in statistics: `engine0` and so on if not said.
    pub fn engine(mut self, kind: SlotKind, name: &str) -> Self {
        name.clone_into(&mut self.engines[kind.number()]);
        self
    }

    /// Makes it. Its timer is `executor`'s, which also acts where no other thread can.
    ///
    /// # Errors
    ///
    /// [`BuildError`].
    pub fn build(
        self,
        executor: impl Into<Arc<dyn Executor>>,
    ) -> Result<Orchestrator<V>, BuildError> {
        let kinds = self.device.slots();
        let config = core::Config {
            preemption: self.device.preemption(),
            patience: self.patience,
        };
        let there = |kind: usize| kinds.iter().any(|other| other.number() == kind);
        let engines = self.engines.into_iter().enumerate();
        let engines = engines
            .map(|(kind, name)| there(kind).then_some(name))
            .collect();
        let core = Core::new(
            config,
            AnyPolicy(self.policy),
            vec![core::Seat::FREE; ROOM].into_boxed_slice(),
            kinds.iter().copied().map(core::Slot::new).collect(),
        )?;
        let shared = Shared::new(
            self.device,
            self.name,
            engines,
            executor.into(),
            self.by_executor,
            core,
        );
        Ok(Orchestrator { shared })
    }
}

/// Gives the slots of one device to its queues. Clones are the same orchestrator; it lives as long as
/// one of them or a seat.
pub struct Orchestrator<V: SlotDevice> {
    shared: Arc<Shared<V>>,
}

impl<V: SlotDevice> Clone for Orchestrator<V> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<V: SlotDevice> fmt::Debug for Orchestrator<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Orchestrator")
            .field("name", &self.shared.name)
            .finish_non_exhaustive()
    }
}

impl<V: SlotDevice> Orchestrator<V> {
    /// Begins an orchestrator of `device`, with a name for people.
    pub fn builder(name: &str, device: V) -> Builder<V> {
        Builder {
            device,
            name: name.to_owned(),
            policy: Box::new(Fair::default()),
            patience: core::Config::default().patience,
            by_executor: false,
            engines: std::array::from_fn(|kind| format!("engine{kind}")),
        }
    }

    /// The device, as the driver has made it.
    pub fn device(&self) -> &V {
        &self.shared.device
    }

    /// A client, whose seats are counted together.
    pub fn client(&self, name: &str) -> Client {
        self.shared.client(name)
    }

    /// Makes the seat of a queue that is about to be built. Allocates.
    ///
    /// # Errors
    ///
    /// [`AddError::NoSuchSlot`].
    pub fn seat(
        &self,
        name: &str,
        config: SeatConfig,
        client: &Client,
        context: V::Context,
    ) -> Result<Seat<V>, AddError> {
        let id = self.add(config)?;
        let entry = Arc::new(Entry {
            id,
            name: name.to_owned(),
            client: client.clone(),
            context,
            control: Arc::default(),
            wait: IrqLock::new(Wait::new(&self.shared, id)),
            count: CountPlace::default(),
        });
        // Nothing has been said about it: it has no queue yet.
        self.shared.state.lock().entries[id.place()] = Some(Arc::clone(&entry));
        Ok(Seat::new(Arc::clone(&self.shared), entry))
    }

    fn add(&self, config: SeatConfig) -> Result<SeatId, AddError> {
        loop {
            let mut state = self.shared.state.lock();
            let added = state.add(config);
            let places = state.core.capacity();
            drop(state);
            if added != Err(AddError::Full) {
                return added;
            }
            // Memory is asked for, and given back, without the lock.
            let room = Room::new(places * 2);
            let rest = self.shared.state.lock().grow(room);
            drop(rest);
        }
    }

    /// Makes a group of seats: their queues run at the same time, each on a slot of its own, or not at
    /// all. Before they have jobs.
    ///
    /// # Errors
    ///
    /// [`GroupError`], and nothing has changed.
    pub fn group(&self, seats: &[&Seat<V>]) -> Result<(), GroupError> {
        if seats.iter().any(|seat| !seat.is_of(&self.shared)) {
            return Err(GroupError::Unknown);
        }
        let ids: Vec<SeatId> = seats.iter().map(|seat| seat.id()).collect();
        self.shared.event(|core, _now| core.group(&ids))
    }

    /// The slot about which nobody knew anything is free, and no context is on it.
    ///
    /// # Errors
    ///
    /// [`Refused`] if there is no such slot or it is not broken.
    pub fn repaired(&self, slot: SlotId) -> Result<(), Refused> {
        self.shared.event(|core, now| core.repaired(slot, now))
    }

    /// All seats and slots, as they are now. Allocates.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::take(&self.shared)
    }

    /// What a client has used up to now. Allocates.
    pub fn usage(&self, client: &Client) -> ClientUsage {
        let state = self.shared.state.lock();
        // Under one lock: a seat that goes meanwhile is counted once.
        let mut stats = client.past();
        for view in state.core.views(monotonic()) {
            let entry = state.entries[view.seat.place()].as_ref();
            if entry.is_some_and(|entry| entry.client.is(client)) {
                add(&mut stats, &view.stats);
            }
        }
        let mut slots = [0; KINDS_MAX];
        for slot in state.core.slots() {
            slots[slot.kind().number()] += 1;
        }
        drop(state);
        let engines = self.shared.engines.iter().enumerate();
        let engines = engines
            .filter_map(|(kind, name)| Some((name.clone()?, stats.busy_on[kind], slots[kind])));
        ClientUsage {
            driver: self.shared.name.clone(),
            client: client.id(),
            name: client.name().to_owned(),
            stats,
            engines: engines.collect(),
        }
    }
}
