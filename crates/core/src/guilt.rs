// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Strikes: how often a queue's jobs were guilty of a hang or a fault, and when that is enough.

use core::time::Duration;

use crate::time::Time;

/// When a queue is banned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ban {
    /// So many guilty jobs ban it. At least 1.
    pub strikes: u8,
    /// A strike that comes later than this after the one before begins the count anew: a client
    /// that hangs once a day is not one that does nothing else. `None` forgives nothing.
    pub within: Option<Duration>,
}

/// How a queue stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It takes jobs, as far as its guilt is concerned.
    Good {
        /// Strikes that count.
        strikes: u8,
    },
    /// It has had too many strikes.
    Banned,
}

/// The strikes of one queue.
///
/// # Invariants
///
/// Once banned, for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guilt {
    strikes: u8,
    banned: bool,
    last: Time,
}

impl Guilt {
    pub(crate) const fn new() -> Self {
        Self {
            strikes: 0,
            banned: false,
            last: Time::ZERO,
        }
    }

    /// One of the queue's jobs was guilty. True if that bans it, once.
    pub(crate) fn strike(&mut self, ban: Option<Ban>, now: Time) -> bool {
        let forgiven = ban
            .and_then(|ban| ban.within)
            .is_some_and(|within| now.since(self.last) > within);
        if forgiven {
            self.strikes = 0;
        }
        self.last = now;
        self.strikes = self.strikes.saturating_add(1);
        let enough = ban.is_some_and(|ban| self.strikes >= ban.strikes);
        let first = enough && !self.banned;
        self.banned |= enough;
        first
    }

    pub(crate) fn standing(&self) -> Standing {
        if self.banned {
            Standing::Banned
        } else {
            Standing::Good {
                strikes: self.strikes,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Ban, Guilt, Standing};
    use crate::time::Time;
    use core::time::Duration;

    #[test]
    fn a_strike_long_after_the_last_begins_anew() {
        let ban = Some(Ban {
            strikes: 2,
            within: Some(Duration::from_nanos(10)),
        });
        let mut guilt = Guilt::new();
        assert!(!guilt.strike(ban, Time::from_ns(100)));
        assert!(!guilt.strike(ban, Time::from_ns(111)));
        assert_eq!(guilt.standing(), Standing::Good { strikes: 1 });
        assert!(guilt.strike(ban, Time::from_ns(121)));
        assert_eq!(guilt.standing(), Standing::Banned);
        assert!(!guilt.strike(ban, Time::from_ns(500)), "banned once");
        assert_eq!(guilt.standing(), Standing::Banned);
    }

    #[test]
    fn without_a_ban_strikes_are_only_counted() {
        let mut guilt = Guilt::new();
        for _ in 0..300 {
            assert!(!guilt.strike(None, Time::ZERO));
        }
        assert_eq!(guilt.standing(), Standing::Good { strikes: 255 });
    }
}
