// SPDX-License-Identifier: GPL-2.0 OR MIT
use std::collections::BTreeSet;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::{Line, Node, Nodes};

impl Nodes for Vec<Node> {
    fn node(&self, at: u32) -> &Node {
        &self[at as usize]
    }

    fn node_mut(&mut self, at: u32) -> &mut Node {
        &mut self[at as usize]
    }
}

proptest! {
    #[test]
    fn a_line_is_a_sorted_set(steps in proptest::collection::vec((0u32..64, 0u64..8), 1..400)) {
        let mut nodes = [Node::OUT; 64].to_vec();
        let (mut line, mut sorted) = (Line::EMPTY, BTreeSet::new());
        for (ticket, (at, key)) in steps.into_iter().enumerate() {
            let ticket = ticket as u64;
            if nodes[at as usize].is_in_line() {
                let place = nodes[at as usize].place();
                line.leave(&mut nodes, at);
                prop_assert!(sorted.remove(&(place, at)));
            } else {
                line.join(&mut nodes, at, key, ticket);
                sorted.insert(((key, ticket), at));
            }
            prop_assert_eq!(line.first(), sorted.first().map(|(_, at)| *at));
            prop_assert_eq!(line.check(&nodes, 64), Some(sorted.len()));
        }
    }
}

#[test]
fn a_long_line_has_short_edges() {
    let many = 4096u32;
    let mut nodes = vec![Node::OUT; many as usize];
    let mut line = Line::EMPTY;
    for at in 0..many {
        // The worst order for heaps without ranks.
        line.join(&mut nodes, at, u64::from(many - at), u64::from(at));
    }
    let mut edge = 0;
    let mut at = line.first();
    while let Some(node) = at {
        edge += 1;
        at = Some(nodes.node(node).right).filter(|right| *right != super::NONE);
    }
    assert!(edge <= 13, "the right edge has {edge} nodes");
    assert_eq!(line.check(&nodes, many as usize), Some(many as usize));
}
