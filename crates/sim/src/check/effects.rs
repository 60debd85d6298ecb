// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a queue may ask for, given its history.

use ringfence_core::{Context, Effect, Outcome};

use super::{promise, History, Verdict};
use crate::oracle::VisitId;

impl History {
    /// The queue asks this of a visit. `worker_idle` is what its host knows of the worker.
    pub(crate) fn effect(
        &mut self,
        visit: VisitId,
        context: Context,
        effect: &Effect,
        worker_idle: bool,
        now: u64,
    ) -> Verdict {
        match *effect {
            Effect::Signal { job, outcome } => self.on_signal(job.seqno(), outcome, context),
            Effect::Run { job } => self.on_run(job.seqno(), visit, context),
            Effect::TimedOut {
                job,
                extensions_left,
            } => {
                let active = self.active(now);
                self.on_timed_out(job.seqno(), visit, context, extensions_left, active)
            }
            Effect::Reap { job } => self.on_reap(job.seqno(), context),
            Effect::ArmTimer { .. } => {
                let timed = |(_, fact): (usize, &super::Fact)| fact.not_before.is_some();
                promise(self.live().any(timed), || {
                    "the timer is set and no job has a timeout".into()
                })
            }
            Effect::Recover { .. } => promise(false, || "a recovery that nobody asked for".into()),
            Effect::Kick => promise(worker_idle, || "a worker that is awake was kicked".into()),
            Effect::Closed => {
                promise(!matches!(context, Context::Irq | Context::Nested), || {
                    "Closed was said where nothing may be dropped".into()
                })?;
                promise(!self.told_closed, || "Closed was said twice".into())?;
                self.told_closed = true;
                promise(self.is_over() && self.reaped == self.facts.len(), || {
                    "Closed was said too early".into()
                })
            }
        }
    }

    fn on_signal(&mut self, seqno: u64, outcome: Outcome, context: Context) -> Verdict {
        let i = self.index(seqno)?;
        promise(i == self.signals_out, || {
            format!("#{seqno} was signalled out of order or twice")
        })?;
        promise(context != Context::Nested, || {
            "a nested visit was told to signal".into()
        })?;
        self.signals_out += 1;
        let killed = self.killed.is_some();
        let fact = &mut self.facts[i];
        fact.out = true;
        promise(fact.submitted, || {
            format!("#{seqno} signalled before submit")
        })?;
        promise(!fact.on_hardware, || {
            format!("#{seqno} signalled while on hardware")
        })?;
        promise(fact.open == 0 || killed, || {
            format!("#{seqno} signalled before its dependencies")
        })?;
        promise(fact.reasons.contains(&outcome), || {
            format!("#{seqno} signalled {outcome:?}, of {:?}", fact.reasons)
        })?;
        let never_ran = !matches!(outcome, Outcome::Cancelled(_)) || !fact.started;
        promise(never_ran, || format!("#{seqno} ran and was cancelled"))
    }

    fn on_run(&mut self, seqno: u64, visit: VisitId, context: Context) -> Verdict {
        let allowed =
            context == Context::Worker || (context == Context::Submit && self.config.bypass);
        promise(allowed, || format!("#{seqno} was to run in {context:?}"))?;
        promise(!self.unbound && self.suspends == 0, || {
            format!("#{seqno} was to run after unbind or while suspended")
        })?;
        let i = self.index(seqno)?;
        for (other, fact) in self.live() {
            let overlap = fact.asked.is_some() || fact.running.is_some_and(|by| by != visit);
            promise(!overlap, || format!("callbacks overlap at #{seqno}"))?;
            let overtakes = other < i && !fact.started && !fact.barred;
            promise(!overtakes, || format!("#{seqno} overtakes"))?;
        }
        let fact = &mut self.facts[i];
        promise(fact.submitted && fact.open == 0, || {
            format!("#{seqno} ran before its dependencies")
        })?;
        promise(!fact.started && !fact.barred && !fact.out, || {
            format!("#{seqno} ran twice, or although it was not to run")
        })?;
        promise(!fact.waits_for_resource, || {
            format!("#{seqno} was tried again before there was room")
        })?;
        fact.started = true;
        fact.on_hardware = true;
        fact.running = Some(visit);
        let (used, limit) = (self.credits(), u64::from(self.config.credits));
        promise(used <= limit, || format!("{used} credits used of {limit}"))
    }

