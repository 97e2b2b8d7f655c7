//! Bids.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use headroom_market::{BidRecord, BidStatus, Command, Event, Market, Outcome, Rejection};
use headroom_units::{BidId, Price, SlotLength, SlotRange, Timestamp, Units};
use headroom_wire::{BidView, NewBid, Problem, Text, Time};

use super::{
    auth::Caller,
    body::{self, Json, json},
    path::Id,
    problem::{ApiError, ApiResult},
    sites,
};
use crate::{ExchangeError, start::Shared};

/// Places a bid; the money for it is held at once.
#[utoipa::path(post, path = "/v1/bids", tag = "bids", operation_id = "placeBid", request_body = NewBid,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = BidView), (status = "4XX", body = Problem)))]
pub(crate) async fn place(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    body: Json<NewBid>,
) -> ApiResult<Response> {
    let purchaser = caller.require_purchaser()?.clone();
    if let Some(answered) = body.repetition.answered(&shared, &caller).await? {
        return Ok(answered);
    }
    let bid = &body.value;
    let length = shared.config.slot_length;
    let slots = slots(bid, length)?;
    let units = units(bid, &shared)?;
    let limit = Price::from_micro(bid.limit_price_micro).ok_or_else(|| {
        let most = Price::MAX.micro();
        ApiError::invalid(format!(
            "limit_price_micro is {}; accepted is 0 to {most} millionths",
            bid.limit_price_micro
        ))
    })?;
    let site = sites::find(&shared, &caller, bid.site.0.as_str()).await?;
    if !site.hosts.iter().any(|host| host.proved) {
        return Err(ApiError::new(StatusCode::CONFLICT, "not-proved").because(format!(
            "no host name of site {} is proved yet; set the TXT record and verify the site first",
            bid.site.0
        )));
    }
    let command = Command::PlaceBid {
        purchaser,
        site: bid.site.0.clone(),
        region: bid.region.0.clone(),
        slots,
        units,
        limit,
        class: bid.class.map(|class| class.0).unwrap_or_default(),
    };
    let view = |market: &Market, events: &[Event]| placed(market, events, length);
    body.repetition.answer(&shared, &caller, command, StatusCode::CREATED, view).await
}

/// The caller's bids, newest first.
#[utoipa::path(get, path = "/v1/bids", tag = "bids", operation_id = "listBids",
    responses((status = 200, body = Vec<BidView>), (status = "4XX", body = Problem)))]
pub(crate) async fn list(State(shared): State<Arc<Shared>>, caller: Caller) -> ApiResult<Response> {
    let length = shared.config.slot_length;
    let mut views: Vec<_> = shared
        .book
        .read(|market| {
            let mine = market.bids().filter(|record| caller.may_see(&record.bid.purchaser));
            mine.map(|record| view_in(market, record, length)).collect()
        })
        .await;
    views.reverse();
    Ok(json(StatusCode::OK, &views))
}

/// One bid, and what became of it.
#[utoipa::path(get, path = "/v1/bids/{id}", tag = "bids", operation_id = "showBid", params(("id" = String, Path)),
    responses((status = 200, body = BidView), (status = "4XX", body = Problem)))]
pub(crate) async fn show(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Id(id): Id,
) -> ApiResult<Response> {
    Ok(json(StatusCode::OK, &find(&shared, &caller, &id).await?))
}

/// Withdraws what is still open of a bid; its money is available again. Withdrawing twice changes
/// nothing.
#[utoipa::path(delete, path = "/v1/bids/{id}", tag = "bids", operation_id = "cancelBid", params(("id" = String, Path)),
    responses((status = 200, body = BidView), (status = "4XX", body = Problem)))]
pub(crate) async fn cancel(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Id(id): Id,
) -> ApiResult<Response> {
    let purchaser = caller.require_purchaser()?.clone();
    let found = find(&shared, &caller, &id).await?;
    if found.status != "cancelled" {
        let command = Command::CancelBid { bid: found.id.0, purchaser };
        match shared.book.execute(command, headroom_clock::now()).await {
            Ok(_) => {}
            // The same call was made at the same moment.
            Err(ExchangeError::Rejected(Rejection::BidNotOpen {
                status: BidStatus::Cancelled,
                ..
            })) => {}
            Err(error) => return Err(ApiError::of(error, shared.config.slot_length)),
        }
    }
    Ok(json(StatusCode::OK, &find(&shared, &caller, &id).await?))
}

async fn find(shared: &Shared, caller: &Caller, id: &str) -> ApiResult<BidView> {
    let unknown = || ApiError::not_found(format!("you have no bid {id:?}"));
    let bid: BidId = id.parse().map_err(|_| unknown())?;
    let length = shared.config.slot_length;
    shared
        .book
        .read(|market| {
            let mine = market.bid(bid).filter(|record| caller.may_see(&record.bid.purchaser));
            mine.map(|record| view_in(market, record, length))
        })
        .await
        .ok_or_else(unknown)
}

