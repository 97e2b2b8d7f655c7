//! An independent check of a clearing: it knows what a right result looks like, not how one is
//! found, and shares no code with the solver.
//!
//! No flaw means that the fills are feasible and that the prices support them; by duality no
//! other fills have a greater welfare, if no order is flagged; else the bound tells how much greater
//! it could be. It does not check that the prices are the lowest that do, nor how ties were divided.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use headroom_units::{BidId, Price, Slot, Units};

use crate::{Clearing, Offer, Order, SlotClearing};

/// One thing that is wrong with a clearing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// A fill belongs to no order.
    UnknownOrder {
        /// The stranger.
        bid: BidId,
    },
    /// An order got more units than it asked for.
    Overfilled {
        /// The order.
        bid: BidId,
        /// What it asked for.
        asked: Units,
        /// What it got.
        filled: Units,
    },
    /// An order got fewer units than its minimum.
    BelowMinimum {
        /// The order.
        bid: BidId,
    },
    /// A second order of a group is filled.
    SecondOfGroup {
        /// The order.
        bid: BidId,
    },
    /// A filled order pays more than its limit.
    AboveLimit {
        /// The order.
        bid: BidId,
        /// What a unit in all its slots costs, in micro-units.
        cost_micro: i64,
        /// What it is worth, in micro-units.
        value_micro: i64,
    },
    /// An order is worth more than its slots cost and could have had more units.
    LeftOut {
        /// The order.
        bid: BidId,
    },
    /// More was sold in a slot than was offered.
    Oversold {
        /// The slot.
        slot: Slot,
        /// What was for sale.
        offered: Units,
        /// What was sold.
        sold: u64,
    },
    /// What the clearing says about a slot is not what the offers and fills add up to.
    Miscounted {
        /// The slot.
        slot: Slot,
    },
    /// A slot has a price and nothing sold, or something sold and no price.
    PriceWithoutSale {
        /// The slot.
        slot: Slot,
    },
    /// A sold step asks more than the price.
    BelowAsk {
        /// The slot.
        slot: Slot,
        /// What the step asks.
        ask: Price,
    },
    /// A step asks less than the price and has unsold units.
    UnsoldCheaper {
        /// The slot.
        slot: Slot,
        /// What the step asks.
        ask: Price,
    },
    /// What the sellers sold of a slot is not what was sold, or they receive something else than
    /// the buyers pay.
    Sales {
        /// The slot.
        slot: Slot,
    },
    /// The stated bound is below the welfare, or not what the prices say.
    Bound {
        /// The most that the prices allow, in micro-units.
        most: i128,
        /// What was stated.
        stated: i128,
    },
    /// The stated welfare is not what the fills add up to.
    Welfare {
        /// What they add up to, in micro-units.
        counted: i128,
        /// What was stated.
        stated: i128,
    },
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownOrder { bid } => write!(f, "{bid} was filled, but no such order exists"),
            Self::Overfilled { bid, asked, filled } => {
                write!(f, "{bid} asked for {asked} and got {filled}")
            }
            Self::BelowMinimum { bid } => write!(f, "{bid} got fewer units than its minimum"),
            Self::SecondOfGroup { bid } => {
                write!(f, "{bid} was filled beside another order of its group")
            }
            Self::Sales { slot } => {
                write!(f, "slot {slot} has sales that are not what was sold, or paid")
            }
            Self::Bound { most, stated } => {
                write!(
                    f,
                    "the bound is {most} micro-units at most, and not below the welfare; stated are {stated}"
                )
            }
            Self::AboveLimit { bid, cost_micro, value_micro } => {
                write!(f, "{bid} pays {cost_micro} micro-units for what it values at {value_micro}")
            }
            Self::LeftOut { bid } => {
                write!(f, "{bid} is worth more than its slots cost, but was not filled fully")
            }
            Self::Oversold { slot, offered, sold } => {
                write!(f, "slot {slot} offered {offered} and sold {sold}")
            }
            Self::Miscounted { slot } => {
                write!(f, "slot {slot} is not what its offers and fills add up to")
            }
            Self::PriceWithoutSale { slot } => {
                write!(f, "slot {slot} has a price without a sale, or a sale without a price")
            }
            Self::BelowAsk { slot, ask } => {
                write!(f, "slot {slot} sold a step that asks {ask} below that")
            }
            Self::UnsoldCheaper { slot, ask } => {
                write!(f, "slot {slot} left a step that asks {ask} unsold below the price")
            }
            Self::Welfare { counted, stated } => {
                write!(f, "the welfare is {counted} micro-units, not {stated}")
            }
        }
    }
}

