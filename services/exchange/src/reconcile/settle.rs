//! Settles every slot of every contract once it is over.

use std::{sync::Arc, time::Duration};

use headroom_market::{Command, DeliveredSecond, Delivery};
use headroom_units::{ContractId, Slot, Timestamp, Units};

use super::{attempt, next_tick, sleep_until};
use crate::{
    ExchangeError,
    limits::{METERS_KEPT, RESENT_METERS_TIME},
    start::Shared,
};

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
    // Meters that edges kept for an exchange that was away may still be on their way.
    let early = now < shared.started_at.after(RESENT_METERS_TIME);
    let waits = |slot| early && shared.config.slot_length.start(slot) < shared.started_at;
    // One that cannot be settled is told, and tried again at the next tick; the others go on.
    let mut failed = Ok(());
    let due = shared.book.read(|market| market.unsettled(over)).await;
    for (contract, slot) in due.into_iter().filter(|(_, slot)| !waits(*slot)) {
        if let Err(error) = settle(shared, contract, slot, now).await {
            tracing::error!(%contract, %slot, %error, "a slot cannot be settled");
            failed = Err(error);
        }
    }
    failed
}

async fn settle(
    shared: &Shared,
    contract: ContractId,
    slot: Slot,
    now: Timestamp,
) -> Result<(), ExchangeError> {
    let units = shared.book.read(|market| market.contract(contract).map(|held| held.units));
    let Some(units) = units.await else {
        return Ok(());
    };
    let delivery = delivery(shared, contract, units, slot).await?;
    shared.book.execute(Command::Settle { contract, slot, delivery }, now).await?;
    shared.metrics.slots_settled.inc();
    Ok(())
}

/// What the meters say of a slot so far.
pub(crate) async fn delivery(
    shared: &Shared,
    contract: ContractId,
    units: Units,
    slot: Slot,
) -> Result<Delivery, ExchangeError> {
    let length = shared.config.slot_length;
    let seconds =
        shared.store.contract_seconds(contract, length.start(slot), length.end(slot)).await?;
    let seconds = seconds.into_iter().map(|second| DeliveredSecond {
        served: second.delivered.served,
        refused: second.delivered.refused,
        available_millirequests: second.delivered.available_millirequests,
    });
    Ok(Delivery::of_seconds(units, seconds))
}
