//! The state of the market, and what can be read from it.
//!
//! ```text
//!   command ──decide(now)──► events or a rejection ──(the caller stores them)──► apply ──► state
//! ```
//!
//! `decide` changes nothing; `apply` cannot fail. The same events lead to the same market.

mod apply;
mod clear;
mod decide;
mod explain;
mod life;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

pub use explain::Outcome;
use headroom_units::{
    BidId, ContractId, Money, Price, PurchaserId, RegionId, Slot, SlotRange, Timestamp, Units,
};

use crate::{
    BidRecord, BidStatus, ClearedSlot, Contract, Delivery, Entered, Ledger, Rules, Settlement,
    contract,
};

/// All accounts, bids, contracts and settlements of an exchange.
#[derive(Debug, Clone, PartialEq)]
pub struct Market {
    rules: Rules,
    ledger: Ledger,
    purchasers: BTreeMap<PurchaserId, Purchaser>,
    regions: BTreeMap<RegionId, Region>,
    bids: BTreeMap<BidId, BidRecord>,
    contracts: BTreeMap<ContractId, Contract>,
    settlements: BTreeMap<ContractId, BTreeMap<Slot, Settlement>>,
    unsettled: BTreeSet<(Slot, ContractId)>,
    stages: BTreeMap<ContractId, Vec<Entered>>,
    /// Contracts with a stage to come.
    running: BTreeSet<ContractId>,
    totals: Totals,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Purchaser {
    bids: Vec<BidId>,
    open: usize,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Region {
    open: BTreeSet<BidId>,
    sold: BTreeMap<Slot, Units>,
    prices: BTreeMap<Slot, Price>,
    /// How the last auction of each slot went.
    cleared: BTreeMap<Slot, ClearedSlot>,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Totals {
    charged: Money,
    refunded: Money,
    penalties: Money,
}

impl Market {
    /// A market without purchasers.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            ledger: Ledger::default(),
            purchasers: BTreeMap::new(),
            regions: BTreeMap::new(),
            bids: BTreeMap::new(),
            contracts: BTreeMap::new(),
            settlements: BTreeMap::new(),
            unsettled: BTreeSet::new(),
            stages: BTreeMap::new(),
            running: BTreeSet::new(),
            totals: Totals::default(),
        }
    }

    /// What holds for every bid and auction.
    #[must_use]
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Where the money is.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Everyone with an account.
    pub fn purchasers(&self) -> impl Iterator<Item = &PurchaserId> {
        self.purchasers.keys()
    }

    /// Every bid ever placed, oldest first.
    pub fn bids(&self) -> impl Iterator<Item = &BidRecord> {
        self.bids.values()
    }

    /// The bid with this id.
    #[must_use]
    pub fn bid(&self, id: BidId) -> Option<&BidRecord> {
        self.bids.get(&id)
    }

    /// The bids of a purchaser, oldest first.
    pub fn bids_of(&self, purchaser: &PurchaserId) -> impl Iterator<Item = &BidRecord> {
        let ids = self.purchasers.get(purchaser).map_or(&[][..], |purchaser| &purchaser.bids);
        ids.iter().filter_map(|id| self.bids.get(id))
    }

    /// Every contract ever made, oldest first.
    pub fn contracts(&self) -> impl Iterator<Item = &Contract> {
        self.contracts.values()
    }

    /// The contract with this id.
    #[must_use]
    pub fn contract(&self, id: ContractId) -> Option<&Contract> {
        self.contracts.get(&id)
    }

    /// The units that contracts hold in a region and slot.
    #[must_use]
    pub fn sold(&self, region: &RegionId, slot: Slot) -> Units {
        let sold = self.regions.get(region).and_then(|region| region.sold.get(&slot));
        sold.copied().unwrap_or(Units::ZERO)
    }

    /// The price of the last sale in a region and slot.
    #[must_use]
    pub fn last_price(&self, region: &RegionId, slot: Slot) -> Option<Price> {
        self.regions.get(region)?.prices.get(&slot).copied()
    }

    /// The slots of contracts that are over at `now` and not settled, oldest first.
    #[must_use]
    pub fn unsettled(&self, now: Timestamp) -> Vec<(ContractId, Slot)> {
        let over = |slot: Slot| self.rules.slot_length.end(slot) <= now;
        let due = self.unsettled.iter().take_while(|(slot, _)| over(*slot));
        due.map(|&(slot, contract)| (contract, slot)).collect()
    }

    /// The settlements of a contract, by slot.
    pub fn settlements_of(&self, contract: ContractId) -> impl Iterator<Item = &Settlement> {
        self.settlements.get(&contract).into_iter().flat_map(BTreeMap::values)
    }

    /// The stages that a contract has entered, oldest first.
    #[must_use]
    pub fn stages_of(&self, contract: ContractId) -> &[Entered] {
        self.stages.get(&contract).map_or(&[], Vec::as_slice)
    }

    /// What settling `slot` of a contract would come to with this delivery, whether it is over or
    /// not; `None` if it is none of its slots.
    #[must_use]
    pub fn would_settle(
        &self,
        contract: &Contract,
        slot: Slot,
        delivery: Delivery,
    ) -> Option<Settlement> {
        contract::settle(contract, slot, delivery, self.rules.slot_length, self.rules.penalty)
    }

    /// All charges so far, before refunds.
    #[must_use]
    pub const fn charged(&self) -> Money {
        self.totals.charged
    }

    /// All refunds so far.
    #[must_use]
    pub const fn refunded(&self) -> Money {
        self.totals.refunded
    }

    /// All penalties so far.
    #[must_use]
    pub const fn penalties(&self) -> Money {
        self.totals.penalties
    }

    /// The open bids of a region, oldest first.
    pub fn open_bids(&self, region: &RegionId) -> impl Iterator<Item = &BidRecord> {
        let open = self.regions.get(region).into_iter().flat_map(|region| &region.open);
        let records = open.filter_map(|id| self.bids.get(id));
        records.filter(|record| record.status == BidStatus::Open)
    }

    /// The first slot that can still be bought at `now`.
    #[must_use]
    pub fn first_open_slot(&self, now: Timestamp) -> Slot {
        let (length, gate) = (self.rules.slot_length, now.after(self.rules.lead));
        length.slot_starting(gate).unwrap_or_else(|| length.slot_at(gate).next())
    }

    /// The slots that an auction at `now` sells: of those that can be bought, the ones whose gate
    /// has closed.
    #[must_use]
    pub fn traded_slots(&self, now: Timestamp) -> RangeInclusive<Slot> {
        let (length, last) = (self.rules.slot_length, self.last_open_slot(now));
        let last = self.rules.gate.map_or(last, |gate| last.min(gate.last_closed(now, length)));
        self.first_open_slot(now)..=last
    }

    /// When the first auction is held that a bid for `slots` takes part in, if that is after `now`.
    #[must_use]
    pub fn waits_for_gate(&self, slots: SlotRange, now: Timestamp) -> Option<Timestamp> {
        let closes = self.rules.gate?.closes_for(slots.last(), self.rules.slot_length);
        (closes > now).then_some(closes)
    }

    /// The last slot that can be bought at `now`.
    #[must_use]
    pub fn last_open_slot(&self, now: Timestamp) -> Slot {
        self.rules.slot_length.slot_at(now).plus(self.rules.horizon_slots)
    }
}
