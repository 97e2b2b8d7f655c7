//! Settles every slot of every contract once it is over.

use std::{sync::Arc, time::Duration};

use headroom_market::{Command, Delivery};
use headroom_units::{ContractId, Slot, Timestamp};

use super::{attempt, next_tick, sleep_until};
use crate::{ExchangeError, limits::METERS_KEPT, start::Shared};

const EVERY: Duration = Duration::from_secs(1);
const FORGET_EVERY: Duration = Duration::from_secs(3_600);

/// Runs every second.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut forget_at = shared.started_at;
    loop {
        let due = next_tick(headroom_clock::now(), EVERY, Duration::from_millis(700));
        if !sleep_until(&shared, due).await {
            return;
        }
        attempt(&shared, "settle", reconcile(&shared, due)).await;
        if due >= forget_at {
            let forgotten =
                async { Ok(shared.store.forget_meters(due.before(METERS_KEPT)).await?) };
            attempt(&shared, "forget meters", forgotten).await;
            forget_at = due.after(FORGET_EVERY);
        }
    }
}

async fn reconcile(shared: &Shared, now: Timestamp) -> Result<(), ExchangeError> {
    let over = now.before(shared.config.settle_delay);
    for (contract, slot) in shared.book.read(|market| market.unsettled(over)).await {
        let delivery = delivery(shared, contract, slot).await?;
        shared.book.execute(Command::Settle { contract, slot, delivery }, now).await?;
        shared.metrics.slots_settled.inc();
    }
    Ok(())
}

/// What the meters say was delivered. What was available is rounded up to a whole request: meters
/// count in thousandths, and a part of one lost in rounding is not a shortfall.
async fn delivery(
    shared: &Shared,
    contract: ContractId,
    slot: Slot,
) -> Result<Delivery, ExchangeError> {
    let length = shared.config.slot_length;
    let seconds =
        shared.store.contract_seconds(contract, length.start(slot), length.end(slot)).await?;
    let mut sum = Delivery { served: 0, refused: 0, available_millirequests: 0 };
    for second in seconds {
        sum.served += second.delivered.served;
        sum.refused += second.delivered.refused;
        sum.available_millirequests += second.delivered.available_millirequests;
    }
    sum.available_millirequests = sum.available_millirequests.div_ceil(1_000) * 1_000;
    Ok(sum)
}
