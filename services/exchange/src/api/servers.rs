//! The servers that a site's remainder is assigned to: what is known of them, and what their
//! purchaser reports of them.

use std::{collections::BTreeSet, net::IpAddr, ops::RangeInclusive, sync::Arc, time::Duration};

use axum::{extract::State, http::StatusCode, response::Response};
use headroom_steer::{
    Owner, Remainder, ServerReport, Site,
    limits::{REPORT_LIFETIME_MAX, REPORT_LIFETIME_MIN, REPORTS_PER_SITE_MAX},
};
use headroom_units::{SiteId, Timestamp};
use headroom_wire::{NewServerReports, Problem, ServersView};

use super::{
    auth::Caller,
    body::{Json, json},
    path::Id,
    problem::{ApiError, ApiResult},
    sites,
};
use crate::{limits::REPORTED_SITES_MAX, start::Shared};

/// For how many seconds a report may count.
const LIFETIME: RangeInclusive<u64> = REPORT_LIFETIME_MIN.as_secs()..=REPORT_LIFETIME_MAX.as_secs();

/// The servers of a site, and what is known of each.
#[utoipa::path(get, path = "/v1/sites/{id}/servers", tag = "sites", operation_id = "listServers",
    params(("id" = String, Path)),
    responses((status = 200, body = ServersView), (status = "4XX", body = Problem)))]
pub(crate) async fn show(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Id(id): Id,
) -> ApiResult<Response> {
    let (site, remainder) = find(&shared, &caller, &id).await?;
    Ok(json(StatusCode::OK, &view(&shared, &site, &remainder)?))
}

/// Reports health and load of servers of a site. It is in force at the name servers within a second,
/// and for as long as it says; servers that are not named keep what was reported of them before.
#[utoipa::path(put, path = "/v1/sites/{id}/servers", tag = "sites", operation_id = "reportServers",
    params(("id" = String, Path)), request_body = NewServerReports,
    responses((status = 200, body = ServersView), (status = "4XX", body = Problem)))]
pub(crate) async fn report(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Id(id): Id,
    body: Json<NewServerReports>,
) -> ApiResult<Response> {
    let (site, remainder) = find(&shared, &caller, &id).await?;
    let before = view(&shared, &site, &remainder)?;
    let known = before.servers.into_iter().flat_map(|server| server.addresses);
    // What a text says may be newer than what is known of it here.
    let known = (!is_by_dns(&remainder)).then(|| known.collect::<BTreeSet<IpAddr>>());
    let now = headroom_clock::now();
    let reports = reports(body.value, known.as_ref(), now)?;
    if !shared.servers.report(&site, &reports, now) {
        return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too-many-reports").because(
            format!(
                "at most {REPORTS_PER_SITE_MAX} servers of a site, and servers of \
                 {REPORTED_SITES_MAX} sites, are reported of at a time"
            ),
        ));
    }
    Ok(json(StatusCode::OK, &view(&shared, &site, &remainder)?))
}

/// The remainder policy of a site, if it exists and the caller may see it. Reports come often, so it
/// is taken from the plan if that has the site: a policy does not change.
async fn find(shared: &Shared, caller: &Caller, id: &str) -> ApiResult<(SiteId, Remainder)> {
    let plan = shared.plan();
    let planned = id.parse().ok().and_then(|id: SiteId| {
        let site = plan.as_ref()?.sites.get(&id)?;
        Some((id, site))
    });
    match planned {
        Some((id, Site { owner: Owner::Purchaser(owner), remainder, .. }))
            if caller.may_see(owner) =>
        {
            Ok((id, remainder.clone()))
        }
        _ => {
            let stored = sites::find(shared, caller, id).await?.site;
            Ok((stored.id.0, stored.remainder.into()))
        }
    }
}

/// The reports of a call, each for an address of its own; of those that are `known`, if that is told.
fn reports(
    asked: NewServerReports,
    known: Option<&BTreeSet<IpAddr>>,
    now: Timestamp,
) -> ApiResult<Vec<(IpAddr, ServerReport)>> {
    let seconds = asked.expires_seconds;
    if !LIFETIME.contains(&seconds) {
        let (least, most) = (LIFETIME.start(), LIFETIME.end());
        return Err(ApiError::invalid(format!(
            "reports that count for {seconds} s; accepted are {least} to {most} s"
        )));
    }
    let count = asked.servers.len();
    if count == 0 || count > REPORTS_PER_SITE_MAX {
        return Err(ApiError::invalid(format!(
            "{count} servers are reported of; accepted are 1 to {REPORTS_PER_SITE_MAX}"
        )));
    }
    let mut seen = BTreeSet::new();
    let mut reports = Vec::with_capacity(count);
    for server in asked.servers {
        let address = server.address;
        if !seen.insert(address) {
            return Err(ApiError::invalid(format!("{address} stands there twice")));
        }
        if known.is_some_and(|known| !known.contains(&address)) {
            return Err(ApiError::invalid(format!(
                "{address} is no server of this site; accepted are the addresses of its servers"
            )));
        }
        let report = ServerReport {
            healthy: server.healthy,
            load: server.load.map(|load| load.0),
            reported_at: now,
            expires_at: now.after(Duration::from_secs(seconds)),
        };
        reports.push((address, report));
    }
    Ok(reports)
}

fn is_by_dns(remainder: &Remainder) -> bool {
    matches!(remainder, Remainder::AssignByDns { .. })
}

fn view(shared: &Shared, site: &SiteId, remainder: &Remainder) -> ApiResult<ServersView> {
    let now = headroom_clock::now();
    let assignment = match remainder {
        Remainder::Assign(assignment) => Some(assignment.clone()),
        Remainder::AssignByDns { .. } => shared.servers.provided(site, now),
        _ => {
            return Err(ApiError::new(StatusCode::CONFLICT, "not-assigned").because(format!(
                "the remainder of site {site} is not assigned to servers; accepted are the \
                 policies \"assign\" and \"assign-by-dns\""
            )));
        }
    };
    let mut view = match assignment {
        Some(assignment) => {
            let algorithm = Some(assignment.algorithm);
            ServersView::new(site.clone(), algorithm, assignment.check, &assignment.servers)
        }
        None => ServersView::new(site.clone(), None, None, &[]),
    };
    shared.servers.complete(&mut view, is_by_dns(remainder), now);
    Ok(view)
}
