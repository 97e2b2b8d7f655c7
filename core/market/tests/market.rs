//! The market by example: a short script of commands and the printed result.
//!
//! Slots are 10 s long and the lead is 5 s; prices are micro-units, times are seconds.

#![expect(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]

mod script;

use std::time::Duration;

use expect_test::expect;
use headroom_market::{Gate, Rules};
use script::{check, check_with, rules};

#[test]
fn a_bid_becomes_a_contract_and_is_settled() {
    check(
        "0  open shop
         0  credit shop 10000
         0  bid shop 1-2 10@30
         4  clear 1:50@20 2:5@20,5@25
         20 settle 1 1 100 0 100000
         30 settle 1 2 40 20 75000",
        &expect![[r#"
            0 open shop
               shop may trade
            0 credit shop 10000
               shop was credited 10000 by the operator
            0 bid shop 1-2 10@30
               bid-1 placed, holds 600
            4 clear 1:50@20 2:5@20,5@25
               auction; slot 1: 10 of 50 at 20; slot 2: 10 of 10 at 25
               contract-1 for bid-1: 10 units at [20, 25]
               bid-1 releases 150
            20 settle 1 1 100 0 100000
               contract-1 slot 1: charge 200, refund 0, penalty 0, undelivered 0
            30 settle 1 2 40 20 75000
               contract-1 slot 2: charge 250, refund 63, penalty 175, undelivered 25000
               contract-1 is settled
            external -10000
            purchaser:shop:available 9788
            purchaser:shop:held 0
            operator:revenue 387
            operator:penalties -175
            bid-1 Filled 10 of 10 units
        "#]],
    );
}

#[test]
fn the_unfilled_part_stays_open_and_expires_with_its_money() {
    check(
        "0  open shop
         0  open news
         0  credit shop 1000
         0  credit news 1000
         0  bid shop 1-1 8@30
         0  bid news 1-1 8@25
         1  clear 1:10@10
         2  clear 1:10@10
         3  clear 1:12@10
         6  clear 1:99@10",
        &expect![[r#"
            0 open shop
               shop may trade
            0 open news
               news may trade
            0 credit shop 1000
               shop was credited 1000 by the operator
            0 credit news 1000
               news was credited 1000 by the operator
            0 bid shop 1-1 8@30
               bid-1 placed, holds 240
            0 bid news 1-1 8@25
               bid-2 placed, holds 200
            1 clear 1:10@10
               auction; slot 1: 10 of 10 at 25
               contract-1 for bid-1: 8 units at [25]
               bid-1 releases 40
               contract-2 for bid-2: 2 units at [25]
            2 clear 1:10@10
               auction; slot 1: 0 of 0 at -
            3 clear 1:12@10
               auction; slot 1: 2 of 2 at 25
               contract-3 for bid-2: 2 units at [25]
            6 clear 1:99@10
               bid-2 expired, releases 100
            external -2000
            purchaser:news:available 900
            purchaser:shop:available 800
            purchaser:news:held 100
            purchaser:shop:held 200
            bid-1 Filled 8 of 8 units
            bid-2 Expired 4 of 8 units
        "#]],
    );
}

#[test]
fn no_sale_is_made_below_the_reserve_or_beyond_the_offer() {
    check(
        "0  open shop
         0  credit shop 5000
         0  bid shop 1-3 4@10
         1  clear 1:50@1 2:50@1
         2  clear 1:50@1 2:50@1 3:3@1
         3  cancel shop 1",
        &expect![[r#"
            0 open shop
               shop may trade
            0 credit shop 5000
               shop was credited 5000 by the operator
            0 bid shop 1-3 4@10
               bid-1 placed, holds 120
            1 clear 1:50@1 2:50@1
               auction; slot 1: 0 of 50 at -; slot 2: 0 of 50 at -
            2 clear 1:50@1 2:50@1 3:3@1
               auction; slot 1: 3 of 50 at 5; slot 2: 3 of 50 at 5; slot 3: 3 of 3 at 20
               contract-1 for bid-1: 3 units at [5, 5, 20]
            3 cancel shop 1
               bid-1 cancelled, releases 30
            external -5000
            purchaser:shop:available 4910
            purchaser:shop:held 90
            bid-1 Cancelled 3 of 4 units
        "#]],
    );
}

#[test]
fn a_refused_bid_says_what_would_be_accepted() {
    check(
        "0  credit shop 5
         0  open shop
         0  open shop
         0  credit shop 0
         0  credit shop 9223372036854775807
         0  credit shop 100
         6  bid shop 1-1 1@10
         6  bid shop 2-40 1@10
         6  bid shop 2-2 0@10
         6  bid shop 2-2 1@4
         6  bid shop 2-3 1@500000000001
         6  bid shop 2-2 1000000000@1000000000000
         6  bid shop 2-3 6@10
         6  bid news 2-3 6@10",
        &expect![[r#"
            0 credit shop 5
               refused: purchaser shop has no account; open one first
            0 open shop
               shop may trade
            0 open shop
               refused: purchaser shop has an account already; use it, or choose another id
            0 credit shop 0
               refused: a credit of 0 is not possible; accepted are amounts above zero
            0 credit shop 9223372036854775807
               refused: all money that came in is out of range: money is counted up to 4.6 million million; use smaller amounts
            0 credit shop 100
               shop was credited 100 by the operator
            6 bid shop 1-1 1@10
               refused: slot 1 can no longer be bought; the first slot still open is 2
            6 bid shop 2-40 1@10
               refused: slot 40 is not for sale yet; the last slot for sale now is 12
            6 bid shop 2-2 0@10
               refused: a bid for zero units buys nothing; accepted is 1 unit or more
            6 bid shop 2-2 1@4
               refused: a limit of 0.000004 per unit and slot is below the reserve price of 0.000005
            6 bid shop 2-3 1@500000000001
               refused: a limit of 500000.000001 for 2 slots is out of range; the highest for so many is 500000
            6 bid shop 2-2 1000000000@1000000000000
               refused: the bid is out of range: money is counted up to 4.6 million million; use smaller amounts
            6 bid shop 2-3 6@10
               refused: the bid needs 0.00012 and 0.0001 is available; add credit, or bid for less
            6 bid news 2-3 6@10
               refused: purchaser news has no account; open one first
            external -100
            purchaser:shop:available 100
        "#]],
    );
}

#[test]
fn other_refusals_say_what_would_be_accepted() {
    check(
        "0  open shop
         0  open news
         0  credit shop 100
         0  bid shop 2-3 5@10
         6  cancel shop 9
         6  cancel news 1
         6  clear 2:1@1 2:2@1
         6  clear 2:5@7 3:5@7
         6  cancel shop 1
         6  settle 9 2 0 0 0
         6  settle 1 1 0 0 0
         6  settle 1 2 0 0 0
         30 settle 1 2 9999999999999999 0 0
         30 settle 1 2 0 0 0
         30 settle 1 2 0 0 0",
        &expect![[r#"
            0 open shop
               shop may trade
            0 open news
               news may trade
            0 credit shop 100
               shop was credited 100 by the operator
            0 bid shop 2-3 5@10
               bid-1 placed, holds 100
            6 cancel shop 9
               refused: bid-9 does not exist; use an id that was given out when a bid was placed
            6 cancel news 1
               refused: bid-1 is not a bid of purchaser news; only its own purchaser can cancel it
            6 clear 2:1@1 2:2@1
               refused: slot 2 is offered twice; an auction takes one offer per slot
            6 clear 2:5@7 3:5@7
               auction; slot 2: 5 of 5 at 7; slot 3: 5 of 5 at 7
               contract-1 for bid-1: 5 units at [7, 7]
               bid-1 releases 30
            6 cancel shop 1
               refused: bid-1 cannot be cancelled: it is filled; only open bids can
            6 settle 9 2 0 0 0
               refused: contract-9 does not exist; use an id that was given out when a contract was made
            6 settle 1 1 0 0 0
               refused: slot 1 is not part of contract-1; its slots are 2 to 3
            6 settle 1 2 0 0 0
               refused: slot 2 is not over yet; it can be settled in 24 s
            30 settle 1 2 9999999999999999 0 0
               refused: the delivery to contract-1 reports 9999999999999999 requests served; accepted are at most 1000000000000000
            30 settle 1 2 0 0 0
               contract-1 slot 2: charge 35, refund 35, penalty 350, undelivered 50000
            30 settle 1 2 0 0 0
               refused: slot 2 of contract-1 was settled already; nothing is left to settle
            external -100
            purchaser:shop:available 415
            purchaser:shop:held 35
            operator:revenue 0
            operator:penalties -350
            bid-1 Filled 5 of 5 units
        "#]],
    );
}

#[test]
fn the_stages_of_a_contract_are_noted_once() {
    check(
        "0  open shop
         0  credit shop 10000
         0  bid shop 2-3 10@30
         4  clear 2:50@20 3:50@20
         5  advance
         6  advance 1
         7  advance 1
         20 advance 1
         36 advance 1
         40 settle 1 2 100 0 100000
         40 settle 1 3 100 0 100000
         41 advance",
        &expect![[r#"
            0 open shop
               shop may trade
            0 credit shop 10000
               shop was credited 10000 by the operator
            0 bid shop 2-3 10@30
               bid-1 placed, holds 600
            4 clear 2:50@20 3:50@20
               auction; slot 2: 10 of 50 at 20; slot 3: 10 of 50 at 20
               contract-1 for bid-1: 10 units at [20, 20]
               bid-1 releases 200
            5 advance
            6 advance 1
               contract-1 is primed
            7 advance 1
            20 advance 1
               contract-1 is active
            36 advance 1
               contract-1 is ramping-down
            40 settle 1 2 100 0 100000
               contract-1 slot 2: charge 200, refund 0, penalty 0, undelivered 0
            40 settle 1 3 100 0 100000
               contract-1 slot 3: charge 200, refund 0, penalty 0, undelivered 0
               contract-1 is settled
            41 advance
            external -10000
            purchaser:shop:available 9600
            purchaser:shop:held 0
            operator:revenue 400
            bid-1 Filled 10 of 10 units
        "#]],
    );
}

#[test]
fn who_pays_the_least_is_recalled_first_and_pays_for_the_time_it_had() {
    check(
        "0  open shop
         0  open news
         0  credit shop 10000
         0  credit news 10000
         0  interruptible shop 2-4 10@30
         1  clear 2:10@20 3:10@20 4:10@20
         1  interruptible news 2-4 10@60
         2  clear 2:20@50 3:20@50 4:20@50
         24 recall 2 11
         24 recall 3 11
         24 recall 3 11
         25 advance 1 2
         30 settle 1 2 100 0 100000
         40 settle 1 3 20 0 20000
         40 settle 2 3 20 0 10000
         41 advance",
        &expect![[r#"
            0 open shop
               shop may trade
            0 open news
               news may trade
            0 credit shop 10000
               shop was credited 10000 by the operator
            0 credit news 10000
               news was credited 10000 by the operator
            0 interruptible shop 2-4 10@30
               bid-1 placed, holds 900
            1 clear 2:10@20 3:10@20 4:10@20
               auction; slot 2: 10 of 10 at 20; slot 3: 10 of 10 at 20; slot 4: 10 of 10 at 20
               contract-1 for bid-1: 10 units at [20, 20, 20]
               bid-1 releases 300
            1 interruptible news 2-4 10@60
               bid-2 placed, holds 1800
            2 clear 2:20@50 3:20@50 4:20@50
               auction; slot 2: 10 of 10 at 50; slot 3: 10 of 10 at 50; slot 4: 10 of 10 at 50
               contract-2 for bid-2: 10 units at [50, 50, 50]
               bid-2 releases 300
            24 recall 2 11
               refused: nothing of slot 2 can be recalled any more, as notice has to be given; the first slot that can is 3
            24 recall 3 11
               contract-1 recalled, ends at 32, releases 200
               contract-2 recalled, ends at 32, releases 500
            24 recall 3 11
               refused: no interruptible contract in east holds slot 3, or those that do were recalled already; firm contracts stay
            25 advance 1 2
               contract-1 is active
               contract-2 is active
            30 settle 1 2 100 0 100000
               contract-1 slot 2: charge 200, refund 0, penalty 0, undelivered 0
            40 settle 1 3 20 0 20000
               contract-1 slot 3: charge 200, refund 160, penalty 0, undelivered 0
               contract-1 is settled
            40 settle 2 3 20 0 10000
               contract-2 slot 3: charge 500, refund 450, penalty 0, undelivered 10000
            41 advance
               contract-2 is ramping-down
            external -20000
            purchaser:news:available 9450
            purchaser:shop:available 9760
            purchaser:news:held 500
            purchaser:shop:held 0
            operator:revenue 290
            bid-1 Filled 10 of 10 units
            bid-2 Filled 10 of 10 units
        "#]],
    );
}

#[test]
fn a_day_is_sold_ahead_at_its_gate_and_from_then_on_at_once() {
    // Days of three slots; the gate of slots 6 to 8, which begin at 60, closes at 45.
    let gate = Gate { day_slots: 3, ahead: Duration::from_secs(15) };
    check_with(
        Rules { gate: Some(gate), ..rules() },
        "20 open shop
         20 open news
         20 credit shop 3000
         20 credit news 3000
         20 bid shop 6-7 8@30
         20 bid shop 5-6 1@40
         21 clear 5:10@10 6:10@10 7:10@10
         30 bid news 6-8 9@60
         44 clear 5:10@10
         45 clear 5:10@10 6:10@10 7:10@10 8:10@10
         46 bid shop 8-8 1@20
         47 clear 6:10@10 7:10@10 8:10@10",
        &expect![[r#"
            20 open shop
               shop may trade
            20 open news
               news may trade
            20 credit shop 3000
               shop was credited 3000 by the operator
            20 credit news 3000
               news was credited 3000 by the operator
            20 bid shop 6-7 8@30
               bid-1 placed, holds 480
            20 bid shop 5-6 1@40
               bid-2 placed, holds 80
            21 clear 5:10@10 6:10@10 7:10@10
            30 bid news 6-8 9@60
               bid-3 placed, holds 1620
            44 clear 5:10@10
            45 clear 5:10@10 6:10@10 7:10@10 8:10@10
               auction; slot 5: 1 of 10 at 10; slot 6: 10 of 10 at 50; slot 7: 9 of 10 at 10; slot 8: 9 of 10 at 10
               contract-1 for bid-2: 1 unit at [10, 50]
               bid-2 releases 20
               contract-2 for bid-3: 9 units at [50, 10, 10]
               bid-3 releases 990
            46 bid shop 8-8 1@20
               bid-4 placed, holds 20
            47 clear 6:10@10 7:10@10 8:10@10
               auction; slot 6: 0 of 0 at -; slot 7: 0 of 1 at -; slot 8: 1 of 1 at 10
               contract-3 for bid-4: 1 unit at [10]
               bid-4 releases 10
            external -6000
            purchaser:news:available 2370
            purchaser:shop:available 2450
            purchaser:news:held 630
            purchaser:shop:held 550
            bid-1 Open 0 of 8 units
            bid-2 Filled 1 of 1 unit
            bid-3 Filled 9 of 9 units
            bid-4 Filled 1 of 1 unit
        "#]],
    );
}
