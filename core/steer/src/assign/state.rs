//! What is known of the servers of a site: what the purchaser feeds, and what our checks find.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use headroom_units::{Fraction, Timestamp};

use super::Server;
use crate::limits;

/// What the purchaser says of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerReport {
    /// Whether visitors may be sent to it.
    pub healthy: bool,
    /// The part of it that is in use, if that is told.
    pub load: Option<Fraction>,
    /// When it was said; of two reports of one server the later counts.
    pub reported_at: Timestamp,
    /// From when on it no longer counts: a feed that has gone silent is as if there were none.
    pub expires_at: Timestamp,
}

/// What is known of the servers of one site. A server is known by any of its addresses.
#[derive(Debug, Clone, Default)]
pub struct ServerStates {
    reported: BTreeMap<IpAddr, ServerReport>,
    down: BTreeSet<IpAddr>,
}

impl ServerStates {
    /// Takes in what the purchaser says of the server at `address`; false if something later is
    /// known, or if there is no room.
    pub fn report(&mut self, address: IpAddr, report: ServerReport, now: Timestamp) -> bool {
        let held = self.reported.get(&address);
        if held.is_some_and(|held| held.reported_at > report.reported_at) {
            return false;
        }
        if held.is_none() {
            self.reported.retain(|_, held| held.expires_at > now);
            if self.reported.len() >= limits::REPORTS_PER_SITE_MAX {
                return false;
            }
        }
        self.reported.insert(address, report);
        true
    }

    /// What the purchaser says of the server at `address`, while it counts.
    #[must_use]
    pub fn reported(&self, address: IpAddr, now: Timestamp) -> Option<&ServerReport> {
        self.reported.get(&address).filter(|report| report.expires_at > now)
    }

    /// All that the purchaser says, while it counts.
    pub fn reports(&self, now: Timestamp) -> impl Iterator<Item = (IpAddr, &ServerReport)> {
        let reports = self.reported.iter().map(|(address, report)| (*address, report));
        reports.filter(move |(_, report)| report.expires_at > now)
    }

    /// Sets which servers our checks find down, each by one of its addresses; all others are up or
    /// not checked.
    pub fn set_down(&mut self, down: BTreeSet<IpAddr>) {
        self.down = down;
    }

    /// Whether visitors may be sent to a server: neither the purchaser nor our checks say no.
    #[must_use]
    pub fn is_up(&self, server: &Server, now: Timestamp) -> bool {
        let says_no = |address: &IpAddr| {
            self.down.contains(address)
                || self.reported(*address, now).is_some_and(|report| !report.healthy)
        };
        !server.addresses.iter().any(says_no)
    }

    /// The part of a server that is in use, if that is known; of several reports the busiest.
    #[must_use]
    pub fn load(&self, server: &Server, now: Timestamp) -> Option<Fraction> {
        let reports = server.addresses.iter().filter_map(|address| self.reported(*address, now));
        reports.filter_map(|report| report.load).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn report(healthy: bool, load: u32, from: u64, until: u64) -> ServerReport {
        let load = Fraction::from_millionths(load);
        ServerReport { healthy, load, reported_at: at(from), expires_at: at(until) }
    }

    fn server(addresses: &[&str]) -> Server {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Server { addresses, weight: 1, region: None }
    }

    #[test]
    fn a_silent_feed_is_as_if_there_were_none() {
        let mut states = ServerStates::default();
        let server = server(&["192.0.2.1", "2001:db8::1"]);
        let address = server.addresses[1];
        assert!(states.report(address, report(false, 900_000, 10, 20), at(10)));
        assert!(!states.is_up(&server, at(19)));
        assert_eq!(states.load(&server, at(19)), Fraction::from_millionths(900_000));
        assert!(states.is_up(&server, at(20)));
        assert_eq!(states.load(&server, at(20)), None);
    }

    #[test]
    fn of_two_reports_the_later_counts() {
        let mut states = ServerStates::default();
        let server = server(&["192.0.2.1"]);
        assert!(states.report(server.addresses[0], report(false, 0, 10, 90), at(11)));
        assert!(!states.report(server.addresses[0], report(true, 0, 9, 90), at(11)));
        assert!(!states.is_up(&server, at(12)));
        assert!(states.report(server.addresses[0], report(true, 0, 12, 90), at(12)));
        assert!(states.is_up(&server, at(12)));
    }

    #[test]
    fn either_word_takes_a_server_out() {
        let mut states = ServerStates::default();
        let server = server(&["192.0.2.1", "2001:db8::1"]);
        states.report(server.addresses[0], report(true, 0, 0, 90), at(0));
        states.set_down([server.addresses[0]].into());
        assert!(!states.is_up(&server, at(1)), "our check says no");
        states.set_down(BTreeSet::new());
        assert!(states.is_up(&server, at(1)));
    }

    #[test]
    fn reports_are_bounded_and_expired_ones_make_room() {
        let mut states = ServerStates::default();
        let address = |number: usize| IpAddr::from(u32::try_from(number).unwrap().to_be_bytes());
        for number in 0..limits::REPORTS_PER_SITE_MAX {
            assert!(states.report(address(number), report(true, 0, 0, 50), at(0)));
        }
        let more = address(limits::REPORTS_PER_SITE_MAX);
        assert!(!states.report(more, report(true, 0, 0, 90), at(1)));
        assert!(states.report(address(3), report(false, 0, 1, 90), at(1)), "it has its place");
        assert!(states.report(more, report(true, 0, 60, 90), at(60)));
        assert_eq!(states.reports(at(60)).count(), 2);
    }
}
