//! The auction against the independent verifier and against trying everything, on random markets.

#![expect(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]

mod build;
mod exhaust;

use build::{offer, order};
use exhaust::best;
use headroom_market::{Auction, Offer, Order, clear, verify};
use headroom_units::Price;
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

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
    fn one_more_order_is_cleared_as_if_it_had_been_there((offers, orders) in markets()) {
        let mut auction = Auction::new(&offers, &[]);
        for (number, order) in orders.iter().enumerate() {
            auction.insert(order);
            prop_assert_eq!(auction.clear(), clear(&offers, &orders[..=number]));
        }
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
