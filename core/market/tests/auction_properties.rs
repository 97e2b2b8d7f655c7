//! The auction against the independent verifier and against trying everything, on random markets.

#![expect(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]

mod build;

use std::collections::BTreeMap;

use build::{offer, order};
use headroom_market::{Offer, Order, clear, verify};
use headroom_units::{Price, Slot};
use proptest::prelude::*;

/// Small markets: few slots, small numbers, so that ties and full slots are common.
fn markets() -> impl Strategy<Value = (Vec<Offer>, Vec<Order>)> {
    let offers =
        prop::collection::vec((0..5_u64, prop::collection::vec((0..6_u64, 0..9_u64), 0..3)), 0..6);
    let orders = prop::collection::vec((0..5_u64, 0..4_u64, 0..6_u64, 0..12_u64), 0..9);
    (offers, orders).prop_map(|(offers, orders)| {
        let offers = offers.iter().map(|(slot, steps)| offer(*slot, steps)).collect();
        let orders = orders
            .iter()
            .zip(1..)
            .map(|(&(first, more, units, limit), id)| {
                order(id, (first, first + more), units, limit)
            })
            .collect();
        (offers, orders)
    })
}

type Asks = BTreeMap<u64, Vec<i128>>;

/// The greatest welfare and then the most unit-slots traded, by trying every whole fill.
fn best(offers: &[Offer], orders: &[Order]) -> (i128, u64) {
    let mut asks = Asks::new();
    for offer in offers {
        for step in &offer.steps {
            let units = usize::try_from(step.units.count()).unwrap();
            let asks = asks.entry(offer.slot.number()).or_default();
            asks.extend(std::iter::repeat_n(i128::from(step.price.micro()), units));
            asks.sort_unstable();
        }
    }
    best_of(orders, &mut BTreeMap::new(), &asks)
}

fn best_of(orders: &[Order], sold: &mut BTreeMap<u64, usize>, asks: &Asks) -> (i128, u64) {
    let Some((order, rest)) = orders.split_first() else { return (0, 0) };
    let mut best = best_of(rest, sold, asks);
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
        let (welfare, traded) = best_of(rest, sold, asks);
        best = best.max((gained + welfare, taken * order.slots.count() + traded));
    }
    *sold = before;
    best
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_clearing_passes_the_verifier((offers, orders) in markets()) {
        let clearing = clear(&offers, &orders);
        prop_assert_eq!(verify(&offers, &orders, &clearing), vec![]);
    }

    #[test]
    fn no_fills_are_worth_more_or_trade_more((offers, orders) in markets()) {
        let orders = &orders[..orders.len().min(5)];
        let clearing = clear(&offers, orders);
        let traded = clearing.slots.values().map(|slot| slot.sold.count()).sum::<u64>();
        prop_assert_eq!((clearing.welfare, traded), best(&offers, orders));
    }

    #[test]
    fn the_order_of_the_inputs_does_not_matter(
        ((offers, orders), seed) in (markets(), any::<u64>())
    ) {
        let expected = clear(&offers, &orders);
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut offers, mut orders) = (offers, orders);
        random.shuffle(&mut offers);
        random.shuffle(&mut orders);
        prop_assert_eq!(clear(&offers, &orders), expected);
    }

    #[test]
    fn no_lower_price_of_one_slot_supports_the_fills((offers, orders) in markets()) {
        let clearing = clear(&offers, &orders);
        for (&slot, cleared) in &clearing.slots {
            let Some(price) = cleared.price.filter(|price| *price > Price::ZERO) else { continue };
            let mut cheaper = clearing.clone();
            cheaper.slots.get_mut(&slot).unwrap().price = Price::from_micro(price.micro() - 1);
            prop_assert!(!verify(&offers, &orders, &cheaper).is_empty(), "slot {}", slot);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn a_crowded_market_is_cleared_exactly(seed in any::<u64>()) {
        let mut random = fastrand::Rng::with_seed(seed);
        let offers: Vec<Offer> = (0..20)
            .map(|slot| {
                let step = |_| (random.u64(0..400), random.u64(0..500));
                offer(slot, &(0..4).map(step).collect::<Vec<_>>())
            })
            .collect();
        let mut orders: Vec<Order> = (0..600)
            .map(|id| {
                let first = random.u64(0..20);
                let slots = (first, (first + random.u64(0..8)).min(19));
                order(id, slots, random.u64(0..30), random.u64(0..900))
            })
            .collect();
        let clearing = clear(&offers, &orders);
        prop_assert_eq!(verify(&offers, &orders, &clearing), vec![]);
        random.shuffle(&mut orders);
        prop_assert_eq!(clear(&offers, &orders), clearing);
    }
}
