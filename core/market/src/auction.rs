//! An exact uniform-price call auction over many slots, with several sellers.
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
//! largest remainder, then lower [`BidId`]; sellers at one price sell pro rata alike, then lower
//! [`Seller`]. Nothing depends on the order of the inputs.
//!
//! As a flagged exception an order may have a minimum, or be one of a [`Group`] of which at most
//! one is filled. It is filled as it asks at those prices, or not at all; one that is worth more
//! than the prices and is not filled is told in [`Clearing::rejected`].
//!
//! It does not know purchasers, money held or contracts: `Market` does. [`crate::verify`] checks
//! a clearing without knowing how it was found.

mod book;
mod call;
mod flagged;
mod prices;
mod region;
mod share;
mod simplex;
mod solve;

use std::collections::BTreeMap;

use headroom_units::{BidId, Price, Slot, SlotRange, Units, limits::PRICE_MICRO_MAX};

use crate::{Offer, Seller};
pub use call::{CallClearing, Step, clear_call, in_turn};
pub use region::Auction;

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
    /// The fewest units, if any; zero for a divisible order, all of them for all or nothing.
    pub minimum: Units,
    /// The orders of which at most one is filled.
    pub group: Option<Group>,
}

/// Orders of which at most one is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group(u64);

impl Group {
    /// The group with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }
}

impl Order {
    /// An order that is content with any part.
    #[must_use]
    pub const fn divisible(id: BidId, slots: SlotRange, units: Units, limit: Price) -> Self {
        Self { id, slots, units, limit, minimum: Units::ZERO, group: None }
    }

    /// True for an order that is not content with any part: it has a minimum or a group. A minimum
    /// of one unit is none.
    #[must_use]
    pub const fn is_flagged(&self) -> bool {
        self.minimum.count() > 1 || self.group.is_some()
    }

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

/// What one seller sold in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sale {
    /// The units.
    pub units: Units,
    /// What they bring: units times the price of the slot, in micro-units.
    pub receipts_micro: i128,
}

impl Sale {
    fn of(units: Units, price: Price) -> Self {
        Self { units, receipts_micro: i128::from(units.count()) * i128::from(price.micro()) }
    }
}

/// A flagged order that is worth more than the prices of its slots and was not filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejected {
    /// What a unit in all its slots is worth beyond the prices, in micro-units.
    pub surplus_micro: i64,
    /// The group of the order.
    pub group: Option<Group>,
    /// Why it was not filled.
    pub because: Because,
}

/// Why a flagged order that is worth more than the prices was not filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// Not as many units as it asks were to be had at these prices: paradoxically rejected.
    Minimum,
    /// Another order of its group was filled.
    Exclusive,
}

/// The result of an auction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Clearing {
    /// The units of each order that was filled at least in part.
    pub fills: BTreeMap<BidId, Units>,
    /// Every slot that was offered.
    pub slots: BTreeMap<Slot, SlotClearing>,
    /// What each seller sold of each slot.
    pub sales: BTreeMap<(Slot, Seller), Sale>,
    /// The flagged orders that are worth more than the prices and were not filled.
    pub rejected: BTreeMap<BidId, Rejected>,
    /// What the fills are worth to the buyers less what the sold steps ask, in micro-units.
    pub welfare: i128,
    /// What no other fills can exceed, in micro-units: at these prices buyers and sellers together
    /// could gain no more, or the relaxed welfare if that is less. The welfare itself if no order
    /// is flagged.
    pub bound: i128,
    /// The welfare if every order were divisible and of no group, in micro-units.
    pub relaxed: i128,
}

/// Clears `orders` against `offers`, which are all of one region.
///
/// Several offers of a slot count together, up to [`Units::MAX`] per slot. Only the first
/// [`crate::limits::AUCTION_SLOTS_MAX`] slots with something to sell are sold. An order whose
/// minimum is above its units is not filled.
#[must_use]
pub fn clear(offers: &[Offer], orders: &[Order]) -> Clearing {
    Auction::new(offers, orders).clear()
}
