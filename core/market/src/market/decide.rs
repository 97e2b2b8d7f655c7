//! What follows from a command: events, or a rejection. Changes nothing.

use headroom_units::{
    BidId, ContractId, Money, Price, PurchaserId, RegionId, Slot, SlotRange, Timestamp, Units,
    limits::PRICE_MICRO_MAX,
};

use super::Market;
use crate::{
    Account, Bid, BidStatus, Command, Delivery, Event, Rejection, Stage,
    limits::{
        CREDITED_BY_LEN_MAX, DELIVERY_MILLIREQUESTS_MAX, DELIVERY_REQUESTS_MAX, INFLOW_MICRO_MAX,
        OPEN_BIDS_MAX,
    },
};

impl Market {
    /// What `command` leads to at `now`.
    ///
    /// # Errors
    /// A [`Rejection`] if the command does not fit the state or the rules; it says what would.
    pub fn decide(&self, command: Command, now: Timestamp) -> Result<Vec<Event>, Rejection> {
        match command {
            Command::OpenAccount { purchaser } => {
                if self.purchasers.contains_key(&purchaser) {
                    return Err(Rejection::AccountExists { purchaser });
                }
                Ok(vec![Event::AccountOpened { purchaser }])
            }
            Command::Credit { purchaser, amount, by } => self.credit(purchaser, amount, by),
            Command::PlaceBid { purchaser, site, region, slots, units, limit, class } => {
                self.knows(&purchaser)?;
                self.is_traded(&region)?;
                self.is_tradable(slots, now)?;
                let held = self.hold_for(&purchaser, slots, units, limit)?;
                let last = self.bids.last_key_value().map_or(0, |(id, _)| id.number());
                let id = BidId::new(last.saturating_add(1));
                let placed_at = now;
                let bid = Bid {
                    id,
                    purchaser,
                    site,
                    region,
                    slots,
                    units,
                    limit,
                    class,
                    placed_at,
                    held,
                };
                Ok(vec![Event::BidPlaced { bid }])
            }
            Command::CancelBid { bid, purchaser } => self.cancel(bid, purchaser),
            Command::Clear { region, offers } => {
                self.is_traded(&region)?;
                self.clear(region, offers, now)
            }
            Command::Recall { region, slot, units } => {
                self.is_traded(&region)?;
                self.recall(&region, slot, units, now)
            }
            Command::Advance { planned, ramp } => Ok(self.advance(&planned, ramp, now)),
            Command::Settle { contract, slot, delivery } => {
                self.settle(contract, slot, delivery, now)
            }
        }
    }

    fn credit(
        &self,
        purchaser: PurchaserId,
        amount: Money,
        by: String,
    ) -> Result<Vec<Event>, Rejection> {
        self.knows(&purchaser)?;
        if amount <= Money::ZERO {
            return Err(Rejection::AmountNotPositive { amount });
        }
        if by.len() > CREDITED_BY_LEN_MAX {
            return Err(Rejection::NameTooLong { length: by.len() });
        }
        self.takes_in(amount)?;
        Ok(vec![Event::Credited { purchaser, amount, by }])
    }

    fn cancel(&self, bid: BidId, purchaser: PurchaserId) -> Result<Vec<Event>, Rejection> {
        self.knows(&purchaser)?;
        let record = self.bids.get(&bid).ok_or(Rejection::UnknownBid { bid })?;
        if record.bid.purchaser != purchaser {
            return Err(Rejection::NotYourBid { bid, purchaser });
        }
        if record.status != BidStatus::Open {
            return Err(Rejection::BidNotOpen { bid, status: record.status });
        }
        Ok(vec![Event::BidCancelled { bid, released: record.held }])
    }

