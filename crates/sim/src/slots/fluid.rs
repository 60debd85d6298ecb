// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Ideal shares, computed without any policy: what each queue would get if slots could be cut into
//! pieces of any size.
//!
//! Slots are filled like vessels: time flows to all queues at once, to each as its weight is; who has a
//! whole slot, or all it can use, takes no more, and the rest goes on to the others. Everything is
//! exact: parts are fractions of whole numbers.

use std::cmp::Ordering;

/// An exact part of one slot.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// So many
    pub over: u128,
    /// of so many.
    pub under: u128,
}

impl Part {
    /// A whole slot.
    pub const WHOLE: Self = Self::new(1, 1);

    /// So many of so many, which must not be 0.
    pub const fn new(over: u128, under: u128) -> Self {
        Self { over, under }
    }

    /// This part of a span of nanoseconds, rounded down.
    pub const fn of(self, ns: u64) -> u64 {
        (ns as u128 * self.over / self.under) as u64
    }

    fn minus(self, other: Self) -> Self {
        let over = self.over * other.under - other.over * self.under;
        Self::new(over, self.under * other.under).reduced()
    }

    fn reduced(self) -> Self {
        let (mut a, mut b) = (self.over, self.under);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        Self::new(self.over / a.max(1), self.under / a.max(1))
    }
}

impl PartialEq for Part {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Part {}

impl PartialOrd for Part {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Part {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.over * other.under).cmp(&(other.over * self.under))
    }
}

/// What one queue asks for.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// Its weight, at least 1.
    pub weight: u32,
    /// The part of a slot that it can use: [`Part::WHOLE`] if it always has work.
    pub most: Part,
}

impl Claim {
    /// One that always has work.
    pub const fn backlogged(weight: u32) -> Self {
        Self {
            weight,
            most: Part::WHOLE,
        }
    }
}

/// The part of a slot that each gets, in the order of the claims.
pub fn shares(claims: &[Claim], slots: u32) -> Vec<Part> {
    let mut order: Vec<usize> = (0..claims.len()).collect();
    // Who is full first: the least that it can use for its weight.
    let full_at = |at: usize| {
        let Claim { weight, most } = claims[at];
        Part::new(most.over, most.under * u128::from(weight))
    };
    order.sort_by_key(|at| full_at(*at));
    let mut left = Part::new(u128::from(slots), 1);
    let mut weights: u128 = claims.iter().map(|claim| u128::from(claim.weight)).sum();
    let mut got = vec![Part::new(0, 1); claims.len()];
    for at in order {
        let Claim { weight, most } = claims[at];
        let weight = u128::from(weight);
        let fair = Part::new(left.over * weight, left.under * weights).reduced();
        got[at] = fair.min(most);
        left = left.minus(got[at]);
        weights -= weight;
    }
    got
}

#[cfg(test)]
mod tests {
    use super::{shares, Claim, Part};

    fn backlogged(weights: &[u32], slots: u32) -> Vec<Part> {
        let claims: Vec<Claim> = weights.iter().copied().map(Claim::backlogged).collect();
        shares(&claims, slots)
    }

    #[test]
    fn equal_weights_share_equally() {
        assert_eq!(backlogged(&[100; 3], 1), [Part::new(1, 3); 3]);
        assert_eq!(backlogged(&[7; 100], 8), [Part::new(8, 100); 100]);
    }

    #[test]
    fn nobody_gets_more_than_a_slot_and_the_rest_goes_to_the_others() {
        assert_eq!(backlogged(&[5, 9], 8), [Part::WHOLE; 2]);
        // By weight the first would get 1.6 of 2 slots.
        let got = backlogged(&[800, 100, 100], 2);
        assert_eq!(got, [Part::WHOLE, Part::new(1, 2), Part::new(1, 2)]);
    }

    #[test]
    fn who_cannot_use_its_share_leaves_it() {
        let mut claims = [Claim::backlogged(100); 3];
        claims[1].most = Part::new(1, 10);
        let got = shares(&claims, 1);
        assert_eq!(got, [Part::new(9, 20), Part::new(1, 10), Part::new(9, 20)]);
        assert_eq!(got[0].of(1_000), 450);
    }
}
