//! Zones that are the purchaser's: we are one of its secondaries.
//!
//! ```text
//!   disk ──► the last good zone ─────────────────────────────┐
//!   SOA times, NOTIFY ──► follow: primary after primary       ▼
//!                            │  newer ──► saved ──► Tables: in force as a whole
//!                            └  none, for too long ──► SERVFAIL until there is one again
//! ```
//!
//! What comes in is left to `transfer.rs`, and how steered names are laid over it to `names.rs`.

mod follow;
mod keep;
mod metrics;
mod notify;
mod schedule;

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use headroom_units::{HostName, Timestamp};
use tokio::sync::{Notify, Semaphore};

pub(crate) use follow::follow;
pub(crate) use metrics::SecondaryMetrics;

use crate::{
    Primary, Zone, limits,
    message::{ExtendedErrorCode, Name},
    names::name_of,
    transfer::TransferLimits,
    tsig::TsigKey,
};

/// A zone that is taken from other name servers.
#[derive(Debug, Clone)]
pub struct SecondaryConfig {
    /// Its name.
    pub zone: HostName,
    /// Where it is asked for, in this order.
    pub primaries: Vec<Primary>,
}

/// One zone and who has it.
#[derive(Debug)]
pub(crate) struct Secondary {
    apex: Name,
    primaries: Vec<Primary>,
    file: Option<PathBuf>,
    /// Tells that a primary called.
    called: Notify,
    limits: TransferLimits,
}

/// All zones that are taken from others.
#[derive(Debug)]
pub(crate) struct Secondaries {
    by_name: HashMap<Name, Arc<Secondary>>,
    /// Each transfer under way has one.
    slots: Arc<Semaphore>,
    pub(crate) metrics: SecondaryMetrics,
}

/// A zone as it is at the start.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) secondary: Arc<Secondary>,
    /// The zone of the file, and when it was last confirmed.
    held: Option<(Arc<Zone>, Timestamp)>,
    /// What is served of it.
    pub(crate) zone: Arc<Zone>,
}

impl Secondaries {
    /// Those of the configuration, with their files in `folder`.
    pub(crate) fn new(
        configs: &[SecondaryConfig],
        folder: Option<PathBuf>,
        metrics: SecondaryMetrics,
    ) -> Self {
        let limits = TransferLimits::default();
        let secondary = |config: &SecondaryConfig| {
            let apex = name_of(&config.zone);
            let file = folder.as_ref().map(|folder| keep::path(folder, &apex));
            let (primaries, called) = (config.primaries.clone(), Notify::new());
            Secondary { apex, primaries, file, called, limits }
        };
        let named = |secondary: Secondary| (secondary.apex.clone(), Arc::new(secondary));
        let by_name = configs.iter().map(secondary).map(named).collect();
        Self { by_name, slots: Arc::new(Semaphore::new(limits::TRANSFERS_MAX)), metrics }
    }

    pub(crate) fn slots(&self) -> &Arc<Semaphore> {
        &self.slots
    }

    /// Each zone as the disk has it.
    pub(crate) fn load(&self, now: Timestamp) -> Vec<Start> {
        self.by_name.values().map(|secondary| Start::of(secondary, now)).collect()
    }

    fn keys(&self) -> impl Iterator<Item = &TsigKey> {
        let primaries = self.by_name.values().flat_map(|secondary| &secondary.primaries);
        primaries.filter_map(|primary| primary.key.as_deref())
    }
}

impl Start {
    fn of(secondary: &Arc<Secondary>, now: Timestamp) -> Self {
        let zone = &secondary.apex;
        let found = secondary.file.as_deref().map(|file| keep::load(file, zone, secondary.limits));
        let held = match found {
            None | Some(Ok(None)) => None,
            Some(Ok(Some((zone, confirmed_at)))) => Some((Arc::new(zone), confirmed_at)),
            Some(Err(error)) => {
                tracing::error!(%zone, %error, "a saved zone is not used");
                None
            }
        };
        let served = match &held {
            None => Arc::new(Zone::absent(zone.clone(), ExtendedErrorCode::NOT_READY)),
            Some((held, confirmed_at)) if follow::is_expired(held.soa(), *confirmed_at, now) => {
                tracing::error!(%zone, "a saved zone has expired");
                Arc::new(expired(zone))
            }
            Some((held, _)) => {
                tracing::info!(%zone, serial = %held.soa().serial(), "a saved zone is served");
                Arc::clone(held)
            }
        };
        Self { secondary: Arc::clone(secondary), held, zone: served }
    }
}

/// What is served of a zone that no primary has confirmed for too long.
fn expired(apex: &Name) -> Zone {
    Zone::absent(apex.clone(), ExtendedErrorCode::INVALID_DATA)
}

#[cfg(test)]
mod tests;
