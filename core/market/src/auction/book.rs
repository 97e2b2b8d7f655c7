//! The order book of one auction in the form the solver wants: slots by index, steps by rising
//! price, orders of the same slots and limit joined into lines. Sorted, so that the order of the
//! inputs is forgotten here.
//!
//! Orders that can never be filled are left out: a slot of theirs has nothing for sale, or even
//! the cheapest steps of their slots are worth more than they are.

use std::collections::BTreeMap;

use headroom_units::{BidId, Slot, Units, limits::UNITS_MAX};

use super::{Order, units};
use crate::{Offer, limits::AUCTION_SLOTS_MAX};

/// Some units of one slot for sale at one price. Numbers are micro-units and units.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) price: i64,
    pub(super) units: i64,
}

/// All orders for the same slots with the same limit.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// The index of the first slot.
    pub(super) first: usize,
    /// The index after the last slot.
    pub(super) end: usize,
    /// The worth of one unit in all slots, in micro-units.
    pub(super) value: i64,
    /// The units of all orders together.
    pub(super) units: i64,
    /// Each order's part, by id.
    pub(super) orders: Vec<(BidId, i64)>,
}

/// What is for sale, and who could buy it.
#[derive(Debug, Clone)]
pub(super) struct Book {
    /// The slots with something for sale.
    pub(super) slots: Vec<Slot>,
    /// Per slot, at least one step, by rising price, none empty.
    pub(super) steps: Vec<Vec<Step>>,
    /// The orders, by slots and value.
    pub(super) lines: Vec<Line>,
}

impl Book {
    pub(super) fn new(offers: &[Offer], orders: &[Order]) -> Self {
        let (slots, steps): (Vec<_>, Vec<_>) =
            supply(offers).into_iter().take(AUCTION_SLOTS_MAX).unzip();
        let lines = demand(&slots, &steps, orders);
        Self { slots, steps, lines }
    }

    /// A book like this one, `every` times smaller.
    pub(super) fn sample(&self, every: usize) -> Self {
        let smaller = i64::try_from(every).unwrap_or(i64::MAX);
        let mut steps = self.steps.clone();
        for step in steps.iter_mut().flatten() {
            step.units = (step.units / smaller).max(1);
        }
        let lines = self.lines.iter().step_by(every).cloned().collect();
        Self { slots: self.slots.clone(), steps, lines }
    }

    /// The units for sale in the slot with this index.
    pub(super) fn offered(&self, index: usize) -> Units {
        units(self.steps[index].iter().map(|step| step.units).sum())
    }

    /// The units sold in each slot, given the fill of each line.
    pub(super) fn sold(&self, fills: &[i64]) -> Vec<i64> {
        let mut change = vec![0; self.slots.len() + 1];
        for (line, fill) in self.lines.iter().zip(fills) {
            change[line.first] += fill;
            change[line.end] -= fill;
        }
        let mut running = 0;
        change.truncate(self.slots.len());
        for sold in &mut change {
            running += *sold;
            *sold = running;
        }
        change
    }

    /// What the fills are worth less what the sold steps ask.
    pub(super) fn welfare(&self, fills: &[i64], sold: &[i64]) -> i128 {
        let worth: i128 = (self.lines.iter().zip(fills))
            .map(|(line, &fill)| i128::from(line.value) * i128::from(fill))
            .sum();
        let mut asked = 0;
        for (steps, &sold) in self.steps.iter().zip(sold) {
            let mut left = sold;
            for step in steps {
                let taken = left.min(step.units);
                asked += i128::from(step.price) * i128::from(taken);
                left -= taken;
            }
        }
        worth - asked
    }
}

fn supply(offers: &[Offer]) -> BTreeMap<Slot, Vec<Step>> {
    let mut by_slot: BTreeMap<Slot, BTreeMap<i64, u64>> = BTreeMap::new();
    for offer in offers {
        for step in offer.steps.iter().filter(|step| !step.units.is_zero()) {
            let units =
                by_slot.entry(offer.slot).or_default().entry(step.price.micro()).or_default();
            *units = units.saturating_add(step.units.count()).min(UNITS_MAX);
        }
    }
    by_slot.into_iter().map(|(slot, steps)| (slot, capped(steps))).collect()
}

/// The steps by rising price, up to what one slot may sell in total.
fn capped(steps: BTreeMap<i64, u64>) -> Vec<Step> {
    let mut room = i64::try_from(UNITS_MAX).unwrap_or(i64::MAX);
    let mut capped = Vec::new();
    for (price, units) in steps {
        let units = i64::try_from(units).unwrap_or(i64::MAX).min(room);
        room -= units;
        if units > 0 {
            capped.push(Step { price, units });
        }
    }
    capped
}

fn demand(slots: &[Slot], steps: &[Vec<Step>], orders: &[Order]) -> Vec<Line> {
    // cheapest[i] is what one unit in each slot before i costs at least.
    let mut cheapest = vec![0_i64];
    for steps in steps {
        cheapest.push(cheapest.last().unwrap_or(&0) + steps[0].price);
    }
    let mut lines: BTreeMap<(usize, usize, i64), Vec<(BidId, i64)>> = BTreeMap::new();
    for order in orders.iter().filter(|order| !order.units.is_zero()) {
        let Ok(first) = slots.binary_search(&order.slots.first()) else { continue };
        let Ok(last) = slots.binary_search(&order.slots.last()) else { continue };
        let (end, value) = (last + 1, order.value_micro());
        let all_for_sale = (end - first) as u64 == order.slots.count();
        if all_for_sale && cheapest[end] - cheapest[first] <= value {
            let units = i64::try_from(order.units.count()).unwrap_or(i64::MAX);
            lines.entry((first, end, value)).or_default().push((order.id, units));
        }
    }
    let joined = |((first, end, value), mut orders): ((usize, usize, i64), Vec<(BidId, i64)>)| {
        orders.sort_unstable();
        let units = orders.iter().map(|&(_, units)| units).sum();
        Line { first, end, value, units, orders }
    };
    lines.into_iter().map(joined).collect()
}
