//! Issues the budgets, every second.

use std::{sync::Arc, time::Duration};

use headroom_bus::subjects::BUDGETS;
use headroom_wire::BudgetsMessage;

use super::{attempt, next_tick, sleep_until};
use crate::start::Shared;

const EVERY: Duration = Duration::from_secs(1);
/// Late enough after the full second for the edges' reports of it to be in.
const AFTER_REPORTS: Duration = Duration::from_millis(350);

/// Runs every second.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        let due = next_tick(headroom_clock::now(), EVERY, AFTER_REPORTS);
        if !sleep_until(&shared, due).await {
            return;
        }
        let Some(plan) = shared.plan() else {
            continue;
        };
        let now = headroom_clock::now();
        let budgets = shared.with_controller(|controller| controller.control(&plan, now));
        let message = BudgetsMessage::from(&budgets);
        let published = async { Ok(shared.bus.publish(&BUDGETS, &message)?) };
        attempt(&shared, "control", published).await;
    }
}
