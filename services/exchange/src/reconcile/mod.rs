//! The reconcilers: each loads, calls core, saves and signals, again and again.
//!
//! A run that fails changes nothing, is logged, and is tried again at the next tick.

mod clear;
mod control;
mod forecast;
mod ingest;
mod life;
pub(crate) mod plan;
mod servers;
pub(crate) mod settle;

use std::{future::Future, sync::Arc, time::Duration};

use headroom_units::Timestamp;
use tokio::task::JoinSet;

use crate::{ExchangeError, start::Shared};

/// What the reconcilers hold before they run.
#[derive(Debug)]
pub(crate) struct Reconcilers {
    forecast: forecast::Forecasts,
}

impl Reconcilers {
    /// Brings everything to where the store says it was: series, offers, plan.
    pub(crate) async fn prepare(shared: &Arc<Shared>) -> Result<Self, ExchangeError> {
        let forecast = forecast::Forecasts::load(shared).await?;
        plan::resume(shared).await?;
        // A next plan that fails its check leaves the last one in force; the start goes on.
        attempt(shared, "plan", plan::reconcile(shared)).await;
        Ok(Self { forecast })
    }

    /// Starts them all. They end when the exchange stops.
    pub(crate) fn spawn(self, shared: &Arc<Shared>, tasks: &mut JoinSet<()>) {
        let shared = || Arc::clone(shared);
        tasks.spawn(ingest::meters(shared()));
        tasks.spawn(ingest::name_servers(shared()));
        tasks.spawn(forecast::run(shared(), self.forecast));
        tasks.spawn(clear::run(shared()));
        tasks.spawn(plan::run(shared()));
        tasks.spawn(control::run(shared()));
        tasks.spawn(servers::run(shared()));
        tasks.spawn(life::run(shared()));
        tasks.spawn(settle::run(shared()));
    }
}

/// Waits until `due` by the wall clock; false if the exchange stops before.
async fn sleep_until(shared: &Shared, due: Timestamp) -> bool {
    let wait = due.since(headroom_clock::now());
    tokio::select! {
        () = shared.stop.cancelled() => false,
        () = tokio::time::sleep(wait) => true,
    }
}

/// The next moment that is `offset` after a multiple of `period` since the epoch.
fn next_tick(now: Timestamp, period: Duration, offset: Duration) -> Timestamp {
    let period = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX).max(1);
    let begun = now.before(offset).nanos() / period + 1;
    Timestamp::from_nanos(begun.saturating_mul(period)).after(offset)
}

/// Logs a failed run; the next tick tries again.
async fn attempt(
    shared: &Shared,
    name: &'static str,
    run: impl Future<Output = Result<(), ExchangeError>>,
) {
    if let Err(error) = run.await {
        shared.metrics.reconcile_failures.inc();
        tracing::error!(reconciler = name, %error, "a run has failed and is tried again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_aligned_and_in_the_future() {
        let tick = |now, period, offset| {
            let millis = Duration::from_millis;
            let next = next_tick(Timestamp::from_millis(now), millis(period), millis(offset));
            next.nanos() / 1_000_000
        };
        assert_eq!(tick(10_000, 1_000, 400), 10_400);
        assert_eq!(tick(10_400, 1_000, 400), 11_400);
        assert_eq!(tick(10_399, 1_000, 400), 10_400);
        assert_eq!(tick(60_000, 60_000, 0), 120_000);
    }
}
