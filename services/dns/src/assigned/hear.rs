//! What purchasers report of their servers, as it comes from the exchange.

use std::sync::Arc;

use headroom_bus::Subscription;
use headroom_steer::ServerReport;
use headroom_wire::ServerReportsMessage;
use tokio_util::sync::CancellationToken;

use crate::{server::Shared, updates};

/// Takes reports in until told to stop. The last are taken in again after each plan: they may have
/// come before it.
pub(crate) async fn hear(
    shared: Arc<Shared>,
    mut reports: Subscription<ServerReportsMessage>,
    stop: CancellationToken,
) {
    let mut changes = shared.assigned.changes();
    let mut last = ServerReportsMessage::default();
    loop {
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            message = updates::next(&mut reports, &stop) => match message {
                Some(message) => last = message,
                None => return,
            },
        }
        take_in(&shared, &last);
    }
}

fn take_in(shared: &Shared, message: &ServerReportsMessage) {
    let now = headroom_clock::now();
    for site in &message.sites {
        let mut responder = shared.responder();
        let is_planned = responder.plan().is_some_and(|plan| plan.sites.contains_key(&site.site.0));
        let Some(assignments) = responder.assignments_mut().filter(|_| is_planned) else {
            continue;
        };
        let states = assignments.states_mut(&site.site.0);
        for server in &site.servers {
            let (address, report): (_, ServerReport) = server.clone().into();
            states.report(address, report, now);
        }
    }
}
