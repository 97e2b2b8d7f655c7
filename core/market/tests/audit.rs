//! The auditor finds what was changed in a log, whatever it is.

#![expect(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]

use std::{collections::BTreeSet, time::Duration};

use headroom_market::{Audit, Command, Delivery, Event, Market, Offer, OfferStep, Rules, Seller};
use headroom_units::{
    BidId, Class, ContractId, Money, Price, RegionId, Slot, SlotLength, SlotRange, Timestamp,
    UnitSize, Units,
};

fn price(micro: i64) -> Price {
    Price::from_micro(micro).unwrap()
}

fn bid(purchaser: &str, units: u64, class: Class) -> Command {
    Command::PlaceBid {
        purchaser: purchaser.parse().unwrap(),
        site: purchaser.parse().unwrap(),
        region: "east".parse().unwrap(),
        slots: SlotRange::new(Slot::new(1), Slot::new(3)).unwrap(),
        units: Units::saturating(units),
        limit: price(30),
        class,
    }
}

/// A log with every kind of event.
fn log() -> Vec<Event> {
    let region: RegionId = "east".parse().unwrap();
    let mut market = Market::new(Rules {
        slot_length: SlotLength::from_seconds(10).unwrap(),
        unit: UnitSize::default(),
        lead: Duration::ZERO,
        horizon_slots: 9,
        gate: None,
        reserve: price(1),
        penalty: price(70),
        notice: Duration::from_secs(5),
        regions: BTreeSet::from([region.clone()]),
    });
    let credit = |purchaser: &str| Command::Credit {
        purchaser: purchaser.parse().unwrap(),
        amount: Money::from_micro(10_000),
        by: "ops".to_owned(),
    };
    let open = |purchaser: &str| Command::OpenAccount { purchaser: purchaser.parse().unwrap() };
    let offer = |slot| Offer {
        seller: Seller::Operator,
        region: region.clone(),
        slot: Slot::new(slot),
        steps: vec![OfferStep { units: Units::saturating(12), price: price(20) }],
    };
    let settle = |contract, slot| Command::Settle {
        contract: ContractId::new(contract),
        slot: Slot::new(slot),
        delivery: Delivery { served: 10, refused: 0, available_millirequests: 40_000 },
    };
    let commands = [
        (0, open("shop")),
        (0, open("news")),
        (0, credit("shop")),
        (0, credit("news")),
        (1, bid("shop", 5, Class::Firm)),
        (1, bid("news", 5, Class::Interruptible)),
        (1, bid("news", 2, Class::Firm)),
        (1, bid("news", 1, Class::Firm)),
        (2, Command::CancelBid { bid: BidId::new(4), purchaser: "news".parse().unwrap() }),
        (3, Command::Clear { region: region.clone(), offers: (1..4).map(offer).collect() }),
        (3, bid("shop", 1, Class::Firm)),
        (11, Command::Clear { region: region.clone(), offers: Vec::new() }),
        (12, Command::Advance { planned: BTreeSet::new(), ramp: Duration::from_secs(2) }),
        (12, Command::Recall { region, slot: Slot::new(2), units: Units::saturating(1) }),
        (40, settle(1, 1)),
        (40, settle(2, 1)),
        (40, settle(1, 2)),
    ];
    let mut all = Vec::new();
    for (seconds, command) in commands {
        let events = market.decide(command, Timestamp::from_seconds(seconds)).unwrap();
        events.iter().for_each(|event| market.apply(event));
        all.extend(events);
    }
    all
}

fn audit(events: &[Event]) -> (Vec<String>, i128) {
    let mut audit = Audit::new(SlotLength::from_seconds(10).unwrap());
    let findings: Vec<String> =
        events.iter().flat_map(|event| audit.go_on(event)).map(|f| f.to_string()).collect();
    (findings, audit.missing_micro())
}

/// The event with one of its amounts changed by one, if it has any.
fn forged(event: &Event) -> Option<Event> {
    let more = |amount: &mut Money| *amount = Money::from_micro(amount.micro() + 1);
    let mut event = event.clone();
    match &mut event {
        Event::BidPlaced { bid } => more(&mut bid.held),
        Event::BidCancelled { released, .. }
        | Event::BidExpired { released, .. }
        | Event::ContractRecalled { released, .. } => more(released),
        Event::HoldReleased { amount, .. } => more(amount),
        Event::ContractMade { contract } => {
            contract.prices[0] = price(contract.prices[0].micro() + 1);
        }
        Event::AuctionCleared { slots, .. } => {
            slots[0].sold = slots[0].sold.saturating_sub(Units::saturating(1));
        }
        Event::SlotSettled { settlement } => more(&mut settlement.charge),
        Event::AccountOpened { .. } | Event::Credited { .. } | Event::StageEntered { .. } => {
            return None;
        }
    }
    Some(event)
}

#[test]
fn an_honest_log_has_no_findings() {
    let events = log();
    let kinds: BTreeSet<_> = events.iter().map(|event| format!("{event:?}")).collect();
    for kind in ["BidCancelled", "BidExpired", "HoldReleased", "ContractRecalled", "SlotSettled"] {
        assert!(kinds.iter().any(|event| event.starts_with(kind)), "{kind}");
    }
    assert_eq!(audit(&events), (vec![], 0));
}

#[test]
fn an_amount_that_was_changed_is_found() {
    let events = log();
    let mut changed = 0;
    for (index, event) in events.iter().enumerate() {
        let Some(forged) = forged(event) else { continue };
        let mut log = events.clone();
        log[index] = forged;
        assert!(!audit(&log).0.is_empty(), "{:?}", log[index]);
        changed += 1;
    }
    assert!(changed > 12, "{changed}");
}

#[test]
fn an_event_that_is_there_twice_is_found() {
    let events = log();
    for (index, event) in events.iter().enumerate() {
        // A credit can be given twice, and a stage noted twice: the chain finds these.
        if matches!(event, Event::Credited { .. } | Event::StageEntered { .. }) {
            continue;
        }
        let mut log = events.clone();
        log.insert(index, event.clone());
        if matches!(event, Event::AuctionCleared { .. }) {
            continue;
        }
        assert!(!audit(&log).0.is_empty(), "{event:?}");
    }
}

#[test]
fn a_refund_above_the_charge_and_a_penalty_for_interruptible_are_found() {
    let events = log();
    let settled = |event: &&mut Event| matches!(event, Event::SlotSettled { .. });
    let mut log = events.clone();
    let Some(Event::SlotSettled { settlement }) = log.iter_mut().find(settled) else { panic!() };
    settlement.refund = Money::from_micro(settlement.charge.micro() + 1);
    assert!(!audit(&log).0.is_empty());
    let mut log = events;
    let of_second = |event: &&mut Event| matches!(event, Event::SlotSettled { settlement } if settlement.contract == ContractId::new(2));
    let Some(Event::SlotSettled { settlement }) = log.iter_mut().find(of_second) else { panic!() };
    settlement.penalty = Money::from_micro(1);
    assert!(!audit(&log).0.is_empty());
}
