//! Measured load becomes headroom and offers, once per slot and region.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use headroom_forecast::{Forecaster, Refused};
use headroom_market::{Command, Event, Offer, Rejection, offer_curve};
use headroom_store::SlotRecord;
use headroom_units::{Fraction, RegionId, Slot, Units};
use headroom_wire::Time;

mod pool;

use super::{attempt, next_tick, sleep_until};
use crate::{
    ExchangeError,
    limits::{SERIES_COVERAGE_MIN, SLOTS_SUMMED_MAX},
    start::Shared,
};

/// Meters of a second arrive this much later; the slot's load is summed after that.
const METERS_LATE: Duration = Duration::from_millis(1_500);
/// The offer curve has a step at each of these parts of the stated risk.
const RISK_PARTS: [u32; 4] = [8, 4, 2, 1];

/// A forecaster per region, and the last slot each has seen.
#[derive(Debug)]
pub(crate) struct Forecasts {
    regions: BTreeMap<RegionId, Forecaster>,
}

impl Forecasts {
    /// Builds the forecasters from the stored series and makes the first offers.
    pub(crate) async fn load(shared: &Shared) -> Result<Self, ExchangeError> {
        let config = shared.config.forecast;
        let now = shared.config.slot_length.slot_at(headroom_clock::now());
        let from = now.minus(config.replay_slots());
        let mut series = BTreeMap::new();
        for region in shared.config.fleet.regions.keys() {
            let mut points = shared.store.series(region, from).await?;
            points.retain(|(slot, _)| *slot < now);
            series.insert(region.clone(), points);
        }
        let regions = pool::forecasters(config, &series)?;
        let forecasts = Self { regions };
        forecasts.offer(shared, now).await?;
        Ok(forecasts)
    }

    /// Takes in the load of every slot that has been stored since the newest one seen.
    async fn catch_up(&mut self, shared: &Shared, running: Slot) -> Result<(), ExchangeError> {
        for (region, forecaster) in &mut self.regions {
            let config = shared.config.forecast;
            let memory = config.season_slots.saturating_mul(config.history_seasons);
            let known = forecaster.newest().map_or(running.minus(memory), |newest| newest.next());
            // After an outage all slots whose meters are there are summed, not only the last.
            let unsummed = known.max(running.minus(SLOTS_SUMMED_MAX));
            for slot in (unsummed.number()..running.number()).map(Slot::new) {
                if let Some(load) = measured(shared, region, slot).await? {
                    shared.store.record_series(region, &[(slot, load)]).await?;
                }
            }
            let points = shared.store.series(region, known).await?;
            for (slot, load) in points.into_iter().filter(|(slot, _)| *slot < running) {
                take_in(forecaster, region, slot, load);
            }
        }
        Ok(())
    }

    /// Forecasts from slot `from` on, keeps the headroom and makes the offers.
    async fn offer(&self, shared: &Shared, from: Slot) -> Result<(), ExchangeError> {
        let config = &shared.config;
        let risks = RISK_PARTS.map(|part| {
            let millionths = (config.risk.millionths() / part).max(1);
            Fraction::from_millionths(millionths).unwrap_or(config.risk)
        });
        let edges = config.fleet.regions.values().flat_map(|region| region.edges.keys());
        let now = headroom_clock::now();
        let down = shared.live.down(edges, shared.started_at, config.edge_timeout, now);
        for (region, forecaster) in &self.regions {
            let forecast = forecaster.forecast(from);
            let capacity = config.capacity_without(region, &down);
            let (mut offers, mut records) = (Vec::new(), Vec::new());
            for slot in forecast.slots().iter() {
                let spare = forecast.spare_curve(slot, capacity, &risks);
                let offer = offer_curve(region.clone(), slot, &spare, &config.offer);
                records.push(SlotRecord {
                    region: region.clone(),
                    slot,
                    capacity,
                    headroom: forecast.headroom(slot, capacity, config.risk).units,
                    risk: config.risk,
                    offered: offered(&offer),
                });
                offers.push(offer);
            }
            shared.store.record_slots(&records).await?;
            shared.set_offers(region.clone(), offers);
            for record in records.iter().filter(|record| record.slot <= from.next()) {
                recall_if_short(shared, record).await?;
            }
        }
        Ok(())
    }
}

