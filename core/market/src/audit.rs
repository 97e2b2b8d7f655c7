//! An audit of the event log: it follows the money and the capacity with a simple truth of its own,
//! and shares nothing with how events are decided or applied.
//!
//! It finds what no honest log holds: money that was not there, a bid held for too much or too
//! little, a contract that costs more than its bid allows, units that were sold and never offered,
//! a slot that is settled twice, a refund above its charge. It does not judge whether the auctions
//! were the best there are, nor whether the meters were right.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use headroom_units::{
    BidId, Class, ContractId, PurchaserId, RegionId, Slot, SlotLength, Timestamp,
};

use crate::{Bid, ClearedSlot, Contract, Event, Settlement};

/// Something that no honest log holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong, in words.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// What an auditor knows after the events it was shown. All sums are in micro-units.
#[derive(Debug, Clone)]
pub struct Audit {
    slot_length: SlotLength,
    available: BTreeMap<PurchaserId, i128>,
    bids: BTreeMap<BidId, OpenBid>,
    contracts: BTreeMap<ContractId, Due>,
    /// Units that auctions sold and no contract has taken yet.
    unclaimed: BTreeMap<(RegionId, Slot), u64>,
    /// A bid that was filled for less than it held, which has to be released next.
    owing: Option<BidId>,
    external: i128,
    revenue: i128,
    penalties: i128,
}

#[derive(Debug, Clone)]
struct OpenBid {
    bid: Bid,
    units: u64,
    held: i128,
    is_open: bool,
}

#[derive(Debug, Clone)]
struct Due {
    contract: Contract,
    /// Slots that are to be settled, with what is held for each.
    slots: BTreeMap<Slot, i128>,
    ends_at: Option<Timestamp>,
}

impl Audit {
    /// An audit of a market with slots of this length, before its first event.
    #[must_use]
    pub fn new(slot_length: SlotLength) -> Self {
        Self {
            slot_length,
            available: BTreeMap::new(),
            bids: BTreeMap::new(),
            contracts: BTreeMap::new(),
            unclaimed: BTreeMap::new(),
            owing: None,
            external: 0,
            revenue: 0,
            penalties: 0,
        }
    }

    /// Goes on to the next event; what is wrong with it, if anything is.
    pub fn go_on(&mut self, event: &Event) -> Vec<Finding> {
        let mut findings = Vec::new();
        self.follow(event, &mut |what| findings.push(Finding { what }));
        findings
    }

    /// What purchasers have available, in micro-units, by purchaser.
    #[must_use]
    pub fn available_micro(&self) -> &BTreeMap<PurchaserId, i128> {
        &self.available
    }

    /// What is held of purchasers for open bids and unsettled slots, in micro-units.
    #[must_use]
    pub fn held_micro(&self) -> i128 {
        let bids: i128 = self.bids.values().map(|bid| bid.held).sum();
        let due = self.contracts.values().flat_map(|due| due.slots.values());
        bids + due.sum::<i128>()
    }

    /// What the operator earned, and what it paid as penalties, in micro-units.
    #[must_use]
    pub fn operator_micro(&self) -> (i128, i128) {
        (self.revenue, self.penalties)
    }

    /// What came in from outside, less everything it became: zero, or money was made or lost.
    #[must_use]
    pub fn missing_micro(&self) -> i128 {
        let available: i128 = self.available.values().sum();
        self.external - available - self.held_micro() - self.revenue + self.penalties
    }

