//! What has happened in the market. The list of all events is the audit trail: applied in order
//! to a new market they lead to the same state.

use headroom_units::{
    BidId, ContractId, Money, Price, PurchaserId, RegionId, Slot, Timestamp, Units,
};

use crate::{Bid, Contract, Settlement, Stage};

/// The result of an auction for one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClearedSlot {
    /// The slot.
    pub slot: Slot,
    /// The units that were for sale in this auction.
    pub offered: Units,
    /// The units that were sold in this auction.
    pub sold: Units,
    /// The clearing price per unit; `None` if nothing was sold.
    pub price: Option<Price>,
}

/// One thing that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A purchaser may trade.
    AccountOpened {
        /// Who.
        purchaser: PurchaserId,
    },
    /// Money came in: external to available.
    Credited {
        /// Whose.
        purchaser: PurchaserId,
        /// How much.
        amount: Money,
        /// Who recorded it.
        by: String,
    },
    /// A bid counts from now on: its money went from available to held.
    BidPlaced {
        /// The bid.
        bid: Bid,
    },
    /// A bid was withdrawn.
    BidCancelled {
        /// The bid.
        bid: BidId,
        /// What went from held to available.
        released: Money,
    },
    /// A bid's first slot came too close.
    BidExpired {
        /// The bid.
        bid: BidId,
        /// What went from held to available.
        released: Money,
    },
    /// An auction was held with at least one bid.
    AuctionCleared {
        /// Where.
        region: RegionId,
        /// When.
        at: Timestamp,
        /// The offered slots that a bid was for, in order.
        slots: Vec<ClearedSlot>,
    },
    /// A bid, or a part of it, was filled. The contract's cost stays held.
    ContractMade {
        /// The contract.
        contract: Contract,
    },
    /// A fill cost less than was held for it: the difference went from held to available.
    HoldReleased {
        /// The bid that was filled.
        bid: BidId,
        /// The difference.
        amount: Money,
    },
    /// A contract has entered its next stage.
    StageEntered {
        /// The contract.
        contract: ContractId,
        /// The stage.
        stage: Stage,
        /// When that was noticed.
        at: Timestamp,
    },
    /// An interruptible contract ends early: what was held for the slots after that went from held
    /// to available. The slot in which it ends is refunded pro rata when it is settled.
    ContractRecalled {
        /// The contract.
        contract: ContractId,
        /// When its holder was told.
        at: Timestamp,
        /// When it ends.
        ends_at: Timestamp,
        /// What went from held to available.
        released: Money,
    },
    /// A slot of a contract was charged, and refunded and penalised as far as undelivered.
    SlotSettled {
        /// The settlement.
        settlement: Settlement,
    },
}
