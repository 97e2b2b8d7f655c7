//! The auction of one region, step by step: relaxed, then settled, then concluded. It can go on
//! with one more order, from where it was.

use std::collections::{BTreeMap, BTreeSet};

use headroom_units::{BidId, Price, Slot, Units};

use super::{
    Because, Clearing, Group, Order, Rejected, Sale, SlotClearing,
    book::{Book, Line},
    prices,
    share::{pro_rata, units},
    solve::Solver,
};
use crate::{Offer, Seller};

/// One region's auction, which can be cleared again when an order has come.
///
/// What [`Self::clear`] returns depends on the offers and orders alone, not on their order or on
/// what was cleared before.
#[derive(Debug, Clone)]
pub struct Auction {
    /// All slots that were offered, with something for sale or not.
    offered: BTreeSet<Slot>,
    pub(super) book: Book,
    pub(super) solver: Solver,
    /// By line number.
    pub(super) flagged: BTreeMap<usize, Standing>,
    relaxed: i128,
    pub(super) outcome: Option<Outcome>,
}

/// Whether a flagged order takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    In,
    /// It would be filled, but not as it asks.
    Out,
    /// Another of its group takes part in another region.
    Elsewhere,
}

/// A clearing, and what only the whole call needs of it.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) clearing: Clearing,
    /// The most that sellers and orders of no group could gain at the prices, in micro-units.
    pub(super) alone: i128,
    /// The most that one order of each group could gain at the prices, in micro-units.
    pub(super) gains: BTreeMap<Group, i128>,
    /// The groups that have a filled order.
    pub(super) filled: BTreeSet<Group>,
}

impl Auction {
    /// The auction of `orders` against `offers`, which are all of one region.
    #[must_use]
    pub fn new(offers: &[Offer], orders: &[Order]) -> Self {
        let book = Book::new(offers, orders);
        let flagged = (0..book.lines.len()).filter(|&line| book.lines[line].flag.is_some());
        Self {
            offered: offers.iter().map(|offer| offer.slot).collect(),
            solver: Solver::new(&book),
            flagged: flagged.map(|line| (line, Standing::In)).collect(),
            book,
            relaxed: 0,
            outcome: None,
        }
    }

    /// Takes one more order in. Its id is new.
    pub fn insert(&mut self, order: &Order) {
        let Some(number) = self.book.insert(order) else { return };
        let line = &self.book.lines[number];
        let units = i64::try_from(order.units.count()).unwrap_or(i64::MAX);
        self.solver.grow(number, line, units);
        if line.flag.is_some() {
            self.flagged.insert(number, Standing::In);
        }
    }

    /// Clears the auction.
    #[must_use]
    pub fn clear(&mut self) -> Clearing {
        self.readmit_all();
        self.relax();
        self.settle();
        self.conclude();
        self.outcome.take().map(|outcome| outcome.clearing).unwrap_or_default()
    }

    /// Clears as if every order were divisible and alone.
    pub(super) fn relax(&mut self) {
        self.solver.optimise();
        let fills = self.solver.fills();
        self.relaxed = self.book.welfare(&fills, &self.book.sold(&fills));
    }

    /// Clears those who take part, as if they were divisible.
    pub(super) fn search(&mut self) {
        self.solver.optimise();
    }

    /// The welfare of the relaxed auction.
    pub(super) const fn relaxed(&self) -> i128 {
        self.relaxed
    }

    pub(super) fn welfare(&self) -> i128 {
        let fills = self.solver.fills();
        self.book.welfare(&fills, &self.book.sold(&fills))
    }

    /// What one unit costs in all slots before each boundary, at the lowest prices that support
    /// the fills.
    pub(super) fn costs(&self, fills: &[i64], sold: &[i64]) -> Vec<i64> {
        let takes_part = |number: &usize| {
            let standing = self.flagged.get(number);
            standing.is_none_or(|standing| *standing == Standing::In)
        };
        let lines = (0..fills.len()).filter(takes_part);
        let lines = lines.map(|number| (&self.book.lines[number], fills[number]));
        let supporting = (0..sold.len()).map(|slot| self.solver.cost(slot, slot + 1));
        let mut costs = vec![0];
        for price in prices::lowest(&self.book, lines, sold, supporting) {
            costs.push(costs.last().unwrap_or(&0) + price);
        }
        costs
    }

    /// As [`Self::costs`], of the fills as they are.
    pub(super) fn current_costs(&self) -> Vec<i64> {
        let fills = self.solver.fills();
        self.costs(&fills, &self.book.sold(&fills))
    }

