//! What must hold after any sequence of commands.

#![expect(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]

mod workload;

use headroom_market::{Account, Audit, Command, Delivery, Event, Market, Offer, OfferStep, Seller};
use headroom_units::{Class, ContractId, Money, Slot, SlotRange, Timestamp, Units};
use proptest::prelude::*;
use workload::{Offered, absolute, audit, commands, note_offers, price, purchaser, region, rules};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn the_books_are_right_after_any_commands(commands in commands()) {
        let mut market = Market::new(rules());
        for who in 0..2 {
            let amount = Money::from_micro(5_000);
            market.apply(&Event::AccountOpened { purchaser: purchaser(who) });
            market.apply(&Event::Credited { purchaser: purchaser(who), amount, by: String::new() });
        }
        let mut replayed = market.clone();
        let mut auditor = Audit::new(market.rules().slot_length);
        for who in 0..2 {
            let amount = Money::from_micro(5_000);
            auditor.go_on(&Event::AccountOpened { purchaser: purchaser(who) });
            auditor.go_on(&Event::Credited {
                purchaser: purchaser(who),
                amount,
                by: String::new(),
            });
        }
        let mut offered = Offered::new();
        let mut seconds = 100;
        for (pause, command) in commands {
            seconds += pause;
            let now = Timestamp::from_seconds(seconds);
            let command = absolute(command, &market, now);
            note_offers(&mut offered, &command);
            let before = market.clone();
            let decided = market.decide(command, now);
            prop_assert_eq!(&market, &before);
            for event in decided.unwrap_or_default() {
                market.apply(&event);
                replayed.apply(&event);
                prop_assert_eq!(auditor.go_on(&event), vec![]);
            }
            audit(&market, &offered);
            prop_assert_eq!(auditor.missing_micro(), 0);
            for (who, available) in auditor.available_micro() {
                let balance = market.ledger().balance(&Account::PurchaserAvailable(who.clone()));
                prop_assert_eq!(*available, i128::from(balance.micro()));
            }
        }
        prop_assert_eq!(market, replayed);
    }

    #[test]
    fn whatever_is_due_can_be_settled_once(
        served in any::<u32>(), refused in any::<u32>(), available in any::<u32>()
    ) {
        let mut market = Market::new(rules());
        let mut run = |command, seconds| {
            let events = market.decide(command, Timestamp::from_seconds(seconds)).unwrap();
            events.iter().for_each(|event| market.apply(event));
        };
        run(Command::OpenAccount { purchaser: purchaser(0) }, 0);
        let amount = Money::from_micro(1_000_000);
        run(Command::Credit { purchaser: purchaser(0), amount, by: "test".to_owned() }, 0);
        run(Command::PlaceBid {
            purchaser: purchaser(0),
            site: "shop".parse().unwrap(),
            region: region(0),
            slots: SlotRange::new(Slot::new(1), Slot::new(3)).unwrap(),
            units: Units::saturating(7),
            limit: price(13),
            class: Class::Firm,
        }, 0);
        let offers = (1..4).map(|slot| Offer { seller: Seller::Operator,
            region: region(0),
            slot: Slot::new(slot),
            steps: vec![OfferStep { units: Units::saturating(9), price: price(7) }],
        });
        run(Command::Clear { region: region(0), offers: offers.collect() }, 1);
        let now = Timestamp::from_seconds(30);
        let due = market.unsettled(now);
        prop_assert_eq!(due.len(), 2);
        for (contract, slot) in due {
            let delivery = Delivery {
                served: served.into(),
                refused: refused.into(),
                available_millirequests: available.into(),
            };
            let settle = Command::Settle { contract, slot, delivery };
            let events = market.decide(settle.clone(), now).unwrap();
            events.iter().for_each(|event| market.apply(event));
            prop_assert!(market.decide(settle, now).is_err());
        }
        prop_assert_eq!(market.unsettled(now), vec![]);
        for settlement in market.settlements_of(ContractId::new(1)) {
            prop_assert!(settlement.refund <= settlement.charge);
            prop_assert!(settlement.undelivered_millirequests <= 70_000);
        }
    }
}
