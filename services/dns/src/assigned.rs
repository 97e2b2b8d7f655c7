//! The servers that remainders are assigned to: which there are, and how they are.
//!
//! ```text
//!   TXT of a zone held here ─┐
//!   purchaser's name server ─┴─► provide: good? ──► in force, saved     bad, silent: the last good one
//!   servers of plan and texts ──► check: TCP or HEAD, every few seconds ──► down after 3, up after 2
//!   bus: SERVER_REPORTS ──► hear: what the purchaser feeds
//!                                 all ──► headroom_steer::Assignments ──► Steering::answer
//! ```
//!
//! What is wrong is told to the log, the metrics, and with the reports to the exchange. How a server
//! is chosen is left to `headroom-steer`; whom to ask for texts is the operator's configuration.

mod check;
mod connect;
mod hear;
mod keep;
mod metrics;
mod provide;
mod provided;
mod schedule;
mod status;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use headroom_steer::{Assignment, Assignments, Plan, Remainder, Site};
use headroom_units::{HostName, SiteId, Timestamp};
use headroom_wire::AssignmentMessage;
use tokio::sync::watch;

pub(crate) use check::check;
pub(crate) use hear::hear;
pub(crate) use metrics::AssignedMetrics;
pub(crate) use provide::provide;

use crate::limits;
use status::Status;

/// How the servers of remainders are followed.
#[derive(Debug, Clone)]
pub struct AssignConfig {
    /// How often each server that has a check is checked.
    pub check_every: Duration,
    /// Whether servers inside the operator's network are checked: loopback, private and link-local
    /// addresses, and the network's own. For trying things out.
    pub allow_private: bool,
    /// Where the last good texts are kept, so that a start needs no other name server.
    pub file: Option<PathBuf>,
}

impl Default for AssignConfig {
    fn default() -> Self {
        Self { check_every: limits::CHECK_EVERY, allow_private: false, file: None }
    }
}

/// What a site whose own DNS assigns it may be answered from; the fallback, where nothing is provided.
pub(crate) type Provided = BTreeMap<SiteId, Vec<Option<Assignment>>>;

/// What the tasks about these servers share.
#[derive(Debug)]
pub(crate) struct Assigned {
    pub(crate) config: AssignConfig,
    /// Rises when the plan, a zone, or what is provided has changed.
    changes: watch::Sender<u64>,
    provided: Mutex<BTreeMap<SiteId, Arc<Assignment>>>,
    status: Mutex<Status>,
    metrics: AssignedMetrics,
}

impl Assigned {
    pub(crate) fn new(config: AssignConfig, metrics: AssignedMetrics) -> Self {
        let (provided, status) = (Mutex::default(), Mutex::default());
        Self { config, changes: watch::Sender::new(0), provided, status, metrics }
    }

    /// Tells that the plan or a zone has changed.
    pub(crate) fn change(&self) {
        self.changes.send_modify(|version| *version += 1);
    }

    /// What is to be told now of the sites with such servers.
    pub(crate) fn report(&self, now: Timestamp) -> Vec<AssignmentMessage> {
        self.status().report(now)
    }

    /// What sites of `plan` are answered from: what is in force, and what will be in a moment.
    pub(crate) fn answered_from(&self, plan: &Plan, in_force: Option<&Assignments>) -> Provided {
        let provided = self.provided();
        let of = |(id, site): (&SiteId, &Site)| {
            let Remainder::AssignByDns { .. } = &site.remainder else { return None };
            let now = in_force.and_then(|held| held.of(id, &site.remainder)).cloned();
            let next = provided.get(id).map(|next| Assignment::clone(next));
            let mut all = vec![now, next];
            all.dedup();
            Some((id.clone(), all))
        };
        plan.sites.iter().filter_map(of).collect()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        lock(&self.status)
    }

    fn provided(&self) -> MutexGuard<'_, BTreeMap<SiteId, Arc<Assignment>>> {
        lock(&self.provided)
    }

    /// The sites that are assigned as `plan` or a text says, with what it says.
    fn in_force(&self, plan: &Plan) -> BTreeMap<SiteId, Arc<Assignment>> {
        let provided = self.provided();
        let of = |id: &SiteId, remainder: &Remainder| match remainder {
            Remainder::Assign(assignment) => Some(Arc::new(assignment.clone())),
            Remainder::AssignByDns { .. } => provided.get(id).cloned(),
            _ => None,
        };
        let sites = plan.sites.iter();
        sites.filter_map(|(id, site)| Some((id.clone(), of(id, &site.remainder)?))).collect()
    }
}

/// The sites of a plan that are assigned by their own DNS, with the host of each, whose control was
/// proved: a plan holds no other hosts.
fn by_dns(plan: &Plan) -> BTreeMap<SiteId, HostName> {
    let host = |(id, site): (&SiteId, &Site)| match &site.remainder {
        Remainder::AssignByDns { host } if site.hosts.contains(host) => {
            Some((id.clone(), host.clone()))
        }
        _ => None,
    };
    plan.sites.iter().filter_map(host).collect()
}

/// What panicked before left each entry whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
