//! The fills of greatest welfare, as a flow of least cost.
//!
//! ```text
//!   boundary 0      1      2      3        nodes: the boundaries of the slots
//!            ├──order a──────────►│        an order: forward over its slots, gains its value
//!            │      ├──order b───►│
//!            │◄─step┤◄─step┤◄─step┤        a step: back over its slot, costs its price
//!            ├─idle►├─idle►├─idle►│        nothing sold: forward, free
//! ```
//!
//! A circulation is a set of trades: what goes forward as orders comes back as steps. At some
//! first prices every order worth its slots is filled and every step below its price is sold.
//! Where that does not match, flow is in excess at some boundaries and missing at others; it is
//! sent along the cheapest way: more steps or fewer, orders taken or given up. The result is the
//! same welfare whatever the first prices; good ones save time, and those of a small sample of the
//! orders are good. The matrix is totally unimodular, so whole units are optimal.

use headroom_units::limits::PRICE_MICRO_MAX;

use super::{
    book::Book,
    flow::{Cost, Graph},
};

/// Room that no auction fills.
const UNLIMITED: i64 = i64::MAX / 4;
/// The price of units that nobody offers: dearer than giving up any order, so they are never sold
/// in the end. They keep every boundary within reach of every other, and so distances in bounds.
const BACKSTOP: i64 = PRICE_MICRO_MAX + 1;
/// Books with more lines than this are first solved for a sample.
const SAMPLED_ABOVE: usize = 200;
/// A sample has each so many-th line, and as much less for sale.
const SAMPLE_EVERY: usize = 8;

/// The best trades, and prices that prove it.
pub(super) struct Optimum {
    /// The fill of each line of the book.
    pub(super) fills: Vec<i64>,
    /// A price per slot, in micro-units, that supports the fills; not yet the lowest.
    pub(super) prices: Vec<i64>,
}

/// Maximises welfare, then trade.
pub(super) fn optimum(book: &Book) -> Optimum {
    if book.lines.len() <= SAMPLED_ABOVE {
        return improve(book, &vec![0; book.slots.len()]);
    }
    improve(book, &optimum(&book.sample(SAMPLE_EVERY)).prices)
}

/// The optimum, searched for from these prices: each from zero to [`BACKSTOP`].
fn improve(book: &Book, prices: &[i64]) -> Optimum {
    let mut search = Search::new(prices);
    for (slot, steps) in book.steps.iter().enumerate() {
        search.add((slot, slot + 1), UNLIMITED, Cost::ZERO);
        for step in steps {
            search.add((slot + 1, slot), step.units, Cost::money(step.price));
        }
        search.add((slot + 1, slot), UNLIMITED, Cost::money(BACKSTOP));
    }
    let mut arcs = Vec::with_capacity(book.lines.len());
    for line in &book.lines {
        let slots = i64::try_from(line.end - line.first).unwrap_or(i64::MAX);
        let gain = Cost { money: line.value, trade: slots };
        arcs.push(search.add((line.first, line.end), line.units, -gain));
    }
    let Search { mut graph, mut excess } = search;
    graph.balance(&mut excess);
    let fills = arcs.into_iter().map(|arc| graph.flow(arc)).collect();
    let prices = graph.height.windows(2).map(|pair| pair[0].money - pair[1].money).collect();
    Optimum { fills, prices }
}

/// A graph under construction, and what its full arcs bring to each node beyond what they take.
struct Search {
    graph: Graph,
    excess: Vec<i64>,
}

impl Search {
    fn new(prices: &[i64]) -> Self {
        let mut height = vec![Cost::ZERO];
        for (slot, &price) in prices.iter().enumerate() {
            height.push(height[slot] - Cost::money(price));
        }
        Self { excess: vec![0; height.len()], graph: Graph::new(height) }
    }

    /// An arc for up to `units`: full if it gains at the first prices, else empty.
    fn add(&mut self, (from, to): (usize, usize), units: i64, cost: Cost) -> usize {
        let height = &self.graph.height;
        let gains = height[from] + cost < height[to];
        let flow = if gains { units } else { 0 };
        self.excess[from] -= flow;
        self.excess[to] += flow;
        self.graph.add((from, to), units - flow, flow, cost)
    }
}
