//! Why a bid has won or lost, from what the auctions told.

use headroom_units::{BidId, Price, Slot};

use super::Market;
use crate::{BidRecord, BidStatus, ClearedSlot};

/// What auctions have made of a bid, or of what is left of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It has not been in an auction yet.
    Waits,
    /// All of it was bought, at this price per unit and slot on average, rounded up.
    Won {
        /// The average clearing price.
        average: Price,
    },
    /// Nothing was for sale in one of its slots.
    NothingOffered {
        /// The first such slot.
        slot: Slot,
    },
    /// Nobody paid what was asked in one of its slots, this bid included.
    BelowTheAsks {
        /// The first such slot.
        slot: Slot,
    },
    /// Others paid more than its limit.
    Outbid {
        /// The average clearing price of its slots, rounded up.
        average: Price,
    },
    /// Its limit is the clearing price: such bids share what is left pro rata.
    AtTheMargin {
        /// The average clearing price of its slots, which is its limit.
        average: Price,
    },
    /// It would have paid more than the clearing price and was not filled whole.
    InTheMoney {
        /// The average clearing price of its slots, rounded up.
        average: Price,
    },
}

impl Market {
    /// Why a bid has won or lost: how the last auction of each of its slots went. `None` if there
    /// is no such bid.
    #[must_use]
    pub fn explain(&self, bid: BidId) -> Option<Outcome> {
        let record = self.bids.get(&bid)?;
        Some(match record.status {
            BidStatus::Filled => Outcome::Won { average: self.paid_on_average(record) },
            BidStatus::Open | BidStatus::Cancelled | BidStatus::Expired => self.judge(record),
        })
    }

    fn paid_on_average(&self, record: &BidRecord) -> Price {
        let contracts = record.contracts.iter().filter_map(|id| self.contracts.get(id));
        let (mut paid, mut unit_slots) = (0_i128, 0_i128);
        for contract in contracts {
            let slots = i128::from(contract.slots.count());
            paid += i128::from(contract.cost().micro());
            unit_slots += i128::from(contract.units.count()) * slots;
        }
        average(paid, unit_slots)
    }

    fn judge(&self, record: &BidRecord) -> Outcome {
        let bid = &record.bid;
        let region = self.regions.get(&bid.region);
        let cleared = |slot: &Slot| region.and_then(|region| region.cleared.get(slot));
        if bid.slots.iter().all(|slot| cleared(&slot).is_none()) {
            return Outcome::Waits;
        }
        let mut total = 0;
        for slot in bid.slots.iter() {
            match cleared(&slot).filter(|cleared| !cleared.offered.is_zero()) {
                None => return Outcome::NothingOffered { slot },
                Some(ClearedSlot { price: None, .. }) => return Outcome::BelowTheAsks { slot },
                Some(ClearedSlot { price: Some(price), .. }) => total += i128::from(price.micro()),
            }
        }
        let slots = i128::from(bid.slots.count());
        let average = average(total, slots);
        match total.cmp(&(i128::from(bid.limit.micro()) * slots)) {
            std::cmp::Ordering::Greater => Outcome::Outbid { average },
            std::cmp::Ordering::Equal => Outcome::AtTheMargin { average },
            std::cmp::Ordering::Less => Outcome::InTheMoney { average },
        }
    }
}

/// `total / count`, rounded up.
fn average(total: i128, count: i128) -> Price {
    let micro = if count == 0 { 0 } else { (total + count - 1) / count };
    i64::try_from(micro).ok().and_then(Price::from_micro).unwrap_or(Price::MAX)
}
