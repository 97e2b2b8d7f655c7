//! Contracts, and the arithmetic of settling one of their slots. Exact: whole micro-units and
//! thousandths of a request; what is due to the purchaser is rounded up.

use headroom_units::{
    BidId, Class, ContractId, Money, Price, PurchaserId, RegionId, SiteId, Slot, SlotLength,
    SlotRange, Timestamp, Units,
};

/// What was bought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contract {
    /// Given out by the market, rising.
    pub id: ContractId,
    /// The bid it fills, or a part of it.
    pub bid: BidId,
    /// Who pays.
    pub purchaser: PurchaserId,
    /// What the capacity is for.
    pub site: SiteId,
    /// Where.
    pub region: RegionId,
    /// When.
    pub slots: SlotRange,
    /// How much, the same in each slot.
    pub units: Units,
    /// What is promised.
    pub class: Class,
    /// The price per unit of each slot, in the order of the slots.
    pub prices: Vec<Price>,
    /// When it was made.
    pub made_at: Timestamp,
    /// When it ends, if it was recalled.
    pub recalled_to: Option<Timestamp>,
}

impl Contract {
    /// The price per unit in `slot`, or `None` if that is not one of its slots.
    #[must_use]
    pub fn price(&self, slot: Slot) -> Option<Price> {
        let after = slot.number().checked_sub(self.slots.first().number())?;
        self.prices.get(usize::try_from(after).ok()?).copied()
    }

    /// What all slots cost together, before refunds.
    #[must_use]
    pub fn cost(&self) -> Money {
        let cost =
            |price: &Price| price.of(self.units).map_or(0, |money| i128::from(money.micro()));
        let micro: i128 = self.prices.iter().map(cost).sum();
        Money::from_micro(i64::try_from(micro).unwrap_or(i64::MAX))
    }

    /// When it ends: with its last slot, or before if it was recalled.
    #[must_use]
    pub fn ends(&self, length: SlotLength) -> Timestamp {
        let end = length.end(self.slots.last());
        self.recalled_to.map_or(end, |earlier| earlier.min(end))
    }

    /// The slots that begin before it ends: those that are charged.
    pub fn due_slots(&self, length: SlotLength) -> impl Iterator<Item = Slot> {
        let end = self.ends(length);
        self.slots.iter().take_while(move |slot| length.start(*slot) < end)
    }

    /// What the slots that begin at `end` or later cost, before refunds.
    pub(crate) fn cost_from(&self, end: Timestamp, length: SlotLength) -> Money {
        let later = self.slots.iter().zip(&self.prices);
        let later = later.filter(|(slot, _)| length.start(*slot) >= end);
        let micro = later
            .map(|(_, price)| price.of(self.units).map_or(0, |money| i128::from(money.micro())));
        Money::from_micro(i64::try_from(micro.sum::<i128>()).unwrap_or(i64::MAX))
    }

    /// The requests bought in `slot`: fewer in the slot in which a recalled contract ends. A second
    /// that was begun and not finished is not counted.
    fn requests_in(&self, slot: Slot, length: SlotLength) -> u64 {
        let seconds = self.ends(length).since(length.start(slot)).as_secs();
        self.units.count().saturating_mul(seconds.min(length.seconds()))
    }

    /// The requests bought per slot.
    #[must_use]
    pub const fn requests_per_slot(&self, length: SlotLength) -> u64 {
        self.units.count().saturating_mul(length.seconds())
    }
}

/// What was delivered to a contract in a slot, from the meters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// Requests served.
    pub served: u64,
    /// Requests refused although the purchase was not used up, second by second.
    pub refused: u64,
    /// What could have been served: the live shares the edges held for the contract, summed over
    /// the slot, in thousandths of a request.
    pub available_millirequests: u64,
}

