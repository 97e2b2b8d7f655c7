//! The lowest prices that support the fills: shortest distances from the first slot boundary.
//!
//! A price vector supports the fills if, with `d` falling by the price over each slot,
//! every bound below holds: no order that could take more is worth more than its slots cost, no
//! filled order is worth less, no price is under a sold step or over an unsold one. Each bound is
//! an arc `d(to) <= d(from) + cost`; the greatest such `d`, and so the least running total of the
//! prices, is the shortest distance.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::book::{Book, Line};

/// The price of each slot in micro-units. Where nothing was sold it is the cheapest step's.
///
/// `supporting` are prices that support the fills of the `lines`, but may be too low where nothing
/// is sold.
pub(super) fn lowest<'b>(
    book: &Book,
    lines: impl Iterator<Item = (&'b Line, i64)>,
    sold: &[i64],
    supporting: impl Iterator<Item = i64>,
) -> Vec<i64> {
    let bounds: Vec<(i64, Option<i64>)> =
        (0..sold.len()).map(|slot| step_bounds(book, slot, sold[slot])).collect();
    // Raised to the cheapest step where nothing is sold: no filled order covers such a slot, so no
    // bound breaks.
    let raised = supporting.zip(sold).zip(&bounds);
    let raised = raised.map(|((price, &sold), &(floor, _))| if sold > 0 { price } else { floor });
    let mut paths = Paths::new(raised);
    for (slot, &(floor, ceiling)) in bounds.iter().enumerate() {
        paths.add((slot, slot + 1), -floor);
        if let Some(ceiling) = ceiling {
            paths.add((slot + 1, slot), ceiling);
        }
    }
    for (line, fill) in lines {
        if fill < line.units {
            paths.add((line.first, line.end), -line.value);
        }
        if fill > 0 {
            paths.add((line.end, line.first), line.value);
        }
    }
    let distances = paths.shortest();
    distances.windows(2).map(|pair| pair[0] - pair[1]).collect()
}

/// The prices of the dearest sold step and of the cheapest step with unsold units.
fn step_bounds(book: &Book, slot: usize, sold: i64) -> (i64, Option<i64>) {
    let mut floor = book.steps[slot][0].price;
    for (step, taken) in book.taken(slot, sold) {
        floor = if taken > 0 { step.price } else { floor };
        if taken < step.units {
            return (floor, Some(step.price));
        }
    }
    (floor, None)
}

/// Arcs between the boundaries of slots, none of which costs less than the difference of the
/// heights.
struct Paths {
    heights: Vec<i64>,
    /// From, to, and what the arc costs beyond the difference of the heights: zero or more.
    arcs: Vec<(usize, usize, i64)>,
}

/// Dearer arcs are left out at first: they rarely matter.
const NEAR_MICRO: i64 = 1 << 10;

impl Paths {
    fn new(prices: impl Iterator<Item = i64>) -> Self {
        let mut heights = vec![0];
        for (slot, price) in prices.enumerate() {
            heights.push(heights[slot] - price);
        }
        Self { heights, arcs: Vec::new() }
    }

    fn add(&mut self, (from, to): (usize, usize), cost: i64) {
        self.arcs.push((from, to, cost + self.heights[from] - self.heights[to]));
    }

    /// The distance of every node from node 0, which reaches all by the arcs over one slot.
    fn shortest(&self) -> Vec<i64> {
        let farthest = |distances: &[i64]| distances.iter().copied().max().unwrap_or(0);
        let mut distances = self.search(NEAR_MICRO);
        // An arc that costs as much as the farthest node is away makes no way shorter.
        if farthest(&distances) > NEAR_MICRO {
            distances = self.search(farthest(&distances));
        }
        distances.iter().zip(&self.heights).map(|(&distance, &height)| distance + height).collect()
    }

    /// Dijkstra's search over arcs of one slot, and others below a cost. Costs and distances are
    /// beyond the heights.
    fn search(&self, below: i64) -> Vec<i64> {
        let near = |arc: &&(usize, usize, i64)| arc.2 < below || arc.0 + 1 == arc.1;
        // The arcs of node n are `order[starts[n]..starts[n + 1]]`.
        let mut starts = vec![0; self.heights.len() + 1];
        for &(from, ..) in self.arcs.iter().filter(near) {
            starts[from + 1] += 1;
        }
        for node in 1..starts.len() {
            starts[node] += starts[node - 1];
        }
        let mut places = starts.clone();
        let mut order = vec![(0, 0); starts.last().copied().unwrap_or(0)];
        for &(from, to, cost) in self.arcs.iter().filter(near) {
            order[places[from]] = (to, cost);
            places[from] += 1;
        }
        let mut distances = vec![i64::MAX; self.heights.len()];
        let mut heap = BinaryHeap::from([Reverse((0, 0))]);
        distances[0] = 0;
        while let Some(Reverse((distance, node))) = heap.pop() {
            if distance > distances[node] {
                continue;
            }
            for &(to, cost) in &order[starts[node]..starts[node + 1]] {
                let there = distance + cost;
                if there < distances[to] {
                    distances[to] = there;
                    heap.push(Reverse((there, to)));
                }
            }
        }
        distances
    }
}
