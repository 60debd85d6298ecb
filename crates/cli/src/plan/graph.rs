// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Whether streams wait for each other in a circle.
//!
//! A job can only wait for jobs that can be submitted before it. The streams of a plan are nodes
//! here and their dependencies edges. Two rules make an order of all jobs exist:
//!
//! 1. the edges without lag form no circle;
//! 2. streams on a circle (which then has an edge with lag) have the same number of jobs.
//!
//! The order within a circle is then by place, and among jobs of one place by rule 1.

/// One stream waits for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) lag: u64,
    /// The place of the dependency in the stream `from`, which the caller knows the text of.
    pub(crate) entry: usize,
}

/// A circle of edges without lag; `None` where there is none.
///
/// Nodes are taken away while one is left that waits for nothing; what remains waits in circles.
pub(crate) fn find_circle(nodes: usize, edges: &[Edge]) -> Option<Vec<Edge>> {
    let edges: Vec<Edge> = edges.iter().copied().filter(|edge| edge.lag == 0).collect();
    let mut waits = vec![0_usize; nodes];
    let mut waiters = vec![Vec::new(); nodes];
    for edge in &edges {
        waits[edge.from] += 1;
        waiters[edge.to].push(edge.from);
    }
    let mut free: Vec<usize> = (0..nodes).filter(|&node| waits[node] == 0).collect();
    while let Some(node) = free.pop() {
        for &waiter in &waiters[node] {
            waits[waiter] -= 1;
            if waits[waiter] == 0 {
                free.push(waiter);
            }
        }
    }
    // Every node that is left has an edge to another that is left: following them must close.
    let mut next: Vec<Option<Edge>> = vec![None; nodes];
    for edge in edges
        .iter()
        .rev()
        .filter(|edge| waits[edge.from] > 0 && waits[edge.to] > 0)
    {
        next[edge.from] = Some(*edge);
    }
    let start = (0..nodes).find(|&node| next[node].is_some())?;
    let mut seen = vec![None; nodes];
    let mut path = Vec::new();
    let mut node = start;
    while let Some(edge) = next[node] {
        if let Some(at) = seen[node] {
            path.drain(..at);
            return Some(path);
        }
        seen[node] = Some(path.len());
        path.push(edge);
        node = edge.to;
    }
    None
}

/// The number of the strongly connected component of every node (Kosaraju's two passes, with
/// stacks of our own: plans may have chains of thousands of streams).
pub(crate) fn components(nodes: usize, edges: &[Edge]) -> Vec<usize> {
    let mut forth = vec![Vec::new(); nodes];
    let mut back = vec![Vec::new(); nodes];
    for edge in edges {
        forth[edge.from].push(edge.to);
        back[edge.to].push(edge.from);
    }
    let mut order = Vec::with_capacity(nodes);
    let mut seen = vec![false; nodes];
    for root in 0..nodes {
        let mut stack = Vec::new();
        if !std::mem::replace(&mut seen[root], true) {
            stack.push((root, 0));
        }
        while let Some((node, at)) = stack.pop() {
            match forth[node].get(at) {
                Some(&child) => {
                    stack.push((node, at + 1));
                    if !std::mem::replace(&mut seen[child], true) {
                        stack.push((child, 0));
                    }
                }
                None => order.push(node),
            }
        }
    }
    let mut component = vec![usize::MAX; nodes];
    for &root in order.iter().rev() {
        let mut stack = vec![root];
        while let Some(node) = stack.pop() {
            if component[node] == usize::MAX {
                component[node] = root;
                stack.extend(&back[node]);
            }
        }
    }
    component
}

#[cfg(test)]
mod tests {
    use super::{components, find_circle, Edge};

    fn edge(from: usize, to: usize, lag: u64) -> Edge {
        Edge {
            from,
            to,
            lag,
            entry: 0,
        }
    }

    #[test]
    fn a_chain_is_no_circle() {
        let edges: Vec<Edge> = (1..20_000).map(|node| edge(node, node - 1, 0)).collect();
        assert_eq!(find_circle(20_000, &edges), None);
        let components = components(20_000, &edges);
        assert!(components
            .iter()
            .enumerate()
            .all(|(node, &component)| node == component));
    }

    #[test]
    fn a_circle_is_found_without_its_tail() {
        let edges = [
            edge(3, 0, 0),
            edge(0, 1, 0),
            edge(1, 2, 0),
            edge(2, 0, 0),
            edge(4, 3, 0),
        ];
        let mut circle: Vec<usize> = find_circle(5, &edges)
            .expect("a circle")
            .iter()
            .map(|edge| edge.from)
            .collect();
        circle.sort_unstable();
        assert_eq!(circle, [0, 1, 2]);
    }

    #[test]
    fn lag_opens_a_circle_but_keeps_its_streams_together() {
        let edges = [edge(0, 1, 0), edge(1, 0, 1), edge(2, 1, 0)];
        assert_eq!(find_circle(3, &edges), None);
        let components = components(3, &edges);
        assert_eq!(components[0], components[1]);
        assert_ne!(components[0], components[2]);
    }
}