    fn settle(
        &self,
        id: ContractId,
        slot: Slot,
        delivery: Delivery,
        now: Timestamp,
    ) -> Result<Vec<Event>, Rejection> {
        let contract =
            self.contracts.get(&id).ok_or(Rejection::UnknownContract { contract: id })?;
        if !contract.slots.contains(slot) {
            let slots = contract.slots;
            return Err(Rejection::SlotNotInContract { contract: id, slot, slots });
        }
        let length = self.rules.slot_length;
        if length.end(slot) > now {
            let wait = length.end(slot).since(now);
            let wait_seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            return Err(Rejection::SlotNotOver { slot, wait_seconds });
        }
        if !self.unsettled.contains(&(slot, id)) {
            return Err(Rejection::AlreadySettled { contract: id, slot });
        }
        let reported = [
            ("requests served", delivery.served, DELIVERY_REQUESTS_MAX),
            ("requests refused", delivery.refused, DELIVERY_REQUESTS_MAX),
            (
                "thousandths of a request available",
                delivery.available_millirequests,
                DELIVERY_MILLIREQUESTS_MAX,
            ),
        ];
        if let Some((what, count, most)) =
            reported.into_iter().find(|(_, count, most)| count > most)
        {
            return Err(Rejection::DeliveryOutOfRange { contract: id, what, count, most });
        }
        let settlement = self
            .would_settle(contract, slot, delivery)
            .ok_or(Rejection::Overflow { what: "the settlement" })?;
        self.takes_in(settlement.penalty)?;
        let settled = Event::SlotSettled { settlement };
        let is_last = contract
            .due_slots(length)
            .all(|due| due == slot || !self.unsettled.contains(&(due, id)));
        let ended = Event::StageEntered { contract: id, stage: Stage::Settled, at: now };
        Ok(std::iter::once(settled).chain(is_last.then_some(ended)).collect())
    }

    fn knows(&self, purchaser: &PurchaserId) -> Result<(), Rejection> {
        if self.purchasers.contains_key(purchaser) {
            return Ok(());
        }
        Err(Rejection::UnknownAccount { purchaser: purchaser.clone() })
    }

    fn is_traded(&self, region: &RegionId) -> Result<(), Rejection> {
        if self.rules.regions.contains(region) {
            return Ok(());
        }
        let known: Vec<&str> = self.rules.regions.iter().map(RegionId::as_str).collect();
        Err(Rejection::UnknownRegion { region: region.clone(), known: known.join(", ") })
    }

    fn is_tradable(&self, slots: SlotRange, now: Timestamp) -> Result<(), Rejection> {
        let (first_open, last_open) = (self.first_open_slot(now), self.last_open_slot(now));
        if slots.first() < first_open {
            return Err(Rejection::GateClosed { first: slots.first(), first_open });
        }
        if slots.last() > last_open {
            return Err(Rejection::BeyondHorizon { last: slots.last(), last_open });
        }
        Ok(())
    }

    /// The money a bid must hold, if its purchaser has it.
    fn hold_for(
        &self,
        purchaser: &PurchaserId,
        slots: SlotRange,
        units: Units,
        limit: Price,
    ) -> Result<Money, Rejection> {
        if units.is_zero() {
            return Err(Rejection::ZeroUnits);
        }
        if limit < self.rules.reserve {
            return Err(Rejection::BelowReserve { limit, reserve: self.rules.reserve });
        }
        let count = slots.count();
        let highest = PRICE_MICRO_MAX / i64::try_from(count).unwrap_or(PRICE_MICRO_MAX);
        if limit.micro() > highest {
            let highest = Money::from_micro(highest);
            return Err(Rejection::LimitTooHigh { limit, slots: count, highest });
        }
        // What could become due for the bid either way must be an amount that can be kept.
        self.rules.penalty.of_slots(units, count).ok_or(Rejection::Overflow { what: "the bid" })?;
        let need = limit.of_slots(units, count).ok_or(Rejection::Overflow { what: "the bid" })?;
        let available = self.ledger.balance(&Account::PurchaserAvailable(purchaser.clone()));
        if need > available {
            return Err(Rejection::InsufficientFunds { need, available });
        }
        if self.purchasers.get(purchaser).is_some_and(|known| known.open >= OPEN_BIDS_MAX) {
            return Err(Rejection::TooManyOpenBids { purchaser: purchaser.clone() });
        }
        Ok(need)
    }

    /// That `amount` more can come to the purchasers without any balance leaving its range.
    fn takes_in(&self, amount: Money) -> Result<(), Rejection> {
        let inflow = self.ledger.inflow_micro() + i128::from(amount.micro());
        if inflow > i128::from(INFLOW_MICRO_MAX) {
            return Err(Rejection::Overflow { what: "all money that came in" });
        }
        Ok(())
    }
}