    fn follow(&mut self, event: &Event, found: &mut impl FnMut(String)) {
        if let Some(owing) = self.owing.take()
            && !matches!(event, Event::HoldReleased { bid, .. } if *bid == owing)
        {
            found(format!("{owing} keeps more money than it needs after a fill"));
        }
        match event {
            Event::AccountOpened { purchaser } => {
                if self.available.insert(purchaser.clone(), 0).is_some() {
                    found(format!("the account of {purchaser} is opened twice"));
                }
            }
            Event::Credited { purchaser, amount, .. } => {
                let amount = i128::from(amount.micro());
                if amount <= 0 {
                    found(format!("a credit of {amount} to {purchaser}"));
                }
                self.external += amount;
                self.pay(purchaser, amount, found);
            }
            Event::BidPlaced { bid } => self.bid_placed(bid, found),
            Event::BidCancelled { bid, released } | Event::BidExpired { bid, released } => {
                self.bid_closed(*bid, i128::from(released.micro()), found);
            }
            Event::AuctionCleared { region, slots, .. } => {
                self.auction_cleared(region, slots, found);
            }
            Event::ContractMade { contract } => self.contract_made(contract, found),
            Event::HoldReleased { bid, amount } => {
                self.released(*bid, i128::from(amount.micro()), found);
            }
            Event::StageEntered { contract, .. } => {
                if !self.contracts.contains_key(contract) {
                    found(format!("a stage of {contract}, which was never made"));
                }
            }
            Event::ContractRecalled { contract, ends_at, released, .. } => {
                self.recalled(*contract, *ends_at, i128::from(released.micro()), found);
            }
            Event::SlotSettled { settlement } => self.settled(settlement, found),
        }
    }

    fn pay(&mut self, purchaser: &PurchaserId, amount: i128, found: &mut impl FnMut(String)) {
        match self.available.get_mut(purchaser) {
            Some(available) => {
                *available += amount;
                if *available < 0 {
                    found(format!("{purchaser} has {available} available, less than nothing"));
                }
            }
            None => found(format!("money of {purchaser}, which has no account")),
        }
    }

    fn bid_placed(&mut self, bid: &Bid, found: &mut impl FnMut(String)) {
        let worth = i128::from(bid.limit.micro())
            * i128::from(bid.units.count())
            * i128::from(bid.slots.count());
        let held = i128::from(bid.held.micro());
        if held != worth {
            found(format!("{} holds {held} and could cost {worth}", bid.id));
        }
        self.pay(&bid.purchaser, -held, found);
        let open = OpenBid { bid: bid.clone(), units: bid.units.count(), held, is_open: true };
        if self.bids.insert(bid.id, open).is_some() {
            found(format!("{} is placed twice", bid.id));
        }
    }

    fn bid_closed(&mut self, id: BidId, released: i128, found: &mut impl FnMut(String)) {
        let Some(open) = self.bids.get_mut(&id).filter(|open| open.is_open) else {
            return found(format!("{id} is closed and was not open"));
        };
        if open.held != released {
            found(format!("{id} releases {released} and holds {}", open.held));
        }
        open.is_open = false;
        open.held -= released;
        let purchaser = open.bid.purchaser.clone();
        self.pay(&purchaser, released, found);
    }

    fn released(&mut self, id: BidId, amount: i128, found: &mut impl FnMut(String)) {
        let Some(open) = self.bids.get_mut(&id) else {
            return found(format!("money of {id} is released, which was never placed"));
        };
        open.held -= amount;
        let needed = needed(open);
        if open.held != needed {
            found(format!("{id} holds {} after a fill and needs {needed}", open.held));
        }
        let purchaser = open.bid.purchaser.clone();
        self.pay(&purchaser, amount, found);
    }

    fn auction_cleared(
        &mut self,
        region: &RegionId,
        slots: &[ClearedSlot],
        found: &mut impl FnMut(String),
    ) {
        for cleared in slots {
            let ClearedSlot { slot, offered, sold, price } = cleared;
            if sold > offered {
                found(format!("{sold} of {offered} are sold in {region}, slot {slot}"));
            }
            if price.is_some() == sold.is_zero() {
                found(format!("a price without a sale, or the reverse, in {region}, slot {slot}"));
            }
            *self.unclaimed.entry((region.clone(), *slot)).or_default() += sold.count();
        }
    }

