//! One region: what is sold of each slot, at which price, and whether every bid and every offer
//! got what the prices entitle it to.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    read::{Results, Sales},
    ties,
};
use crate::{
    book::{Ask, Bid, Book},
    results::seller_name,
};

/// A slot with something for sale.
#[derive(Debug, Default)]
pub(super) struct Slot<'b> {
    pub(super) number: u32,
    /// By rising price.
    pub(super) asks: Vec<&'b Ask>,
    pub(super) sold: u64,
    pub(super) price: i64,
}

impl Slot<'_> {
    pub(super) fn offered(&self) -> u64 {
        self.asks.iter().map(|ask| u64::from(ask.units)).sum()
    }

    /// What is for sale below the price, or at it.
    pub(super) fn up_to(&self, within: impl Fn(i64) -> bool) -> u64 {
        self.asks.iter().filter(|ask| within(ask.price)).map(|ask| u64::from(ask.units)).sum()
    }
}

/// A bid of the region, and what it got here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order<'b, 't> {
    pub(super) bid: &'b Bid<'t>,
    pub(super) filled: u64,
    /// Whether it is content with any part, whatever others get.
    pub(super) divisible: bool,
    /// The slots by index, if all of them are for sale.
    pub(super) span: Option<(usize, usize)>,
}

pub(super) struct Region<'b, 't> {
    name: &'b str,
    pub(super) slots: Vec<Slot<'b>>,
    pub(super) orders: Vec<Order<'b, 't>>,
    /// What a unit costs in the slots before each; one more than there are slots.
    pub(super) costs: Vec<i64>,
    /// Prices of slots in which nothing is for sale.
    beyond: BTreeMap<u32, i64>,
    sales: Option<&'b Sales>,
    unpriced: Vec<u32>,
}

/// What was found in a region.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) violations: Vec<String>,
    pub(super) welfare: i128,
    /// What sellers and divisible bids could gain at the prices.
    pub(super) gain: i128,
    pub(super) payments: i128,
    pub(super) receipts: i128,
}

impl<'b, 't> Region<'b, 't> {
    /// Every region, with its part of the results.
    pub(super) fn all(book: &'b Book<'t>, results: &'b Results) -> Vec<Self> {
        let mut regions: Vec<Self> = (book.regions.iter().zip(&results.prices).enumerate())
            .map(|(number, (name, prices))| Self {
                name: name.as_str(),
                slots: Vec::new(),
                orders: Vec::new(),
                costs: Vec::new(),
                beyond: prices.clone(),
                sales: results.sales.as_ref().map(|sales| &sales[number]),
                unpriced: Vec::new(),
            })
            .collect();
        let mut asks: Vec<&Ask> = book.asks.iter().filter(|ask| ask.units > 0).collect();
        asks.sort_by_key(|ask| (ask.region, ask.slot, ask.price));
        for asks in asks.chunk_by(|a, b| (a.region, a.slot) == (b.region, b.slot)) {
            let (region, number) = (&mut regions[asks[0].region as usize], asks[0].slot);
            let price = region.beyond.remove(&number);
            if price.is_none() {
                region.unpriced.push(number);
            }
            let price = price.unwrap_or(0);
            region.slots.push(Slot { number, asks: asks.to_vec(), sold: 0, price });
        }
        for region in &mut regions {
            region.costs.push(0);
            for slot in &region.slots {
                region.costs.push(region.costs.last().unwrap_or(&0) + slot.price);
            }
        }
        let mut filled = vec![(0, 0); book.bids.len()];
        for fill in &results.fills {
            filled[fill.bid as usize] = (fill.region, fill.units);
        }
        for (bid, (place, units)) in book.bids.iter().zip(filled) {
            let divisible = bid.minimum <= 1 && book.extras_of(bid).is_none();
            for &number in book.regions_of(bid) {
                let region = &mut regions[number as usize];
                let span = region.span(bid);
                let filled = if number == place { units } else { 0 };
                region.orders.push(Order { bid, filled, divisible, span });
            }
        }
        regions
    }

