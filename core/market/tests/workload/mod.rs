//! A workload of random commands, most of them sensible, and an auditor that keeps its own simple
//! count of what may have been sold. Used by the market's tests.

use std::{collections::BTreeMap, time::Duration};

use headroom_market::{
    Account, BidStatus, Command, Delivery, Market, Offer, OfferStep, Rules, Seller, Stage,
};
use headroom_units::{
    BidId, Class, ContractId, Money, Price, PurchaserId, RegionId, Slot, SlotLength, SlotRange,
    Timestamp, UnitSize, Units,
};
use proptest::prelude::*;

const PURCHASERS: [&str; 3] = ["shop", "news", "game"];
const REGIONS: [&str; 3] = ["east", "west", "mars"];

pub(crate) fn price(micro: u64) -> Price {
    Price::from_micro(i64::try_from(micro).unwrap()).unwrap()
}

pub(crate) fn purchaser(index: usize) -> PurchaserId {
    PURCHASERS[index].parse().unwrap()
}

pub(crate) fn region(index: usize) -> RegionId {
    REGIONS[index].parse().unwrap()
}

pub(crate) fn rules() -> Rules {
    Rules {
        slot_length: SlotLength::from_seconds(10).unwrap(),
        unit: UnitSize::default(),
        lead: Duration::from_secs(5),
        horizon_slots: 8,
        gate: None,
        reserve: price(3),
        penalty: price(11),
        notice: Duration::from_secs(7),
        regions: [region(0), region(1)].into(),
    }
}

pub(crate) fn commands() -> impl Strategy<Value = Vec<(u64, Command)>> {
    let regions = prop_oneof![12 => Just(0_usize), 6 => Just(1), 1 => Just(2)];
    let money = prop_oneof![9 => 0..5_000_i64, 1 => any::<i64>()];
    let units = prop_oneof![19 => 1..12_u64, 1 => 0..=Units::MAX.count()];
    let limits = prop_oneof![19 => 3..25_u64, 1 => 0..=1_000_000_000_000_u64];
    let command = prop_oneof![
        1 => (0..3_usize).prop_map(|who| Command::OpenAccount { purchaser: purchaser(who) }),
        2 => (0..3_usize, money).prop_map(|(who, micro)| Command::Credit {
            purchaser: purchaser(who),
            amount: Money::from_micro(micro),
            by: String::new(),
        }),
        8 => (0..3_usize, regions.clone(), 0..6_u64, 0..3_u64, units, limits, any::<bool>())
            .prop_map(|(who, place, ahead, more, units, limit, firm)| Command::PlaceBid {
                purchaser: purchaser(who),
                site: purchaser(who).as_str().parse().unwrap(),
                region: region(place),
                // Relative here; made absolute when it is run.
                slots: SlotRange::new(Slot::new(ahead), Slot::new(ahead + more)).unwrap(),
                units: Units::saturating(units),
                limit: price(limit),
                class: if firm { Class::Firm } else { Class::Interruptible },
            }),
        1 => (1..20_u64, 0..3_usize).prop_map(|(bid, who)| Command::CancelBid {
            bid: BidId::new(bid),
            purchaser: purchaser(who),
        }),
        5 => (regions, prop::collection::vec(
            prop::collection::vec((0..15_u64, 0..20_u64), 1..3), 5..9
        )).prop_map(|(place, curves)| Command::Clear {
            region: region(place),
            offers: curves.iter().zip(0..).map(|(steps, ahead)| Offer { seller: Seller::Operator,
                region: region(place),
                slot: Slot::new(ahead),
                steps: steps
                    .iter()
                    .map(|&(units, ask)| OfferStep {
                        units: Units::saturating(units),
                        price: price(ask),
                    })
                    .collect(),
            }).collect(),
        }),
        2 => (0..2_usize, 0..4_u64, 0..15_u64).prop_map(|(place, ahead, units)| Command::Recall {
            region: region(place),
            slot: Slot::new(ahead),
            units: Units::saturating(units),
        }),
        2 => prop::collection::btree_set((1..12_u64).prop_map(ContractId::new), 0..4).prop_map(
            |planned| Command::Advance { planned, ramp: Duration::from_secs(3) }
        ),
        4 => (1..12_u64, 0..12_u64, 0..130_u64, 0..50_u64, 0..130_000_u64).prop_map(
            |(contract, back, served, refused, available_millirequests)| Command::Settle {
                contract: ContractId::new(contract),
                slot: Slot::new(back),
                delivery: Delivery { served, refused, available_millirequests },
            }
        ),
    ];
    prop::collection::vec((0..6_u64, command), 0..80)
}

