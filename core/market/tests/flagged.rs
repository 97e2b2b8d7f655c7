//! Flagged orders, several sellers and several regions: by example and on random markets.

#![expect(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]

mod build;
mod exhaust;

use std::collections::BTreeMap;

use build::{offer, order};
use exhaust::best;
use headroom_market::{
    Auction, Because, CallClearing, Clearing, Group, Offer, Order, Seller, clear, clear_call,
    in_turn, verify,
};
use headroom_units::{BidId, RegionId, Slot, Units};
use proptest::prelude::*;

fn least(order: Order, minimum: u64) -> Order {
    Order { minimum: Units::new(minimum).unwrap(), ..order }
}

fn one_of(order: Order, group: u64) -> Order {
    Order { group: Some(Group::new(group)), ..order }
}

fn filled(clearing: &Clearing) -> Vec<(u64, u64)> {
    clearing.fills.iter().map(|(id, units)| (id.number(), units.count())).collect()
}

#[test]
fn an_order_of_all_or_nothing_that_does_not_fit_is_told() {
    let offers = [offer(1, &[(10, 1)])];
    let orders = [order(1, (1, 1), 8, 5), least(order(2, (1, 1), 4, 3), 4)];
    let clearing = clear(&offers, &orders);
    assert_eq!(filled(&clearing), [(1, 8)]);
    let rejected = clearing.rejected[&BidId::new(2)];
    assert_eq!((rejected.surplus_micro, rejected.because), (2, Because::Minimum));
    // At the price 1 orders could gain 8 * 4 and 4 * 2; as divisible ones 8 * 4 + 2 * 2.
    assert_eq!((clearing.welfare, clearing.bound, clearing.relaxed), (32, 36, 36));
    assert_eq!(verify(&offers, &orders, &clearing), []);
}

#[test]
fn at_equal_worth_the_order_with_a_minimum_goes_first() {
    let offers = [offer(1, &[(10, 1)])];
    let orders = [order(1, (1, 1), 8, 5), least(order(2, (1, 1), 4, 5), 4)];
    assert_eq!(filled(&clear(&offers, &orders)), [(1, 6), (2, 4)]);
}

#[test]
fn who_was_left_out_too_early_comes_back() {
    // Both are filled in part at first and left out; one of them fits alone.
    let offers = [offer(1, &[(4, 0)]), offer(2, &[(4, 0)])];
    let orders = [
        least(order(1, (1, 1), 4, 9), 4),
        least(order(2, (1, 2), 4, 8), 4),
        least(order(3, (2, 2), 5, 7), 5),
    ];
    let clearing = clear(&offers, &orders);
    assert_eq!(filled(&clearing), [(2, 4)]);
    assert_eq!(verify(&offers, &orders, &clearing), []);
}

#[test]
fn one_of_a_group_is_filled_the_one_that_gains_the_most() {
    let offers = [offer(1, &[(10, 1)]), offer(2, &[(10, 1)])];
    let orders = [one_of(order(1, (1, 1), 3, 5), 7), one_of(order(2, (2, 2), 4, 6), 7)];
    let clearing = clear(&offers, &orders);
    assert_eq!(filled(&clearing), [(2, 4)]);
    assert_eq!(clearing.rejected[&BidId::new(1)].because, Because::Exclusive);
    assert_eq!((clearing.welfare, clearing.bound, clearing.relaxed), (20, 20, 32));
}

#[test]
fn sellers_at_one_price_sell_pro_rata() {
    let resale = |units| Offer {
        seller: Seller::Purchaser("shop".parse().unwrap()),
        ..offer(1, &[(units, 3)])
    };
    let offers = [offer(1, &[(2, 1), (5, 3)]), resale(5)];
    let clearing = clear(&offers, &[order(1, (1, 1), 9, 8)]);
    let sold = |seller: Seller| clearing.sales[&(Slot::new(1), seller)];
    // Two at 1 are the operator's; of seven at 3 four are the operator's, who is the first.
    let operator = sold(Seller::Operator);
    assert_eq!((operator.units.count(), operator.receipts_micro), (6, 18));
    let other = sold(Seller::Purchaser("shop".parse().unwrap()));
    assert_eq!((other.units.count(), other.receipts_micro), (3, 9));
}

/// Clears regions `a`, `b`, ... together.
fn call(regions: &[(Vec<Offer>, Vec<Order>)]) -> CallClearing {
    let names = ["a", "b", "c"].map(|name| name.parse::<RegionId>().unwrap());
    let auctions = regions.iter().map(|(offers, orders)| Auction::new(offers, orders));
    clear_call(&mut names.into_iter().zip(auctions).collect(), &in_turn)
}

