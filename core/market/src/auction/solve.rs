//! The fills of greatest welfare, as a flow of least cost.
//!
//! ```text
//!   boundary 0      1      2      3        nodes: the boundaries of the slots
//!            ├──order a──────────►│        an order: forward over its slots, gains its value
//!            │      ├──order b───►│
//!            │◄─step┤◄─step┤◄─step┤        a step: back over its slot, costs its price
//! ```
//!
//! A circulation is a set of trades: what goes forward as orders comes back as steps. The matrix is
//! totally unimodular, so whole units are optimal, and the heights of the boundaries fall by a
//! price over each slot that supports the trades.
//!
//! A cost has two parts in one integer. The upper half is money. The lower half breaks ties: first
//! the unit-slots of trade that an order brings, then a number mixed from the line's own slots and
//! limit, by which no two optima are equal, however they are found. Flagged orders go before
//! divisible ones there, who can be content with less.

use headroom_units::limits::PRICE_MICRO_MAX;

use super::{
    book::{Book, Line},
    simplex::{Cost, Network},
};

/// Room that no auction fills.
const UNLIMITED: i64 = i64::MAX / 4;
/// The price of units that nobody offers: dearer than giving up any order, so they are never sold
/// in the end. They are the way out while the search goes on.
const BACKSTOP: i64 = PRICE_MICRO_MAX + 1;

/// The search for the best trades of a book; it can go on after the book has grown.
#[derive(Debug, Clone)]
pub(super) struct Solver {
    network: Network,
    scale: Scale,
    /// The arc of each line.
    arcs: Vec<usize>,
    /// Arcs of orders that came later, with the lines that they belong to.
    later: Vec<(usize, usize)>,
}

impl Solver {
    /// Nothing is filled yet.
    pub(super) fn new(book: &Book) -> Self {
        let scale = Scale::new(book.slots.len());
        let tree = book.steps.iter().map(|steps| (steps[0].units, 0, money(steps[0].price)));
        let mut network = Network::path(tree);
        for (slot, steps) in book.steps.iter().enumerate() {
            for step in &steps[1..] {
                network.add((slot + 1, slot), step.units, 0, money(step.price));
            }
            network.add((slot + 1, slot), UNLIMITED, 0, money(BACKSTOP));
        }
        let mut solver = Self { network, scale, arcs: Vec::new(), later: Vec::new() };
        for line in &book.lines {
            let arc = solver.arc_of(line, line.units);
            solver.arcs.push(arc);
        }
        solver
    }

    /// `units` more are asked for in the line with this number, which may be a new one.
    pub(super) fn grow(&mut self, number: usize, line: &Line, units: i64) {
        let arc = self.arc_of(line, units);
        if number == self.arcs.len() {
            self.arcs.push(arc);
        } else {
            self.later.push((number, arc));
        }
    }

    fn arc_of(&mut self, line: &Line, units: i64) -> usize {
        self.network.add((line.first, line.end), units, 0, self.scale.cost(line))
    }

    /// Lets a flagged line take part, or not.
    pub(super) fn admit(&mut self, number: usize, line: &Line, admitted: bool) {
        // Who pays even if units are free is never filled.
        let cost = if admitted { self.scale.cost(line) } else { money(1) };
        self.network.set_cost(self.arcs[number], cost);
    }

    /// Finds the greatest welfare, and of those the most trade.
    pub(super) fn optimise(&mut self) {
        self.network.optimise();
    }

    /// The fill of each line.
    pub(super) fn fills(&self) -> Vec<i64> {
        let mut fills: Vec<i64> = self.arcs.iter().map(|&arc| self.network.flow(arc)).collect();
        for &(line, arc) in &self.later {
            fills[line] += self.network.flow(arc);
        }
        fills
    }

    /// The fill of one line.
    pub(super) fn fill(&self, number: usize) -> i64 {
        let later = self.later.iter().filter(|(line, _)| *line == number);
        let later: i64 = later.map(|&(_, arc)| self.network.flow(arc)).sum();
        self.network.flow(self.arcs[number]) + later
    }

    /// The money that the slots from one boundary to another cost, under the prices of the search.
    pub(super) fn cost(&self, first: usize, end: usize) -> i64 {
        self.worth(first) - self.worth(end)
    }

    fn worth(&self, node: usize) -> i64 {
        let nearest = (self.network.height(node) + (1 << (Scale::BITS - 1))) >> Scale::BITS;
        i64::try_from(nearest).expect("a height is at most the sum of all prices")
    }
}

/// How ties are broken, in the lower half of a cost.
#[derive(Debug, Clone, Copy)]
struct Scale {
    /// What a unit-slot of trade counts.
    trade: i64,
    /// The numbers that tell lines apart are below this.
    apart: i64,
}

impl Scale {
    /// The bits below the money.
    const BITS: u32 = 64;

    /// So that along any path of the graph numbers add up to less than one unit-slot of trade, and
    /// trade to less than half of what a micro-unit counts.
    fn new(slots: usize) -> Self {
        let nodes_bits = (slots + 2).next_power_of_two().ilog2();
        let trade_bits = Self::BITS - 2 - 2 * nodes_bits;
        Self { trade: 1 << trade_bits, apart: 1 << (trade_bits - nodes_bits) }
    }

    fn cost(self, line: &Line) -> Cost {
        let slots = i64::try_from(line.end - line.first).unwrap_or(i64::MAX);
        -money(line.value) - Cost::from(self.trade * slots + self.apart(line))
    }

    /// From 0 to `apart`: the upper half for flagged lines.
    fn apart(self, line: &Line) -> i64 {
        let (id, half) = match line.flag {
            Some(flag) => (flag.id.number(), self.apart / 2),
            None => (0, 0),
        };
        let value = u64::try_from(line.value).unwrap_or(0);
        let words = [line.first as u64, line.end as u64, value, id];
        let mixed = words.into_iter().fold(0, |mixed, word| mix(mixed ^ word)) >> 1;
        half + i64::try_from(mixed).unwrap_or(0) % (self.apart / 2)
    }
}

const fn money(micro: i64) -> Cost {
    (micro as Cost) << Scale::BITS
}

/// The finaliser of SplitMix64 (G. Steele, D. Lea, C. Flood, OOPSLA 2014).
const fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