/// What all edges together did for a contract in one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeliveredSecond {
    /// Requests served.
    pub served: u64,
    /// Requests sent back to the purchaser.
    pub refused: u64,
    /// The live shares the edges held, in thousandths of a request.
    pub available_millirequests: u64,
}

impl Delivery {
    /// Sums the seconds of a slot. A refusal counts as far as less was served in its second than
    /// was bought for it: a purchaser that sends a whole slot's requests in one second has used
    /// that second up, and is not owed the others. What was available is rounded up to a whole
    /// request: a part of one that was lost in counting is no shortfall.
    #[must_use]
    pub fn of_seconds(units: Units, seconds: impl IntoIterator<Item = DeliveredSecond>) -> Self {
        let mut sum = Self { served: 0, refused: 0, available_millirequests: 0 };
        for second in seconds {
            let unused = units.count().saturating_sub(second.served);
            sum.served = sum.served.saturating_add(second.served);
            sum.refused = sum.refused.saturating_add(second.refused.min(unused));
            sum.available_millirequests =
                sum.available_millirequests.saturating_add(second.available_millirequests);
        }
        let whole = sum.available_millirequests.div_ceil(1_000);
        sum.available_millirequests = whole.saturating_mul(1_000);
        sum
    }

    /// What was bought and could not be had, in thousandths of a request: what the edges did not
    /// hold available, or what they refused although it was not used up, if that is more.
    ///
    /// `purchased` is in requests.
    #[must_use]
    pub fn undelivered_millirequests(&self, purchased: u64) -> u64 {
        let bought = purchased.saturating_mul(1_000);
        let unused = bought.saturating_sub(self.served.saturating_mul(1_000));
        let refused = self.refused.saturating_mul(1_000).min(unused);
        self.unavailable_millirequests(purchased).max(refused)
    }

    /// What was bought and the edges did not hold available, in thousandths of a request. This
    /// alone is penalised: refusals also come from the way visitors arrive, and nobody shall earn
    /// by sending them in bursts.
    #[must_use]
    pub fn unavailable_millirequests(&self, purchased: u64) -> u64 {
        purchased.saturating_mul(1_000).saturating_sub(self.available_millirequests)
    }
}

/// What a contract costs for a slot in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settlement {
    /// The contract.
    pub contract: ContractId,
    /// The slot.
    pub slot: Slot,
    /// What was delivered.
    pub delivery: Delivery,
    /// The price times the units: out of the money held, to the operator.
    pub charge: Money,
    /// The part of the charge that was recalled or not delivered: back to the purchaser.
    pub refund: Money,
    /// What the operator pays beside the refund, for a firm contract.
    pub penalty: Money,
    /// What was not delivered, in thousandths of a request.
    pub undelivered_millirequests: u64,
}

/// Settles `slot` of `contract`, or `None` if it is not one of its slots or the amounts cannot be
/// kept. `penalty` is per undelivered firm unit and slot.
pub(crate) fn settle(
    contract: &Contract,
    slot: Slot,
    delivery: Delivery,
    length: SlotLength,
    penalty: Price,
) -> Option<Settlement> {
    let price = contract.price(slot)?;
    let whole = contract.requests_per_slot(length);
    let purchased = contract.requests_in(slot, length);
    let undelivered = delivery.undelivered_millirequests(purchased);
    let unavailable = delivery.unavailable_millirequests(purchased);
    let recalled = whole.saturating_sub(purchased).saturating_mul(1_000);
    let part = |price, missing| undelivered_part(price, contract.units, missing, whole);
    Some(Settlement {
        contract: contract.id,
        slot,
        delivery,
        charge: price.of(contract.units)?,
        refund: part(price, recalled.saturating_add(undelivered))?,
        penalty: match contract.class {
            Class::Firm => part(penalty, unavailable)?,
            Class::Interruptible => Money::ZERO,
        },
        undelivered_millirequests: undelivered,
    })
}

