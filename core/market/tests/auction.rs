//! The auction and its verifier by example.

#![expect(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]

mod build;

use build::{offer, order, price};
use expect_test::{Expect, expect};
use headroom_market::{Clearing, Flaw, Offer, Order, clear, verify};
use headroom_units::{BidId, Price, Slot, Units};

/// Clears a market written as lines and compares the printed result.
/// `sell SLOT UNITS@PRICE ...` offers, `buy FIRST-LAST UNITS@LIMIT` orders, in micro-units.
fn check(script: &str, expected: &Expect) {
    let (offers, orders) = parse(script);
    let clearing = clear(&offers, &orders);
    assert_eq!(verify(&offers, &orders, &clearing), []);
    expected.assert_eq(&print(&clearing));
}

fn parse(script: &str) -> (Vec<Offer>, Vec<Order>) {
    let (mut offers, mut orders) = (Vec::new(), Vec::new());
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let lots = || words[2..].iter().map(|lot| lot.split_once('@').unwrap());
        let number = |text: &str| text.parse::<u64>().unwrap();
        if words[0] == "sell" {
            let steps: Vec<_> = lots().map(|(u, p)| (number(u), number(p))).collect();
            offers.push(offer(number(words[1]), &steps));
        } else {
            let (first, last) = words[1].split_once('-').unwrap();
            let (units, limit) = lots().next().unwrap();
            let id = orders.len() as u64 + 1;
            orders.push(order(id, (number(first), number(last)), number(units), number(limit)));
        }
    }
    (offers, orders)
}

fn print(clearing: &Clearing) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for (slot, cleared) in &clearing.slots {
        let price = cleared.price.map_or("-".to_owned(), |price| price.micro().to_string());
        let (sold, offered) = (cleared.sold.count(), cleared.offered.count());
        writeln!(text, "slot {slot}: {sold} of {offered} at {price}").unwrap();
    }
    for (bid, units) in &clearing.fills {
        writeln!(text, "{bid}: {units}").unwrap();
    }
    writeln!(text, "welfare {}", clearing.welfare).unwrap();
    text
}

