//! An exact uniform-price call auction for one region over many slots.
//!
//! Orders want the same units in each slot of a contiguous run; they are divisible. The auction
//! finds the fills of greatest welfare (what the filled orders are worth, less what the sold steps
//! ask), and of those the ones that trade the most, then one price per slot:
//!
//! - an order worth more than the prices of its slots together is filled fully;
//! - an order worth less is not filled; one worth exactly as much may be filled in part;
//! - a step below the price of its slot is sold out; a step above it is not sold.
//!
//! Where several price vectors support the fills, a slot in which nothing is sold counts at its
//! cheapest step, and the prices taken have the least running total from the first slot on: the
//! lowest for the buyers. Orders for the same slots with the same limit are filled pro rata, by
//! largest remainder, then lower [`BidId`]. Nothing depends on the order of the inputs.
//!
//! It does not know purchasers, money held or contracts: `Market` does. [`crate::verify`] checks
//! a clearing without knowing how it was found.

mod book;
mod flow;
mod prices;
mod solve;

use std::collections::BTreeMap;

use headroom_units::{BidId, Price, Slot, SlotRange, Units, limits::PRICE_MICRO_MAX};

use crate::Offer;
use book::{Book, Line};

/// What someone would buy: up to `units` in each of the `slots`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Which bid this is. The ids of one auction are distinct.
    pub id: BidId,
    /// The slots, all of them or none.
    pub slots: SlotRange,
    /// The most units, the same in each slot.
    pub units: Units,
    /// The highest average price per unit and slot.
    pub limit: Price,
}

impl Order {
    /// What one unit in all the slots is worth, in micro-units: limit times slots, counted up to
    /// the highest [`Price`], so that every clearing price is a valid one.
    #[must_use]
    pub fn value_micro(&self) -> i64 {
        let slots = i64::try_from(self.slots.count()).unwrap_or(i64::MAX);
        self.limit.micro().saturating_mul(slots).min(PRICE_MICRO_MAX)
    }
}

/// What became of one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotClearing {
    /// The units that were for sale.
    pub offered: Units,
    /// The units that were sold.
    pub sold: Units,
    /// The one price per unit of all that was sold; `None` if nothing was.
    pub price: Option<Price>,
}

/// The result of an auction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Clearing {
    /// The units of each order that was filled at least in part.
    pub fills: BTreeMap<BidId, Units>,
    /// Every slot that was offered.
    pub slots: BTreeMap<Slot, SlotClearing>,
    /// What the fills are worth to the buyers less what the sold steps ask, in micro-units.
    pub welfare: i128,
}

/// Clears `orders` against `offers`, which are all of one region.
///
/// Several offers of a slot count together, up to [`Units::MAX`] per slot. Only the first
/// [`crate::limits::AUCTION_SLOTS_MAX`] slots with something to sell are sold.
#[must_use]
pub fn clear(offers: &[Offer], orders: &[Order]) -> Clearing {
    let book = Book::new(offers, orders);
    let optimum = solve::optimum(&book);
    let sold = book.sold(&optimum.fills);
    let prices = prices::lowest(&book, &optimum, &sold);

    let mut slots: BTreeMap<Slot, SlotClearing> = offers
        .iter()
        .map(|offer| {
            let nothing = SlotClearing { offered: Units::ZERO, sold: Units::ZERO, price: None };
            (offer.slot, nothing)
        })
        .collect();
    for (index, (&sold, price)) in sold.iter().zip(prices).enumerate() {
        let offered = book.offered(index);
        let price = (sold > 0).then(|| {
            Price::from_micro(price)
                .expect("a filled order covers the slot, and its value is a valid price")
        });
        slots.insert(book.slots[index], SlotClearing { offered, sold: units(sold), price });
    }
    let mut fills = BTreeMap::new();
    for (line, &fill) in book.lines.iter().zip(&optimum.fills) {
        share(line, fill, &mut fills);
    }
    Clearing { fills, slots, welfare: book.welfare(&optimum.fills, &sold) }
}

/// Divides the fill of a line among its orders: pro rata, largest remainder, lower id.
fn share(line: &Line, fill: i64, fills: &mut BTreeMap<BidId, Units>) {
    let (fill, total) = (i128::from(fill), i128::from(line.units));
    if fill == 0 {
        return;
    }
    let mut parts: Vec<(i128, BidId, i128)> = line
        .orders
        .iter()
        .map(|&(id, units)| {
            let exact = fill * i128::from(units);
            (exact % total, id, exact / total)
        })
        .collect();
    let shared: i128 = parts.iter().map(|&(_, _, part)| part).sum();
    parts.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut left = fill - shared;
    for (_, id, part) in parts {
        let extra = left.min(1);
        left -= extra;
        if part + extra > 0 {
            let part = i64::try_from(part + extra).expect("a part is at most the fill");
            let so_far = fills.entry(id).or_insert(Units::ZERO);
            *so_far = *so_far + units(part);
        }
    }
}

fn units(count: i64) -> Units {
    Units::saturating(u64::try_from(count).unwrap_or(0))
}
