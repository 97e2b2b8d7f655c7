//! What purchasers' name servers provide: for each site when it is looked for, the last good text,
//! and what is wrong with the newest. Pure: the time is an argument.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use headroom_steer::{Assignment, provided};
use headroom_units::{HostName, SiteId, Timestamp};

use super::metrics::TextOutcome;
use crate::limits;

/// What was found at the name of a text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Texts {
    /// Its TXT records, the strings of each joined; none if there is none.
    pub(super) texts: Vec<Vec<u8>>,
    /// For how long that counts.
    pub(super) ttl: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Provided {
    sites: BTreeMap<SiteId, Entry>,
}

#[derive(Debug)]
struct Entry {
    host: HostName,
    due: Timestamp,
    is_asked: bool,
    failures: u32,
    good: Option<Arc<Assignment>>,
    error: Option<String>,
}

impl Entry {
    fn new(host: HostName, now: Timestamp) -> Self {
        Self { host, due: now, is_asked: false, failures: 0, good: None, error: None }
    }
}

impl Provided {
    /// Looks for the texts of these sites from now on. What was provided for another host of a site,
    /// or for a site that is not among them, is forgotten: those sites.
    pub(super) fn follow(
        &mut self,
        by_dns: &BTreeMap<SiteId, HostName>,
        now: Timestamp,
    ) -> Vec<SiteId> {
        let gone = self.sites.iter().filter(|(site, entry)| by_dns.get(site) != Some(&entry.host));
        let gone: Vec<SiteId> = gone.map(|(site, _)| site.clone()).collect();
        gone.iter().for_each(|site| drop(self.sites.remove(site)));
        for (site, host) in by_dns {
            let new = || Entry::new(host.clone(), now);
            self.sites.entry(site.clone()).or_insert_with(new);
        }
        gone
    }

    /// Takes up what was good before a restart. It is looked for all the same.
    pub(super) fn resume(&mut self, site: &SiteId, host: &HostName, good: Assignment) -> bool {
        let entry = self.sites.get_mut(site).filter(|entry| entry.host == *host);
        entry.map(|entry| entry.good.get_or_insert(Arc::new(good))).is_some()
    }

    /// All sites with their hosts.
    pub(super) fn hosts(&self) -> impl Iterator<Item = (&SiteId, &HostName)> {
        self.sites.iter().map(|(site, entry)| (site, &entry.host))
    }

    /// Whether the time of a site has come; then it is looked for until [`Self::take`].
    pub(super) fn begin(&mut self, site: &SiteId, now: Timestamp) -> bool {
        let entry = self.sites.get_mut(site).filter(|entry| !entry.is_asked && entry.due <= now);
        entry.map(|entry| entry.is_asked = true).is_some()
    }

