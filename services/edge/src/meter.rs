//! Counting: what each thread did in each second.
//!
//! A request is counted in the wall second it was admitted in; bytes in the second they were
//! handed to the connection in. Counted as bytes are bodies and heads, the latter by the length of
//! their fields, without what TCP and IP add. Each thread counts for itself under a lock that only
//! the reporter ever contends for, once a second.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use headroom_steer::limits::CLIENTS_PER_REPORT_MAX;
use headroom_units::{ContractId, SiteId, Timestamp};
use headroom_wire::OwnMeter;
use ipnet::IpNet;
use quick_cache::DefaultHashBuilder;

use crate::table::Asked;

/// Whose traffic a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Account {
    /// The operator's own.
    Own,
    /// A contract's.
    Contract(ContractId),
    /// The purchaser's own matter: over the share, and passed through.
    Nobody,
}

/// What was counted of one contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ContractCounts {
    pub(crate) offered: u64,
    pub(crate) served: u64,
    pub(crate) refused: u64,
    pub(crate) hits: u64,
    pub(crate) bytes: u64,
}

/// The requests of each client.
pub(crate) type Clients = HashMap<IpNet, u64, DefaultHashBuilder>;

/// What was counted in one second.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Counts {
    pub(crate) own: OwnMeter,
    pub(crate) contracts: BTreeMap<ContractId, ContractCounts>,
    pub(crate) clients: HashMap<SiteId, Clients, DefaultHashBuilder>,
}

impl Counts {
    /// One request of the operator's own.
    pub(crate) fn own_request(&mut self) {
        self.own.requests += 1;
    }

    /// One request that came for a contract.
    pub(crate) fn asked(&mut self, contract: ContractId, asked: Asked) {
        let counts = self.contracts.entry(contract).or_default();
        counts.offered += 1;
        match asked {
            Asked::Served => counts.served += 1,
            Asked::Refused => counts.refused += 1,
            Asked::PassedOn => {}
        }
    }

    /// One request of a client for a purchaser's site, admitted or not.
    pub(crate) fn client(&mut self, site: &SiteId, client: IpNet, requests: u64) {
        let clients = match self.clients.get_mut(site) {
            Some(clients) => clients,
            None => self.clients.entry(site.clone()).or_default(),
        };
        if let Some(count) = clients.get_mut(&client) {
            *count += requests;
        } else if clients.len() < CLIENTS_PER_REPORT_MAX {
            clients.insert(client, requests);
        }
    }

    /// One request that was answered from the cache.
    pub(crate) fn hit(&mut self, account: Account) {
        match account {
            Account::Own => self.own.hits += 1,
            Account::Contract(contract) => self.contracts.entry(contract).or_default().hits += 1,
            Account::Nobody => {}
        }
    }

    /// Bytes that were sent.
    pub(crate) fn sent(&mut self, account: Account, bytes: u64) {
        match account {
            Account::Own => self.own.bytes += bytes,
            Account::Contract(contract) => {
                self.contracts.entry(contract).or_default().bytes += bytes;
            }
            Account::Nobody => {}
        }
    }

    /// Takes in what another thread counted in the same second.
    pub(crate) fn merge(&mut self, other: Self) {
        self.own.requests += other.own.requests;
        self.own.hits += other.own.hits;
        self.own.bytes += other.own.bytes;
        for (contract, counts) in other.contracts {
            let sum = self.contracts.entry(contract).or_default();
            sum.offered += counts.offered;
            sum.served += counts.served;
            sum.refused += counts.refused;
            sum.hits += counts.hits;
            sum.bytes += counts.bytes;
        }
        for (site, clients) in other.clients {
            for (client, requests) in clients {
                self.client(&site, client, requests);
            }
        }
    }
}

/// What one thread counted and was not yet reported.
#[derive(Debug, Default)]
pub(crate) struct ThreadMeter {
    seconds: Mutex<Seconds>,
}

#[derive(Debug, Default)]
struct Seconds {
    /// The first second that is not reported yet.
    open_from: u64,
    counts: BTreeMap<u64, Counts>,
}

impl ThreadMeter {
    /// Counts something that happened at `now`. What comes too late for its second is counted in
    /// the next that is open: nothing is lost, nothing counted twice.
    pub(crate) fn count<R>(&self, now: Timestamp, count: impl FnOnce(&mut Counts) -> R) -> R {
        let mut seconds = self.lock();
        let second = now.seconds().max(seconds.open_from);
        count(seconds.counts.entry(second).or_default())
    }

    /// Hands out what was counted up to and in `second`, and closes it.
    pub(crate) fn close(&self, second: u64) -> Counts {
        let mut seconds = self.lock();
        seconds.open_from = seconds.open_from.max(second.saturating_add(1));
        let later = seconds.counts.split_off(&second.saturating_add(1));
        let mut closed = std::mem::replace(&mut seconds.counts, later).into_values();
        drop(seconds);
        let mut sum = closed.next().unwrap_or_default();
        closed.for_each(|counts| sum.merge(counts));
        sum
    }

    fn lock(&self) -> MutexGuard<'_, Seconds> {
        self.seconds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTRACT: ContractId = ContractId::new(1);

    fn served(counts: &mut Counts) {
        counts.asked(CONTRACT, Asked::Served);
    }

    #[test]
    fn each_second_has_its_own_counts_and_late_ones_go_to_the_next() {
        let meter = ThreadMeter::default();
        meter.count(Timestamp::from_millis(10_999), served);
        meter.count(Timestamp::from_millis(11_000), served);
        assert_eq!(meter.close(10).contracts[&CONTRACT].served, 1);
        meter.count(Timestamp::from_millis(10_999), served);
        assert_eq!(meter.close(11).contracts[&CONTRACT].served, 2);
        assert_eq!(meter.close(12), Counts::default());
    }

    #[test]
    fn what_was_offered_is_what_was_served_refused_or_passed_on() {
        let mut counts = Counts::default();
        counts.asked(CONTRACT, Asked::Served);
        counts.asked(CONTRACT, Asked::Refused);
        counts.asked(CONTRACT, Asked::PassedOn);
        counts.hit(Account::Contract(CONTRACT));
        counts.sent(Account::Contract(CONTRACT), 7);
        counts.sent(Account::Nobody, 9);
        let expected = ContractCounts { offered: 3, served: 1, refused: 1, hits: 1, bytes: 7 };
        assert_eq!(counts.contracts[&CONTRACT], expected);
    }

    #[test]
    fn no_more_clients_are_told_than_a_report_holds() {
        let site: SiteId = "shop".parse().unwrap();
        let mut sum = Counts::default();
        for part in 0..2u32 {
            let mut counts = Counts::default();
            for index in 0..u32::try_from(CLIENTS_PER_REPORT_MAX).unwrap() {
                let address = std::net::Ipv4Addr::from((part << 24) + (index << 8));
                counts.client(&site, headroom_steer::client_prefix(address.into(), 24), 1);
            }
            sum.merge(counts);
        }
        assert_eq!(sum.clients[&site].len(), CLIENTS_PER_REPORT_MAX);
    }
}