/// Everything that is wrong with `clearing` as the result of `offers` and `orders`.
#[must_use]
pub fn verify(offers: &[Offer], orders: &[Order], clearing: &Clearing) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    let curves = curves(offers);
    let mut sold: BTreeMap<Slot, u64> = BTreeMap::new();
    let mut welfare = check_fills(orders, clearing, &mut sold, &mut flaws);
    for (&slot, stated) in &clearing.slots {
        let curve = curves.get(&slot).map_or(&[][..], Vec::as_slice);
        let sold = sold.remove(&slot).unwrap_or(0);
        welfare -= check_slot(slot, curve, sold, stated, &mut flaws);
    }
    let unstated = curves.keys().filter(|slot| !clearing.slots.contains_key(slot));
    flaws.extend(unstated.map(|&slot| Flaw::Miscounted { slot }));
    let nowhere = sold.into_iter().filter(|&(_, sold)| sold > 0);
    flaws.extend(nowhere.map(|(slot, sold)| Flaw::Oversold { slot, offered: Units::ZERO, sold }));
    if welfare != clearing.welfare {
        flaws.push(Flaw::Welfare { counted: welfare, stated: clearing.welfare });
    }
    check_sales(clearing, &mut flaws);
    check_groups(orders, clearing, &mut flaws);
    check_orders(orders, clearing, &curves, &mut flaws);
    if clearing.bound < welfare || clearing.relaxed < clearing.bound {
        flaws.push(Flaw::Bound { most: clearing.relaxed, stated: clearing.bound });
    }
    flaws
}

/// Checks that sellers sold and receive what buyers got and pay.
fn check_sales(clearing: &Clearing, flaws: &mut Vec<Flaw>) {
    let mut sales: BTreeMap<Slot, (u64, i128)> = BTreeMap::new();
    for ((slot, _), sale) in &clearing.sales {
        let (units, receipts) = sales.entry(*slot).or_default();
        *units += sale.units.count();
        *receipts += sale.receipts_micro;
    }
    for (&slot, stated) in &clearing.slots {
        let sold = stated.sold.count();
        let paid = i128::from(stated.price.map_or(0, Price::micro)) * i128::from(sold);
        if sales.remove(&slot).unwrap_or_default() != (sold, paid) {
            flaws.push(Flaw::Sales { slot });
        }
    }
    flaws.extend(sales.into_keys().map(|slot| Flaw::Sales { slot }));
}

fn check_groups(orders: &[Order], clearing: &Clearing, flaws: &mut Vec<Flaw>) {
    let mut filled = BTreeSet::new();
    for order in orders.iter().filter(|order| clearing.fills.contains_key(&order.id)) {
        if order.group.is_some_and(|group| !filled.insert(group)) {
            flaws.push(Flaw::SecondOfGroup { bid: order.id });
        }
    }
}

