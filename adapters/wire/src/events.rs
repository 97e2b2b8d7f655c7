//! The market's events as they are stored: the audit trail.
//!
//! A stored event is read for as long as the database lives. A field is never renamed or given
//! another meaning; new ones have a default.

use headroom_market::{Bid, ClearedSlot, Contract, Delivery, Event, Settlement, Stage};
use headroom_units::{
    BidId, Class, ContractId, Money, Price, PurchaserId, RegionId, SiteId, Slot, SlotRange, Units,
};
use serde::{Deserialize, Serialize};

use crate::{Text, Time};

/// An event of the market.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum EventDocument {
    /// A purchaser may trade.
    AccountOpened {
        /// Who.
        purchaser: Text<PurchaserId>,
    },
    /// Money came in.
    Credited {
        /// Whose.
        purchaser: Text<PurchaserId>,
        /// How much.
        amount_micro: i64,
        /// Who recorded it.
        by: String,
    },
    /// A bid counts from now on.
    BidPlaced(BidDocument),
    /// A bid was withdrawn.
    BidCancelled {
        /// The bid.
        bid: Text<BidId>,
        /// What is available again.
        released_micro: i64,
    },
    /// A bid's first slot came too close.
    BidExpired {
        /// The bid.
        bid: Text<BidId>,
        /// What is available again.
        released_micro: i64,
    },
    /// An auction was held.
    AuctionCleared {
        /// Where.
        region: Text<RegionId>,
        /// When.
        at: Time,
        /// Slot by slot.
        slots: Vec<ClearedSlotDocument>,
    },
    /// A bid, or a part of it, was filled.
    ContractMade(ContractDocument),
    /// A fill cost less than was held for it.
    HoldReleased {
        /// The bid.
        bid: Text<BidId>,
        /// The difference.
        amount_micro: i64,
    },
    /// A contract has entered its next stage.
    StageEntered {
        /// The contract.
        contract: Text<ContractId>,
        /// The stage.
        stage: Text<Stage>,
        /// When that was noticed.
        at: Time,
    },
    /// An interruptible contract ends early.
    ContractRecalled {
        /// The contract.
        contract: Text<ContractId>,
        /// When its holder was told.
        at: Time,
        /// When it ends.
        ends_at: Time,
        /// What is available again.
        released_micro: i64,
    },
    /// A slot of a contract was settled.
    SlotSettled(SettlementDocument),
}

/// A bid as it was placed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of `headroom_market::Bid`")]
pub struct BidDocument {
    pub id: Text<BidId>,
    pub purchaser: Text<PurchaserId>,
    pub site: Text<SiteId>,
    pub region: Text<RegionId>,
    pub first_slot: u64,
    pub last_slot: u64,
    pub units: u64,
    pub limit_price_micro: i64,
    pub class: Text<Class>,
    pub placed_at: Time,
    pub held_micro: i64,
}

/// What an auction did in one slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of `headroom_market::ClearedSlot`")]
pub struct ClearedSlotDocument {
    pub slot: u64,
    pub offered_units: u64,
    pub sold_units: u64,
    pub price_micro: Option<i64>,
}

/// A contract.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of `headroom_market::Contract`")]
pub struct ContractDocument {
    pub id: Text<ContractId>,
    pub bid: Text<BidId>,
    pub purchaser: Text<PurchaserId>,
    pub site: Text<SiteId>,
    pub region: Text<RegionId>,
    pub first_slot: u64,
    pub last_slot: u64,
    pub units: u64,
    pub class: Text<Class>,
    pub prices_micro: Vec<i64>,
    pub made_at: Time,
}

/// The settlement of one slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of `headroom_market::Settlement`")]
pub struct SettlementDocument {
    pub contract: Text<ContractId>,
    pub slot: u64,
    pub served: u64,
    pub refused: u64,
    pub available_millirequests: u64,
    pub undelivered_millirequests: u64,
    pub charge_micro: i64,
    pub refund_micro: i64,
    pub penalty_micro: i64,
}

