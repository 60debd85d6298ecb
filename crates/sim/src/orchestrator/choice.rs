// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The policy of a run: one of the crate's own, with at most one bug in front of it.

use std::time::Duration;

use ringfence_core::Time;
use ringfence_orchestrator_core::{Account, Fair, Field, Fifo, Policy, Priority, SlotKind, Weight};

use super::mutant::Mutant;
use super::plan::Rules;

#[derive(Clone, Debug)]
enum Inner {
    Fair(Box<Fair>),
    Fifo(Fifo),
}

/// The policy.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    inner: Inner,
    mutant: Option<Mutant>,
}

impl Choice {
    pub(super) fn new(rules: Rules, mutant: Option<Mutant>) -> Self {
        let inner = match rules {
            Rules::Fair(config) => Inner::Fair(Box::new(Fair::new(config))),
            Rules::Fifo(turn) => Inner::Fifo(Fifo::new(turn)),
        };
        Self { inner, mutant }
    }

    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    fn policy(&mut self) -> &mut dyn Policy {
        match &mut self.inner {
            Inner::Fair(fair) => fair.as_mut(),
            Inner::Fifo(fifo) => fifo,
        }
    }

    fn policy_ref(&self) -> &dyn Policy {
        match &self.inner {
            Inner::Fair(fair) => fair.as_ref(),
            Inner::Fifo(fifo) => fifo,
        }
    }
}

impl Policy for Choice {
    fn woke(&mut self, account: &mut Account, now: Time) {
        if !self.is(Mutant::SleepIsSaved) {
            self.policy().woke(account, now);
        }
    }

    fn joins(&mut self, account: &mut Account) {
        self.policy().joins(account);
    }

    fn key(&self, account: &Account) -> u64 {
        let key = self.policy_ref().key(account);
        match self.is(Mutant::LastFirst) {
            true => u64::MAX - key,
            false => key,
        }
    }

    fn ran(&mut self, account: &mut Account, kind: SlotKind, ns: u64) {
        self.policy().ran(account, kind, ns);
    }

    fn switched(&mut self, priority: Priority, kind: SlotKind, ns: u64) {
        self.policy().switched(priority, kind, ns);
    }

    fn failed(&mut self, account: &mut Account, ns: u64) {
        self.policy().failed(account, ns);
    }

    fn look(&mut self, field: &Field) {
        self.policy().look(field);
    }

    fn overtaken(&self, account: &mut Account, key: u64) {
        self.policy_ref().overtaken(account, key);
    }

    fn rank(&self, account: &Account) -> u8 {
        match self.is(Mutant::NoGuarantee) {
            true => account.priority.level() as u8 + 1,
            false => self.policy_ref().rank(account),
        }
    }

    fn makes_way(&self, resident: &Account, waiting: &Account, now: Time) -> Option<Time> {
        let higher = waiting.priority < resident.priority;
        if self.is(Mutant::StaysForEver) || self.is(Mutant::HigherMustWait) && higher {
            return None;
        }
        if self.is(Mutant::TurnsCutShort) {
            return Some(now);
        }
        self.policy_ref().makes_way(resident, waiting, now)
    }

    fn keeps_for(&self) -> Duration {
        self.policy_ref().keeps_for()
    }

    fn chosen(&mut self, account: &mut Account) {
        self.policy().chosen(account);
    }

    fn changed(&mut self, account: &mut Account, was: Priority, weighed: Weight) {
        self.policy().changed(account, was, weighed);
    }
}