    fn span(&self, bid: &Bid<'_>) -> Option<(usize, usize)> {
        let first = self.slots.partition_point(|slot| slot.number < bid.first);
        let count = usize::try_from(bid.last - bid.first).ok()? + 1;
        let last = self.slots.get(first + count - 1)?;
        let all = self.slots[first].number == bid.first && last.number == bid.last;
        all.then_some((first, first + count))
    }

    /// What a unit in all slots of the bid is worth beyond what it costs, if they can be had.
    pub(super) fn surplus(&self, bid: &Bid<'_>) -> Option<i64> {
        let (first, end) = self.span(bid)?;
        Some(bid.value() - (self.costs[end] - self.costs[first]))
    }

    pub(super) fn check(&mut self) -> Found {
        let mut found = Found::default();
        for slot in &self.unpriced {
            found.violations.push(format!("{} slot {slot} is offered and has no price", self.name));
        }
        self.count(&mut found);
        for order in &self.orders {
            self.check_order(order, &mut found);
        }
        for slot in &self.slots {
            self.check_slot(slot, &mut found);
        }
        self.check_beyond(&mut found.violations);
        self.check_sales(&mut found);
        // With something wrong already these would tell the same again.
        if found.violations.is_empty() {
            let told =
                ties::unequal(&self.orders).chain(ties::untraded(self)).chain(ties::dearer(self));
            found.violations.extend(told.map(|what| format!("{}: {what}", self.name)));
        }
        found
    }

    /// Adds up what is sold of each slot.
    fn count(&mut self, found: &mut Found) {
        let mut change = vec![0_i128; self.slots.len() + 1];
        for order in self.orders.iter().filter(|order| order.filled > 0) {
            let Some((first, end)) = order.span else {
                let Bid { id, first, last, .. } = order.bid;
                found.violations.push(format!(
                    "bid {id} is filled, though {} has not all slots from {first} to {last} for sale",
                    self.name
                ));
                continue;
            };
            change[first] += i128::from(order.filled);
            change[end] -= i128::from(order.filled);
        }
        let mut sold = 0;
        for (slot, change) in self.slots.iter_mut().zip(change) {
            sold += change;
            slot.sold = u64::try_from(sold).unwrap_or(u64::MAX);
        }
    }

    fn check_order(&self, order: &Order<'_, '_>, found: &mut Found) {
        let (bid, filled) = (order.bid, order.filled);
        let Some(surplus) = self.surplus(bid) else {
            // Its fill was told already.
            return;
        };
        let (id, value) = (bid.id, bid.value());
        let units = i128::from(filled);
        found.welfare += i128::from(value) * units;
        found.payments += i128::from(value - surplus) * units;
        if order.divisible {
            found.gain += i128::from(surplus.max(0)) * i128::from(bid.units);
        }
        let cost = value - surplus;
        if filled > 0 && surplus < 0 {
            found.violations.push(format!(
                "bid {id} pays {cost} micro-units per unit, and its limit is {value} for its slots"
            ));
        }
        let short = filled < bid.units.into() && (order.divisible || filled > 0);
        if surplus > 0 && short {
            found.violations.push(format!(
                "bid {id} is worth {value} micro-units per unit and would pay {cost}, but got {filled} of {} units",
                bid.units
            ));
        }
    }