/// A stored event that no version of the market can have written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a stored event has {what} {value}, which is out of range")]
pub struct EventOutOfRange {
    what: &'static str,
    value: i128,
}

impl From<&Event> for EventDocument {
    fn from(event: &Event) -> Self {
        match event {
            Event::AccountOpened { purchaser } => {
                Self::AccountOpened { purchaser: Text(purchaser.clone()) }
            }
            Event::Credited { purchaser, amount, by } => Self::Credited {
                purchaser: Text(purchaser.clone()),
                amount_micro: amount.micro(),
                by: by.clone(),
            },
            Event::BidPlaced { bid } => Self::BidPlaced(bid.into()),
            Event::BidCancelled { bid, released } => {
                Self::BidCancelled { bid: Text(*bid), released_micro: released.micro() }
            }
            Event::BidExpired { bid, released } => {
                Self::BidExpired { bid: Text(*bid), released_micro: released.micro() }
            }
            Event::AuctionCleared { region, at, slots } => Self::AuctionCleared {
                region: Text(region.clone()),
                at: Time(*at),
                slots: slots.iter().map(cleared_document).collect(),
            },
            Event::ContractMade { contract } => Self::ContractMade(contract.into()),
            Event::HoldReleased { bid, amount } => {
                Self::HoldReleased { bid: Text(*bid), amount_micro: amount.micro() }
            }
            Event::StageEntered { contract, stage, at } => {
                Self::StageEntered { contract: Text(*contract), stage: Text(*stage), at: Time(*at) }
            }
            Event::ContractRecalled { contract, at, ends_at, released } => Self::ContractRecalled {
                contract: Text(*contract),
                at: Time(*at),
                ends_at: Time(*ends_at),
                released_micro: released.micro(),
            },
            Event::SlotSettled { settlement } => Self::SlotSettled(settlement.into()),
        }
    }
}

impl TryFrom<EventDocument> for Event {
    type Error = EventOutOfRange;

    fn try_from(document: EventDocument) -> Result<Self, EventOutOfRange> {
        Ok(match document {
            EventDocument::AccountOpened { purchaser } => {
                Self::AccountOpened { purchaser: purchaser.0 }
            }
            EventDocument::Credited { purchaser, amount_micro, by } => {
                let amount = Money::from_micro(amount_micro);
                Self::Credited { purchaser: purchaser.0, amount, by }
            }
            EventDocument::BidPlaced(bid) => Self::BidPlaced { bid: bid.try_into()? },
            EventDocument::BidCancelled { bid, released_micro } => {
                Self::BidCancelled { bid: bid.0, released: Money::from_micro(released_micro) }
            }
            EventDocument::BidExpired { bid, released_micro } => {
                Self::BidExpired { bid: bid.0, released: Money::from_micro(released_micro) }
            }
            EventDocument::AuctionCleared { region, at, slots } => Self::AuctionCleared {
                region: region.0,
                at: at.0,
                slots: slots.into_iter().map(cleared_slot).collect::<Result<_, _>>()?,
            },
            EventDocument::ContractMade(contract) => {
                Self::ContractMade { contract: contract.try_into()? }
            }
            EventDocument::HoldReleased { bid, amount_micro } => {
                Self::HoldReleased { bid: bid.0, amount: Money::from_micro(amount_micro) }
            }
            EventDocument::StageEntered { contract, stage, at } => {
                Self::StageEntered { contract: contract.0, stage: stage.0, at: at.0 }
            }
            EventDocument::ContractRecalled { contract, at, ends_at, released_micro } => {
                Self::ContractRecalled {
                    contract: contract.0,
                    at: at.0,
                    ends_at: ends_at.0,
                    released: Money::from_micro(released_micro),
                }
            }
            EventDocument::SlotSettled(settlement) => {
                Self::SlotSettled { settlement: settlement.into() }
            }
        })
    }
}