fn take_in(forecaster: &mut Forecaster, region: &RegionId, slot: Slot, load: f64) {
    match forecaster.observe(slot, load) {
        Ok(()) => {}
        // After a long outage the first ones wait until there are enough of them.
        Err(refused @ Refused::TooFar(_)) => {
            tracing::debug!(%region, %slot, %refused, "a load waits");
        }
        Err(refused) => tracing::warn!(%region, %slot, %refused, "a load is left out"),
    }
}

/// Takes back what was sold as interruptible and is not there by the newest forecast.
async fn recall_if_short(shared: &Shared, record: &SlotRecord) -> Result<(), ExchangeError> {
    let (region, slot) = (&record.region, record.slot);
    let sold = shared.book.read(|market| market.sold(region, slot)).await;
    let units = sold.saturating_sub(record.headroom);
    if units.is_zero() {
        return Ok(());
    }
    let command = Command::Recall { region: region.clone(), slot, units };
    match shared.book.execute(command, headroom_clock::now()).await {
        Ok(events) => {
            for event in &events {
                if let Event::ContractRecalled { contract, ends_at, .. } = event {
                    let ends_at = Time(*ends_at);
                    tracing::info!(%contract, %region, %ends_at, "a contract is recalled");
                }
            }
            shared.plan_wanted.notify_one();
            Ok(())
        }
        // What is left is firm, or ends before a recall would end it: the penalty is its price.
        Err(ExchangeError::Rejected(
            Rejection::NothingToRecall { .. } | Rejection::RecalledTooLate { .. },
        )) => Ok(()),
        Err(error) => Err(error),
    }
}

fn offered(offer: &Offer) -> Units {
    offer.steps.iter().map(|step| step.units).sum()
}

/// The mean own load of a region in a slot; `None` if too few of its edge-seconds were metered.
async fn measured(
    shared: &Shared,
    region: &RegionId,
    slot: Slot,
) -> Result<Option<f64>, ExchangeError> {
    let length = shared.config.slot_length;
    let own = shared.store.own_load(region, length.start(slot), length.end(slot)).await?;
    let edges = shared.config.fleet.regions.get(region).map_or(0, |region| region.edges.len());
    let edge_seconds = as_f64(u64::try_from(edges).unwrap_or(u64::MAX)) * as_f64(length.seconds());
    let covered = as_f64(own.reports) >= edge_seconds * SERIES_COVERAGE_MIN;
    Ok((covered && own.reports > 0).then(|| as_f64(own.requests) / as_f64(length.seconds())))
}

#[expect(clippy::cast_precision_loss, reason = "counts of one slot stay far below 2^53")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

/// Runs after each slot's end, and from the start again when a series was imported.
pub(crate) async fn run(shared: Arc<Shared>, mut forecasts: Forecasts) {
    let length = shared.config.slot_length;
    loop {
        let due = next_tick(headroom_clock::now(), length.duration(), METERS_LATE);
        let awake = tokio::select! {
            awake = sleep_until(&shared, due) => awake,
            () = shared.series_imported.notified() => {
                match Forecasts::load(&shared).await {
                    Ok(loaded) => forecasts = loaded,
                    Err(error) => tracing::error!(%error, "an imported series was not taken in"),
                }
                continue;
            }
        };
        if !awake {
            return;
        }
        let running = length.slot_at(due);
        let round = async {
            forecasts.catch_up(&shared, running).await?;
            forecasts.offer(&shared, running).await
        };
        attempt(&shared, "forecast", round).await;
    }
}