/// The steps of each slot by rising price, up to what one slot may sell in total.
fn curves(offers: &[Offer]) -> BTreeMap<Slot, Vec<(Price, u64)>> {
    let mut curves: BTreeMap<Slot, Vec<(Price, u64)>> = BTreeMap::new();
    for offer in offers {
        let curve = curves.entry(offer.slot).or_default();
        curve.extend(offer.steps.iter().map(|step| (step.price, step.units.count())));
    }
    for curve in curves.values_mut() {
        curve.sort_unstable();
        let mut room = Units::MAX.count();
        for (_, units) in curve.iter_mut() {
            *units = room.min(*units);
            room -= *units;
        }
        curve.retain(|&(_, units)| units > 0);
    }
    curves
}

/// Checks each fill against its order, counts what is sold per slot and what it is worth.
fn check_fills(
    orders: &[Order],
    clearing: &Clearing,
    sold: &mut BTreeMap<Slot, u64>,
    flaws: &mut Vec<Flaw>,
) -> i128 {
    let by_id: BTreeMap<BidId, &Order> = orders.iter().map(|order| (order.id, order)).collect();
    let mut worth = 0;
    for (&bid, &filled) in &clearing.fills {
        let Some(order) = by_id.get(&bid) else {
            flaws.push(Flaw::UnknownOrder { bid });
            continue;
        };
        if filled > order.units {
            flaws.push(Flaw::Overfilled { bid, asked: order.units, filled });
        }
        if filled < order.minimum {
            flaws.push(Flaw::BelowMinimum { bid });
        }
        worth += i128::from(order.value_micro()) * i128::from(filled.count());
        for slot in order.slots.iter() {
            *sold.entry(slot).or_default() += filled.count();
        }
    }
    worth
}

/// Checks one slot and returns what its sold steps ask.
fn check_slot(
    slot: Slot,
    curve: &[(Price, u64)],
    sold: u64,
    stated: &SlotClearing,
    flaws: &mut Vec<Flaw>,
) -> i128 {
    let offered = Units::saturating(curve.iter().map(|&(_, units)| units).sum());
    if sold > offered.count() {
        flaws.push(Flaw::Oversold { slot, offered, sold });
    }
    if stated.offered != offered || stated.sold.count() != sold {
        flaws.push(Flaw::Miscounted { slot });
    }
    if stated.price.is_some() != (sold > 0) {
        flaws.push(Flaw::PriceWithoutSale { slot });
    }
    let (mut left, mut asked) = (sold, 0);
    for &(ask, units) in curve {
        let taken = left.min(units);
        left -= taken;
        asked += i128::from(ask.micro()) * i128::from(taken);
        let Some(price) = stated.price else { continue };
        if taken > 0 && ask > price {
            flaws.push(Flaw::BelowAsk { slot, ask });
        }
        if taken < units && ask < price {
            flaws.push(Flaw::UnsoldCheaper { slot, ask });
        }
    }
    asked
}

/// Checks that every order got what the prices entitle it to.
fn check_orders(
    orders: &[Order],
    clearing: &Clearing,
    curves: &BTreeMap<Slot, Vec<(Price, u64)>>,
    flaws: &mut Vec<Flaw>,
) {
    // What a unit costs in a slot: the price, or where nothing was sold the cheapest ask; none if
    // it cannot be had at all.
    let cost_in = |slot: Slot| {
        let price = clearing.slots.get(&slot).and_then(|cleared| cleared.price);
        price.or_else(|| Some(curves.get(&slot)?.first()?.0)).map(Price::micro)
    };
    for order in orders {
        let filled = clearing.fills.get(&order.id).copied().unwrap_or(Units::ZERO);
        let cost = order.slots.iter().try_fold(0_i64, |sum, slot| sum.checked_add(cost_in(slot)?));
        let Some(cost_micro) = cost else { continue };
        let (bid, value_micro) = (order.id, order.value_micro());
        if !filled.is_zero() && cost_micro > value_micro {
            flaws.push(Flaw::AboveLimit { bid, cost_micro, value_micro });
        }
        let rejected = filled.is_zero() && order.is_flagged();
        if filled < order.units && cost_micro < value_micro && !rejected {
            flaws.push(Flaw::LeftOut { bid });
        }
    }
}