fn slots(first: u64, last: u64) -> Result<SlotRange, EventOutOfRange> {
    SlotRange::new(Slot::new(first), Slot::new(last))
        .ok_or(EventOutOfRange { what: "last slot", value: last.into() })
}

fn units(count: u64) -> Result<Units, EventOutOfRange> {
    Units::new(count).ok_or(EventOutOfRange { what: "units", value: count.into() })
}

fn price(micro: i64) -> Result<Price, EventOutOfRange> {
    Price::from_micro(micro).ok_or(EventOutOfRange { what: "price", value: micro.into() })
}

impl From<&Bid> for BidDocument {
    fn from(bid: &Bid) -> Self {
        Self {
            id: Text(bid.id),
            purchaser: Text(bid.purchaser.clone()),
            site: Text(bid.site.clone()),
            region: Text(bid.region.clone()),
            first_slot: bid.slots.first().number(),
            last_slot: bid.slots.last().number(),
            units: bid.units.count(),
            limit_price_micro: bid.limit.micro(),
            class: Text(bid.class),
            placed_at: Time(bid.placed_at),
            held_micro: bid.held.micro(),
        }
    }
}

impl TryFrom<BidDocument> for Bid {
    type Error = EventOutOfRange;

    fn try_from(document: BidDocument) -> Result<Self, EventOutOfRange> {
        Ok(Self {
            id: document.id.0,
            purchaser: document.purchaser.0,
            site: document.site.0,
            region: document.region.0,
            slots: slots(document.first_slot, document.last_slot)?,
            units: units(document.units)?,
            limit: price(document.limit_price_micro)?,
            class: document.class.0,
            placed_at: document.placed_at.0,
            held: Money::from_micro(document.held_micro),
        })
    }
}

fn cleared_document(cleared: &ClearedSlot) -> ClearedSlotDocument {
    ClearedSlotDocument {
        slot: cleared.slot.number(),
        offered_units: cleared.offered.count(),
        sold_units: cleared.sold.count(),
        price_micro: cleared.price.map(Price::micro),
    }
}

fn cleared_slot(document: ClearedSlotDocument) -> Result<ClearedSlot, EventOutOfRange> {
    Ok(ClearedSlot {
        slot: Slot::new(document.slot),
        offered: units(document.offered_units)?,
        sold: units(document.sold_units)?,
        price: document.price_micro.map(price).transpose()?,
    })
}

impl From<&Contract> for ContractDocument {
    fn from(contract: &Contract) -> Self {
        Self {
            id: Text(contract.id),
            bid: Text(contract.bid),
            purchaser: Text(contract.purchaser.clone()),
            site: Text(contract.site.clone()),
            region: Text(contract.region.clone()),
            first_slot: contract.slots.first().number(),
            last_slot: contract.slots.last().number(),
            units: contract.units.count(),
            class: Text(contract.class),
            prices_micro: contract.prices.iter().map(|price| price.micro()).collect(),
            made_at: Time(contract.made_at),
        }
    }
}

impl TryFrom<ContractDocument> for Contract {
    type Error = EventOutOfRange;

    fn try_from(document: ContractDocument) -> Result<Self, EventOutOfRange> {
        Ok(Self {
            id: document.id.0,
            bid: document.bid.0,
            purchaser: document.purchaser.0,
            site: document.site.0,
            region: document.region.0,
            slots: slots(document.first_slot, document.last_slot)?,
            units: units(document.units)?,
            class: document.class.0,
            prices: document.prices_micro.into_iter().map(price).collect::<Result<_, _>>()?,
            made_at: document.made_at.0,
            recalled_to: None,
        })
    }
}

