//! The lowest prices that support the fills: shortest distances from the first slot boundary.
//!
//! A price vector supports the fills if, with `d` falling by the price over each slot,
//! every bound below holds: no order that could take more is worth more than its slots cost, no
//! filled order is worth less, no price is under a sold step or over an unsold one. Each bound is
//! an arc `d(to) <= d(from) + cost`; the greatest such `d`, and so the least running total of the
//! prices, is the shortest distance.

use super::{
    book::Book,
    flow::{Cost, Graph},
    solve::Optimum,
};

/// The price of each slot in micro-units. Where nothing was sold it is the cheapest step's.
pub(super) fn lowest(book: &Book, optimum: &Optimum, sold: &[i64]) -> Vec<i64> {
    let bounds: Vec<(i64, Option<i64>)> =
        (0..sold.len()).map(|slot| step_bounds(book, slot, sold[slot])).collect();
    let mut graph = Graph::new(starting_heights(optimum, sold, &bounds));
    for (slot, &(floor, ceiling)) in bounds.iter().enumerate() {
        graph.add((slot, slot + 1), 1, 0, Cost::money(-floor));
        if let Some(ceiling) = ceiling {
            graph.add((slot + 1, slot), 1, 0, Cost::money(ceiling));
        }
    }
    for (line, &fill) in book.lines.iter().zip(&optimum.fills) {
        let could_take_more = i64::from(fill < line.units);
        let filled = i64::from(fill > 0);
        graph.add((line.first, line.end), could_take_more, filled, Cost::money(-line.value));
    }
    let distances = graph.distances(0);
    distances.windows(2).map(|pair| pair[0].money - pair[1].money).collect()
}

/// The prices of the dearest sold step and of the cheapest step with unsold units.
fn step_bounds(book: &Book, slot: usize, sold: i64) -> (i64, Option<i64>) {
    let steps = &book.steps[slot];
    let mut floor = steps[0].price;
    let mut left = sold;
    for step in steps {
        if left < step.units {
            let floor = if left > 0 { step.price } else { floor };
            return (floor, Some(step.price));
        }
        left -= step.units;
        floor = step.price;
    }
    (floor, None)
}

/// Heights under which no arc is negative: the solver's prices, with those of slots where nothing
/// was sold raised to their cheapest step. No filled order covers such a slot, so no bound breaks.
fn starting_heights(optimum: &Optimum, sold: &[i64], bounds: &[(i64, Option<i64>)]) -> Vec<Cost> {
    let mut total = 0;
    let mut heights = vec![Cost::ZERO];
    for ((&price, &sold), &(floor, _)) in optimum.prices.iter().zip(sold).zip(bounds) {
        total += if sold > 0 { price } else { floor };
        heights.push(Cost::money(-total));
    }
    heights
}
