// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The orchestrator of one device, and the seats of the plan's queues there.

pub(super) mod gang;
pub(super) mod occupancy;
pub(super) mod shares;
mod unfair;

use ringfence::Pool;
use ringfence_orchestrator::{
    Builder, Client, Fair, Fifo, Kinds, Orchestrator, Priority, Seat, SeatConfig, Weight,
};
use ringfence_softgpu::driver::{SoftDevice, SoftDriver, SoftSlots};
use ringfence_softgpu::{GpuConfig, Scheduling, SlotKind};

use super::machine::SetupError;
use crate::args::Sabotage;
use crate::plan::{Plan, PolicyPlan, QueuePlan};
use unfair::Unfair;

/// What is due to a queue at a moment: changes may have made it another than the plan says.
pub(super) type Due = (Priority, Weight);

/// The orchestrator of a device that is or was plugged in.
pub(super) struct Hosted {
    pub(super) orchestrator: Orchestrator<SoftSlots>,
    /// By their places in the plan.
    pub(super) clients: Vec<Client>,
}

impl Hosted {
    /// Makes the device's orchestrator, if the plan has one.
    pub(super) fn start(
        plan: &Plan,
        soft: &SoftDevice,
        pool: &Pool,
        sabotage: Option<Sabotage>,
    ) -> Result<Option<Self>, SetupError> {
        let Some(wanted) = plan.device().orchestrator else {
            return Ok(None);
        };
        let Some(builder) = soft.orchestrator("soft") else {
            return Ok(None);
        };
        let builder = builder.patience(Some(wanted.patience));
        let builder = with_policy(builder, wanted.policy, sabotage);
        let orchestrator = builder.build(pool)?;
        let names = plan.clients().iter();
        let clients = names.map(|name| orchestrator.client(name)).collect();
        Ok(Some(Self {
            orchestrator,
            clients,
        }))
    }

    /// Takes the seat of a queue that is about to be built.
    pub(super) fn seat(
        &self,
        soft: &SoftDevice,
        plan: &QueuePlan,
        (priority, weight): Due,
        driver: &SoftDriver,
    ) -> Result<Seat<SoftSlots>, SetupError> {
        let config = SeatConfig {
            priority,
            weight,
            kinds: kinds(&plan.due.kinds),
            ..SeatConfig::default()
        };
        let client = &self.clients[plan.due.client];
        Ok(soft.seat(&self.orchestrator, &plan.name, config, client, driver)?)
    }

    /// What each client's `fdinfo` says, with its name.
    pub(super) fn fdinfo(&self) -> impl Iterator<Item = (&str, String)> {
        self.clients.iter().map(|client| {
            let usage = self.orchestrator.usage(client);
            (client.name(), usage.to_string())
        })
    }
}

fn with_policy(
    builder: Builder<SoftSlots>,
    policy: PolicyPlan,
    sabotage: Option<Sabotage>,
) -> Builder<SoftSlots> {
    match policy {
        _ if sabotage == Some(Sabotage::Unfair) => builder.policy(Unfair),
        PolicyPlan::Fair(config) => builder.policy(Fair::new(config)),
        PolicyPlan::Fifo(turn) => builder.policy(Fifo::new(turn)),
    }
}

fn kinds(of: &[SlotKind]) -> Kinds {
    match of.is_empty() {
        true => Kinds::ALL,
        false => of
            .iter()
            .fold(Kinds::NONE, |kinds, kind| kinds.union(Kinds::from(*kind))),
    }
}

/// What the plan says of the slots of its devices.
pub(super) fn configure(plan: &Plan, config: GpuConfig) -> GpuConfig {
    let Some(wanted) = plan.device().orchestrator else {
        return config;
    };
    GpuConfig {
        scheduling: Scheduling::Host {
            preemption: wanted.preemption,
        },
        slot_kinds: plan.device().slot_kinds.clone(),
        switch_cost: wanted.switch_cost,
        ..config
    }
}
