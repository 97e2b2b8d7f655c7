//! How an event changes the state. Cannot fail: an event that does not fit (a bid that was never
//! placed) changes nothing.

use headroom_units::{BidId, ContractId, Money, Timestamp, Units};

use super::Market;
use crate::{
    Account, Bid, BidRecord, BidStatus, ClearedSlot, Contract, Entered, Event, Posting, Settlement,
    Stage,
};

impl Market {
    /// Makes `event` part of the state.
    pub fn apply(&mut self, event: &Event) {
        for posting in self.postings(event) {
            self.ledger.post(&posting);
        }
        match event {
            Event::AccountOpened { purchaser } => {
                self.purchasers.entry(purchaser.clone()).or_default();
            }
            Event::Credited { .. } | Event::HoldReleased { .. } => {}
            Event::BidPlaced { bid } => self.bid_placed(bid),
            Event::BidCancelled { bid, .. } => self.bid_closed(*bid, BidStatus::Cancelled),
            Event::BidExpired { bid, .. } => self.bid_closed(*bid, BidStatus::Expired),
            Event::AuctionCleared { region, slots, .. } => {
                let region = self.regions.entry(region.clone()).or_default();
                let sale = |cleared: &ClearedSlot| Some((cleared.slot, cleared.price?));
                region.prices.extend(slots.iter().filter_map(sale));
                region.cleared.extend(slots.iter().map(|cleared| (cleared.slot, *cleared)));
            }
            Event::ContractMade { contract } => self.contract_made(contract),
            Event::StageEntered { contract, stage, at } => {
                self.stage_entered(*contract, *stage, *at);
            }
            Event::ContractRecalled { contract, at, ends_at, .. } => {
                self.contract_recalled(*contract, *ends_at);
                self.stage_entered(*contract, Stage::Recalled, *at);
            }
            Event::SlotSettled { settlement } => self.slot_settled(settlement),
        }
    }

    /// The movements of money that applying `event` now makes: the journal of the ledger.
    #[must_use]
    pub fn postings(&self, event: &Event) -> Vec<Posting> {
        use Account::{External, OperatorPenalties, OperatorRevenue};
        let available = Account::PurchaserAvailable;
        let held = Account::PurchaserHeld;
        let release = |bid: &BidId, amount: Money| {
            let owner = self.bids.get(bid).map(|record| &record.bid.purchaser);
            owner.map(|owner| (held(owner.clone()), available(owner.clone()), amount))
        };
        let moves = match event {
            Event::Credited { purchaser, amount, .. } => {
                vec![(External, available(purchaser.clone()), *amount)]
            }
            Event::BidPlaced { bid } => {
                vec![(available(bid.purchaser.clone()), held(bid.purchaser.clone()), bid.held)]
            }
            Event::BidCancelled { bid, released } | Event::BidExpired { bid, released } => {
                release(bid, *released).into_iter().collect()
            }
            Event::HoldReleased { bid, amount } => release(bid, *amount).into_iter().collect(),
            Event::ContractRecalled { contract, released, .. } => {
                let bid = self.contracts.get(contract).map(|contract| contract.bid);
                bid.and_then(|bid| release(&bid, *released)).into_iter().collect()
            }
            Event::SlotSettled { settlement } => {
                let Some(contract) = self.contracts.get(&settlement.contract) else {
                    return Vec::new();
                };
                let owner = || contract.purchaser.clone();
                vec![
                    (held(owner()), OperatorRevenue, settlement.charge),
                    (OperatorRevenue, available(owner()), settlement.refund),
                    (OperatorPenalties, available(owner()), settlement.penalty),
                ]
            }
            Event::AccountOpened { .. }
            | Event::AuctionCleared { .. }
            | Event::ContractMade { .. }
            | Event::StageEntered { .. } => Vec::new(),
        };
        let posted = moves.into_iter().filter(|(_, _, amount)| *amount > Money::ZERO);
        posted.map(|(from, to, amount)| Posting { from, to, amount }).collect()
    }

    fn bid_placed(&mut self, bid: &Bid) {
        let purchaser = self.purchasers.entry(bid.purchaser.clone()).or_default();
        purchaser.bids.push(bid.id);
        purchaser.open = purchaser.open.saturating_add(1);
        self.regions.entry(bid.region.clone()).or_default().open.insert(bid.id);
        let record = BidRecord {
            bid: bid.clone(),
            status: BidStatus::Open,
            filled: Units::ZERO,
            held: bid.held,
            contracts: Vec::new(),
        };
        self.bids.insert(bid.id, record);
    }

    fn bid_closed(&mut self, id: BidId, status: BidStatus) {
        let Some(record) = self.bids.get_mut(&id) else { return };
        record.status = status;
        record.held = Money::ZERO;
        if let Some(region) = self.regions.get_mut(&record.bid.region) {
            region.open.remove(&id);
        }
        if let Some(purchaser) = self.purchasers.get_mut(&record.bid.purchaser) {
            purchaser.open = purchaser.open.saturating_sub(1);
        }
    }

    fn contract_made(&mut self, contract: &Contract) {
        let id: ContractId = contract.id;
        let region = self.regions.entry(contract.region.clone()).or_default();
        for slot in contract.slots.iter() {
            let sold = region.sold.entry(slot).or_insert(Units::ZERO);
            *sold = *sold + contract.units;
            self.unsettled.insert((slot, id));
        }
        self.contracts.insert(id, contract.clone());
        self.running.insert(id);
        self.stage_entered(id, Stage::Sold, contract.made_at);
        let Some(record) = self.bids.get_mut(&contract.bid) else { return };
        let needed = record.hold_of(contract.units);
        record.held = record.held.checked_sub(needed).unwrap_or(Money::ZERO);
        record.filled = record.filled + contract.units;
        record.contracts.push(id);
        if record.unfilled().is_zero() {
            self.bid_closed(contract.bid, BidStatus::Filled);
        }
    }

    fn stage_entered(&mut self, contract: ContractId, stage: Stage, at: Timestamp) {
        self.stages.entry(contract).or_default().push(Entered { stage, at });
        if stage == Stage::Settled {
            self.running.remove(&contract);
        }
    }

    /// The slots after its end are neither sold nor settled any more.
    fn contract_recalled(&mut self, id: ContractId, ends_at: Timestamp) {
        let Some(contract) = self.contracts.get_mut(&id) else { return };
        contract.recalled_to = Some(ends_at);
        let length = self.rules.slot_length;
        let region = self.regions.entry(contract.region.clone()).or_default();
        for slot in contract.slots.iter().filter(|slot| length.start(*slot) >= ends_at) {
            if let Some(sold) = region.sold.get_mut(&slot) {
                *sold = sold.saturating_sub(contract.units);
            }
            self.unsettled.remove(&(slot, id));
        }
    }

    fn slot_settled(&mut self, settlement: &Settlement) {
        let Settlement { contract, slot, .. } = *settlement;
        self.unsettled.remove(&(slot, contract));
        self.settlements.entry(contract).or_default().insert(slot, *settlement);
        let add = |total: &mut Money, amount: Money| {
            *total = total.checked_add(amount).unwrap_or(Money::from_micro(i64::MAX));
        };
        add(&mut self.totals.charged, settlement.charge);
        add(&mut self.totals.refunded, settlement.refund);
        add(&mut self.totals.penalties, settlement.penalty);
    }
}
