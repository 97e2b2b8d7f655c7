//! Takes in what edges and name servers report, and acknowledges meters that are stored.

use std::sync::{Arc, atomic::Ordering};

use headroom_bus::{
    BusError,
    subjects::{METER_ACKS, METERS, NAME_SERVER_REPORTS},
};
use headroom_steer::{EdgeReport, Leased, limits::REPORT_AHEAD_MAX};
use headroom_store::Recorded;
use headroom_units::ContractId;
use headroom_wire::{MeterAck, MeterReport, NameServerReport};

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

/// A report is acknowledged once it is stored, also if it was stored before: the acknowledgement
/// may have been lost. One that cannot be stored now is not, and the edge sends it again.
async fn take_in(shared: &Shared, report: &MeterReport) -> Result<(), ExchangeError> {
    let Some(plan) = shared.plan() else {
        return Ok(());
    };
    let now = headroom_clock::now();
    let edge = &report.edge.0;
    let Some(region) = plan.region_of_edge(edge) else {
        tracing::warn!(%edge, "a meter report of an edge that is not in the plan is left out");
        return Ok(());
    };
    if report.second.0 > now.after(REPORT_AHEAD_MAX) {
        tracing::warn!(%edge, second = %report.second, "a meter report from the future waits");
        return Ok(());
    }
    // What comes late or again is for the books alone: control and live views need the newest.
    let newest =
        shared.with_controller(|control| control.observe(&plan, &EdgeReport::from(report), now));
    if newest {
        notice_generation(shared, report, plan.generation.number());
        shared.live.edge(report, now);
    }
    if shared.store.record_meters(region, report).await? == Recorded::New {
        shared.metrics.meter_reports.inc();
        if !newest {
            tell_of_late(shared, report).await;
        }
    }
    let (edge, incarnation, second) = (report.edge.clone(), report.incarnation, report.second);
    Ok(shared.bus.publish(&METER_ACKS, &MeterAck { edge, incarnation, second })?)
}

fn notice_generation(shared: &Shared, report: &MeterReport, ours: u64) {
    let theirs = report.generation;
    if theirs > shared.generation_seen.fetch_max(theirs, Ordering::Relaxed) && theirs > ours {
        let edge = &report.edge.0;
        tracing::warn!(%edge, theirs, %ours, "an edge has a newer plan than the database: going on from it");
    }
}

/// A slot is settled once, from what was known by then. What comes after that is kept and shown
/// with the meters of the contract; to make it good is the operator's decision, so it is told.
async fn tell_of_late(shared: &Shared, report: &MeterReport) {
    let slot = shared.config.slot_length.slot_at(report.second.0);
    let contracts: Vec<_> = report.contracts.iter().map(|meter| meter.contract.0).collect();
    let settled = shared.book.read(|market| {
        let is_settled = |contract: &ContractId| {
            market.settlements_of(*contract).any(|settlement| settlement.slot == slot)
        };
        contracts.into_iter().filter(is_settled).collect::<Vec<_>>()
    });
    for contract in settled.await {
        shared.metrics.late_meters.inc();
        let (edge, second) = (&report.edge.0, report.second);
        tracing::warn!(%edge, %second, %contract, %slot, "meters came after their slot was settled");
    }
}

/// What name servers did: to the live view, to what is known of servers, to the store.
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
                hear_of_leases(&shared, &report);
                shared.servers.hear(&report, headroom_clock::now());
                let kept = async { Ok(shared.store.record_mapping(&report).await?) };
                attempt(&shared, "name server reports", kept).await;
            }
            Err(BusError::Closed { .. }) => return,
            Err(error) => tracing::warn!(%error, "a name server's report was not taken in"),
        }
    }
}

/// What is leased out, against which the controller holds what came.
fn hear_of_leases(shared: &Shared, report: &NameServerReport) {
    let now = headroom_clock::now();
    shared.with_controller(|controller| {
        for meter in &report.places {
            let place = (meter.site.0.clone(), meter.region.0.clone());
            let from = (&report.name_server.0, &place);
            let leased = Leased { load: meter.leased.0, strangers: meter.strangers.0 };
            controller.observe_leased(from, report.second.0, leased, now);
        }
    });
}