    fn on_timed_out(
        &mut self,
        seqno: u64,
        visit: VisitId,
        context: Context,
        extensions_left: u8,
        active: u64,
    ) -> Verdict {
        promise(context == Context::Worker, || {
            format!("a timeout was looked into in {context:?}")
        })?;
        promise(!self.unbound && self.suspends == 0, || {
            format!("#{seqno} timed out after unbind or while suspended")
        })?;
        let i = self.index(seqno)?;
        let busy = |fact: &super::Fact| fact.running.is_some() || fact.asked.is_some();
        promise(!self.live().any(|(_, fact)| busy(fact)), || {
            format!("callbacks overlap at the timeout of #{seqno}")
        })?;
        promise(i == self.signals_out, || {
            format!("#{seqno} timed out and is not at the head of the line")
        })?;
        let max = self.config.extensions_max;
        let fact = &mut self.facts[i];
        promise(fact.on_hardware, || {
            format!("#{seqno} timed out and is not on the hardware")
        })?;
        let due = fact.triggered || fact.not_before.is_some_and(|at| at <= active);
        promise(due, || format!("#{seqno} timed out early"))?;
        promise(extensions_left == max - fact.extensions, || {
            format!("#{seqno} has {extensions_left} extensions left?")
        })?;
        fact.asked = Some(visit);
        Ok(())
    }

    fn on_reap(&mut self, seqno: u64, context: Context) -> Verdict {
        let allowed = match context {
            Context::Irq => self.reap_in_irq,
            Context::Nested => false,
            Context::Task | Context::Submit | Context::Worker => true,
        };
        promise(allowed, || {
            format!("#{seqno} was to be dropped in {context:?}")
        })?;
        let i = self.index(seqno)?;
        promise(i == self.reaped, || {
            format!("#{seqno} was dropped out of order or twice")
        })?;
        self.reaped += 1;
        let fact = &mut self.facts[i];
        fact.reaped = true;
        promise(fact.signalled, || {
            format!("#{seqno} was dropped before its fence signalled")
        })?;
        promise(fact.running.is_none() && fact.asked.is_none(), || {
            format!("#{seqno} was dropped while the driver had it")
        })
    }

    /// Nothing is left open and nobody visits: nothing may have been forgotten.
    pub(crate) fn at_rest(&self, timer_is_set: bool) -> Verdict {
        if let Some(fact) = self.facts.get(self.reaped) {
            promise(!fact.signalled, || {
                format!("nobody comes to drop #{}", self.seqno(self.reaped))
            })?;
        }
        if let Some(fact) = self.facts.get(self.signals_out) {
            let done = fact.started && !fact.on_hardware;
            promise(!done, || {
                format!("nobody comes to signal #{}", self.seqno(self.signals_out))
            })?;
            let timed = fact.on_hardware && fact.not_before.is_some() && self.suspends == 0;
            promise(!timed || timer_is_set, || {
                format!(
                    "nobody looks whether #{} hangs",
                    self.seqno(self.signals_out)
                )
            })?;
        }
        Ok(())
    }

    /// Credits the hardware holds, as the queue says.
    pub(crate) fn check_credits(&self, used: u32) -> Verdict {
        promise(u64::from(used) == self.credits(), || {
            format!("{used} credits are said to be used, {}", self.credits())
        })
    }

    /// All is over: each job armed has ended in every respect.
    pub(crate) fn check_end(&self) -> Verdict {
        promise(self.signals_done == self.facts.len(), || {
            format!("#{} never signalled", self.seqno(self.signals_done))
        })?;
        promise(self.reaped == self.facts.len(), || {
            format!("#{} was never dropped", self.seqno(self.reaped))
        })?;
        promise(self.credits() == 0, || "credits leaked".into())?;
        promise(self.told_closed, || "Closed was never said".into())
    }
}