/// `price * units * undelivered / purchased`, rounded up. The limits keep the product in range.
fn undelivered_part(price: Price, units: Units, undelivered: u64, purchased: u64) -> Option<Money> {
    let purchased = i128::from(purchased) * 1_000;
    if purchased == 0 {
        return Some(Money::ZERO);
    }
    let product = i128::from(price.micro())
        .checked_mul(i128::from(units.count()))?
        .checked_mul(i128::from(undelivered))?;
    let rounded_up = product / purchased + i128::from(product % purchased > 0);
    i64::try_from(rounded_up).ok().map(Money::from_micro)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(class: Class, (served, refused, available): (u64, u64, u64)) -> (i64, i64, i64) {
        let slot = Slot::new(7);
        let contract = Contract {
            id: ContractId::new(1),
            bid: BidId::new(1),
            purchaser: "shop".parse().unwrap(),
            site: "shop".parse().unwrap(),
            region: "east".parse().unwrap(),
            slots: SlotRange::one(slot),
            units: Units::saturating(10),
            class,
            prices: vec![Price::from_micro(30).unwrap()],
            made_at: Timestamp::EPOCH,
            recalled_to: None,
        };
        let delivery = Delivery { served, refused, available_millirequests: available };
        let length = SlotLength::from_seconds(10).unwrap();
        let penalty = Price::from_micro(70).unwrap();
        let done = settle(&contract, slot, delivery, length, penalty).unwrap();
        (done.charge.micro(), done.refund.micro(), done.penalty.micro())
    }

    #[test]
    fn full_delivery_is_charged_in_full_whether_used_or_not() {
        assert_eq!(settled(Class::Firm, (100, 0, 100_000)), (300, 0, 0));
        assert_eq!(settled(Class::Firm, (0, 0, 100_000)), (300, 0, 0));
        assert_eq!(settled(Class::Firm, (100, 5_000, 100_000)), (300, 0, 0));
        assert_eq!(settled(Class::Firm, (110, 5_000, 110_000)), (300, 0, 0));
    }

    #[test]
    fn what_was_not_available_or_refused_is_refunded_and_the_first_penalised_if_firm() {
        assert_eq!(settled(Class::Firm, (50, 0, 75_000)), (300, 75, 175));
        assert_eq!(settled(Class::Firm, (50, 10, 100_000)), (300, 30, 0));
        assert_eq!(settled(Class::Firm, (95, 10, 100_000)), (300, 15, 0));
        assert_eq!(settled(Class::Interruptible, (50, 0, 75_000)), (300, 75, 0));
        assert_eq!(settled(Class::Firm, (0, 0, 0)), (300, 300, 700));
    }

    #[test]
    fn a_burst_beyond_the_purchase_is_not_owed_the_rest_of_the_slot() {
        let second =
            |served, refused| DeliveredSecond { served, refused, available_millirequests: 9_999 };
        let delivery = |seconds: &[DeliveredSecond]| {
            Delivery::of_seconds(Units::saturating(10), seconds.iter().copied())
        };
        let burst = delivery(&[second(10, 90), second(0, 0)]);
        assert_eq!((burst.served, burst.refused), (10, 0));
        let split_badly = delivery(&[second(7, 5), second(7, 1)]);
        assert_eq!((split_badly.served, split_badly.refused), (14, 3 + 1));
        assert_eq!(split_badly.available_millirequests, 20_000);
    }

    #[test]
    fn what_is_due_is_rounded_up() {
        assert_eq!(settled(Class::Firm, (0, 0, 99_999)), (300, 1, 1));
    }

    #[test]
    fn the_largest_amounts_do_not_overflow() {
        let longest = 1_000_000_000 * 86_400;
        let units = Units::MAX;
        assert_eq!(undelivered_part(Price::MAX, units, longest * 1_000, longest), None);
        let price = Price::from_micro(9_000_000_000).unwrap();
        let all = undelivered_part(price, units, longest * 1_000, longest);
        assert_eq!(all, price.of(units));
    }
}