#[test]
fn demand_below_supply_pays_the_ask_and_above_it_the_best_losing_bid() {
    check(
        "sell 1 10@5 10@8
         buy 1-1 4@20",
        &expect![[r#"
            slot 1: 4 of 20 at 5
            bid-1: 4 units
            welfare 60
        "#]],
    );
    check(
        "sell 1 10@5
         buy 1-1 8@20
         buy 1-1 8@12
         buy 1-1 8@7",
        &expect![[r#"
            slot 1: 10 of 10 at 12
            bid-1: 8 units
            bid-2: 2 units
            welfare 134
        "#]],
    );
}

#[test]
fn a_bid_at_the_ask_is_filled() {
    check(
        "sell 1 10@5
         sell 2 10@5
         buy 1-2 4@5",
        &expect![[r#"
            slot 1: 4 of 10 at 5
            slot 2: 4 of 10 at 5
            bid-1: 4 units
            welfare 0
        "#]],
    );
}

#[test]
fn a_long_order_competes_with_the_sum_of_short_ones() {
    check(
        "sell 1 10@0
         sell 2 10@0
         sell 3 10@0
         buy 1-3 10@10
         buy 1-1 10@12
         buy 2-2 10@9
         buy 3-3 10@8",
        &expect![[r#"
            slot 1: 10 of 10 at 12
            slot 2: 10 of 10 at 9
            slot 3: 10 of 10 at 8
            bid-1: 10 units
            welfare 300
        "#]],
    );
}

#[test]
fn equal_orders_share_pro_rata_then_by_remainder_then_by_id() {
    check(
        "sell 1 10@0
         buy 1-1 9@7
         buy 1-1 3@7
         buy 1-1 3@7",
        &expect![[r#"
            slot 1: 10 of 10 at 7
            bid-1: 6 units
            bid-2: 2 units
            bid-3: 2 units
            welfare 70
        "#]],
    );
    check(
        "sell 1 2@0
         buy 1-1 1@7
         buy 1-1 1@7
         buy 1-1 1@7",
        &expect![[r#"
            slot 1: 2 of 2 at 7
            bid-1: 1 unit
            bid-2: 1 unit
            welfare 14
        "#]],
    );
}

#[test]
fn a_slot_without_an_offer_stops_the_orders_that_need_it() {
    check(
        "sell 1 10@1
         sell 2 0@1
         sell 4 10@1
         buy 1-2 5@100
         buy 4-4 5@3
         buy 4-5 5@100",
        &expect![[r#"
            slot 1: 0 of 10 at -
            slot 2: 0 of 0 at -
            slot 4: 5 of 10 at 1
            bid-2: 5 units
            welfare 10
        "#]],
    );
}

#[test]
fn an_order_that_fails_for_a_dear_slot_does_not_raise_the_price_of_another() {
    // The order over both slots fails by slot 1 alone; slot 2 is sold out at any price from 5.
    check(
        "sell 1 10@10
         sell 2 4@5
         buy 2-2 4@20
         buy 1-2 1@7",
        &expect![[r#"
            slot 1: 0 of 10 at -
            slot 2: 4 of 4 at 5
            bid-1: 4 units
            welfare 60
        "#]],
    );
}

#[test]
fn the_greatest_values_do_not_overflow() {
    let all = (0, 35_135);
    let offers: Vec<Offer> = (all.0..=all.1)
        .map(|slot| offer(slot, &[(1_000_000_000, 0), (1_000_000_000, 1_000_000_000_000)]))
        .collect();
    let orders: Vec<Order> = (1..=20)
        .map(|id| order(id, (id, all.1), 1_000_000_000, 1_000_000_000_000))
        .chain((21..=40).map(|id| order(id, (id, id), 1_000_000_000, 1_000_000_000_000)))
        .collect();
    let clearing = clear(&offers, &orders);
    assert_eq!(verify(&offers, &orders, &clearing), []);
    let reached = clearing.slots.values().filter_map(|slot| slot.price).max();
    assert_eq!(reached, Some(Price::MAX));
}

#[test]
fn the_verifier_sees_what_is_wrong() {
    let (offers, orders) = parse("sell 1 10@5 10@8\n buy 1-1 12@20\n buy 1-1 3@6");
    let right = clear(&offers, &orders);
    assert_eq!(verify(&offers, &orders, &right), []);
    let slot = Slot::new(1);
    let flaws = |change: &dyn Fn(&mut Clearing)| {
        let mut wrong = right.clone();
        change(&mut wrong);
        verify(&offers, &orders, &wrong)
    };
    let has = |flaws: &[Flaw], flaw: &Flaw| assert!(flaws.contains(flaw), "{flaws:?}");
    let set_price =
        |micro| flaws(&move |wrong| wrong.slots.get_mut(&slot).unwrap().price = Some(price(micro)));
    has(&set_price(7), &Flaw::BelowAsk { slot, ask: price(8) });
    has(&set_price(9), &Flaw::UnsoldCheaper { slot, ask: price(8) });
    has(&set_price(21), &Flaw::AboveLimit { bid: BidId::new(1), cost_micro: 21, value_micro: 20 });
    has(&set_price(5), &Flaw::LeftOut { bid: BidId::new(2) });
    has(
        &flaws(&|wrong| wrong.welfare += 1),
        &Flaw::Welfare { counted: right.welfare, stated: right.welfare + 1 },
    );
    let give = |bid, units| {
        flaws(&move |wrong| {
            wrong.fills.insert(BidId::new(bid), Units::saturating(units));
        })
    };
    has(&give(9, 1), &Flaw::UnknownOrder { bid: BidId::new(9) });
    has(
        &give(1, 13),
        &Flaw::Overfilled {
            bid: BidId::new(1),
            asked: Units::saturating(12),
            filled: Units::saturating(13),
        },
    );
    has(&give(2, 1), &Flaw::Miscounted { slot });
    has(&give(2, 9), &Flaw::Oversold { slot, offered: Units::saturating(20), sold: 21 });
}
