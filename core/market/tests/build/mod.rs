//! Offers and orders from plain numbers: slots, units and micro-units. Used by the auction's tests.

use headroom_market::{Offer, OfferStep, Order, Seller};
use headroom_units::{BidId, Price, Slot, SlotRange, Units};

pub(crate) fn price(micro: u64) -> Price {
    Price::from_micro(i64::try_from(micro).unwrap()).unwrap()
}

pub(crate) fn offer(slot: u64, steps: &[(u64, u64)]) -> Offer {
    let steps = steps
        .iter()
        .map(|&(units, ask)| OfferStep { units: Units::saturating(units), price: price(ask) })
        .collect();
    Offer {
        seller: Seller::Operator,
        region: "east".parse().unwrap(),
        slot: Slot::new(slot),
        steps,
    }
}

pub(crate) fn order(id: u64, (first, last): (u64, u64), units: u64, limit: u64) -> Order {
    Order::divisible(
        BidId::new(id),
        SlotRange::new(Slot::new(first), Slot::new(last)).unwrap(),
        Units::new(units).unwrap(),
        price(limit),
    )
}
