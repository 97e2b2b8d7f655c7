//! What is known of the servers that remainders are assigned to: what purchasers report, and what
//! name servers tell. In memory alone: reports count for a short time and come again.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use headroom_steer::{Assignment, ServerReport, ServerStates};
use headroom_units::{NameServerId, SiteId, Timestamp};
use headroom_wire::{
    AssignmentMessage, CheckedView, NameServerReport, ProvidedView, ServerReportsMessage,
    ServersView, SiteReportsMessage, Text,
};
use tokio::sync::Notify;

use crate::limits::{ASSIGNMENTS_KEPT, REPORTED_SITES_MAX};

/// What is known of servers.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    known: Mutex<Known>,
    /// Signalled when there are new reports.
    pub(crate) changed: Notify,
}

#[derive(Debug, Default)]
struct Known {
    reported: BTreeMap<SiteId, ServerStates>,
    told: BTreeMap<SiteId, BTreeMap<NameServerId, Told>>,
}

/// What a name server last told of a site.
#[derive(Debug)]
struct Told {
    at: Timestamp,
    assignment: AssignmentMessage,
}

impl Told {
    fn counts(&self, now: Timestamp) -> bool {
        now.since(self.at) <= ASSIGNMENTS_KEPT
    }
}

impl Servers {
    /// Takes in what a purchaser reports of servers of `site`: all of it, or nothing if there is no
    /// room.
    pub(crate) fn report(
        &self,
        site: &SiteId,
        reports: &[(IpAddr, ServerReport)],
        now: Timestamp,
    ) -> bool {
        let mut known = self.known();
        let is_full = known.reported.len() >= REPORTED_SITES_MAX;
        if is_full && !known.reported.contains_key(site) {
            known.reported.retain(|_, states| states.reports(now).next().is_some());
            if known.reported.len() >= REPORTED_SITES_MAX {
                return false;
            }
        }
        let states = known.reported.entry(site.clone()).or_default();
        let mut with_reports = states.clone();
        if !reports.iter().all(|(address, report)| with_reports.report(*address, *report, now)) {
            return false;
        }
        *states = with_reports;
        drop(known);
        self.changed.notify_one();
        true
    }

    /// All reports that count, for the name servers.
    pub(crate) fn message(&self, now: Timestamp) -> ServerReportsMessage {
        let known = self.known();
        let sites = known.reported.iter().map(|(site, states)| SiteReportsMessage {
            site: Text(site.clone()),
            servers: states.reports(now).map(Into::into).collect(),
        });
        ServerReportsMessage { sites: sites.filter(|site| !site.servers.is_empty()).collect() }
    }

    /// Takes in what a name server tells.
    pub(crate) fn hear(&self, report: &NameServerReport, now: Timestamp) {
        let mut known = self.known();
        if report.assignments.is_empty() {
            return;
        }
        for assignment in &report.assignments {
            let told = Told { at: now, assignment: assignment.clone() };
            let site = known.told.entry(assignment.site.0.clone()).or_default();
            site.insert(report.name_server.0.clone(), told);
        }
        for site in known.told.values_mut() {
            site.retain(|_, told| told.counts(now));
        }
        known.told.retain(|_, site| !site.is_empty());
    }

    /// The assignment that the name servers of a site's purchaser provide, as it was told last.
    pub(crate) fn provided(&self, site: &SiteId, now: Timestamp) -> Option<Assignment> {
        let known = self.known();
        let told = known.told.get(site)?.values().filter(|told| told.counts(now));
        let newest = told.filter(|told| told.assignment.provided.is_some()).max_by_key(|t| t.at)?;
        newest.assignment.provided.as_deref()?.parse().ok()
    }

    /// Completes a view of a site's servers by what is known of them.
    pub(crate) fn complete(&self, view: &mut ServersView, is_by_dns: bool, now: Timestamp) {
        let known = self.known();
        let told = known.told.get(&view.site.0).into_iter().flatten();
        let told: Vec<_> = told.filter(|(_, told)| told.counts(now)).collect();
        for server in &mut view.servers {
            if let Some(states) = known.reported.get(&view.site.0) {
                let reports = server.addresses.iter().filter_map(|address| {
                    states.reported(*address, now).map(|report| (*address, report).into())
                });
                server.reports = reports.collect();
            }
            for (name_server, told) in &told {
                let checked = told.assignment.checked.iter();
                let mine = checked.filter(|(address, _)| server.addresses.contains(address));
                let view = |up| CheckedView { name_server: Text((*name_server).clone()), up };
                server.checked.extend(mine.map(|(_, up)| view(*up)));
            }
        }
        if is_by_dns {
            let provided = told.into_iter().map(|(name_server, told)| ProvidedView {
                name_server: Text(name_server.clone()),
                text: told.assignment.provided.clone(),
                error: told.assignment.error.clone(),
            });
            view.provided = provided.collect();
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn report(seconds: u64) -> ServerReport {
        let expires_at = at(seconds).after(Duration::from_secs(30));
        ServerReport { healthy: true, load: None, reported_at: at(seconds), expires_at }
    }

    fn site(number: usize) -> SiteId {
        format!("s{number}").parse().unwrap()
    }

    #[test]
    fn reports_that_no_longer_count_make_room() {
        let servers = Servers::default();
        let reports = |seconds| [("192.0.2.1".parse().unwrap(), report(seconds))];
        for number in 0..REPORTED_SITES_MAX {
            assert!(servers.report(&site(number), &reports(0), at(0)));
        }
        assert!(!servers.report(&site(REPORTED_SITES_MAX), &reports(0), at(0)));
        assert!(servers.report(&site(0), &reports(20), at(20)), "one that has its place");
        assert_eq!(servers.message(at(20)).sites.len(), REPORTED_SITES_MAX);
        assert_eq!(servers.message(at(40)).sites.len(), 1);
        assert!(servers.report(&site(REPORTED_SITES_MAX), &reports(40), at(40)));
    }

    #[test]
    fn what_is_told_is_forgotten_when_nobody_tells_it_any_more() {
        let servers = Servers::default();
        let tell = |name_server: &str, number, seconds: u64| {
            let assignment = AssignmentMessage {
                site: Text(site(number)),
                provided: Some(format!(
                    "v=headroom1; algorithm=ordered; server=192.0.2.{}",
                    number + 1
                )),
                error: None,
                checked: Vec::new(),
            };
            let report = NameServerReport {
                name_server: Text(name_server.parse().unwrap()),
                second: headroom_wire::Time(at(seconds)),
                places: Vec::new(),
                assignments: vec![assignment],
            };
            servers.hear(&report, at(seconds));
        };
        tell("ns1", 1, 0);
        tell("ns2", 1, 20);
        let provided = servers.provided(&site(1), at(20)).unwrap();
        assert_eq!(provided.servers[0].to_string(), "192.0.2.2");
        let mut view = ServersView::new(site(1), None, None, &[]);
        servers.complete(&mut view, true, at(20));
        assert_eq!(view.provided.len(), 2);
        assert_eq!(servers.provided(&site(1), at(51)), None);
        tell("ns2", 2, 100);
        assert_eq!(servers.known().told.len(), 1);
    }
}
