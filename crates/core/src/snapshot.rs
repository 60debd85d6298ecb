// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A queue as text, for debugfs, a panic or a person: without allocation, without stopping it.

use core::fmt;
use core::time::Duration;

use crate::entry::{Entry, HasEntry, Lent};
use crate::gate::Gate;
use crate::guilt::Standing;
use crate::queue::{Lifecycle, Queue};
use crate::state::State;
use crate::time::Time;

/// Prints every job of a queue: state, age, cost, what it waits for.
///
/// Ages count from submit and are as exact as the clock the host stamped it with.
pub struct Snapshot<'q, S, P: HasEntry = Entry> {
    queue: &'q Queue<S, P>,
    name: &'q str,
    now: Time,
    with_events: bool,
}

impl<S, P: HasEntry> Snapshot<'_, S, P> {
    /// With the queue's last events below its jobs, oldest first: the time in seconds, the job,
    /// what happened.
    #[must_use]
    pub fn with_events(mut self) -> Self {
        self.with_events = true;
        self
    }
}

impl<S, P: HasEntry> fmt::Debug for Snapshot<'_, S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<S: AsRef<[P]> + AsMut<[P]>, P: HasEntry> Queue<S, P> {
    /// The queue as text. `name` is the host's name for it.
    pub fn snapshot<'q>(&'q self, name: &'q str, now: Time) -> Snapshot<'q, S, P> {
        Snapshot {
            queue: self,
            name,
            now,
            with_events: false,
        }
    }
}

/// A span for people: three figures and a unit.
struct Age(Duration);

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = crate::time::nanoseconds(self.0);
        match ns {
            0..=999 => write!(f, "{ns}ns"),
            1_000..=999_999 => write!(f, "{}us", ns / 1_000),
            1_000_000..=999_999_999 => write!(f, "{}.{}ms", ns / 1_000_000, ns / 100_000 % 10),
            _ => write!(f, "{}.{}s", ns / 1_000_000_000, ns / 100_000_000 % 10),
        }
    }
}

/// A count of things, for people.
struct Many(u64, &'static str);

impl fmt::Display for Many {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ending = if self.0 == 1 { "" } else { "s" };
        write!(f, "{} {}{ending}", self.0, self.1)
    }
}

impl<S: AsRef<[P]> + AsMut<[P]>, P: HasEntry> fmt::Display for Snapshot<'_, S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queue = self.queue;
        write!(f, "queue {}: ", self.name)?;
        match queue.lifecycle() {
            Lifecycle::Open => f.write_str("open")?,
            Lifecycle::Closing(policy) => write!(f, "closing ({policy:?})")?,
            Lifecycle::Killed(error) => write!(f, "killed ({error})")?,
            Lifecycle::Banned => f.write_str("banned")?,
        }
        if queue.is_stopped() {
            f.write_str(", stopped")?;
        }
        if let Some(job) = queue.wants_recovery() {
            write!(f, ", wants a recovery because of {job:?}")?;
        }
        if let Standing::Good {
            strikes: strikes @ 1..,
        } = queue.standing()
        {
            write!(f, ", {}", Many(strikes.into(), "strike"))?;
        }
        if queue.suspends() != 0 {
            write!(f, ", suspended {}", Many(queue.suspends().into(), "time"))?;
        }
        if let Some(gate) = queue.gate() {
            write!(f, ", gate {}", gate.name())?;
        }
        writeln!(
            f,
            ", {} of {} entries, {} of {} credits, {} queued",
            queue.len(),
            queue.capacity(),
            queue.credits_used(),
            queue.config().credits,
            queue.queued(),
        )?;
        queue.each_entry(|seqno, entry| self.job(f, seqno, entry))?;
        if !self.with_events {
            return Ok(());
        }
        queue
            .events()
            .try_for_each(|record| writeln!(f, "  {record}"))
    }
}

impl<S: AsRef<[P]> + AsMut<[P]>, P: HasEntry> Snapshot<'_, S, P> {
    fn job(&self, f: &mut fmt::Formatter<'_>, seqno: u64, entry: &Entry) -> fmt::Result {
        write!(
            f,
            "  #{seqno:<6} {:<10} cost {:<4}",
            entry.state, entry.cost
        )?;
        if entry.state != State::Armed {
            write!(f, " age {:<8}", Age(self.now.since(entry.submitted_at)))?;
        }
        match entry.lent {
            Lent::No => {}
            Lent::Run => f.write_str(" in the run callback")?,
            Lent::Timeout => f.write_str(" in the timeout callback")?,
            Lent::Walk => f.write_str(" looked at")?,
            Lent::Replay => f.write_str(" in the replay callback")?,
        }
        if entry.attempt.replays() != 0 {
            write!(
                f,
                " replayed {}",
                Many(entry.attempt.replays().into(), "time")
            )?;
        }
        if entry.extensions != 0 {
            write!(f, " extended {}", Many(entry.extensions.into(), "time"))?;
        }
        if let Some(Err(error)) = entry.outcome.map(|outcome| outcome.result()) {
            write!(f, " error {error}")?;
        }
        self.waits(f, seqno, entry)?;
        writeln!(f)
    }

    fn waits(&self, f: &mut fmt::Formatter<'_>, seqno: u64, entry: &Entry) -> fmt::Result {
        match entry.state {
            State::Armed => f.write_str(" waits for its submitter"),
            State::Queued if entry.open != 0 => {
                write!(f, " waits for {}", Many(entry.open.into(), "fence"))
            }
            State::Queued if entry.resource_wait => f.write_str(" waits for resources"),
            State::Queued if !self.queue.is_first_in_line(seqno) => {
                f.write_str(" waits for its turn")
            }
            State::Queued if self.queue.suspends() != 0 => f.write_str(" waits for resume"),
            State::Queued if self.queue.gate().is_some_and(|gate| gate != Gate::Open) => {
                f.write_str(" waits for the gate")
            }
            State::Queued if !self.queue.has_credits_for(entry.cost) => {
                f.write_str(" waits for credits")
            }
            State::Queued => f.write_str(" waits for the worker"),
            State::Pending => match self.queue.deadline_of(seqno) {
                Some(at) if at > self.now => write!(f, " times out in {}", Age(at.since(self.now))),
                Some(_) => f.write_str(" is past its time"),
                None => Ok(()),
            },
            State::Done => f.write_str(" waits for older fences"),
            _ => Ok(()),
        }
    }
}
