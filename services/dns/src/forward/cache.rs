//! Answers of purchasers' name servers, each for the network it was given for (RFC 7871 §7.3.1).
//!
//! Pure. Bounded: the oldest answers leave.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use domain::base::Rtype;
use headroom_units::Timestamp;
use ipnet::IpNet;

use super::Wish;
use crate::{
    limits,
    message::{Data, Name},
};

/// What a name server has said.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    /// The addresses; none if it denies them.
    pub(crate) data: Vec<Data>,
    /// For how long.
    pub(crate) ttl: Duration,
    /// For how many bits of the client's network; at most as many as were asked with.
    pub(crate) scope: u8,
}

/// What is known of a wish.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Known {
    /// These addresses, or that there are none.
    Answer {
        /// The addresses.
        data: Vec<Data>,
        /// For how long they may be cached, in seconds.
        ttl: u32,
        /// For how many bits of the client's network.
        scope: u8,
        /// Whether nobody needs to be asked.
        is_fresh: bool,
    },
    /// Nothing.
    Nothing,
}

impl Known {
    pub(super) fn is_fresh(&self) -> bool {
        matches!(self, Self::Answer { is_fresh: true, .. })
    }
}

/// The answers, by name and type, and what is asked for at the moment.
#[derive(Debug, Default)]
pub(super) struct Cache {
    answers: HashMap<(Name, Rtype), HashMap<IpNet, Entry>>,
    /// In the order in which they came.
    order: VecDeque<(Name, Rtype, IpNet)>,
    asked: HashSet<Wish>,
}

#[derive(Debug)]
struct Entry {
    data: Vec<Data>,
    expires_at: Timestamp,
}

impl Cache {
    /// The answer of the narrowest network that holds the client.
    pub(super) fn get(&self, wish: &Wish, now: Timestamp) -> Known {
        let Some(entries) = self.answers.get(&(wish.name.clone(), wish.rtype)) else {
            return Known::Nothing;
        };
        let narrower = (0..=wish.client.prefix_len()).rev();
        let nets = narrower.map(|length| network(wish.client, length));
        let found = nets.filter_map(|net| entries.get(&net).map(|entry| (net, entry))).next();
        let Some((net, entry)) = found else { return Known::Nothing };
        if now.since(entry.expires_at) > limits::FORWARD_STALE_MAX {
            return Known::Nothing;
        }
        let left = entry.expires_at.since(now).as_secs();
        let is_fresh = entry.expires_at > now;
        let ttl = if is_fresh { left.max(1) } else { limits::FORWARD_STALE_TTL.into() };
        Known::Answer {
            data: entry.data.clone(),
            ttl: u32::try_from(ttl).unwrap_or(u32::MAX),
            scope: net.prefix_len(),
            is_fresh,
        }
    }

    /// Notes that a wish is asked for; false if it is already.
    pub(super) fn begin(&mut self, wish: &Wish) -> bool {
        self.asked.insert(wish.clone())
    }

    /// Notes that a wish is no longer asked for.
    pub(super) fn end(&mut self, wish: &Wish) {
        self.asked.remove(wish);
    }

    /// Takes an answer in.
    pub(super) fn put(&mut self, wish: &Wish, found: Found, now: Timestamp) {
        let scope = found.scope.min(wish.client.prefix_len());
        let net = network(wish.client, scope);
        let ttl = found.ttl.clamp(limits::FORWARD_TTL_MIN, limits::FORWARD_TTL_MAX);
        let entry = Entry { data: found.data, expires_at: now.after(ttl) };
        let key = (wish.name.clone(), wish.rtype);
        if self.answers.entry(key).or_default().insert(net, entry).is_some() {
            return;
        }
        self.order.push_back((wish.name.clone(), wish.rtype, net));
        while self.order.len() > limits::FORWARD_ANSWERS_MAX {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some((name, rtype, net)) = self.order.pop_front() else { return };
        let key = (name, rtype);
        if let Some(entries) = self.answers.get_mut(&key) {
            entries.remove(&net);
            if entries.is_empty() {
                self.answers.remove(&key);
            }
        }
    }
}

/// The first `length` bits of a network.
fn network(net: IpNet, length: u8) -> IpNet {
    IpNet::new(net.addr(), length).unwrap_or(net).trunc()
}

#[cfg(test)]
mod tests {
    use domain::rdata::A;

    use super::*;

    fn wish(client: &str) -> Wish {
        let name = "www.shop.example".parse().unwrap();
        Wish { name, rtype: Rtype::A, client: client.parse().unwrap() }
    }

