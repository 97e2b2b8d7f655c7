//! The order book of one auction in the form the solver wants: slots by index, steps by rising
//! price, divisible orders of the same slots and limit joined into lines, each flagged order a
//! line of its own. Sorted, so that the order of the inputs is forgotten here.
//!
//! Orders that can never be filled are left out: a slot of theirs has nothing for sale, or even
//! the cheapest steps of their slots are worth more than they are.

use std::collections::BTreeMap;

use headroom_units::{BidId, Slot, Units, limits::UNITS_MAX};

use super::{Group, Order, share::units};
use crate::{Offer, Seller, limits::AUCTION_SLOTS_MAX};

/// Some units of one slot for sale at one price. Numbers are micro-units and units.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) price: i64,
    pub(super) units: i64,
    /// Each seller's part. Together more than `units` if the slot has more than may be sold.
    pub(super) sellers: Vec<(Seller, i64)>,
}

/// All divisible orders for the same slots with the same limit, or one flagged order.
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
    /// What the one order asks beyond, if it is flagged.
    pub(super) flag: Option<Flag>,
}

/// What makes an order more than a divisible one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Flag {
    /// The one order.
    pub(super) id: BidId,
    /// The fewest units that it takes.
    pub(super) minimum: i64,
    /// At most one order of the group is filled.
    pub(super) group: Option<Group>,
}

/// What tells lines apart, and the order they are in.
type Key = (usize, usize, i64, Option<Flag>);

impl Line {
    fn of((first, end, value, flag): Key, orders: Vec<(BidId, i64)>) -> Self {
        let units = orders.iter().map(|&(_, units)| units).sum();
        Self { first, end, value, units, orders, flag }
    }

    pub(super) const fn key(&self) -> Key {
        (self.first, self.end, self.value, self.flag)
    }
}

/// What is for sale, and who could buy it.
#[derive(Debug, Clone)]
pub(super) struct Book {
    /// The slots with something for sale.
    pub(super) slots: Vec<Slot>,
    /// Per slot, at least one step, by rising price, none empty.
    pub(super) steps: Vec<Vec<Step>>,
    /// The orders, by slots and value; those that came later behind.
    pub(super) lines: Vec<Line>,
    /// How many lines were there from the start, and are sorted.
    sorted: usize,
    /// What one unit in each slot before this one costs at least.
    cheapest: Vec<i64>,
}

impl Book {
    pub(super) fn new(offers: &[Offer], orders: &[Order]) -> Self {
        let (slots, steps): (Vec<_>, Vec<_>) =
            supply(offers).into_iter().take(AUCTION_SLOTS_MAX).unzip();
        let mut cheapest = vec![0_i64];
        for steps in &steps {
            cheapest.push(cheapest.last().unwrap_or(&0) + steps[0].price);
        }
        let mut book = Self { slots, steps, lines: Vec::new(), sorted: 0, cheapest };
        let mut entries: Vec<(Key, (BidId, i64))> =
            orders.iter().filter_map(|order| book.entry(order)).collect();
        entries.sort_unstable();
        let joined = entries.chunk_by(|a, b| a.0 == b.0).map(|entries| {
            Line::of(entries[0].0, entries.iter().map(|&(_, order)| order).collect())
        });
        book.lines = joined.collect();
        book.sorted = book.lines.len();
        book
    }

    /// Adds an order to its line. Returns the line's number, or `None` if the order is left out.
    pub(super) fn insert(&mut self, order: &Order) -> Option<usize> {
        let (key, part) = self.entry(order)?;
        let (sorted, later) = self.lines.split_at(self.sorted);
        let found = sorted.binary_search_by(|line| line.key().cmp(&key)).ok();
        let later = || later.iter().position(|line| line.key() == key);
        let Some(number) = found.or_else(|| Some(later()? + self.sorted)) else {
            self.lines.push(Line::of(key, vec![part]));
            return Some(self.lines.len() - 1);
        };
        let line = &mut self.lines[number];
        line.units += part.1;
        let place = line.orders.partition_point(|other| *other < part);
        line.orders.insert(place, part);
        Some(number)
    }

    /// The line of an order that could be filled, and its part of it.
    fn entry(&self, order: &Order) -> Option<(Key, (BidId, i64))> {
        if order.units.is_zero() || order.minimum > order.units {
            return None;
        }
        let first = self.slots.binary_search(&order.slots.first()).ok()?;
        let end = self.slots.binary_search(&order.slots.last()).ok()? + 1;
        let value = order.value_micro();
        let all_for_sale = (end - first) as u64 == order.slots.count();
        if !all_for_sale || self.cheapest[end] - self.cheapest[first] > value {
            return None;
        }
        let count = |units: Units| i64::try_from(units.count()).unwrap_or(i64::MAX);
        let flag = order.is_flagged().then(|| Flag {
            id: order.id,
            minimum: count(order.minimum),
            group: order.group,
        });
        Some(((first, end, value, flag), (order.id, count(order.units))))
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

    /// What is sold of each step of a slot of which so much is sold: the cheapest first.
    pub(super) fn taken(&self, slot: usize, sold: i64) -> impl Iterator<Item = (&Step, i64)> {
        let mut left = sold;
        self.steps[slot].iter().map(move |step| {
            let taken = left.min(step.units);
            left -= taken;
            (step, taken)
        })
    }

    /// What the fills are worth less what the sold steps ask.
    pub(super) fn welfare(&self, fills: &[i64], sold: &[i64]) -> i128 {
        let worth: i128 = (self.lines.iter().zip(fills))
            .map(|(line, &fill)| i128::from(line.value) * i128::from(fill))
            .sum();
        let taken = sold.iter().enumerate().flat_map(|(slot, &sold)| self.taken(slot, sold));
        let asked: i128 =
            taken.map(|(step, taken)| i128::from(step.price) * i128::from(taken)).sum();
        worth - asked
    }
}

fn supply(offers: &[Offer]) -> BTreeMap<Slot, Vec<Step>> {
    type Parts = BTreeMap<Seller, u64>;
    let mut by_slot: BTreeMap<Slot, BTreeMap<i64, Parts>> = BTreeMap::new();
    for offer in offers {
        for step in offer.steps.iter().filter(|step| !step.units.is_zero()) {
            let parts = by_slot.entry(offer.slot).or_default().entry(step.price.micro());
            let parts = parts.or_default();
            let part = match parts.get_mut(&offer.seller) {
                Some(part) => part,
                None => parts.entry(offer.seller.clone()).or_default(),
            };
            *part = part.saturating_add(step.units.count()).min(UNITS_MAX);
        }
    }
    by_slot.into_iter().map(|(slot, steps)| (slot, capped(steps))).collect()
}

/// The steps by rising price, up to what one slot may sell in total.
fn capped(steps: BTreeMap<i64, BTreeMap<Seller, u64>>) -> Vec<Step> {
    let count = |units: u64| i64::try_from(units).unwrap_or(i64::MAX);
    let mut room = count(UNITS_MAX);
    let mut capped = Vec::new();
    for (price, parts) in steps {
        let sellers: Vec<(Seller, i64)> =
            parts.into_iter().map(|(seller, units)| (seller, count(units))).collect();
        let offered = sellers.iter().fold(0_i64, |sum, &(_, units)| sum.saturating_add(units));
        let units = offered.min(room);
        room -= units;
        if units > 0 {
            capped.push(Step { price, units, sellers });
        }
    }
    capped
}
