// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a queue may ask for, given what has happened to it.

use ringfence_core::state::JobEvent;
use ringfence_core::{Context, Effect, GateReport, Outcome};

use super::{promise, Judge, Loan, Place, Verdict, VisitId};
use crate::simulator::coverage::{effect_index, is_legal};

impl Judge {
    /// The queue asks this of a visit. `worker_idle` is what its host knows of the worker.
    pub(crate) fn effect(
        &mut self,
        visit: VisitId,
        context: Context,
        effect: &Effect,
        worker_idle: bool,
        now: u64,
    ) -> Verdict {
        promise(is_legal(effect_index(effect), context), || {
            format!("{effect:?} was handed out in {context:?}")
        })?;
        match *effect {
            Effect::Signal { job, outcome } => self.on_signal(job.seqno(), outcome, now),
            Effect::Run { job } => self.on_run(job.seqno(), visit, context),
            Effect::TimedOut {
                job,
                extensions_left,
            } => self.on_timed_out(job.seqno(), visit, extensions_left, now),
            Effect::Reap { job } => self.on_reap(job.seqno(), context),
            Effect::ArmTimer { .. } => {
                let head = self.facts.get(self.signals_out);
                let timed = head.is_some_and(|fact| fact.place == Place::Hardware);
                promise(timed || self.closing_at.is_some(), || {
                    "the timer is set and nothing is timed".into()
                })
            }
            Effect::Kick => {
                self.stats.kicks += 1;
                promise(worker_idle, || "a worker that is awake was kicked".into())
            }
            Effect::Recover { .. } => {
                promise(self.recovery == Some(false), || {
                    "a recovery that nobody wants, or that was told of already".into()
                })?;
                self.recovery = Some(true);
                Ok(())
            }
            Effect::Closed => self.on_closed(),
            Effect::Gate {
                version,
                wants,
                out,
            } => self.on_report(GateReport {
                version,
                wants,
                out,
            }),
        }
    }

    fn on_signal(&mut self, seqno: u64, outcome: Outcome, now: u64) -> Verdict {
        let i = self.index(seqno)?;
        promise(i == self.signals_out, || {
            format!("#{seqno} was signalled out of order or twice")
        })?;
        promise(self.facts[i].place == Place::Over, || {
            format!("#{seqno} was signalled while {:?}", self.facts[i].place)
        })?;
        promise(self.facts[i].outcome == Some(outcome), || {
            let want = self.facts[i].outcome;
            format!("#{seqno} signalled {outcome:?}, not {want:?}")
        })?;
        self.step(i, JobEvent::Signal);
        self.head_since = self.active(now);
        self.stats.signalled += 1;
        *match outcome {
            Outcome::Completed => &mut self.stats.completed,
            Outcome::Failed(_) => &mut self.stats.failed,
            Outcome::Cancelled(_) => &mut self.stats.cancelled,
            Outcome::TimedOut(_) => &mut self.stats.timed_out,
        } += 1;
        self.signals_out += 1;
        self.facts[i].out = true;
        Ok(())
    }

    fn on_run(&mut self, seqno: u64, visit: VisitId, context: Context) -> Verdict {
        let i = self.index(seqno)?;
        promise(context != Context::Submit || self.config.bypass, || {
            format!("#{seqno} was to run on the submitting thread")
        })?;
        promise(!self.unbound && !self.told_closed, || {
            format!("#{seqno} was to run after unbind or the end")
        })?;
        promise(!self.is_held(), || {
            format!("#{seqno} was to run while the queue is held")
        })?;
        promise(self.gated.lets_run(), || {
            format!(
                "#{seqno} was to run while the gate is {:?}",
                self.gated.gate
            )
        })?;
        self.no_overlap(seqno, visit)?;
        let waits = |fact: &super::Fact| matches!(fact.place, Place::Armed | Place::Line);
        let first = self.facts[self.reaped..].iter().position(waits);
        promise(first == Some(i - self.reaped), || {
            format!("#{seqno} was to run out of turn")
        })?;
        let credits = self.config.credits - self.credits;
        let fact = &self.facts[i];
        promise(fact.place == Place::Line && fact.outcome.is_none(), || {
            format!("#{seqno} was to run while {fact:?}")
        })?;
        promise(fact.open == 0, || {
            format!("#{seqno} was to run before its dependencies")
        })?;
        promise(!fact.resource_wait, || {
            format!("#{seqno} was to run without resources")
        })?;
        promise(!fact.taken, || format!("#{seqno} was to run again"))?;
        promise(fact.cost <= credits, || {
            format!("#{seqno} was to run for {} credits of {credits}", fact.cost)
        })?;
        self.step(i, JobEvent::Run);
        self.stats.runs += 1;
        self.stats.bypassed += u64::from(context == Context::Submit);
        let fact = &mut self.facts[i];
        fact.place = Place::Hardware;
        fact.loan = Loan::Run(visit);
        self.credits += fact.cost;
        self.runs += 1;
        Ok(())
    }

