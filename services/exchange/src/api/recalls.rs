//! Capacity that was sold as interruptible, taken back.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use headroom_market::{Command, Event, Market};
use headroom_units::Units;
use headroom_wire::{NewRecall, Problem, RecallView, RecalledView, Text, Time};

use super::{
    auth::Caller,
    body::{self, Json},
    path::Id,
    problem::ApiResult,
    regions,
};
use crate::start::Shared;

/// Recalls interruptible contracts until so many units are free in a slot, or none is left: the
/// ones that pay the least first, of those the ones made last. Each ends after the notice.
#[utoipa::path(post, path = "/v1/regions/{id}/recalls", tag = "market", operation_id = "recall",
    request_body = NewRecall, params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = RecallView), (status = "4XX", body = Problem)))]
pub(crate) async fn create(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Id(id): Id,
    body: Json<NewRecall>,
) -> ApiResult<Response> {
    caller.require_operator()?;
    let region = regions::known(&shared, &id)?;
    let slot = body::slot_starting(body.value.slot, shared.config.slot_length)?;
    let units = Units::saturating(body.value.units);
    let command = Command::Recall { region, slot, units };
    let view = |market: &Market, events: &[Event]| Some(view(market, events));
    let answer =
        body.repetition.answer(&shared, &caller, command, StatusCode::CREATED, view).await?;
    shared.plan_wanted.notify_one();
    Ok(answer)
}

fn view(market: &Market, events: &[Event]) -> RecallView {
    let recalled = |event: &Event| match event {
        Event::ContractRecalled { contract, ends_at, released, .. } => Some(RecalledView {
            contract: Text(*contract),
            units: market.contract(*contract).map_or(0, |contract| contract.units.count()),
            ends_at: Time(*ends_at),
            released_micro: released.micro(),
        }),
        _ => None,
    };
    let contracts: Vec<_> = events.iter().filter_map(recalled).collect();
    RecallView { units: contracts.iter().map(|recalled| recalled.units).sum(), contracts }
}
