//! A reference for small markets: the best fills, found by trying every whole fill of every order.

use std::collections::{BTreeMap, BTreeSet};

use headroom_market::{Group, Offer, Order};
use headroom_units::Slot;

/// The price of each unit for sale in a slot, the cheapest first.
type Asks = BTreeMap<u64, Vec<i128>>;

/// The greatest welfare and then the most unit-slots traded.
pub(crate) fn best(offers: &[Offer], orders: &[Order]) -> (i128, u64) {
    let mut asks = Asks::new();
    for offer in offers {
        for step in &offer.steps {
            let units = usize::try_from(step.units.count()).unwrap();
            let asks = asks.entry(offer.slot.number()).or_default();
            asks.extend(std::iter::repeat_n(i128::from(step.price.micro()), units));
            asks.sort_unstable();
        }
    }
    best_of(orders, &mut BTreeMap::new(), &BTreeSet::new(), &asks)
}

fn best_of(
    orders: &[Order],
    sold: &mut BTreeMap<u64, usize>,
    groups: &BTreeSet<Group>,
    asks: &Asks,
) -> (i128, u64) {
    let Some((order, rest)) = orders.split_first() else { return (0, 0) };
    let mut best = best_of(rest, sold, groups, asks);
    if order.group.is_some_and(|group| groups.contains(&group)) {
        return best;
    }
    let groups = groups.iter().copied().chain(order.group).collect();
    let (before, mut gained) = (sold.clone(), 0);
    for taken in 1..=order.units.count() {
        for slot in order.slots.iter().map(Slot::number) {
            let sold = sold.entry(slot).or_default();
            let Some(ask) = asks.get(&slot).and_then(|asks| asks.get(*sold)) else {
                *sold = usize::MAX;
                continue;
            };
            *sold += 1;
            gained -= ask;
        }
        if order.slots.iter().any(|slot| sold[&slot.number()] == usize::MAX) {
            break;
        }
        gained += i128::from(order.value_micro());
        if taken >= order.minimum.count() {
            let (welfare, traded) = best_of(rest, sold, &groups, asks);
            best = best.max((gained + welfare, taken * order.slots.count() + traded));
        }
    }
    *sold = before;
    best
}
