// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The allocator against a model that is obviously right.

use proptest::prelude::*;

use super::allocator::Allocator;

const PAGES: u32 = 64;

#[derive(Clone, Debug)]
enum Op {
    Allocate(u32),
    /// Frees one of those allocated, by its place among them.
    Free(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1_u32..12).prop_map(Op::Allocate),
        1 => (12_u32..=PAGES + 1).prop_map(Op::Allocate),
        4 => any::<usize>().prop_map(Op::Free),
    ]
}

/// A flag per page.
struct Model([bool; PAGES as usize]);

impl Model {
    fn first_fit(&self, pages: u32) -> Option<u32> {
        let fits = |first: &u32| {
            self.0[*first as usize..][..pages as usize]
                .iter()
                .all(|t| !t)
        };
        (0..=PAGES.checked_sub(pages)?).find(fits)
    }

    fn set(&mut self, first: u32, pages: u32, taken: bool) {
        self.0[first as usize..][..pages as usize].fill(taken);
    }

    fn free_ranges(&self) -> Vec<(u32, u32)> {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for page in (0..PAGES).filter(|&page| !self.0[page as usize]) {
            match ranges.last_mut() {
                Some((first, pages)) if *first + *pages == page => *pages += 1,
                _ => ranges.push((page, 1)),
            }
        }
        ranges
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_allocator_does_what_a_row_of_flags_does(ops in prop::collection::vec(op(), 1..120)) {
        let mut allocator = Allocator::new(PAGES);
        let mut model = Model([false; PAGES as usize]);
        let mut live: Vec<(u32, u32)> = Vec::new();
        for op in ops {
            match op {
                Op::Allocate(pages) => {
                    let first = allocator.allocate(pages);
                    prop_assert_eq!(first, model.first_fit(pages));
                    if let Some(first) = first {
                        model.set(first, pages, true);
                        live.push((first, pages));
                    }
                }
                Op::Free(which) if !live.is_empty() => {
                    let (first, pages) = live.swap_remove(which % live.len());
                    allocator.free(first, pages);
                    model.set(first, pages, false);
                }
                Op::Free(_) => {}
            }
            prop_assert_eq!(allocator.free_ranges(), model.free_ranges());
            prop_assert_eq!(allocator.used() as usize, model.0.iter().filter(|t| **t).count());
        }
        for (first, pages) in live {
            allocator.free(first, pages);
        }
        prop_assert_eq!(allocator.free_ranges(), vec![(0, PAGES)]);
        prop_assert_eq!(allocator.used(), 0);
    }
}

#[test]
fn an_allocator_of_nothing_has_nothing() {
    assert_eq!(Allocator::new(0).allocate(1), None);
}
