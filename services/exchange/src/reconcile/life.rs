//! Notes which contracts have entered their next stage, every second.

use std::{sync::Arc, time::Duration};

use headroom_market::Command;

use super::{attempt, next_tick, sleep_until};
use crate::{ExchangeError, start::Shared};

const EVERY: Duration = Duration::from_secs(1);
/// After the plan of a slot that begins with the full second.
const AFTER_PLAN: Duration = Duration::from_millis(100);

/// Runs every second.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        let due = next_tick(headroom_clock::now(), EVERY, AFTER_PLAN);
        if !sleep_until(&shared, due).await {
            return;
        }
        attempt(&shared, "life", reconcile(&shared)).await;
    }
}

async fn reconcile(shared: &Shared) -> Result<(), ExchangeError> {
    let Some(plan) = shared.plan() else { return Ok(()) };
    let sites = plan.sites.values();
    let planned = sites.flat_map(|site| &site.entitlements).map(|held| held.contract).collect();
    let ramp = shared.config.fleet.ttl;
    shared.book.execute(Command::Advance { planned, ramp }, headroom_clock::now()).await?;
    Ok(())
}