impl From<&Settlement> for SettlementDocument {
    fn from(settlement: &Settlement) -> Self {
        Self {
            contract: Text(settlement.contract),
            slot: settlement.slot.number(),
            served: settlement.delivery.served,
            refused: settlement.delivery.refused,
            available_millirequests: settlement.delivery.available_millirequests,
            undelivered_millirequests: settlement.undelivered_millirequests,
            charge_micro: settlement.charge.micro(),
            refund_micro: settlement.refund.micro(),
            penalty_micro: settlement.penalty.micro(),
        }
    }
}

impl From<SettlementDocument> for Settlement {
    fn from(document: SettlementDocument) -> Self {
        Self {
            contract: document.contract.0,
            slot: Slot::new(document.slot),
            delivery: Delivery {
                served: document.served,
                refused: document.refused,
                available_millirequests: document.available_millirequests,
            },
            charge: Money::from_micro(document.charge_micro),
            refund: Money::from_micro(document.refund_micro),
            penalty: Money::from_micro(document.penalty_micro),
            undelivered_millirequests: document.undelivered_millirequests,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use expect_test::expect;
    use headroom_market::{Command, Market, Offer, OfferStep, Rules, Seller};
    use headroom_units::{SlotLength, Timestamp, UnitSize};

    use super::*;

    /// A short life of a market, so that every kind of event stands here with real values.
    fn events() -> Vec<Event> {
        let region: RegionId = "east".parse().unwrap();
        let purchaser: PurchaserId = "shop".parse().unwrap();
        let mut market = Market::new(Rules {
            slot_length: SlotLength::from_seconds(60).unwrap(),
            unit: UnitSize::default(),
            lead: Duration::ZERO,
            horizon_slots: 10,
            gate: None,
            reserve: Price::from_micro(10).unwrap(),
            penalty: Price::from_micro(100).unwrap(),
            notice: Duration::from_secs(5),
            regions: BTreeSet::from([region.clone()]),
        });
        let slots = SlotRange::new(Slot::new(1), Slot::new(2)).unwrap();
        let bid = |units, limit, class| Command::PlaceBid {
            purchaser: purchaser.clone(),
            site: "shop".parse().unwrap(),
            region: region.clone(),
            slots,
            units: Units::saturating(units),
            limit: Price::from_micro(limit).unwrap(),
            class,
        };
        let offer = |slot| Offer {
            seller: Seller::Operator,
            region: region.clone(),
            slot,
            steps: vec![OfferStep {
                units: Units::saturating(5),
                price: Price::from_micro(20).unwrap(),
            }],
        };
        let amount = Money::from_micro(1_000_000);
        let ramp = Duration::from_secs(20);
        let delivery = Delivery { served: 290, refused: 3, available_millirequests: 300_000 };
        let commands = [
            (0, Command::OpenAccount { purchaser: purchaser.clone() }),
            (0, Command::Credit { purchaser: purchaser.clone(), amount, by: "ops".to_owned() }),
            (1, bid(4, 30, Class::Firm)),
            (2, bid(1, 15, Class::Firm)),
            (3, bid(1, 12, Class::Firm)),
            (4, Command::CancelBid { bid: BidId::new(3), purchaser: purchaser.clone() }),
            (4, bid(1, 25, Class::Interruptible)),
            (
                5,
                Command::Clear {
                    region: region.clone(),
                    offers: slots.iter().map(offer).collect(),
                },
            ),
            (6, Command::Advance { planned: BTreeSet::from([ContractId::new(1)]), ramp }),
            (61, Command::Clear { region: region.clone(), offers: Vec::new() }),
            (
                70,
                Command::Recall { region: region.clone(), slot: slots.first(), units: Units::MAX },
            ),
            (120, Command::Settle { contract: ContractId::new(1), slot: slots.first(), delivery }),
        ];
        let mut all = Vec::new();
        for (second, command) in commands {
            let events = market.decide(command, Timestamp::from_seconds(second)).unwrap();
            events.iter().for_each(|event| market.apply(event));
            all.extend(events);
        }
        all
    }

    #[test]
    fn events_are_stored_in_this_form() {
        let lines: Vec<_> = events()
            .iter()
            .map(|event| serde_json::to_string(&EventDocument::from(event)).unwrap())
            .collect();
        expect![[r#"
            {"event":"account-opened","purchaser":"shop"}
            {"event":"credited","purchaser":"shop","amount_micro":1000000,"by":"ops"}
            {"event":"bid-placed","id":"bid-1","purchaser":"shop","site":"shop","region":"east","first_slot":1,"last_slot":2,"units":4,"limit_price_micro":30,"class":"firm","placed_at":"1970-01-01T00:00:01Z","held_micro":240}
            {"event":"bid-placed","id":"bid-2","purchaser":"shop","site":"shop","region":"east","first_slot":1,"last_slot":2,"units":1,"limit_price_micro":15,"class":"firm","placed_at":"1970-01-01T00:00:02Z","held_micro":30}
            {"event":"bid-placed","id":"bid-3","purchaser":"shop","site":"shop","region":"east","first_slot":1,"last_slot":2,"units":1,"limit_price_micro":12,"class":"firm","placed_at":"1970-01-01T00:00:03Z","held_micro":24}
            {"event":"bid-cancelled","bid":"bid-3","released_micro":24}
            {"event":"bid-placed","id":"bid-4","purchaser":"shop","site":"shop","region":"east","first_slot":1,"last_slot":2,"units":1,"limit_price_micro":25,"class":"interruptible","placed_at":"1970-01-01T00:00:04Z","held_micro":50}
            {"event":"auction-cleared","region":"east","at":"1970-01-01T00:00:05Z","slots":[{"slot":1,"offered_units":5,"sold_units":5,"price_micro":20},{"slot":2,"offered_units":5,"sold_units":5,"price_micro":20}]}
            {"event":"contract-made","id":"contract-1","bid":"bid-1","purchaser":"shop","site":"shop","region":"east","first_slot":1,"last_slot":2,"units":4,"class":"firm","prices_micro":[20,20],"made_at":"1970-01-01T00:00:05Z"}
            {"event":"hold-released","bid":"bid-1","amount_micro":80}
            {"event":"contract-made","id":"contract-2","bid":"bid-4","purchaser":"shop","site":"shop","region":"east","first_slot":1,"last_slot":2,"units":1,"class":"interruptible","prices_micro":[20,20],"made_at":"1970-01-01T00:00:05Z"}
            {"event":"hold-released","bid":"bid-4","amount_micro":10}
            {"event":"stage-entered","contract":"contract-1","stage":"primed","at":"1970-01-01T00:00:06Z"}
            {"event":"bid-expired","bid":"bid-2","released_micro":30}
            {"event":"contract-recalled","contract":"contract-2","at":"1970-01-01T00:01:10Z","ends_at":"1970-01-01T00:01:15Z","released_micro":20}
            {"event":"slot-settled","contract":"contract-1","slot":1,"served":290,"refused":3,"available_millirequests":300000,"undelivered_millirequests":0,"charge_micro":80,"refund_micro":0,"penalty_micro":0}"#]].assert_eq(&lines.join("\n"));
    }

    #[test]
    fn what_is_stored_is_read_again() {
        for event in events() {
            let json = serde_json::to_string(&EventDocument::from(&event)).unwrap();
            let document: EventDocument = serde_json::from_str(&json).unwrap();
            assert_eq!(Event::try_from(document).unwrap(), event);
        }
    }

    #[test]
    fn what_no_market_has_written_is_refused() {
        let document = EventDocument::BidPlaced(BidDocument {
            units: u64::MAX,
            ..BidDocument::from(match &events()[2] {
                Event::BidPlaced { bid } => bid,
                other => panic!("{other:?}"),
            })
        });
        let error = Event::try_from(document).unwrap_err().to_string();
        assert!(error.contains("units 18446744073709551615"), "{error}");
    }
}