    /// Writes down what came out.
    pub(super) fn conclude(&mut self) {
        let fills = self.solver.fills();
        let sold = self.book.sold(&fills);
        let costs = self.costs(&fills, &sold);
        let mut clearing = Clearing {
            welfare: self.book.welfare(&fills, &sold),
            relaxed: self.relaxed,
            ..Clearing::default()
        };
        for &slot in &self.offered {
            let nothing = SlotClearing { offered: Units::ZERO, sold: Units::ZERO, price: None };
            clearing.slots.insert(slot, nothing);
        }
        for (index, &sold) in sold.iter().enumerate() {
            let price = Price::from_micro(costs[index + 1] - costs[index])
                .expect("a price is an ask or part of what an order is worth");
            let offered = self.book.offered(index);
            let slot = self.book.slots[index];
            let sold_at = (sold > 0).then_some(price);
            let cleared = SlotClearing { offered, sold: units(sold), price: sold_at };
            clearing.slots.insert(slot, cleared);
            for (seller, units) in self.sales(index, sold) {
                clearing.sales.insert((slot, seller), Sale::of(units, price));
            }
        }
        let mut filled = Vec::new();
        for (line, &fill) in self.book.lines.iter().zip(&fills).filter(|(_, fill)| **fill > 0) {
            match line.orders.as_slice() {
                [(id, _)] => filled.push((*id, units(fill))),
                orders => {
                    let shares = pro_rata(fill, orders).into_iter();
                    filled.extend(shares.map(|(id, share)| (id, units(share))));
                }
            }
        }
        filled.sort_unstable();
        clearing.fills = filled.into_iter().collect();
        let (alone, gains) = (self.gain_alone(&costs), self.gains(&costs));
        clearing.bound = self.relaxed.min(alone + gains.values().sum::<i128>());
        let filled = self.filled_groups(&fills);
        clearing.rejected = self.rejected(&fills, &costs, &filled);
        self.outcome = Some(Outcome { clearing, alone, gains, filled });
    }

    /// What each seller sells of a slot: all of the cheaper steps, and of the last one pro rata.
    fn sales(&self, slot: usize, sold: i64) -> BTreeMap<Seller, Units> {
        let mut sales = BTreeMap::new();
        for (step, taken) in self.book.taken(slot, sold) {
            for (seller, share) in pro_rata(taken, &step.sellers) {
                let so_far = sales.entry(seller).or_insert(Units::ZERO);
                *so_far = *so_far + units(share);
            }
        }
        sales
    }

    /// The most that sellers and orders of no group could gain at these prices.
    fn gain_alone(&self, costs: &[i64]) -> i128 {
        let lines = self.book.lines.iter();
        let alone = lines.filter(|line| line.flag.is_none_or(|flag| flag.group.is_none()));
        let buyers: i128 = alone.map(|line| gain(line, costs)).sum();
        let slots = self.book.steps.iter().zip(costs.windows(2));
        let steps = slots.flat_map(|(steps, costs)| steps.iter().map(move |step| (step, costs)));
        let sellers: i128 = steps
            .map(|(step, costs)| {
                let margin = costs[1] - costs[0] - step.price;
                i128::from(margin.max(0)) * i128::from(step.units)
            })
            .sum();
        buyers + sellers
    }

    fn gains(&self, costs: &[i64]) -> BTreeMap<Group, i128> {
        let mut gains = BTreeMap::new();
        for line in self.flagged.keys().map(|&number| &self.book.lines[number]) {
            let Some(group) = line.flag.and_then(|flag| flag.group) else { continue };
            let most = gains.entry(group).or_insert(0);
            *most = gain(line, costs).max(*most);
        }
        gains
    }

    pub(super) fn filled_groups(&self, fills: &[i64]) -> BTreeSet<Group> {
        let filled = self.flagged.keys().filter(|&&number| fills[number] > 0);
        filled.filter_map(|&number| self.book.lines[number].flag?.group).collect()
    }

    /// The flagged orders that are worth more than the prices and were not filled.
    fn rejected(
        &self,
        fills: &[i64],
        costs: &[i64],
        filled: &BTreeSet<Group>,
    ) -> BTreeMap<BidId, Rejected> {
        let unfilled = self.flagged.keys().filter(|&&number| fills[number] == 0);
        let rejected = unfilled.filter_map(|&number| {
            let line = &self.book.lines[number];
            let flag = line.flag?;
            let surplus_micro = surplus(line, costs);
            let sibling = flag.group.is_some_and(|group| filled.contains(&group));
            let because = if sibling { Because::Exclusive } else { Because::Minimum };
            let rejected = Rejected { surplus_micro, group: flag.group, because };
            (surplus_micro > 0).then_some((flag.id, rejected))
        });
        rejected.collect()
    }
}

/// What a unit in all slots of the line is worth beyond what it costs.
pub(super) fn surplus(line: &Line, costs: &[i64]) -> i64 {
    line.value - (costs[line.end] - costs[line.first])
}

/// The most that the orders of the line could gain.
pub(super) fn gain(line: &Line, costs: &[i64]) -> i128 {
    i128::from(surplus(line, costs).max(0)) * i128::from(line.units)
}
