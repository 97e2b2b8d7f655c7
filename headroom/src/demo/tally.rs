//! What visitors experienced, as they counted it themselves.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use headroom_units::Timestamp;

/// Counts of visitors, by region and second. Cheap to clone; all clones count together.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    seconds: Arc<Mutex<BTreeMap<(&'static str, u64), Counts>>>,
    failures: Arc<Mutex<BTreeMap<String, u64>>>,
}

/// What became of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Requests that visitors made.
    pub requests: u64,
    /// Those that did not get what was asked for.
    pub failed: u64,
    /// Those answered by an edge in the end.
    pub by_edges: u64,
    /// Those answered by the purchaser's own servers in the end.
    pub by_purchaser: u64,
}

/// How a visitor's request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    ByEdge,
    ByPurchaser,
    Failed(String),
}

impl Tally {
    /// Counts a request by the second it ended in.
    pub(crate) fn count(&self, region: &'static str, ended: Timestamp, ending: &Ending) {
        let mut seconds = self.seconds.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = seconds.entry((region, ended.seconds())).or_default();
        counts.requests += 1;
        match ending {
            Ending::ByEdge => counts.by_edges += 1,
            Ending::ByPurchaser => counts.by_purchaser += 1,
            Ending::Failed(reason) => {
                counts.failed += 1;
                let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
                *failures.entry(reason.clone()).or_default() += 1;
            }
        }
    }

    /// The sum over a region, or over all, from `from` until before `until`.
    #[must_use]
    pub fn sum(&self, region: Option<&str>, from: Timestamp, until: Timestamp) -> Counts {
        let seconds = self.seconds.lock().unwrap_or_else(PoisonError::into_inner);
        let within = |(place, second): &(&str, u64)| {
            region.is_none_or(|region| region == *place)
                && (from.seconds()..until.seconds()).contains(second)
        };
        seconds.iter().filter(|(key, _)| within(key)).fold(Counts::default(), |sum, (_, counts)| {
            Counts {
                requests: sum.requests + counts.requests,
                failed: sum.failed + counts.failed,
                by_edges: sum.by_edges + counts.by_edges,
                by_purchaser: sum.by_purchaser + counts.by_purchaser,
            }
        })
    }

    /// Why requests failed, with how many.
    #[must_use]
    pub fn failures(&self) -> BTreeMap<String, u64> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