/// Slots are generated relative to the running one. Three of four settlements are for what is due.
pub(crate) fn absolute(command: Command, market: &Market, now: Timestamp) -> Command {
    let running = market.rules().slot_length.slot_at(now).number();
    let ahead = |slot: Slot| slot.plus(running);
    match command {
        Command::PlaceBid { purchaser, site, region, slots, units, limit, class } => {
            let slots = SlotRange::new(ahead(slots.first()), ahead(slots.last())).unwrap();
            Command::PlaceBid { purchaser, site, region, slots, units, limit, class }
        }
        Command::Clear { region, mut offers } => {
            offers.iter_mut().for_each(|offer| offer.slot = ahead(offer.slot));
            Command::Clear { region, offers }
        }
        Command::Recall { region, slot, units } => {
            Command::Recall { region, slot: ahead(slot), units }
        }
        Command::Settle { contract, slot, delivery } => {
            let due = market.unsettled(now);
            let chosen = due.get(usize::try_from(contract.number()).unwrap() % due.len().max(1));
            let random = (contract, Slot::new(running).minus(slot.number()));
            let (contract, slot) = *chosen.filter(|_| slot.number() % 4 > 0).unwrap_or(&random);
            Command::Settle { contract, slot, delivery }
        }
        other => other,
    }
}

/// The most that was ever offered, per region and slot.
pub(crate) type Offered = BTreeMap<(RegionId, Slot), Units>;

pub(crate) fn audit(market: &Market, offered: &Offered) {
    assert_eq!(market.ledger().sum(), 0);
    let mut held: BTreeMap<PurchaserId, i64> = BTreeMap::new();
    for record in market.bids() {
        let needed = match record.status {
            BidStatus::Open => {
                let slots = record.bid.slots.count();
                record.bid.limit.of_slots(record.unfilled(), slots).unwrap()
            }
            _ => Money::ZERO,
        };
        assert_eq!(record.held, needed, "{}", record.bid.id);
        *held.entry(record.bid.purchaser.clone()).or_default() += needed.micro();
        let parts = record.contracts.iter().map(|&id| market.contract(id).unwrap().units);
        assert_eq!(parts.sum::<Units>(), record.filled);
        assert_eq!(record.status == BidStatus::Filled, record.unfilled().is_zero());
    }
    let mut sold: BTreeMap<(RegionId, Slot), u64> = BTreeMap::new();
    for contract in market.contracts() {
        let limit = market.bid(contract.bid).unwrap().bid.limit;
        assert!(contract.cost() <= limit.of_slots(contract.units, contract.slots.count()).unwrap());
        assert!(contract.prices.iter().all(|price| *price >= market.rules().reserve));
        let settled: Vec<Slot> =
            market.settlements_of(contract.id).map(|settlement| settlement.slot).collect();
        let due: Vec<Slot> = contract.due_slots(market.rules().slot_length).collect();
        assert!(settled.iter().all(|slot| due.contains(slot)));
        let stages = market.stages_of(contract.id);
        assert_eq!(stages[0].stage, Stage::Sold);
        let ended = stages.iter().filter(|entered| entered.stage == Stage::Settled).count();
        assert!(ended <= usize::from(settled.len() == due.len()));
        assert!(contract.recalled_to.is_none() || contract.class == Class::Interruptible);
        for (slot, price) in contract.slots.iter().zip(&contract.prices) {
            if !due.contains(&slot) {
                continue;
            }
            *sold.entry((contract.region.clone(), slot)).or_default() += contract.units.count();
            if !settled.contains(&slot) {
                let cost = price.of(contract.units).unwrap();
                *held.entry(contract.purchaser.clone()).or_default() += cost.micro();
            }
        }
    }
    for ((region, slot), units) in sold {
        assert_eq!(market.sold(&region, slot).count(), units);
        assert!(units <= offered[&(region, slot)].count());
    }
    for who in market.purchasers() {
        let balance = |account: fn(PurchaserId) -> Account| {
            market.ledger().balance(&account(who.clone())).micro()
        };
        assert!(balance(Account::PurchaserAvailable) >= 0);
        assert_eq!(balance(Account::PurchaserHeld), held.get(who).copied().unwrap_or(0));
    }
    let revenue = market.ledger().balance(&Account::OperatorRevenue).micro();
    assert_eq!(revenue, market.charged().micro() - market.refunded().micro());
    assert!(revenue >= 0);
    let penalties = market.ledger().balance(&Account::OperatorPenalties).micro();
    assert_eq!(penalties, -market.penalties().micro());
}

/// Notes what a command offers.
pub(crate) fn note_offers(offered: &mut Offered, command: &Command) {
    let Command::Clear { offers, .. } = command else { return };
    for offer in offers {
        let units: Units = offer.steps.iter().map(|step| step.units).sum();
        let most = offered.entry((offer.region.clone(), offer.slot)).or_insert(Units::ZERO);
        *most = units.max(*most);
    }
}
