// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Whether the seats of a group fit on slots of several kinds, all at a time.

use crate::slot::{Kinds, SlotKind, KINDS_MAX};

/// How many seats there are that may be on each set of kinds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need([u16; 1 << KINDS_MAX]);

/// How many slots of each kind there are to be had.
#[derive(Clone, Copy, Debug)]
pub(super) struct Have(pub(super) [u16; KINDS_MAX]);

impl Need {
    pub(super) const NONE: Self = Self([0; 1 << KINDS_MAX]);

    pub(super) fn add(&mut self, kinds: Kinds) {
        let seats = &mut self.0[kinds.bits()];
        *seats = seats.saturating_add(1);
    }

    pub(super) fn remove(&mut self, kinds: Kinds) {
        self.0[kinds.bits()] -= 1;
    }

    /// How many seats would be left without a slot, at best. By Hall's theorem that is the largest
    /// number by which, for any set of kinds, the seats that can be nowhere else outnumber its slots.
    pub(super) fn left_over(&self, have: &Have) -> u32 {
        let mut worst = 0;
        for set in 1..1 << KINDS_MAX {
            let set = Kinds::from_bits(set);
            let seats = (1..1 << KINDS_MAX).filter(|of| Kinds::from_bits(*of).is_within(set));
            let seats: u32 = seats.map(|of| u32::from(self.0[of])).sum();
            let slots: u32 = set
                .iter()
                .map(|kind| u32::from(have.0[kind.number()]))
                .sum();
            worst = worst.max(seats.saturating_sub(slots));
        }
        worst
    }

    pub(super) fn fits(&self, have: &Have) -> bool {
        self.left_over(have) == 0
    }
}

impl Have {
    pub(super) const NONE: Self = Self([0; KINDS_MAX]);

    pub(super) fn of(&self, kind: SlotKind) -> u16 {
        self.0[kind.number()]
    }

    pub(super) fn add(&mut self, kind: SlotKind) {
        self.0[kind.number()] += 1;
    }

    /// Takes one slot of `kind`, if there is one.
    ///
    /// Not written as a subtraction of a `bool`: rustc 1.95 forgets a comparison that is both counted
    /// with and branched on (rust-lang/rust#158206), nothing was taken, and groups starved.
    pub(super) fn take(&mut self, kind: SlotKind) -> bool {
        let have = &mut self.0[kind.number()];
        let Some(left) = have.checked_sub(1) else {
            return false;
        };
        *have = left;
        true
    }

    /// Takes one slot of any of these kinds, if there is one.
    pub(super) fn take_any(&mut self, kinds: Kinds) -> bool {
        kinds.iter().any(|kind| self.take(kind))
    }

    /// But for `other`, which are some of these.
    pub(super) fn without(&self, other: &Self) -> Self {
        let mut rest = *self;
        for (here, there) in rest.0.iter_mut().zip(other.0) {
            *here = here.saturating_sub(there);
        }
        rest
    }

    /// With those of `other`.
    pub(super) fn and(&self, other: &Self) -> Self {
        let mut sum = *self;
        for (here, there) in sum.0.iter_mut().zip(other.0) {
            *here += there;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::{Have, Need};
    use crate::slot::Kinds;

    fn need(sets: &[usize]) -> Need {
        let mut need = Need::NONE;
        sets.iter().for_each(|set| need.add(Kinds::from_bits(*set)));
        need
    }

    #[test]
    fn a_group_fits_where_some_choice_of_slots_does() {
        // Two kinds each, in a circle: one choice fits, others end in a dead end.
        let circle = need(&[0b011, 0b101, 0b110]);
        assert!(circle.fits(&Have([1, 1, 1, 0])));
        assert_eq!(circle.left_over(&Have([1, 1, 0, 0])), 1);
        assert_eq!(circle.left_over(&Have([0, 0, 0, 9])), 3);
        // Slots of a kind that nobody may be on do not help.
        assert_eq!(need(&[0b001, 0b001]).left_over(&Have([1, 5, 5, 5])), 1);
    }
}
