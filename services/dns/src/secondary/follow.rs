//! The task of one zone: asks its primaries when it is time, and serves what they have.

use std::{sync::Arc, time::Duration};

use domain::rdata::Soa;
use headroom_units::Timestamp;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{
    Secondary, Start, expired, keep,
    metrics::{SecondaryMetrics, TransferOutcome},
    schedule::Schedule,
};
use crate::{
    Zone, limits,
    message::Name,
    tables::Tables,
    transfer::{Fetched, fetch},
};

/// Whether a zone is no longer served that was confirmed at a time before.
pub(super) fn is_expired(soa: &Soa<Name>, confirmed_at: Timestamp, now: Timestamp) -> bool {
    let mut schedule = Schedule::new(0, now);
    schedule.resume(soa, confirmed_at);
    schedule.expires_at().is_some_and(|expires_at| expires_at <= now)
}

/// Keeps one zone up to date until told to stop.
pub(crate) async fn follow(
    start: Start,
    tables: Arc<Tables>,
    slots: Arc<Semaphore>,
    metrics: SecondaryMetrics,
    stop: CancellationToken,
) {
    let mut schedule = Schedule::new(fastrand::u64(..), headroom_clock::now());
    let is_served = start.zone.why_absent().is_none();
    let held = start.held.map(|(zone, confirmed_at)| {
        schedule.resume(zone.soa(), confirmed_at);
        zone
    });
    let secondary = start.secondary;
    let mut follower = Follower { secondary, tables, slots, metrics, schedule, held, is_served };
    follower.metrics.count_zone(is_served);
    tokio::select! {
        () = stop.cancelled() => {}
        () = follower.run() => {}
    }
}

/// How long it is until a moment.
fn until(moment: Timestamp) -> Duration {
    moment.since(headroom_clock::now())
}

/// Asks one primary after the other until one has the zone.
async fn ask(
    secondary: Arc<Secondary>,
    held: Option<Arc<Zone>>,
    slots: Arc<Semaphore>,
    metrics: SecondaryMetrics,
) -> Option<Fetched> {
    let _slot = slots.acquire().await.ok()?;
    for primary in &secondary.primaries {
        let fetched = fetch(primary, &secondary.apex, held.clone(), secondary.limits).await;
        match fetched {
            Ok(fetched) => return Some(fetched),
            Err(error) => {
                metrics.count_transfer(TransferOutcome::Failed);
                tracing::warn!(zone = %secondary.apex, primary = %primary.address, %error,
                    "a zone could not be transferred");
            }
        }
    }
    None
}

struct Follower {
    secondary: Arc<Secondary>,
    tables: Arc<Tables>,
    slots: Arc<Semaphore>,
    metrics: SecondaryMetrics,
    schedule: Schedule,
    /// The last good zone, expired or not.
    held: Option<Arc<Zone>>,
    is_served: bool,
}

impl Follower {
    async fn run(&mut self) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(until(self.schedule.next())) => {}
                () = self.secondary.called.notified() => {}
                () = self.expiry() => {
                    self.expire().await;
                    continue;
                }
            }
            let asking = ask(
                Arc::clone(&self.secondary),
                self.held.clone(),
                Arc::clone(&self.slots),
                self.metrics.clone(),
            );
            tokio::pin!(asking);
            let fetched = tokio::select! {
                fetched = &mut asking => fetched,
                () = self.expiry() => {
                    self.expire().await;
                    asking.await
                }
            };
            match fetched {
                Some(fetched) => self.take(fetched).await,
                None => self.schedule.fail(headroom_clock::now()),
            }
            tokio::time::sleep(limits::NOTIFY_GAP).await;
        }
    }

    /// Until the zone that is served has expired.
    async fn expiry(&self) {
        match self.schedule.expires_at().filter(|_| self.is_served) {
            Some(at) => tokio::time::sleep(until(at)).await,
            None => std::future::pending().await,
        }
    }

    async fn expire(&mut self) {
        tracing::error!(zone = %self.secondary.apex, "a zone has expired");
        self.serve(Arc::new(expired(&self.secondary.apex))).await;
    }

    async fn take(&mut self, fetched: Fetched) {
        let now = headroom_clock::now();
        let (new, outcome) = match fetched {
            Fetched::Current => (None, TransferOutcome::Current),
            Fetched::New { zone, by_changes: true } => (Some(zone), TransferOutcome::Changes),
            Fetched::New { zone, by_changes: false } => (Some(zone), TransferOutcome::Whole),
        };
        self.metrics.count_transfer(outcome);
        let zone = match (new, &self.held) {
            (Some(zone), _) => zone,
            (None, Some(held)) => Arc::clone(held),
            (None, None) => return self.schedule.fail(now),
        };
        self.schedule.confirm(zone.soa(), now);
        self.save(&zone, outcome, now).await;
        if outcome == TransferOutcome::Current && self.is_served {
            return;
        }
        tracing::info!(zone = %self.secondary.apex, serial = %zone.soa().serial(),
            by = outcome.label(), "a zone is in force");
        self.held = Some(Arc::clone(&zone));
        self.serve(zone).await;
    }

    async fn save(&self, zone: &Arc<Zone>, outcome: TransferOutcome, now: Timestamp) {
        let Some(file) = self.secondary.file.clone() else { return };
        let zone = Arc::clone(zone);
        let work = move || match outcome {
            TransferOutcome::Current => {
                keep::confirm(&file, now).or_else(|_| keep::save(&file, &zone, now))
            }
            _ => keep::save(&file, &zone, now),
        };
        let saved = tokio::task::spawn_blocking(work).await;
        if let Ok(Err(error)) = saved {
            // Only a restart would fall back.
            tracing::error!(zone = %self.secondary.apex, %error, "a zone is not saved");
        }
    }

    async fn serve(&mut self, zone: Arc<Zone>) {
        let is_served = zone.why_absent().is_none();
        let tables = Arc::clone(&self.tables);
        // A table of a million names takes its time.
        if let Err(error) = tokio::task::spawn_blocking(move || tables.put(zone)).await {
            tracing::error!(%error, "a zone could not be put in force");
        }
        if is_served != self.is_served {
            self.is_served = is_served;
            self.metrics.change_zone(is_served);
        }
    }
}
