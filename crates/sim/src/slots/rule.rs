// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The policy of a world: one of those there are, with a bug planted where one is wanted.

use std::time::Duration;

use ringfence_core::Time;
use ringfence_orchestrator_core::{Account, Fair, Field, Fifo, Policy, Priority, SlotKind, Weight};

use super::canary::{Plant, SlotCanary};
use super::setup::Rule;

#[derive(Debug)]
enum Which {
    Fair(Box<Fair>),
    Fifo(Fifo),
}

/// A policy and what is wrong with it.
#[derive(Debug)]
pub(super) struct Planted {
    which: Which,
    plant: Plant,
}

impl Planted {
    pub(super) fn new(rule: Rule, plant: Plant) -> Self {
        let which = match rule {
            Rule::Fair(mut config) => {
                if plant.is(SlotCanary::NoGuarantee) {
                    config.guarantee = u32::MAX;
                }
                Which::Fair(Box::new(Fair::new(config)))
            }
            Rule::Fifo(turn) => Which::Fifo(Fifo::new(turn)),
        };
        Self { which, plant }
    }
}

macro_rules! ask {
    ($self:ident, $policy:ident => $call:expr) => {
        match &$self.which {
            Which::Fair($policy) => $call,
            Which::Fifo($policy) => $call,
        }
    };
    (mut $self:ident, $policy:ident => $call:expr) => {
        match &mut $self.which {
            Which::Fair($policy) => $call,
            Which::Fifo($policy) => $call,
        }
    };
}

impl Policy for Planted {
    fn woke(&mut self, account: &mut Account, now: Time) {
        if !self.plant.is(SlotCanary::SleeperOwedEverything) {
            ask!(mut self, policy => policy.woke(account, now));
        }
    }

    fn joins(&mut self, account: &mut Account) {
        if !self.plant.is(SlotCanary::SleeperOwedEverything) {
            ask!(mut self, policy => policy.joins(account));
        }
    }

    fn switched(&mut self, priority: Priority, kind: SlotKind, ns: u64) {
        ask!(mut self, policy => policy.switched(priority, kind, ns));
    }

    fn key(&self, account: &Account) -> u64 {
        ask!(self, policy => policy.key(account))
    }

    fn ran(&mut self, account: &mut Account, kind: SlotKind, ns: u64) {
        ask!(mut self, policy => policy.ran(account, kind, ns));
    }

    fn failed(&mut self, account: &mut Account, ns: u64) {
        ask!(mut self, policy => policy.failed(account, ns));
    }

    fn look(&mut self, field: &Field) {
        ask!(mut self, policy => policy.look(field));
    }

    fn overtaken(&self, account: &mut Account, key: u64) {
        ask!(self, policy => policy.overtaken(account, key));
    }

    fn rank(&self, account: &Account) -> u8 {
        ask!(self, policy => policy.rank(account))
    }

    fn makes_way(&self, resident: &Account, waiting: &Account, now: Time) -> Option<Time> {
        ask!(self, policy => policy.makes_way(resident, waiting, now))
    }

    fn keeps_for(&self) -> Duration {
        ask!(self, policy => policy.keeps_for())
    }

    fn chosen(&mut self, account: &mut Account) {
        ask!(mut self, policy => policy.chosen(account));
    }

    fn changed(&mut self, account: &mut Account, was: Priority, weighed: Weight) {
        ask!(mut self, policy => policy.changed(account, was, weighed));
    }
}