    fn check_slot(&self, slot: &Slot<'_>, found: &mut Found) {
        let Slot { number, sold, price, .. } = *slot;
        let mut tell = |what: String| {
            found.violations.push(format!("{} slot {number} {what}", self.name));
        };
        let offered = slot.offered();
        if sold > offered {
            tell(format!("is oversold: {sold} of {offered} units"));
        } else if sold > slot.up_to(|ask| ask <= price) {
            tell(format!("sells units below what they ask: {sold} at {price} micro-units"));
        }
        let cheaper = slot.up_to(|ask| ask < price);
        if sold < cheaper {
            tell(format!("sells {sold} units, but {cheaper} ask less than its price {price}"));
        }
        let mut left = sold;
        for ask in &slot.asks {
            let taken = left.min(ask.units.into());
            left -= taken;
            found.welfare -= i128::from(ask.price) * i128::from(taken);
            found.gain += i128::from((price - ask.price).max(0)) * i128::from(ask.units);
        }
        if self.sales.is_none() {
            found.receipts += i128::from(price) * i128::from(sold.min(offered));
        }
    }

    /// Nobody may want what is not for sale, and such a price is not above what that needs.
    fn check_beyond(&self, violations: &mut Vec<String>) {
        let mut needed: BTreeMap<u32, i64> = BTreeMap::new();
        let on_sale: BTreeSet<u32> = self.slots.iter().map(|slot| slot.number).collect();
        for order in self.orders.iter().filter(|order| order.span.is_none()) {
            let bid = order.bid;
            let Some(slot) = bid.slots().find(|slot| !on_sale.contains(slot)) else { continue };
            let first = self.slots.partition_point(|slot| slot.number < bid.first);
            let end = self.slots.partition_point(|slot| slot.number <= bid.last);
            let most = needed.entry(slot).or_insert(0);
            *most = (bid.value() - (self.costs[end] - self.costs[first])).max(*most);
        }
        let numbers: BTreeSet<u32> = needed.keys().chain(self.beyond.keys()).copied().collect();
        for slot in numbers {
            let what = match (needed.get(&slot), self.beyond.get(&slot)) {
                (Some(needed), Some(price)) if needed == price => continue,
                (Some(needed), Some(price)) => {
                    format!("has nothing for sale at {price}; nobody wants it from {needed} on")
                }
                (Some(_), None) => "is wanted, not for sale, and has no price".to_owned(),
                (None, _) => "has a price, but is neither offered nor wanted".to_owned(),
            };
            violations.push(format!("{} slot {slot} {what}", self.name));
        }
    }

    /// Each seller sells the cheapest first and of the last price a proportional part, and
    /// receives the price for it.
    fn check_sales(&self, found: &mut Found) {
        let Some(sales) = self.sales else { return };
        let mut expected: BTreeMap<(u32, &str), u64> = BTreeMap::new();
        for slot in &self.slots {
            let mut left = slot.sold;
            for asks in slot.asks.chunk_by(|a, b| a.price == b.price) {
                let mut parts: BTreeMap<_, u64> = BTreeMap::new();
                for ask in asks {
                    *parts.entry(&ask.seller).or_default() += u64::from(ask.units);
                }
                let total: u64 = parts.values().sum();
                let taken = left.min(total);
                left -= taken;
                for (seller, share) in ties::divided(taken, parts) {
                    *expected.entry((slot.number, seller_name(seller))).or_default() += share;
                }
            }
        }
        expected.retain(|_, units| *units > 0);
        let prices: BTreeMap<u32, i64> =
            self.slots.iter().map(|slot| (slot.number, slot.price)).collect();
        for ((slot, seller), &(units, receipts)) in sales {
            found.receipts += receipts;
            let right = expected.remove(&(*slot, seller.as_str())).unwrap_or(0);
            let price = i128::from(prices.get(slot).copied().unwrap_or(0));
            if units != right {
                found.violations.push(format!(
                    "{} slot {slot}: {seller} sells {units} units, not {right} as its share is",
                    self.name
                ));
            }
            if receipts != price * i128::from(units) {
                found.violations.push(format!(
                    "{} slot {slot}: {seller} receives {receipts} micro-units for {units} at {price}",
                    self.name
                ));
            }
        }
        for ((slot, seller), units) in expected {
            found.violations.push(format!(
                "{} slot {slot}: {seller} sells {units} units, and the sales do not say so",
                self.name
            ));
        }
    }
}
