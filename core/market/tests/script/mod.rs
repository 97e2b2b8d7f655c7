//! Runs a script of market commands and prints what happened. Used by the market's tests.

use std::{fmt::Write, time::Duration};

use expect_test::Expect;
use headroom_market::{
    BidRecord, ClearedSlot, Command, Delivery, Event, Market, Offer, OfferStep, Rules, Seller,
    Settlement,
};
use headroom_units::{
    BidId, Class, ContractId, Money, Price, RegionId, Slot, SlotLength, SlotRange, Timestamp,
    UnitSize, Units,
};

/// Runs the script and compares the events, refusals and balances with what is expected.
pub(crate) fn check(script: &str, expected: &Expect) {
    check_with(rules(), script, expected);
}

/// The same under other rules.
pub(crate) fn check_with(rules: Rules, script: &str, expected: &Expect) {
    let mut market = Market::new(rules);
    let mut printed = String::new();
    for line in script.lines().map(str::trim) {
        let (seconds, text) = line.split_once(' ').unwrap();
        let now = Timestamp::from_seconds(seconds.parse().unwrap());
        let text = text.trim();
        writeln!(printed, "{seconds} {text}").unwrap();
        match market.decide(command(text), now) {
            Err(rejection) => writeln!(printed, "   refused: {rejection}").unwrap(),
            Ok(events) => {
                for event in events {
                    writeln!(printed, "   {}", describe(&event)).unwrap();
                    market.apply(&event);
                }
            }
        }
        assert_eq!(market.ledger().sum(), 0);
    }
    for (account, balance) in market.ledger().accounts() {
        writeln!(printed, "{account} {}", balance.micro()).unwrap();
    }
    for BidRecord { bid, status, filled, .. } in market.bids() {
        writeln!(printed, "{} {status:?} {} of {}", bid.id, filled.count(), bid.units).unwrap();
    }
    expected.assert_eq(&printed);
}

pub(crate) fn rules() -> Rules {
    Rules {
        slot_length: SlotLength::from_seconds(10).unwrap(),
        unit: UnitSize::default(),
        lead: Duration::from_secs(5),
        horizon_slots: 12,
        gate: None,
        reserve: price(5),
        penalty: price(70),
        notice: Duration::from_secs(8),
        regions: [east(), "west".parse().unwrap()].into(),
    }
}

pub(crate) fn east() -> RegionId {
    "east".parse().unwrap()
}

pub(crate) fn price(micro: i64) -> Price {
    Price::from_micro(micro).unwrap()
}

fn command(text: &str) -> Command {
    let words: Vec<&str> = text.split_whitespace().collect();
    let number = |text: &str| text.parse::<u64>().unwrap();
    match words[..] {
        ["open", purchaser] => Command::OpenAccount { purchaser: purchaser.parse().unwrap() },
        ["credit", purchaser, amount] => Command::Credit {
            purchaser: purchaser.parse().unwrap(),
            amount: Money::from_micro(amount.parse().unwrap()),
            by: "the operator".to_owned(),
        },
        ["bid" | "interruptible", purchaser, slots, lot] => {
            let (first, last) = slots.split_once('-').unwrap();
            let class = if words[0] == "bid" { Class::Firm } else { Class::Interruptible };
            let OfferStep { units, price: limit } = step(lot);
            Command::PlaceBid {
                purchaser: purchaser.parse().unwrap(),
                site: purchaser.parse().unwrap(),
                region: east(),
                slots: SlotRange::new(Slot::new(number(first)), Slot::new(number(last))).unwrap(),
                units,
                limit,
                class,
            }
        }
        ["cancel", purchaser, bid] => Command::CancelBid {
            bid: BidId::new(number(bid)),
            purchaser: purchaser.parse().unwrap(),
        },
        ["clear", ref offers @ ..] => Command::Clear {
            region: east(),
            offers: offers.iter().map(|text| offer(text)).collect(),
        },
        ["recall", slot, units] => Command::Recall {
            region: east(),
            slot: Slot::new(number(slot)),
            units: Units::saturating(number(units)),
        },
        ["advance", ref planned @ ..] => Command::Advance {
            planned: planned.iter().map(|id| ContractId::new(number(id))).collect(),
            ramp: Duration::from_secs(4),
        },
        ["settle", contract, slot, served, refused, available] => Command::Settle {
            contract: ContractId::new(number(contract)),
            slot: Slot::new(number(slot)),
            delivery: Delivery {
                served: number(served),
                refused: number(refused),
                available_millirequests: number(available),
            },
        },
        _ => panic!("no such command: {text}"),
    }
}

fn offer(text: &str) -> Offer {
    let (slot, steps) = text.split_once(':').unwrap();
    Offer {
        seller: Seller::Operator,
        region: east(),
        slot: Slot::new(slot.parse().unwrap()),
        steps: steps.split(',').map(step).collect(),
    }
}

fn step(text: &str) -> OfferStep {
    let (units, ask) = text.split_once('@').unwrap();
    OfferStep {
        units: Units::new(units.parse().unwrap()).unwrap(),
        price: price(ask.parse().unwrap()),
    }
}

fn describe(event: &Event) -> String {
    match event {
        Event::AccountOpened { purchaser } => format!("{purchaser} may trade"),
        Event::Credited { purchaser, amount, by } => {
            format!("{purchaser} was credited {} by {by}", amount.micro())
        }
        Event::BidPlaced { bid } => format!("{} placed, holds {}", bid.id, bid.held.micro()),
        Event::BidCancelled { bid, released } => {
            format!("{bid} cancelled, releases {}", released.micro())
        }
        Event::BidExpired { bid, released } => {
            format!("{bid} expired, releases {}", released.micro())
        }
        Event::AuctionCleared { slots, .. } => {
            let slot = |cleared: &ClearedSlot| {
                let ClearedSlot { slot, offered, sold, price } = cleared;
                let price = price.map_or("-".to_owned(), |price| price.micro().to_string());
                format!("; slot {slot}: {} of {} at {price}", sold.count(), offered.count())
            };
            format!("auction{}", slots.iter().map(slot).collect::<String>())
        }
        Event::ContractMade { contract } => {
            let prices: Vec<i64> = contract.prices.iter().map(|price| price.micro()).collect();
            format!("{} for {}: {} at {prices:?}", contract.id, contract.bid, contract.units)
        }
        Event::HoldReleased { bid, amount } => format!("{bid} releases {}", amount.micro()),
        Event::StageEntered { contract, stage, .. } => format!("{contract} is {stage}"),
        Event::ContractRecalled { contract, ends_at, released, .. } => format!(
            "{contract} recalled, ends at {}, releases {}",
            ends_at.seconds(),
            released.micro()
        ),
        Event::SlotSettled { settlement } => {
            let Settlement { contract, slot, charge, refund, penalty, .. } = settlement;
            let short = settlement.undelivered_millirequests;
            format!(
                "{contract} slot {slot}: charge {}, refund {}, penalty {}, undelivered {short}",
                charge.micro(),
                refund.micro(),
                penalty.micro()
            )
        }
    }
}
