//! What is told to the exchange of the servers: each site at its changes, and all from time to time.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use headroom_units::{SiteId, Timestamp};
use headroom_wire::{AssignmentMessage, Text};

use crate::limits;

#[derive(Debug, Default)]
pub(super) struct Status {
    sites: BTreeMap<SiteId, Known>,
    changed: BTreeSet<SiteId>,
    /// When all were told last.
    told: Timestamp,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Known {
    provided: Option<String>,
    error: Option<String>,
    checked: Vec<(IpAddr, bool)>,
}

impl Status {
    /// What a site was provided with, and what is wrong with the newest text.
    pub(super) fn set_provided(
        &mut self,
        site: &SiteId,
        provided: Option<String>,
        error: Option<String>,
    ) {
        self.change(site, |known| (known.provided, known.error) = (provided, error));
    }

    /// What the checks find of the servers of a site.
    pub(super) fn set_checked(&mut self, site: &SiteId, checked: Vec<(IpAddr, bool)>) {
        self.change(site, |known| known.checked = checked);
    }

    fn change(&mut self, site: &SiteId, work: impl FnOnce(&mut Known)) {
        let held = self.sites.get(site).cloned().unwrap_or_default();
        let mut known = held.clone();
        work(&mut known);
        if known == held {
            return;
        }
        self.changed.insert(site.clone());
        if known == Known::default() {
            self.sites.remove(site);
        } else {
            self.sites.insert(site.clone(), known);
        }
    }

    /// What is to be told now.
    pub(super) fn report(&mut self, now: Timestamp) -> Vec<AssignmentMessage> {
        let mut changed = std::mem::take(&mut self.changed);
        if now.since(self.told) >= limits::ASSIGNMENTS_TOLD_EVERY {
            self.told = now;
            changed.extend(self.sites.keys().cloned());
        }
        changed.into_iter().map(|site| self.message(site)).collect()
    }

    fn message(&self, site: SiteId) -> AssignmentMessage {
        let Known { provided, error, checked } = self.sites.get(&site).cloned().unwrap_or_default();
        AssignmentMessage { site: Text(site), provided, error, checked }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_at_once_and_all_from_time_to_time() {
        let mut status = Status::default();
        let at = |seconds: u64| Timestamp::from_seconds(1_000 + seconds);
        let [one, two]: [SiteId; 2] = ["one", "two"].map(|id| id.parse().unwrap());
        let told = |status: &mut Status, seconds| {
            let messages = status.report(at(seconds));
            messages.iter().map(|message| message.site.0.to_string()).collect::<Vec<_>>().join(" ")
        };
        status.set_provided(&one, Some("v=headroom1".to_owned()), None);
        status.set_checked(&two, vec![("192.0.2.1".parse().unwrap(), true)]);
        assert_eq!(told(&mut status, 0), "one two");
        status.set_checked(&two, vec![("192.0.2.1".parse().unwrap(), true)]);
        assert_eq!(told(&mut status, 1), "", "it is the same");
        status.set_checked(&two, vec![("192.0.2.1".parse().unwrap(), false)]);
        assert_eq!(told(&mut status, 2), "two");
        assert_eq!(told(&mut status, 10), "one two");
        status.set_provided(&one, None, None);
        assert_eq!(told(&mut status, 11), "one", "that nothing is known is told once");
        assert_eq!(told(&mut status, 21), "two");
    }
}