    /// When the next one is looked for.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.sites.values().filter(|entry| !entry.is_asked).map(|entry| entry.due).min()
    }

    /// Takes in what was found for `host` of a site. A good text is in force from now on; anything
    /// else leaves the last good one there.
    pub(super) fn take(
        &mut self,
        site: &SiteId,
        host: &HostName,
        found: Result<Texts, String>,
        now: Timestamp,
    ) -> Option<TextOutcome> {
        let entry = self.sites.get_mut(site).filter(|entry| entry.host == *host)?;
        entry.is_asked = false;
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                let pause = limits::PROVIDED_RETRY_MIN.saturating_mul(1 << entry.failures.min(16));
                entry.failures = entry.failures.saturating_add(1);
                entry.due = now.after(pause.min(limits::PROVIDED_RETRY_MAX));
                entry.error = Some(error);
                return Some(TextOutcome::Silent);
            }
        };
        entry.failures = 0;
        let ttl = found.ttl.clamp(limits::PROVIDED_TTL_MIN, limits::PROVIDED_TTL_MAX);
        entry.due = now.after(ttl);
        Some(match provided(found.texts.iter().map(Vec::as_slice)) {
            Err(error) => {
                entry.error = Some(error);
                TextOutcome::Malformed
            }
            Ok(assignment) => {
                entry.error = None;
                let is_same = entry.good.as_deref() == Some(&assignment);
                entry.good = Some(Arc::new(assignment));
                if is_same { TextOutcome::Same } else { TextOutcome::Changed }
            }
        })
    }

    /// What is in force for a site, and what is wrong with its newest text.
    pub(super) fn state(&self, site: &SiteId) -> (Option<&Arc<Assignment>>, Option<&str>) {
        let entry = self.sites.get(site);
        let good = entry.and_then(|entry| entry.good.as_ref());
        (good, entry.and_then(|entry| entry.error.as_deref()))
    }

    /// All that is in force.
    pub(super) fn good(&self) -> impl Iterator<Item = (&SiteId, &HostName, &Arc<Assignment>)> {
        let good = |(site, entry)| {
            let Entry { host, good, .. }: &Entry = entry;
            good.as_ref().map(|good| (site, host, good))
        };
        self.sites.iter().filter_map(good)
    }

    /// How many sites have no good text now.
    pub(super) fn count_failing(&self) -> usize {
        self.sites.values().filter(|entry| entry.error.is_some()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "v=headroom1; algorithm=ordered; server=192.0.2.1";

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(1_000 + seconds)
    }

    fn shop() -> (SiteId, HostName) {
        ("shop".parse().unwrap(), "www.shop.example".parse().unwrap())
    }

    fn following() -> Provided {
        let mut provided = Provided::default();
        assert!(provided.follow(&[shop()].into(), at(0)).is_empty());
        provided
    }

    fn found(texts: &[&str], ttl: u64) -> Result<Texts, String> {
        let texts = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        Ok(Texts { texts, ttl: Duration::from_secs(ttl) })
    }

    /// What is in force, what is wrong, and in how many seconds it is looked for again.
    fn take(provided: &mut Provided, found: Result<Texts, String>, seconds: u64) -> String {
        let (site, host) = shop();
        assert!(provided.begin(&site, at(1_000_000)) && !provided.begin(&site, at(1_000_000)));
        let outcome = provided.take(&site, &host, found, at(seconds)).unwrap();
        let (good, error) = provided.state(&site);
        let good = good.map_or("nothing".to_owned(), |good| good.servers[0].to_string());
        let wait = provided.next().unwrap().since(at(seconds)).as_secs();
        format!("{outcome:?} {good} {} {wait}", error.unwrap_or("-"))
    }

    #[test]
    fn a_text_counts_for_its_ttl_within_limits() {
        let mut provided = following();
        assert_eq!(provided.next(), Some(at(0)));
        assert_eq!(take(&mut provided, found(&[ONE], 60), 0), "Changed 192.0.2.1 - 60");
        assert!(!provided.begin(&shop().0, at(59)), "not before");
        assert_eq!(take(&mut provided, found(&[ONE], 0), 60), "Same 192.0.2.1 - 5");
        assert_eq!(take(&mut provided, found(&[ONE], 1_000_000), 65), "Same 192.0.2.1 - 3600");
        let two = ONE.replace("2.1", "2.2");
        assert_eq!(take(&mut provided, found(&[&two], 60), 70), "Changed 192.0.2.2 - 60");
    }

    #[test]
    fn nothing_but_a_good_text_replaces_a_good_one() {
        let mut provided = following();
        let silent = || Err("it was silent for 1s".to_owned());
        assert_eq!(take(&mut provided, silent(), 0), "Silent nothing it was silent for 1s 5");
        assert_eq!(take(&mut provided, found(&[ONE], 60), 5), "Changed 192.0.2.1 - 60");
        for (texts, reason) in [
            (&["v=headroom1; algorithm=ordered"][..], "0 servers"),
            (&["v=headroom2; x"], "version is unknown"),
            (&[], "there is no TXT record"),
            (&["v=spf1 -all"], "there is no TXT record"),
            (&[ONE, ONE], "more than one"),
        ] {
            let told = take(&mut provided, found(texts, 60), 65);
            assert!(told.starts_with("Malformed 192.0.2.1") && told.contains(reason), "{told}");
            assert_eq!(provided.count_failing(), 1);
        }
        for wait in [5, 10, 20, 40, 80, 160, 300, 300] {
            let told = take(&mut provided, silent(), 65);
            assert_eq!(told, format!("Silent 192.0.2.1 it was silent for 1s {wait}"));
        }
        assert_eq!(take(&mut provided, found(&[ONE], 60), 70), "Same 192.0.2.1 - 60");
        assert_eq!(provided.count_failing(), 0);
    }

    #[test]
    fn what_another_host_provides_is_not_taken() {
        let mut provided = following();
        take(&mut provided, found(&[ONE], 60), 0);
        let (site, host) = shop();
        let other: HostName = "www.other.example".parse().unwrap();
        assert_eq!(provided.take(&site, &other, found(&[ONE], 60), at(1)), None);
        let gone = provided.follow(&[(site.clone(), other.clone())].into(), at(2));
        assert_eq!(gone, std::slice::from_ref(&site));
        assert_eq!(provided.state(&site), (None, None), "nothing is left of the host before");
        assert_eq!(provided.take(&site, &host, found(&[ONE], 60), at(3)), None, "a late answer");
        assert!(!provided.resume(&site, &host, ONE.parse().unwrap()));
        assert!(provided.resume(&site, &other, ONE.parse().unwrap()));
        assert_eq!(provided.next(), Some(at(2)), "it is looked for all the same");
    }
}