    fn contract_made(&mut self, contract: &Contract, found: &mut impl FnMut(String)) {
        let id = contract.id;
        let units = contract.units.count();
        for slot in contract.slots.iter() {
            let unclaimed = self.unclaimed.entry((contract.region.clone(), slot)).or_default();
            match unclaimed.checked_sub(units) {
                Some(left) => *unclaimed = left,
                None => found(format!("{id} has units of slot {slot} that no auction sold")),
            }
        }
        let cost = |price: i64| i128::from(price) * i128::from(units);
        let slots: BTreeMap<Slot, i128> = contract
            .slots
            .iter()
            .zip(&contract.prices)
            .map(|(slot, price)| (slot, cost(price.micro())))
            .collect();
        let total: i128 = slots.values().sum();
        let Some(open) = self.bids.get_mut(&contract.bid).filter(|open| open.is_open) else {
            return found(format!("{id} fills {}, which is not open", contract.bid));
        };
        let bid = &open.bid;
        let limit =
            i128::from(bid.limit.micro()) * i128::from(units) * i128::from(contract.slots.count());
        if total > limit {
            found(format!("{id} costs {total} and its bid allows {limit}"));
        }
        let same = (&bid.purchaser, &bid.site, &bid.region, bid.slots, bid.class)
            == (
                &contract.purchaser,
                &contract.site,
                &contract.region,
                contract.slots,
                contract.class,
            );
        if !same || contract.prices.len() != slots.len() {
            found(format!("{id} is not for what {} asked", bid.id));
        }
        match open.units.checked_sub(units) {
            Some(left) => open.units = left,
            None => found(format!("{} is filled with more than it asked for", bid.id)),
        }
        open.held -= total;
        open.is_open = open.units > 0;
        // The rest of what was held for these units follows as a release, unless there is none.
        match open.held.cmp(&needed(open)) {
            Ordering::Less => found(format!("{id} costs more than {} holds", contract.bid)),
            Ordering::Equal => {}
            Ordering::Greater => self.owing = Some(contract.bid),
        }
        let due = Due { contract: contract.clone(), slots, ends_at: None };
        if self.contracts.insert(id, due).is_some() {
            found(format!("{id} is made twice"));
        }
    }

    fn recalled(
        &mut self,
        id: ContractId,
        ends_at: Timestamp,
        released: i128,
        found: &mut impl FnMut(String),
    ) {
        let length = self.slot_length;
        let Some(due) = self.contracts.get_mut(&id) else {
            return found(format!("{id} is recalled and was never made"));
        };
        if due.contract.class != Class::Interruptible || due.ends_at.is_some() {
            found(format!("{id} is recalled, and is firm or was recalled before"));
        }
        let later: BTreeSet<Slot> =
            due.slots.keys().copied().filter(|slot| length.start(*slot) >= ends_at).collect();
        let freed: i128 = later.iter().filter_map(|slot| due.slots.remove(slot)).sum();
        due.ends_at = Some(ends_at);
        let purchaser = due.contract.purchaser.clone();
        if freed != released {
            found(format!("{id} releases {released} and {freed} were held for what is recalled"));
        }
        self.pay(&purchaser, released, found);
    }

    fn settled(&mut self, settlement: &Settlement, found: &mut impl FnMut(String)) {
        let Settlement { contract: id, slot, charge, refund, penalty, .. } = settlement;
        let [charge, refund, penalty] =
            [charge, refund, penalty].map(|amount| i128::from(amount.micro()));
        let Some(due) = self.contracts.get_mut(id) else {
            return found(format!("{id} is settled and was never made"));
        };
        let purchaser = due.contract.purchaser.clone();
        let is_firm = due.contract.class == Class::Firm;
        match due.slots.remove(slot) {
            None => return found(format!("slot {slot} of {id} is settled and was not due")),
            Some(held) if held != charge => {
                found(format!("slot {slot} of {id} is charged {charge}, and {held} were held"));
            }
            Some(_) => {}
        }
        if !(0..=charge).contains(&refund) || penalty < 0 || penalty > 0 && !is_firm {
            found(format!(
                "slot {slot} of {id}: charge {charge}, refund {refund}, penalty {penalty}"
            ));
        }
        self.revenue += charge - refund;
        self.penalties += penalty;
        self.pay(&purchaser, refund + penalty, found);
    }
}

/// What a bid has to hold for the units that are not filled.
fn needed(open: &OpenBid) -> i128 {
    let units = if open.is_open { open.units } else { 0 };
    i128::from(open.bid.limit.micro()) * i128::from(units) * i128::from(open.bid.slots.count())
}
