//! What the market can be asked to do.

use std::{collections::BTreeSet, time::Duration};

use headroom_units::{
    BidId, Class, ContractId, Money, Price, PurchaserId, RegionId, SiteId, Slot, SlotLength,
    SlotRange, UnitSize, Units,
};

use crate::{Delivery, Gate, Offer};

/// What holds for every bid and auction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// How long a slot is.
    pub slot_length: SlotLength,
    /// What a unit stands for.
    pub unit: UnitSize,
    /// A slot can be traded if it begins at this time from now or later.
    pub lead: Duration,
    /// How many slots after the running one bids may reach.
    pub horizon_slots: u64,
    /// When the slots of a day are sold ahead; without it every auction sells all open slots.
    pub gate: Option<Gate>,
    /// The published floor, per unit and slot: nothing is bid or sold below it.
    pub reserve: Price,
    /// What the operator pays per undelivered firm unit and slot, beside the refund.
    pub penalty: Price,
    /// How long before its end the holder of an interruptible contract is told of a recall.
    pub notice: Duration,
    /// Where there is a market.
    pub regions: BTreeSet<RegionId>,
}

/// One thing to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Let a purchaser trade.
    OpenAccount {
        /// Who.
        purchaser: PurchaserId,
    },
    /// Record money that a purchaser paid in.
    Credit {
        /// Whose.
        purchaser: PurchaserId,
        /// How much; more than zero.
        amount: Money,
        /// Who recorded it.
        by: String,
    },
    /// Ask for capacity; the money for it is held at once.
    PlaceBid {
        /// Who pays.
        purchaser: PurchaserId,
        /// What the capacity is for. That the site is the purchaser's is the caller's to check.
        site: SiteId,
        /// Where.
        region: RegionId,
        /// When.
        slots: SlotRange,
        /// The most units, the same in each slot.
        units: Units,
        /// The highest price per unit and slot, on average over the slots.
        limit: Price,
        /// What is promised.
        class: Class,
    },
    /// Withdraw what is still open of a bid.
    CancelBid {
        /// The bid.
        bid: BidId,
        /// Who asks; the bid must be theirs.
        purchaser: PurchaserId,
    },
    /// Hold an auction.
    Clear {
        /// Where.
        region: RegionId,
        /// All that can be served for purchasers in that region, one offer per slot, sold units
        /// included: what contracts hold already is taken off here.
        offers: Vec<Offer>,
    },
    /// Take capacity that was sold as interruptible back, with notice.
    ///
    /// Whole contracts are recalled until `units` are free in `slot`, or none is left: the ones
    /// that pay the least there first, of those the ones made last.
    Recall {
        /// Where.
        region: RegionId,
        /// In which slot; it must not be over.
        slot: Slot,
        /// How much is needed.
        units: Units,
    },
    /// Note which contracts have entered their next stage.
    Advance {
        /// The contracts that the plan in force carries.
        planned: BTreeSet<ContractId>,
        /// How long before its end a contract ramps down: the longest lease.
        ramp: Duration,
    },
    /// Settle one slot of a contract.
    Settle {
        /// The contract.
        contract: ContractId,
        /// The slot; it must be over.
        slot: Slot,
        /// What was delivered.
        delivery: Delivery,
    },
}