    fn found(last: u8, seconds: u64, scope: u8) -> Found {
        let data = vec![Data::A(A::from_octets(192, 0, 2, last))];
        Found { data, ttl: Duration::from_secs(seconds), scope }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(1_000 + seconds)
    }

    fn told(cache: &Cache, client: &str, seconds: u64) -> String {
        match cache.get(&wish(client), at(seconds)) {
            Known::Nothing => "nothing".to_owned(),
            Known::Answer { data, ttl, scope, is_fresh } => {
                let data: Vec<_> = data.iter().map(ToString::to_string).collect();
                format!("{} ttl={ttl} scope={scope} fresh={is_fresh}", data.join(","))
            }
        }
    }

    #[test]
    fn an_answer_is_for_the_network_that_it_was_given_for() {
        let mut cache = Cache::default();
        cache.put(&wish("10.0.1.0/24"), found(1, 60, 16), at(0));
        cache.put(&wish("10.0.2.0/24"), found(2, 60, 24), at(0));
        assert_eq!(told(&cache, "10.0.1.0/24", 10), "192.0.2.1 ttl=50 scope=16 fresh=true");
        assert_eq!(told(&cache, "10.0.9.0/24", 10), "192.0.2.1 ttl=50 scope=16 fresh=true");
        assert_eq!(told(&cache, "10.0.2.0/24", 10), "192.0.2.2 ttl=50 scope=24 fresh=true");
        assert_eq!(told(&cache, "10.1.2.0/24", 10), "nothing");
        assert_eq!(told(&cache, "2001:db8::/56", 10), "nothing");
        cache.put(&wish("10.1.2.0/24"), found(3, 60, 0), at(0));
        assert_eq!(told(&cache, "172.16.0.0/24", 10), "192.0.2.3 ttl=50 scope=0 fresh=true");
        assert_eq!(told(&cache, "10.0.2.0/24", 10), "192.0.2.2 ttl=50 scope=24 fresh=true");
    }

    #[test]
    fn the_last_known_answer_is_given_until_there_is_a_better_one() {
        let mut cache = Cache::default();
        cache.put(&wish("10.0.1.0/24"), found(1, 60, 24), at(0));
        assert_eq!(told(&cache, "10.0.1.0/24", 61), "192.0.2.1 ttl=5 scope=24 fresh=false");
        assert_eq!(told(&cache, "10.0.1.0/24", 61 + 86_400), "nothing");
        cache.put(&wish("10.0.1.0/24"), found(2, 60, 24), at(70));
        assert_eq!(told(&cache, "10.0.1.0/24", 70), "192.0.2.2 ttl=60 scope=24 fresh=true");
        assert_eq!(cache.order.len(), 1);
    }

    #[test]
    fn times_and_scopes_that_are_not_sensible_are_cut() {
        let mut cache = Cache::default();
        cache.put(&wish("10.0.1.0/24"), found(1, 0, 32), at(0));
        assert_eq!(told(&cache, "10.0.1.0/24", 0), "192.0.2.1 ttl=5 scope=24 fresh=true");
        cache.put(&wish("10.0.1.0/24"), found(1, 1_000_000, 32), at(0));
        assert_eq!(told(&cache, "10.0.1.0/24", 0), "192.0.2.1 ttl=300 scope=24 fresh=true");
    }

    #[test]
    fn the_oldest_answers_leave() {
        let mut cache = Cache::default();
        let net = |number: usize| {
            let [_, _, a, b] = u32::try_from(number).unwrap().to_be_bytes();
            let c = u8::from(number > 65_535);
            format!("10.{c}.{a}.{b}/32")
        };
        for number in 0..=limits::FORWARD_ANSWERS_MAX {
            cache.put(&wish(&net(number)), found(1, 60, 32), at(0));
        }
        assert_eq!(cache.order.len(), limits::FORWARD_ANSWERS_MAX);
        assert_eq!(told(&cache, &net(0), 1), "nothing");
        assert_eq!(told(&cache, &net(1), 1), "192.0.2.1 ttl=59 scope=32 fresh=true");
    }

    #[test]
    fn a_wish_is_asked_for_once_at_a_time() {
        let mut cache = Cache::default();
        assert!(cache.begin(&wish("10.0.1.0/24")));
        assert!(!cache.begin(&wish("10.0.1.0/24")));
        assert!(cache.begin(&wish("10.0.2.0/24")));
        cache.end(&wish("10.0.1.0/24"));
        assert!(cache.begin(&wish("10.0.1.0/24")));
    }
}
