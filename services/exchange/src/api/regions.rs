//! Regions, their headroom and prices, their series, and the plan.

use std::sync::Arc;

use axum::{
    extract::{Query, State},
    http::StatusCode,
    response::Response,
};
use headroom_forecast::limits::REQUESTS_PER_SECOND_MAX;
use headroom_store::SlotRecord;
use headroom_units::{RegionId, Slot, SlotLength, SlotRange};
use headroom_wire::{
    NewSeries, PlanDocument, Problem, RegionView, SeriesImported, SeriesPoint, SlotView,
    SlotsQuery, Text, Time,
};

use super::{
    auth::Caller,
    body::{self, Json, json},
    path::Id,
    problem::{ApiError, ApiResult},
};
use crate::{limits::SLOTS_LISTED_MAX, start::Shared};

/// The regions of the network.
#[utoipa::path(get, path = "/v1/regions", tag = "market", operation_id = "listRegions",
    responses((status = 200, body = Vec<RegionView>), (status = "4XX", body = Problem)))]
pub(crate) async fn list(
    State(shared): State<Arc<Shared>>,
    _caller: Caller,
) -> ApiResult<Response> {
    let regions = &shared.config.fleet.regions;
    let views: Vec<_> = regions
        .iter()
        .map(|(id, region)| RegionView {
            id: Text(id.clone()),
            capacity_units: shared.config.capacity(id).count(),
            edges: region.edges.len(),
        })
        .collect();
    Ok(json(StatusCode::OK, &views))
}

/// What is unused, offered and sold, by region and slot; from the running slot on unless asked
/// otherwise.
#[utoipa::path(get, path = "/v1/headroom", tag = "market", operation_id = "listHeadroom",
    params(("region" = Option<String>, Query), ("from" = Option<String>, Query),
           ("until" = Option<String>, Query)),
    responses((status = 200, body = Vec<SlotView>), (status = "4XX", body = Problem)))]
pub(crate) async fn headroom(
    State(shared): State<Arc<Shared>>,
    _caller: Caller,
    query: Result<Query<SlotsQuery>, axum::extract::rejection::QueryRejection>,
) -> ApiResult<Response> {
    let Query(query) = query.map_err(|error| ApiError::invalid(error.body_text()))?;
    let region = query.region.as_deref().map(|id| known(&shared, id)).transpose()?;
    let length = shared.config.slot_length;
    let first = length.slot_at(query.from.map_or_else(headroom_clock::now, |from| from.0));
    let last =
        query.until.map_or(first.plus(SLOTS_LISTED_MAX - 1), |until| length.slot_at(until.0));
    let range = SlotRange::new(first, last).filter(|range| range.count() <= SLOTS_LISTED_MAX);
    let range = range.ok_or_else(|| {
        ApiError::invalid(format!("`from` to `until` is not 1 to {SLOTS_LISTED_MAX} slots"))
    })?;
    let records = shared.store.slots(range).await?;
    let views: Vec<_> = shared
        .book
        .read(|market| {
            let asked = |record: &&SlotRecord| {
                region.as_ref().is_none_or(|region| *region == record.region)
            };
            let view = |record: &SlotRecord| SlotView {
                region: Text(record.region.clone()),
                start: Time(length.start(record.slot)),
                capacity_units: record.capacity.count(),
                headroom_units: record.headroom.count(),
                risk: record.risk.as_f64(),
                offered_units: record.offered.count(),
                sold_units: market.sold(&record.region, record.slot).count(),
                clearing_price_micro: market
                    .last_price(&record.region, record.slot)
                    .map(|price| price.micro()),
            };
            records.iter().filter(asked).map(view).collect()
        })
        .await;
    Ok(json(StatusCode::OK, &views))
}

/// Imports past load of a region: what forecasts are made from before there are meters.
#[utoipa::path(put, path = "/v1/regions/{id}/series", tag = "market", operation_id = "importSeries",
    params(("id" = String, Path)), request_body = NewSeries,
    responses((status = 200, body = SeriesImported), (status = "4XX", body = Problem)))]
pub(crate) async fn import_series(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Id(id): Id,
    body: Json<NewSeries>,
) -> ApiResult<Response> {
    caller.require_operator()?;
    let region = known(&shared, &id)?;
    let length = shared.config.slot_length;
    let running = length.slot_at(headroom_clock::now());
    let points = body.value.points.iter().map(|point| load(point, length, running));
    let points = points.collect::<ApiResult<Vec<_>>>()?;
    shared.store.record_series(&region, &points).await?;
    shared.series_imported.notify_one();
    Ok(json(StatusCode::OK, &SeriesImported { points: points.len() }))
}

/// The slot and the load of a point of a series, if that slot is over and the load can be.
fn load(point: &SeriesPoint, length: SlotLength, running: Slot) -> ApiResult<(Slot, f64)> {
    let SeriesPoint { slot: start, requests_per_second: load } = *point;
    let slot = body::slot_starting(start, length)?;
    if slot >= running {
        return Err(ApiError::invalid(format!(
            "the slot of {start} is not over; accepted are slots before {}",
            Time(length.start(running))
        )));
    }
    if !(0.0..=REQUESTS_PER_SECOND_MAX).contains(&load) {
        return Err(ApiError::invalid(format!(
            "{load} requests/s at {start} are not a load; accepted is 0 to \
             {REQUESTS_PER_SECOND_MAX}"
        )));
    }
    Ok((slot, load))
}

/// The plan in force. The operator's call: it holds every tenant's sites and contracts.
#[utoipa::path(get, path = "/v1/plan", tag = "network", operation_id = "showPlan",
    responses((status = 200, body = PlanDocument), (status = "4XX", body = Problem)))]
pub(crate) async fn plan(State(shared): State<Arc<Shared>>, caller: Caller) -> ApiResult<Response> {
    caller.require_operator()?;
    let plan = shared.plan().ok_or_else(|| ApiError::not_found("no plan was published yet"))?;
    Ok(json(StatusCode::OK, &PlanDocument::from(&*plan)))
}

pub(super) fn known(shared: &Shared, id: &str) -> ApiResult<RegionId> {
    let regions = &shared.config.fleet.regions;
    id.parse().ok().filter(|region| regions.contains_key(region)).ok_or_else(|| {
        let names: Vec<_> = regions.keys().map(RegionId::as_str).collect();
        ApiError::not_found(format!("there is no region {id:?}; there are {}", names.join(", ")))
    })
}
