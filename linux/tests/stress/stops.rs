// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Stops, walks and replays.

use kernel::prelude::*;
use kernel::time::{delay::fsleep, delay::udelay, Delta};

use ringfence::{Errno, Guilty, Replayed, Rest, StopError, StopGuard, UnbindError};

use crate::client::Client;
use crate::driver::Chaos;
use crate::random::Random;
use crate::tally::{count, Kind};
use crate::world::Line;

const RESTS: &[Rest] = &[Rest::Replay, Rest::Replay, Rest::Cancel, Rest::Keep];

impl<const I: bool> Client<I> {
    /// Lets others do something meanwhile, or not.
    pub(crate) fn linger(&mut self) {
        match self.random.below(8) {
            0 => fsleep(Delta::from_micros(self.random.below(300) as i64)),
            1..3 => udelay(Delta::from_micros(self.random.below(40) as i64)),
            _ => {}
        }
    }

    /// Stops a queue, and does this and that to it.
    pub(crate) fn stop(&mut self) -> Result {
        let Some((_, line)) = self.world.line(&mut self.random) else {
            return Ok(());
        };
        let mut guard = match line.queue.stop() {
            Ok(guard) => guard,
            Err(error) => {
                refused(error);
                return Ok(());
            }
        };
        count(Kind::stops);
        let calls = look(&mut guard);
        self.linger();
        self.meanwhile(&line)?;
        let now = look(&mut guard);
        if now != calls {
            broken!("{} callbacks in a stopped queue", now - calls);
        }
        let mut random = self.random.fork();
        match random.below(4) {
            0 => {
                let seqno = guard.wants_recovery();
                let error = Errno::ETIME;
                let guilty = seqno.map(|seqno| Guilty { seqno, error });
                _ = guard.recover(guilty, random.among(RESTS));
            }
            1 => {}
            _ => walk(&mut guard, &mut random),
        }
        self.linger();
        let driver = guard.driver();
        if driver.is_inside() {
            broken!("a callback runs in a stopped queue");
        }
        Ok(())
    }

    /// What may be done to a queue while it is stopped, and what may not.
    fn meanwhile(&mut self, line: &Line<I>) -> Result {
        match self.random.below(12) {
            0 => self.submit_to(line)?,
            1 => self.finish_some()?,
            2 => line.queue.suspend(),
            3 => _ = line.queue.resume(),
            4 => _ = line.queue.trigger_timeout(),
            5 if self.random.one_in(8) => line.queue.kill(Errno::EIO),
            6 if self.random.one_in(8) => line.queue.close(),
            7 => match line.queue.stop().map(|_| ()) {
                Err(StopError::Nested | StopError::Unbound) => {}
                other => broken!("a stop in a stop is {:?}", other),
            },
            8 => match line.scope.device.unbind() {
                Err(UnbindError::Stopped) => {}
                other => broken!("an unbind in a stop is {:?}", other),
            },
            9 => match line.scope.device.stop_all().map(|_| ()) {
                Err(StopError::Nested | StopError::Unbound) => {}
                other => broken!("a stop of all in a stop is {:?}", other),
            },
            _ => {}
        }
        Ok(())
    }

    /// Stops a device.
    pub(crate) fn stop_all(&mut self) -> Result {
        let Some((index, scope)) = self.world.scope(&mut self.random) else {
            return Ok(());
        };
        let mut stop = match scope.device.stop_all() {
            Ok(stop) => stop,
            Err(error) => {
                refused(error);
                return Ok(());
            }
        };
        count(Kind::stops_of_all);
        let mut random = self.random.fork();
        let mut hung = None;
        stop.for_each(|mut queue| {
            if let Some(seqno) = queue.wants_recovery() {
                hung = Some((queue.context(), seqno, Errno::ETIME));
            }
            let Some(mut guard) = queue.typed::<Chaos<I>>() else {
                broken!("a queue has another driver");
                return;
            };
            _ = look(&mut guard);
            match random.below(12) {
                0..4 => walk(&mut guard, &mut random),
                4 => _ = guard.strike(),
                5 if random.one_in(8) => guard.kill(Errno::EIO),
                _ => {}
            }
        });
        self.linger();
        if self.random.one_in(2) {
            self.finish_some()?;
        }
        if self.random.one_in(2) {
            _ = stop.recover(hung.as_slice(), self.random.among(RESTS));
        }
        if self.random.one_in(48) {
            count(Kind::devices_gone);
            stop.device_gone();
            drop(scope);
            self.world.replace_scope(index, &mut self.random)?;
        }
        Ok(())
    }
}

fn refused(error: StopError) {
    count(Kind::stops_refused);
    match error {
        StopError::Closed | StopError::Unbound => {}
        _ => broken!("a stop is refused: {:?}", error),
    }
}

/// No callback runs. How many there were.
fn look<const I: bool>(guard: &mut StopGuard<'_, Chaos<I>>) -> u64 {
    let driver = guard.driver();
    if driver.is_inside() {
        broken!("a callback runs in a stopped queue");
    }
    driver.calls
}

/// Does something to each job on the hardware.
fn walk<const I: bool>(guard: &mut StopGuard<'_, Chaos<I>>, random: &mut Random) {
    let mut walk = guard.pending();
    let mut last = None;
    while let Some(mut job) = walk.next() {
        count(Kind::walked);
        let seqno = job.seqno();
        if last.is_some_and(|last| last >= seqno) {
            broken!("the walk comes to job {} after {:?}", seqno, last);
        }
        last = Some(seqno);
        job.payload().check(seqno);
        _ = (job.age(), job.cost(), job.has_ended());
        let (_, work, times) = job.parts();
        work.check(seqno);
        let times = *times;
        if u64::from(job.attempt().replays()) != times {
            broken!(
                "job {} was replayed {} times, says {:?}",
                seqno,
                times,
                job.attempt()
            );
        }
        match random.below(10) {
            0 => _ = job.complete(Ok(())),
            1 => _ = job.fail(Errno::EIO),
            2 => _ = job.time_out(Errno::ETIME),
            3 => {
                count(Kind::forgotten);
                core::mem::forget(job);
            }
            4..8 => match job.replay() {
                Replayed::Pending | Replayed::Done => count(Kind::replayed),
                Replayed::Failed(_) | Replayed::Ended => {}
            },
            8 => break,
            _ => job.keep(),
        }
    }
}
