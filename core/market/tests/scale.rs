//! Large markets, cleared and verified. Slow in a debug build, so they run on request:
//! `cargo test --release -p headroom-market --test scale -- --ignored`.

#![expect(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]

use std::time::{Duration, Instant};

use headroom_market::{Auction, Offer, OfferStep, Order, Seller, clear, verify};
use headroom_units::{BidId, Price, Slot, SlotRange, Units};

/// A region with a daily curve of spare capacity and steps like a forecast's, and orders of mixed
/// length and worth for about `demand_percent` of it.
fn region(slots: u64, orders: u64, demand_percent: u64, seed: u64) -> (Vec<Offer>, Vec<Order>) {
    let mut random = fastrand::Rng::with_seed(seed);
    let price = |micro| Price::from_micro(micro).unwrap();
    let mut capacity = 0;
    let offers: Vec<Offer> = (0..slots)
        .map(|slot| {
            let phase = slot * 100 / slots;
            let spare = 20_000 + 300 * phase.abs_diff(50) + random.u64(0..500);
            capacity += spare;
            let steps = (0..8_u32).map(|step| OfferStep {
                units: Units::saturating(spare / 8),
                price: price(50 + 40 * i64::from(2_u32.pow(step))),
            });
            Offer {
                seller: Seller::Operator,
                region: "east".parse().unwrap(),
                slot: Slot::new(slot),
                steps: steps.collect(),
            }
        })
        .collect();
    let mean = capacity * demand_percent / 100 / orders / 12;
    let orders = (0..orders)
        .map(|id| {
            let first = random.u64(0..slots);
            let last = (first + random.u64(0..24)).min(slots - 1);
            Order::divisible(
                BidId::new(id),
                SlotRange::new(Slot::new(first), Slot::new(last)).unwrap(),
                Units::saturating(random.u64(1..=2 * mean.max(1))),
                price(random.i64(50..4_000)),
            )
        })
        .collect();
    (offers, orders)
}

fn clears(slots: u64, orders: u64, demand_percent: u64) {
    let (offers, orders) = region(slots, orders, demand_percent, 7);
    let clearing = clear(&offers, &orders);
    assert_eq!(verify(&offers, &orders, &clearing), []);
    assert!(clearing.welfare > 0);
}

#[test]
#[ignore = "slow in a debug build"]
fn two_thousand_orders_for_a_day_of_quarters() {
    clears(100, 2_000, 150);
}

#[test]
#[ignore = "slow in a debug build"]
fn two_thousand_orders_for_five_times_the_capacity() {
    clears(100, 2_000, 500);
}

#[test]
#[ignore = "slow in a debug build"]
fn ten_thousand_orders_for_a_day_of_five_minutes() {
    clears(288, 10_000, 150);
}

#[test]
#[ignore = "slow in a debug build"]
fn two_thousand_orders_for_half_the_capacity() {
    clears(100, 2_000, 50);
}

#[test]
#[ignore = "slow in a debug build"]
fn a_hundred_thousand_orders_for_a_day_of_five_minutes() {
    clears(288, 100_000, 150);
}

/// What it takes to clear again after one more order, ten thousand times.
#[test]
#[ignore = "slow in a debug build"]
#[expect(clippy::disallowed_methods, reason = "a measurement needs a clock")]
fn one_more_order_for_ten_thousand() {
    let (offers, orders) = region(288, 20_000, 300, 7);
    let (first, more) = orders.split_at(10_000);
    let mut auction = Auction::new(&offers, first);
    let _ = auction.clear();
    let mut times: Vec<Duration> = Vec::new();
    let mut last = None;
    for order in more {
        let start = Instant::now();
        auction.insert(order);
        last = Some(auction.clear());
        times.push(start.elapsed());
    }
    assert_eq!(last, Some(clear(&offers, &orders)));
    times.sort_unstable();
    let at = |per_mille: usize| times[times.len() * per_mille / 1_000].as_secs_f64() * 1e3;
    eprintln!(
        "one more order: median {:.2} ms, p99 {:.2} ms, most {:.2} ms",
        at(500),
        at(990),
        at(999)
    );
}