fn slots(bid: &NewBid, length: SlotLength) -> ApiResult<SlotRange> {
    let first = body::slot_starting(bid.first_slot, length)?;
    let last = bid.slots.checked_sub(1).map(|more| first.plus(more));
    last.and_then(|last| SlotRange::new(first, last)).ok_or_else(|| {
        let most = headroom_units::limits::SLOTS_MAX;
        ApiError::invalid(format!("{} slots are not 1 to {most}", bid.slots))
    })
}

/// The units asked for: as such, or the larger need of requests and egress.
fn units(bid: &NewBid, shared: &Shared) -> ApiResult<Units> {
    let most = headroom_units::limits::UNITS_MAX;
    let too_many = || ApiError::invalid(format!("a bid is for at most {most} units"));
    match (bid.units, bid.requests, bid.egress) {
        (Some(units), None, None) => Units::new(units).ok_or_else(too_many),
        (None, Some(requests), Some(egress)) => {
            shared.config.unit.units_for(requests.0, egress.0).ok_or_else(too_many)
        }
        _ => Err(ApiError::invalid(
            "a bid says either `units`, or both `requests` (\"300 req/s\") and `egress` \
             (\"100 Mbit/s\")",
        )),
    }
}

fn placed(market: &Market, events: &[Event], length: SlotLength) -> Option<BidView> {
    events.iter().find_map(|event| match event {
        Event::BidPlaced { bid } => Some(view_in(
            market,
            &BidRecord {
                bid: bid.clone(),
                status: BidStatus::Open,
                filled: Units::ZERO,
                held: bid.held,
                contracts: Vec::new(),
            },
            length,
        )),
        _ => None,
    })
}

/// What is told of a bid that was in no auction yet.
const WAITS: &str = "it waits for its first auction";

fn waits_for(gate: Timestamp) -> String {
    format!("it waits for the forward auction of its day, at {} or just after", Time(gate))
}

/// A bid with what auctions have made of it.
fn view_in(market: &Market, record: &BidRecord, length: SlotLength) -> BidView {
    let view = view(record, length);
    let gate = market.waits_for_gate(record.bid.slots, headroom_clock::now());
    if let Some(gate) = gate.filter(|_| record.status == BidStatus::Open) {
        return BidView { outcome: waits_for(gate), ..view };
    }
    let Some(outcome) = market.explain(record.bid.id) else { return view };
    let (text, price) = explained(outcome, length);
    BidView { outcome: text, clearing_price_micro: price.map(Price::micro), ..view }
}

/// An outcome in words, and the clearing price if there is one.
fn explained(outcome: Outcome, length: SlotLength) -> (String, Option<Price>) {
    let start = |slot| Time(length.start(slot));
    let (text, price) = match outcome {
        Outcome::Waits => (WAITS.to_owned(), None),
        Outcome::Won { average } => ("won: filled whole".to_owned(), Some(average)),
        Outcome::NothingOffered { slot } => {
            (format!("nothing was for sale in the slot of {}", start(slot)), None)
        }
        Outcome::BelowTheAsks { slot } => {
            let text = "nobody's limit reached what was asked in the slot of";
            (format!("{text} {}", start(slot)), None)
        }
        Outcome::Outbid { average } => {
            ("outbid: the clearing price is above its limit".to_owned(), Some(average))
        }
        Outcome::AtTheMargin { average } => {
            let text = "at the margin: its limit is the clearing price, and such bids share what \
                        is left pro rata";
            (text.to_owned(), Some(average))
        }
        Outcome::InTheMoney { average } => {
            let text = "above the last clearing price: it takes part in the next auction";
            (text.to_owned(), Some(average))
        }
    };
    (text, price)
}

fn view(record: &BidRecord, length: SlotLength) -> BidView {
    let bid = &record.bid;
    BidView {
        id: Text(bid.id),
        purchaser: Text(bid.purchaser.clone()),
        site: Text(bid.site.clone()),
        region: Text(bid.region.clone()),
        first_slot: Time(length.start(bid.slots.first())),
        last_slot: Time(length.start(bid.slots.last())),
        units: bid.units.count(),
        filled_units: record.filled.count(),
        limit_price_micro: bid.limit.micro(),
        class: Text(bid.class),
        status: match record.status {
            BidStatus::Open => "open",
            BidStatus::Filled => "filled",
            BidStatus::Cancelled => "cancelled",
            BidStatus::Expired => "expired",
        }
        .to_owned(),
        held_micro: record.held.micro(),
        contracts: record.contracts.iter().copied().map(Text).collect(),
        outcome: WAITS.to_owned(),
        clearing_price_micro: None,
    }
}
