//! An auction of the market: expire what came too late, sell what is left, make contracts.

use std::collections::BTreeMap;

use headroom_units::{BidId, ContractId, Money, RegionId, Slot, Timestamp, Units};

use super::Market;
use crate::{
    BidRecord, ClearedSlot, Clearing, Contract, Event, Offer, OfferStep, Order, Rejection, auction,
    limits::AUCTION_SLOTS_MAX,
};

impl Market {
    pub(super) fn clear(
        &self,
        region: RegionId,
        offers: Vec<Offer>,
        now: Timestamp,
    ) -> Result<Vec<Event>, Rejection> {
        check_offers(&region, &offers)?;
        let traded = self.traded_slots(now);
        let (mut tradable, late): (Vec<&BidRecord>, Vec<&BidRecord>) =
            self.open_bids(&region).partition(|record| record.bid.slots.first() >= *traded.start());
        // The others wait for their gate.
        tradable.retain(|record| record.bid.slots.last() <= *traded.end());
        let mut events: Vec<Event> = late
            .into_iter()
            .map(|record| Event::BidExpired { bid: record.bid.id, released: record.held })
            .collect();
        if tradable.is_empty() {
            return Ok(events);
        }
        let offers: Vec<Offer> = offers.into_iter().map(|offer| self.left_of(offer)).collect();
        let orders: Vec<Order> = tradable.iter().map(|record| order(record)).collect();
        let clearing = auction::clear(&offers, &orders);
        events.push(Event::AuctionCleared { region, at: now, slots: cleared(&clearing, &orders) });
        let last = self.contracts.last_key_value().map_or(0, |(id, _)| id.number());
        let mut ids = (last.saturating_add(1)..).map(ContractId::new);
        for record in tradable {
            let Some(&units) = clearing.fills.get(&record.bid.id) else { continue };
            let Some(id) = ids.next() else { break };
            events.extend(fill(record, id, units, &clearing, now));
        }
        Ok(events)
    }

    /// What contracts have left of an offer: they took the cheapest units. No step is below the
    /// reserve.
    fn left_of(&self, mut offer: Offer) -> Offer {
        let mut taken = self.sold(&offer.region, offer.slot);
        offer.steps.sort_unstable_by_key(|step| step.price);
        for step in &mut offer.steps {
            let left = step.units.saturating_sub(taken);
            taken = taken.saturating_sub(step.units);
            *step = OfferStep { units: left, price: step.price.max(self.rules.reserve) };
        }
        offer.steps.retain(|step| !step.units.is_zero());
        offer
    }
}

fn check_offers(region: &RegionId, offers: &[Offer]) -> Result<(), Rejection> {
    if offers.len() > AUCTION_SLOTS_MAX {
        return Err(Rejection::TooManyOffers { count: offers.len() });
    }
    let mut seen = std::collections::BTreeSet::new();
    for Offer { region: offered, slot, .. } in offers {
        if offered != region {
            let (region, offered) = (region.clone(), offered.clone());
            return Err(Rejection::OfferElsewhere { region, offered, slot: *slot });
        }
        if !seen.insert(*slot) {
            return Err(Rejection::DuplicateOffer { slot: *slot });
        }
    }
    Ok(())
}

fn order(record: &BidRecord) -> Order {
    let bid = &record.bid;
    Order::divisible(bid.id, bid.slots, record.unfilled(), bid.limit)
}

/// The slots of the clearing that an order was for.
fn cleared(clearing: &Clearing, orders: &[Order]) -> Vec<ClearedSlot> {
    // How many more orders begin at a slot than have ended before it.
    let mut change: BTreeMap<Slot, i64> = BTreeMap::new();
    for order in orders {
        *change.entry(order.slots.first()).or_default() += 1;
        *change.entry(order.slots.last().next()).or_default() -= 1;
    }
    let mut change = change.into_iter().peekable();
    let mut covering = 0;
    let mut slots = Vec::new();
    for (&slot, result) in &clearing.slots {
        while let Some((_, more)) = change.next_if(|(at, _)| *at <= slot) {
            covering += more;
        }
        if covering > 0 {
            let (offered, sold, price) = (result.offered, result.sold, result.price);
            slots.push(ClearedSlot { slot, offered, sold, price });
        }
    }
    slots
}

/// The contract for `units` of a bid, and the release of what was held for them in excess.
fn fill(
    record: &BidRecord,
    id: ContractId,
    units: Units,
    clearing: &Clearing,
    now: Timestamp,
) -> Vec<Event> {
    let bid = &record.bid;
    let price = |slot| clearing.slots.get(&slot).and_then(|cleared| cleared.price);
    let contract = Contract {
        id,
        bid: bid.id,
        purchaser: bid.purchaser.clone(),
        site: bid.site.clone(),
        region: bid.region.clone(),
        slots: bid.slots,
        units,
        class: bid.class,
        prices: bid.slots.iter().map(|slot| price(slot).unwrap_or_default()).collect(),
        made_at: now,
        recalled_to: None,
    };
    let amount = record.hold_of(units).checked_sub(contract.cost()).unwrap_or(Money::ZERO);
    let bid: BidId = bid.id;
    let released = (amount > Money::ZERO).then_some(Event::HoldReleased { bid, amount });
    std::iter::once(Event::ContractMade { contract }).chain(released).collect()
}