    /// No other visit is in a driver callback of the queue, nor is the walk.
    fn no_overlap(&self, seqno: u64, visit: VisitId) -> Verdict {
        let other = |fact: &super::Fact| match fact.loan {
            Loan::None => false,
            Loan::Run(by) => by != visit,
            Loan::Timeout(_) | Loan::Walk | Loan::Replay => true,
        };
        promise(
            (self.runs == 0 && !self.asking && self.walked.is_none())
                || !self.facts[self.reaped..].iter().any(other),
            || format!("the callback for #{seqno} overlaps another one of its queue"),
        )
    }

    fn on_timed_out(
        &mut self,
        seqno: u64,
        visit: VisitId,
        extensions_left: u8,
        now: u64,
    ) -> Verdict {
        let i = self.index(seqno)?;
        let active = self.active(now);
        promise(!self.unbound && !self.told_closed, || {
            format!("#{seqno} timed out after unbind or the end")
        })?;
        promise(!self.is_held(), || {
            format!("#{seqno} timed out while the queue is held")
        })?;
        self.no_overlap(seqno, visit)?;
        promise(self.runs == 0, || {
            format!("#{seqno} timed out while a run is out")
        })?;
        let fact = &self.facts[i];
        promise(
            i == self.signals_out && fact.place == Place::Hardware,
            || format!("#{seqno} timed out and is finished, or not the head: {fact:?}"),
        )?;
        let due = fact.since.max(self.head_since).saturating_add(fact.span);
        let in_time = fact.triggered || self.overdue || (fact.span != 0 && active >= due);
        promise(in_time, || {
            format!(
                "#{seqno} timed out too early: after {active} of {due} nanoseconds without holds"
            )
        })?;
        let left = match self.overdue {
            true => 0,
            false => self.config.extensions_max - fact.extensions,
        };
        promise(left == extensions_left, || {
            format!("#{seqno} has {left} extensions left, not {extensions_left}")
        })?;
        self.stats.timeouts += 1;
        self.facts[i].loan = Loan::Timeout(visit);
        self.asking = true;
        Ok(())
    }

    fn on_reap(&mut self, seqno: u64, context: Context) -> Verdict {
        let i = self.index(seqno)?;
        promise(context != Context::Irq || self.reap_in_irq, || {
            format!("the payload of #{seqno} was dropped in an interrupt")
        })?;
        promise(i == self.reaped, || {
            format!("the payload of #{seqno} was dropped out of order or twice")
        })?;
        let fact = &self.facts[i];
        promise(fact.signalled, || {
            format!("the payload of #{seqno} was dropped before its fence signalled")
        })?;
        promise(fact.loan == Loan::None, || {
            format!(
                "the payload of #{seqno} was dropped while lent: {:?}",
                fact.loan
            )
        })?;
        self.step(i, JobEvent::Reap);
        self.stats.reaped += 1;
        self.facts[i].reaped = true;
        self.reaped += 1;
        Ok(())
    }

    fn on_closed(&mut self) -> Verdict {
        promise(!self.told_closed, || "closed was said twice".into())?;
        self.told_closed = true;
        let over = self.lifecycle() != ringfence_core::Lifecycle::Open;
        promise(over && self.reaped == self.facts.len(), || {
            "closed was said too early".into()
        })?;
        promise(!self.stopped && self.recovery.is_none(), || {
            "closed was said during a recovery".into()
        })?;
        promise(!self.driver_is_inside(), || {
            "closed was said with the driver inside".into()
        })
    }
}
