//! Bids: what a purchaser asked for, and what has become of it.

use headroom_units::{
    BidId, Class, ContractId, Money, Price, PurchaserId, RegionId, SiteId, SlotRange, Timestamp,
    Units,
};

/// An order of a purchaser, as it was placed. Divisible: it may be filled in part, and then has
/// the same units in each of its slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bid {
    /// Given out by the market, rising.
    pub id: BidId,
    /// Who pays.
    pub purchaser: PurchaserId,
    /// What the capacity is for.
    pub site: SiteId,
    /// Where.
    pub region: RegionId,
    /// When.
    pub slots: SlotRange,
    /// The most units, the same in each slot.
    pub units: Units,
    /// The highest price per unit and slot, on average over the slots.
    pub limit: Price,
    /// What is promised.
    pub class: Class,
    /// When it was placed.
    pub placed_at: Timestamp,
    /// The money held when it was placed: limit times units times slots.
    pub held: Money,
}

/// Where a bid stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BidStatus {
    /// Takes part in the next auction, with the units not filled yet.
    Open,
    /// All units became contracts.
    Filled,
    /// Withdrawn by its purchaser; what was filled before stays.
    Cancelled,
    /// Its first slot came too close; what was filled before stays.
    Expired,
}

/// A bid and what has become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BidRecord {
    /// The bid as it was placed.
    pub bid: Bid,
    /// Where it stands.
    pub status: BidStatus,
    /// The units that became contracts.
    pub filled: Units,
    /// The money held for the units not filled yet.
    pub held: Money,
    /// The contracts it led to, oldest first.
    pub contracts: Vec<ContractId>,
}

impl BidRecord {
    /// The units not filled yet.
    #[must_use]
    pub const fn unfilled(&self) -> Units {
        self.bid.units.saturating_sub(self.filled)
    }

    /// What `units` of it hold: limit times units times slots.
    #[must_use]
    pub(crate) fn hold_of(&self, units: Units) -> Money {
        let held = self.bid.limit.of_slots(units, self.bid.slots.count());
        held.unwrap_or(Money::ZERO).min(self.held)
    }
}
