//! A graph with room and cost on its arcs, and the search for shortest paths that both the fills
//! and the prices of an auction are found with.
//!
//! Costs are compared first by money, then by the trade they give up: exact, without a tolerance.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    ops::{Add, Neg, Sub},
};

/// What sending one unit along an arc costs: micro-units, and, to break ties, unit-slots of trade
/// given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Cost {
    pub(super) money: i64,
    pub(super) trade: i64,
}

impl Cost {
    pub(super) const ZERO: Self = Self { money: 0, trade: 0 };
    const UNREACHED: Self = Self { money: i64::MAX, trade: i64::MAX };

    pub(super) const fn money(money: i64) -> Self {
        Self { money, trade: 0 }
    }
}

impl Add for Cost {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { money: self.money + other.money, trade: self.trade + other.trade }
    }
}

impl Sub for Cost {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self { money: self.money - other.money, trade: self.trade - other.trade }
    }
}

impl Neg for Cost {
    type Output = Self;
    fn neg(self) -> Self {
        Self { money: -self.money, trade: -self.trade }
    }
}

struct Arc {
    to: usize,
    room: i64,
    cost: Cost,
}

/// Nodes 0..n with arcs in pairs: `arc ^ 1` is the way back.
pub(super) struct Graph {
    arcs: Vec<Arc>,
    out: Vec<Vec<usize>>,
    /// Per node; for every arc with room, `height(to) <= height(from) + cost`.
    pub(super) height: Vec<Cost>,
    distance: Vec<Cost>,
    entered_by: Vec<usize>,
    done: Vec<bool>,
    reached: Vec<usize>,
    heap: BinaryHeap<Reverse<(Cost, usize)>>,
}

impl Graph {
    pub(super) fn new(height: Vec<Cost>) -> Self {
        let nodes = height.len();
        Self {
            arcs: Vec::new(),
            out: vec![Vec::new(); nodes],
            height,
            distance: vec![Cost::UNREACHED; nodes],
            entered_by: vec![0; nodes],
            done: vec![false; nodes],
            reached: Vec::new(),
            heap: BinaryHeap::new(),
        }
    }

    /// An arc with `room` for more flow and `flow` that could be taken back. Returns its number.
    pub(super) fn add(
        &mut self,
        (from, to): (usize, usize),
        room: i64,
        flow: i64,
        cost: Cost,
    ) -> usize {
        let arc = self.arcs.len();
        self.out[from].push(arc);
        self.out[to].push(arc + 1);
        self.arcs.push(Arc { to, room, cost });
        self.arcs.push(Arc { to: from, room: flow, cost: -cost });
        arc
    }

    /// The flow on an arc, as far as it can be taken back.
    pub(super) fn flow(&self, arc: usize) -> i64 {
        self.arcs[arc ^ 1].room
    }

    /// Sends all that is in excess at some nodes (`excess > 0`) to where it is missing
    /// (`excess < 0`), at least cost: successive shortest paths. What cannot be sent stays.
    pub(super) fn balance(&mut self, excess: &mut [i64]) {
        loop {
            let sources: Vec<usize> = (0..excess.len()).filter(|&node| excess[node] > 0).collect();
            let Some(sink) = self.search(&sources, |node| excess[node] < 0) else { return };
            self.raise(sink);
            self.send(sink, excess);
        }
    }

    /// The distance of every node from `source` (which reaches all), heights taken out.
    pub(super) fn distances(&mut self, source: usize) -> Vec<Cost> {
        self.search(&[source], |_| false);
        let origin = self.height[source];
        self.distance.iter().zip(&self.height).map(|(&d, &height)| d + height - origin).collect()
    }

    /// Dijkstra's search over costs made non-negative by the heights. Stops at the first node
    /// that is a sink.
    fn search(&mut self, sources: &[usize], is_sink: impl Fn(usize) -> bool) -> Option<usize> {
        for node in self.reached.drain(..) {
            self.distance[node] = Cost::UNREACHED;
            self.done[node] = false;
        }
        self.heap.clear();
        for &source in sources {
            self.distance[source] = Cost::ZERO;
            self.entered_by[source] = usize::MAX;
            self.reached.push(source);
            self.heap.push(Reverse((Cost::ZERO, source)));
        }
        while let Some(Reverse((distance, node))) = self.heap.pop() {
            if std::mem::replace(&mut self.done[node], true) {
                continue;
            }
            if is_sink(node) {
                return Some(node);
            }
            let base = distance + self.height[node];
            for &number in &self.out[node] {
                let arc = &self.arcs[number];
                if arc.room == 0 || self.done[arc.to] {
                    continue;
                }
                let there = base + arc.cost - self.height[arc.to];
                if there < self.distance[arc.to] {
                    if self.distance[arc.to] == Cost::UNREACHED {
                        self.reached.push(arc.to);
                    }
                    self.distance[arc.to] = there;
                    self.entered_by[arc.to] = number;
                    self.heap.push(Reverse((there, arc.to)));
                }
            }
        }
        None
    }

    /// Moves the heights so that the path just found costs nothing and no arc costs less. They
    /// are kept relative to the last node, so that they stay within the sum of all prices.
    fn raise(&mut self, sink: usize) {
        let to_sink = self.distance[sink];
        for &node in &self.reached {
            if self.done[node] {
                self.height[node] = self.height[node] + self.distance[node] - to_sink;
            }
        }
        let origin = self.height.last().copied().unwrap_or_default();
        for height in &mut self.height {
            *height = *height - origin;
        }
    }

    fn send(&mut self, sink: usize, excess: &mut [i64]) {
        let mut amount = -excess[sink];
        let mut node = sink;
        while self.entered_by[node] != usize::MAX {
            let arc = self.entered_by[node];
            amount = amount.min(self.arcs[arc].room);
            node = self.arcs[arc ^ 1].to;
        }
        let source = node;
        amount = amount.min(excess[source]);
        node = sink;
        while node != source {
            let arc = self.entered_by[node];
            self.arcs[arc].room -= amount;
            self.arcs[arc ^ 1].room += amount;
            node = self.arcs[arc ^ 1].to;
        }
        excess[source] -= amount;
        excess[sink] += amount;
    }
}
