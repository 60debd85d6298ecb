// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Waiting lines: who has no slot and wants one, the first in front.
//!
//! A line is a leftist heap whose links stand in the seats, so that no line needs memory of its own,
//! and any number of them share the seats. Joining, leaving from anywhere and taking the first are
//! each O(log n) in the length of the line, in the worst case and not only on average: they happen
//! under a lock.

/// No seat.
pub(crate) const NONE: u32 = u32::MAX;

/// A seat's place in a line.
///
/// # Invariants
///
/// In a line: no child is before its parent, the left child's rank is not below the right one's, and
/// `rank` is one more than the right child's (a missing child's is 0). Not in one: all links are
/// [`NONE`], and `rank` is 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    /// Smaller goes first; of equals, who has joined earlier.
    key: u64,
    ticket: u64,
    left: u32,
    right: u32,
    parent: u32,
    rank: u32,
}

impl Node {
    pub(crate) const OUT: Self = Self {
        key: 0,
        ticket: 0,
        left: NONE,
        right: NONE,
        parent: NONE,
        rank: 0,
    };

    pub(crate) const fn is_in_line(&self) -> bool {
        self.rank != 0
    }

    pub(crate) const fn key(&self) -> u64 {
        self.key
    }

    pub(crate) const fn place(&self) -> (u64, u64) {
        (self.key, self.ticket)
    }
}

/// Where the nodes are.
pub(crate) trait Nodes {
    fn node(&self, at: u32) -> &Node;
    fn node_mut(&mut self, at: u32) -> &mut Node;
}

/// A line's head. The nodes are handed in with each call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    root: u32,
}

impl Line {
    pub(crate) const EMPTY: Self = Self { root: NONE };

    /// Who is first.
    pub(crate) const fn first(&self) -> Option<u32> {
        match self.root {
            NONE => None,
            root => Some(root),
        }
    }

    /// Joins. `ticket` grows from call to call.
    pub(crate) fn join(&mut self, nodes: &mut impl Nodes, at: u32, key: u64, ticket: u64) {
        debug_assert!(!nodes.node(at).is_in_line(), "a seat is in one line");
        *nodes.node_mut(at) = Node {
            key,
            ticket,
            rank: 1,
            ..Node::OUT
        };
        self.root = merge(nodes, self.root, at);
    }

    /// Leaves, from wherever it stands.
    pub(crate) fn leave(&mut self, nodes: &mut impl Nodes, at: u32) {
        let Node {
            left,
            right,
            parent,
            ..
        } = *nodes.node(at);
        debug_assert!(nodes.node(at).is_in_line(), "only who is in line can leave");
        *nodes.node_mut(at) = Node::OUT;
        for child in [left, right] {
            if child != NONE {
                nodes.node_mut(child).parent = NONE;
            }
        }
        let rest = merge(nodes, left, right);
        if rest != NONE {
            nodes.node_mut(rest).parent = parent;
        }
        if parent == NONE {
            self.root = rest;
            return;
        }
        let above = nodes.node_mut(parent);
        if above.left == at {
            above.left = rest;
        } else {
            above.right = rest;
        }
        // Ranks only shrink, along a path that grows shorter by one with each: a logarithm of them.
        let mut up = parent;
        while up != NONE && settle(nodes, up) {
            up = nodes.node(up).parent;
        }
    }

    /// Checks the line, in time linear in its length, and says how long it is. `None` if it is not
    /// in order.
    pub(crate) fn check(&self, nodes: &impl Nodes, most: usize) -> Option<usize> {
        let (mut at, mut from, mut seen) = (self.root, NONE, 0usize);
        // Down by the left, then the right, then up: no memory is needed.
        while at != NONE {
            let node = nodes.node(at);
            let next = if from == node.parent {
                seen += 1;
                if seen > most || !holds(nodes, at) {
                    return None;
                }
                [node.left, node.right, node.parent]
                    .into_iter()
                    .enumerate()
                    .find(|(turn, next)| *turn == 2 || *next != NONE)?
                    .1
            } else if from == node.left && node.right != NONE {
                node.right
            } else {
                node.parent
            };
            from = at;
            at = next;
        }
        Some(seen)
    }
}

fn holds(nodes: &impl Nodes, at: u32) -> bool {
    let node = nodes.node(at);
    let children = [node.left, node.right]
        .into_iter()
        .filter(|child| *child != NONE)
        .all(|child| nodes.node(child).parent == at && nodes.node(child).place() > node.place());
    let (left, right) = (rank(nodes, node.left), rank(nodes, node.right));
    children && left >= right && node.rank == right + 1
}

fn rank(nodes: &impl Nodes, at: u32) -> u32 {
    match at {
        NONE => 0,
        at => nodes.node(at).rank,
    }
}

/// Puts a node's children in order of rank, and says whether its own rank has changed.
fn settle(nodes: &mut impl Nodes, at: u32) -> bool {
    let Node {
        left,
        right,
        rank: was,
        ..
    } = *nodes.node(at);
    let (high, low) = (rank(nodes, left), rank(nodes, right));
    let node = nodes.node_mut(at);
    if high < low {
        (node.left, node.right) = (right, left);
    }
    node.rank = high.min(low) + 1;
    node.rank != was
}

/// Makes one heap of two, whose roots have no parent; returns its root. Goes down along the right
/// edges, which are logarithmic, and up again.
fn merge(nodes: &mut impl Nodes, one: u32, other: u32) -> u32 {
    let (mut one, mut other) = (one, other);
    let (mut root, mut above) = (NONE, NONE);
    loop {
        let first = match (one, other) {
            (NONE, NONE) => break,
            (NONE, only) | (only, NONE) => only,
            (a, b) if nodes.node(b).place() < nodes.node(a).place() => {
                (one, other) = (b, a);
                b
            }
            (a, _) => a,
        };
        if above == NONE {
            root = first;
        } else {
            nodes.node_mut(above).right = first;
        }
        nodes.node_mut(first).parent = above;
        if one == NONE || other == NONE {
            break;
        }
        above = first;
        one = nodes.node(first).right;
    }
    while above != NONE {
        settle(nodes, above);
        above = nodes.node(above).parent;
    }
    root
}

#[cfg(test)]
mod tests;
