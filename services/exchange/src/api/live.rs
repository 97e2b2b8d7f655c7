//! Live views: what was measured in the last whole second.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    extract::State,
    http::StatusCode,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{Stream, stream};
use headroom_steer::{Owner, Plan};
use headroom_units::{RegionId, Timestamp};
use headroom_wire::{ContractLive, LiveView, MeterReport, Problem, RegionLive, Text, Time};

use super::{
    auth::Caller,
    body::json,
    problem::{ApiError, ApiResult},
};
use crate::{limits::LIVE_VIEWS_MAX, live, start::Shared};

/// A new view is sent this often.
const EVERY: Duration = Duration::from_secs(1);

static LIVE_VIEWS: AtomicUsize = AtomicUsize::new(0);

/// The last whole second, once.
#[utoipa::path(get, path = "/v1/meters", tag = "live", operation_id = "showMeters",
    responses((status = 200, body = LiveView), (status = "4XX", body = Problem)))]
pub(crate) async fn now(State(shared): State<Arc<Shared>>, caller: Caller) -> ApiResult<Response> {
    let view = view(&shared, &caller)
        .ok_or_else(|| ApiError::not_found("nothing was measured yet; try again in a second"))?;
    Ok(json(StatusCode::OK, &view))
}

/// The last whole second, every second, as server-sent events.
#[utoipa::path(get, path = "/v1/live", tag = "live", operation_id = "streamMeters",
    responses((status = 200, body = LiveView, content_type = "text/event-stream"),
              (status = "4XX", body = Problem)))]
pub(crate) async fn events(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
) -> ApiResult<Response> {
    let place = LivePlace::take().ok_or_else(|| {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-live-views")
            .because(format!("at most {LIVE_VIEWS_MAX} live views are sent at a time"))
    })?;
    let stream = views(shared, caller, place);
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()).into_response())
}

/// One of the live views that may be sent at a time; given back when the stream ends.
struct LivePlace;

impl LivePlace {
    fn take() -> Option<Self> {
        let taken = LIVE_VIEWS.fetch_add(1, Ordering::Relaxed);
        let place = Self;
        (taken < LIVE_VIEWS_MAX).then_some(place)
    }
}

impl Drop for LivePlace {
    fn drop(&mut self) {
        LIVE_VIEWS.fetch_sub(1, Ordering::Relaxed);
    }
}

fn views(
    shared: Arc<Shared>,
    caller: Caller,
    place: LivePlace,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let ticks = tokio::time::interval(EVERY);
    stream::unfold((shared, caller, place, ticks), async |(shared, caller, place, mut ticks)| {
        loop {
            tokio::select! {
                () = shared.stop.cancelled() => return None,
                _ = ticks.tick() => {}
            }
            if let Some(text) =
                view(&shared, &caller).and_then(|view| serde_json::to_string(&view).ok())
            {
                return Some((Ok(Event::default().data(text)), (shared, caller, place, ticks)));
            }
        }
    })
}

fn view(shared: &Shared, caller: &Caller) -> Option<LiveView> {
    let plan = shared.plan()?;
    let second = shared.live.whole_second()?;
    let reports = shared.live.reports(second);
    let regions =
        plan.regions.keys().map(|id| region(shared, caller, &plan, id, &reports)).collect();
    Some(LiveView {
        at: Time(second),
        generation: plan.generation.number(),
        regions,
        contracts: contracts(shared, caller, &plan, second, &reports),
    })
}

fn region(
    shared: &Shared,
    caller: &Caller,
    plan: &Plan,
    id: &RegionId,
    reports: &[MeterReport],
) -> RegionLive {
    let here = |report: &&MeterReport| plan.region_of_edge(&report.edge.0) == Some(id);
    RegionLive {
        region: Text(id.clone()),
        capacity_units: shared.config.capacity(id).count(),
        own_requests: matches!(caller, Caller::Operator)
            .then(|| reports.iter().filter(here).map(|report| report.own.requests).sum()),
        edges_up: reports.iter().filter(here).map(|report| report.edge.clone()).collect(),
    }
}

fn contracts(
    shared: &Shared,
    caller: &Caller,
    plan: &Plan,
    second: Timestamp,
    reports: &[MeterReport],
) -> Vec<ContractLive> {
    let mut contracts = Vec::new();
    for (id, site) in &plan.sites {
        let visible = match &site.owner {
            Owner::Operator => false,
            Owner::Purchaser(purchaser) => caller.may_see(purchaser),
        };
        for held in site.entitlements.iter().filter(|held| visible && held.is_active(second)) {
            let traffic = live::traffic(reports, held.contract);
            let mapping = shared.live.mapping(&(id.clone(), held.region.clone()));
            contracts.push(ContractLive {
                id: Text(held.contract),
                site: Text(id.clone()),
                region: Text(held.region.clone()),
                units: held.requests.millirequests_per_second() / 1_000,
                offered: traffic.offered,
                served: traffic.served,
                refused: traffic.refused,
                mapping_requests: mapping.asked,
                fraction: headroom_units::Fraction::of(mapping.mapped, mapping.asked).as_f64(),
                leased: mapping.leased,
            });
        }
    }
    contracts
}
