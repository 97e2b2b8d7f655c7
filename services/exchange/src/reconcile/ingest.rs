//! Takes in what edges and name servers report.

use std::sync::{Arc, atomic::Ordering};

use headroom_bus::{
    BusError,
    subjects::{METERS, NAME_SERVER_REPORTS},
};
use headroom_steer::EdgeReport;
use headroom_wire::MeterReport;

use super::attempt;
use crate::{ExchangeError, start::Shared};

/// Meters of the edges: to the controller, to the live view, to the store.
pub(crate) async fn meters(shared: Arc<Shared>) {
    let mut reports = shared.bus.subscribe(&METERS);
    loop {
        let report = tokio::select! {
            () = shared.stop.cancelled() => return,
            report = reports.next() => report,
        };
        match report {
            Ok(report) => attempt(&shared, "meters", take_in(&shared, &report)).await,
            Err(BusError::Closed { .. }) => return,
            Err(error) => tracing::warn!(%error, "meters were not taken in"),
        }
    }
}

async fn take_in(shared: &Shared, report: &MeterReport) -> Result<(), ExchangeError> {
    let Some(plan) = shared.plan() else {
        return Ok(());
    };
    let now = headroom_clock::now();
    let known =
        shared.with_controller(|control| control.observe(&plan, &EdgeReport::from(report), now));
    let Some(region) = plan.region_of_edge(&report.edge.0).filter(|_| known) else {
        tracing::warn!(edge = %report.edge.0, "a meter report is unknown, repeated or out of time");
        return Ok(());
    };
    shared.metrics.meter_reports.inc();
    if report.generation > shared.generation_seen.fetch_max(report.generation, Ordering::Relaxed)
        && report.generation > plan.generation.number()
    {
        let (edge, theirs, ours) = (&report.edge.0, report.generation, plan.generation);
        tracing::warn!(%edge, theirs, %ours, "an edge has a newer plan than the database: going on from it");
    }
    shared.live.edge(report, now);
    shared.store.record_meters(region, report).await?;
    Ok(())
}

/// What name servers did: to the live view, to the store.
pub(crate) async fn name_servers(shared: Arc<Shared>) {
    let mut reports = shared.bus.subscribe(&NAME_SERVER_REPORTS);
    loop {
        let report = tokio::select! {
            () = shared.stop.cancelled() => return,
            report = reports.next() => report,
        };
        match report {
            Ok(report) => {
                shared.live.name_server(&report);
                let kept = async { Ok(shared.store.record_mapping(&report).await?) };
                attempt(&shared, "name server reports", kept).await;
            }
            Err(BusError::Closed { .. }) => return,
            Err(error) => tracing::warn!(%error, "a name server's report was not taken in"),
        }
    }
}