#[test]
fn an_order_for_any_region_goes_where_it_gains_the_most() {
    let any = one_of(order(1, (1, 1), 5, 9), 1);
    let regions = [(vec![offer(1, &[(5, 4)])], vec![any]), (vec![offer(1, &[(5, 2)])], vec![any])];
    let cleared = call(&regions);
    let fills: Vec<_> = cleared.regions.values().map(filled).collect();
    assert_eq!(fills, [vec![], vec![(1, 5)]]);
    assert_eq!((cleared.welfare, cleared.bound), (35, 35));
    let first = cleared.regions.first_key_value().unwrap().1;
    assert_eq!(first.rejected[&BidId::new(1)].because, Because::Exclusive);
}

#[test]
fn an_order_moves_where_others_have_made_room() {
    // Where it would be the cheapest, another order for any region wants all there is.
    let one = |id, units, limit| one_of(order(id, (1, 1), units, limit), id);
    let orders = vec![one(1, 5, 9), one(2, 5, 8)];
    let regions =
        [(vec![offer(1, &[(5, 4)])], orders.clone()), (vec![offer(1, &[(5, 2)])], orders)];
    let cleared = call(&regions);
    assert_eq!((cleared.welfare, cleared.bound >= 55), (55, true));
}

/// Small markets in which every other order is flagged.
fn markets() -> impl Strategy<Value = (Vec<Offer>, Vec<Order>)> {
    let steps = prop::collection::vec((0..6_u64, 0..9_u64), 0..3);
    let offers = prop::collection::vec((0..4_u64, steps), 0..6);
    let orders =
        prop::collection::vec((0..4_u64, 0..3_u64, 1..5_u64, 0..12_u64, 0..5_u64, 0..6_u64), 0..6);
    (offers, orders).prop_map(|(offers, orders)| {
        let offers = offers.iter().map(|(slot, steps)| offer(*slot, steps)).collect();
        let orders =
            orders.iter().zip(1..).map(|(&(first, more, units, limit, minimum, group), id)| {
                let divisible = order(id, (first, first + more), units, limit);
                let least = least(divisible, minimum.min(units));
                if group < 2 { one_of(least, group) } else { least }
            });
        (offers, orders.collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn what_is_filled_is_right_and_the_bound_holds((offers, orders) in markets()) {
        let clearing = clear(&offers, &orders);
        prop_assert_eq!(verify(&offers, &orders, &clearing), vec![]);
        let (most, _) = best(&offers, &orders);
        prop_assert!(clearing.welfare <= most && most <= clearing.bound);
    }

    #[test]
    fn the_order_of_the_inputs_does_not_matter(
        ((offers, orders), seed) in (markets(), any::<u64>())
    ) {
        let expected = clear(&offers, &orders);
        let mut random = fastrand::Rng::with_seed(seed);
        let mut shuffled = orders.clone();
        random.shuffle(&mut shuffled);
        prop_assert_eq!(&clear(&offers, &shuffled), &expected);
        let mut auction = Auction::new(&offers, &[]);
        let cleared = shuffled.iter().map(|order| {
            auction.insert(order);
            auction.clear()
        });
        prop_assert_eq!(cleared.last().unwrap_or_else(|| clear(&offers, &[])), expected);
    }

    #[test]
    fn regions_together_keep_the_rules((first, second) in (markets(), markets())) {
        let cleared = call(&[first.clone(), second.clone()]);
        let mut filled: BTreeMap<Group, u32> = BTreeMap::new();
        let mut welfare = 0;
        for ((offers, orders), clearing) in [&first, &second].into_iter().zip(cleared.regions.values()) {
            prop_assert_eq!(verify(offers, orders, clearing), vec![]);
            welfare += clearing.welfare;
            for order in orders.iter().filter(|order| clearing.fills.contains_key(&order.id)) {
                if let Some(group) = order.group {
                    *filled.entry(group).or_default() += 1;
                }
            }
        }
        prop_assert!(filled.values().all(|&filled| filled == 1), "{:?}", filled);
        prop_assert_eq!(welfare, cleared.welfare);
        // Both regions as one market with slots of their own.
        let far = |slot: Slot| slot.plus(100);
        let (mut offers, mut orders) = first;
        offers.extend(second.0.into_iter().map(|o| Offer { slot: far(o.slot), ..o }));
        orders.extend(second.1.into_iter().map(|o| Order {
            slots: headroom_units::SlotRange::new(far(o.slots.first()), far(o.slots.last())).unwrap(),
            ..o
        }));
        let (most, _) = best(&offers, &orders);
        prop_assert!(cleared.welfare <= most && most <= cleared.bound, "{} {} {}", cleared.welfare, most, cleared.bound);
    }
}
