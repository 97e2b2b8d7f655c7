//! Sends on what purchasers report of their servers, at once and not too often.

use std::sync::Arc;

use headroom_bus::subjects::SERVER_REPORTS;

use super::attempt;
use crate::{limits::REPORTS_SENT_EVERY, start::Shared};

/// Runs on every report, and no more often than a few times a second.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = shared.servers.changed.notified() => {}
        }
        let message = shared.servers.message(headroom_clock::now());
        let published = async { Ok(shared.bus.publish(&SERVER_REPORTS, &message)?) };
        attempt(&shared, "server reports", published).await;
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(REPORTS_SENT_EVERY) => {}
        }
    }
}
