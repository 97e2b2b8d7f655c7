//! Holds the auctions.

use std::sync::Arc;

use headroom_market::{Command, Event};

use super::{attempt, next_tick, sleep_until};
use crate::{ExchangeError, start::Shared};

/// Runs every `auction_every`.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        let every = shared.config.auction_every;
        let due = next_tick(headroom_clock::now(), every, std::time::Duration::ZERO);
        if !sleep_until(&shared, due).await {
            return;
        }
        attempt(&shared, "clear", reconcile(&shared)).await;
    }
}

async fn reconcile(shared: &Shared) -> Result<(), ExchangeError> {
    for (region, offers) in shared.offers() {
        let now = headroom_clock::now();
        let traded = shared.book.read(|market| market.traded_slots(now)).await;
        let offers = offers.into_iter().filter(|offer| traded.contains(&offer.slot)).collect();
        let events =
            shared.book.execute(Command::Clear { region: region.clone(), offers }, now).await?;
        let contracts =
            events.iter().filter(|event| matches!(event, Event::ContractMade { .. })).count();
        if contracts > 0 {
            tracing::info!(%region, contracts, "contracts were made");
            shared.metrics.contracts_made.inc_by(u64::try_from(contracts).unwrap_or(u64::MAX));
            shared.plan_wanted.notify_one();
        }
    }
    Ok(())
}
