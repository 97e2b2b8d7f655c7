//! The ledger of leases: what one name server has handed out, and has not expired, of one site in
//! one region.
//!
//! A lease carries the load its client really brings (its hidden load). A mapping request gets an
//! edge only if the ledger with the new lease fits the budget, so the sum is held whatever the
//! clients' sizes are; coin flips cannot do that when one client in a hundred carries a third of
//! the load. The choice is sticky: a client that holds a lease keeps its edge.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use headroom_units::{EdgeId, RequestRate, Timestamp};
use ipnet::IpNet;

use crate::{LeaseBudget, limits};

/// A stranger is taken to be this many times as heavy as if demand just filled the budget: sales
/// happen because demand is larger than that.
const STRANGER_WEIGHT: u64 = 2;
/// A weight is learned from this much time under a lease, the newest of it.
const LEARNED_FROM: Duration = Duration::from_secs(6);
/// With less time than this under a lease, a client is still a stranger.
const KNOWN_AFTER: Duration = Duration::from_secs(1);
const SECOND: Duration = Duration::from_secs(1);
/// What was measured before this is not learned from: budgets come each second.
const LEASES_REMEMBERED: Duration = Duration::from_secs(6);

/// Leases, learned weights and the clients of one site in one region. All loads are in thousandths
/// of a request per second.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    leases: BTreeMap<IpNet, Lease>,
    expiries: BTreeSet<(Timestamp, IpNet)>,
    /// Who had a lease that ended lately: what it brought is still to be told.
    ended: VecDeque<(Timestamp, IpNet)>,
    /// The newest second that was learned from.
    learned: Timestamp,
    by_edge: BTreeMap<EdgeId, u64>,
    leased: u64,
    /// The part of it whose clients were not refused since.
    standing: u64,
    /// Load that no live lease accounts for, such as that of resolvers that stretch the TTL.
    overhang: u64,
    clients: BTreeMap<IpNet, Client>,
    census: Census,
}

#[derive(Debug, Clone)]
struct Lease {
    edge: EdgeId,
    weight: u64,
    since: Timestamp,
    until: Timestamp,
    /// When its client asked again and was sent to the remainder: it only runs out since.
    refused: Option<Timestamp>,
}

/// From when until when a client was sent to an edge.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    since: Timestamp,
    until: Timestamp,
}

#[derive(Debug, Clone, Default)]
struct Client {
    edge: Option<EdgeId>,
    /// Its leases before the present one, the last first.
    earlier: [Span; 3],
    /// Thousandths of requests brought,
    brought: u64,
    /// in this many milliseconds under leases.
    covered: u64,
    census: u64,
}

/// Counts the clients that asked in the present period and in the one before.
#[derive(Debug, Clone, Default)]
struct Census {
    period: u64,
    present: u64,
    previous: u64,
}

impl Ledger {
    /// Notes that `client` asked. Called for every mapping request, answered with an edge or not,
    /// so that the number of clients is known before the first slot begins. `period` is a few TTLs.
    pub fn note(&mut self, client: IpNet, now: Timestamp, period: Duration) {
        let number = now.nanos() / u64::try_from(period.as_nanos().max(1)).unwrap_or(u64::MAX) + 1;
        if self.census.period != number {
            let followed = self.census.period + 1 == number;
            self.census.previous = if followed { self.census.present } else { 0 };
            self.census.present = 0;
            self.census.period = number;
        }
        if !self.clients.contains_key(&client)
            && self.clients.len() >= limits::CLIENTS_PER_LEDGER_MAX
        {
            return;
        }
        let known = self.clients.entry(client).or_default();
        if known.census != number {
            known.census = number;
            self.census.present += 1;
        }
    }

    /// Leases an edge to `client` for `ttl` if the ledger then fits `budget`. Who holds a lease keeps
    /// it if it fits beside those that stand; a newcomer has to fit beside all that have not run
    /// out. So when there is too much, only as many are refused as it takes.
    pub fn lease(
        &mut self,
        client: IpNet,
        budget: RequestRate,
        edges: &[&EdgeId],
        ttl: Duration,
        now: Timestamp,
    ) -> Option<EdgeId> {
        self.expire(now);
        let weight = self.weight(client, budget);
        let others = match self.leases.get(&client) {
            Some(lease) if lease.refused.is_some() => self.leased - lease.weight,
            Some(lease) => self.standing - lease.weight,
            None => self.leased,
        };
        let room = budget.millirequests_per_second().saturating_sub(self.overhang);
        if others + weight > room {
            self.refuse(client, now);
            return None;
        }
        let edge = self.edge_for(client, weight, edges)?;
        let since = match self.remove(client) {
            Some(lease) if lease.refused.is_none() => lease.since,
            Some(lease) => {
                self.remember(client, lease.span());
                now
            }
            None => now,
        };
        let until = now.after(ttl);
        self.insert(client, Lease { edge: edge.clone(), weight, since, until, refused: None });
        Some(edge)
    }

    /// Takes in what each client prefix brought to the edges in one second, and corrects the
    /// weights of those that held a lease in a part of it.
    pub fn learn(&mut self, budget: &LeaseBudget, now: Timestamp) {
        self.expire(now);
        let second = budget.measured_second;
        if second > self.learned {
            self.learned = second;
            self.measure(budget);
        }
        let unattributed: u64 = budget
            .brought
            .iter()
            .filter(|(client, _)| !self.held_in(client, second))
            .map(|(_, rate)| rate.millirequests_per_second())
            .sum();
        self.attribute(unattributed, second);
    }

    /// The load leased out and not expired.
    #[must_use]
    pub fn leased(&self) -> RequestRate {
        RequestRate::from_millirequests_per_second(self.leased)
    }

    /// The number of live leases.
    #[must_use]
    pub fn count(&self) -> usize {
        self.leases.len()
    }

    /// Adds the second's requests, and the time under a lease in it, to what is known of each
    /// client. A light client is seen whole too: what it brings comes with its lease.
    fn measure(&mut self, budget: &LeaseBudget) {
        let second = budget.measured_second;
        let mut held: Vec<IpNet> = self.ended.iter().map(|(_, client)| *client).collect();
        held.extend(self.leases.keys());
        held.sort_unstable();
        held.dedup();
        for client in held {
            let Some(known) = self.clients.get_mut(&client) else {
                continue;
            };
            let live = self.leases.get(&client).map(Lease::span);
            let covered = known.earlier.iter().chain(&live).map(|span| span.within(second)).sum();
            if covered == 0 {
                continue;
            }
            let brought = budget.brought.get(&client).map_or(0, |r| r.millirequests_per_second());
            known.measured(brought, covered);
            if let Some(weight) = known.weight() {
                self.reweigh(client, weight);
            }
        }
    }

    /// Load from prefixes without a lease belongs to leases whose own prefix stays silent: those
    /// of resolvers that stand elsewhere than their users. Without such leases it is overhang.
    fn attribute(&mut self, unattributed: u64, second: Timestamp) {
        let is_silent = |client: &IpNet| self.clients.get(client).is_some_and(Client::is_silent);
        let silent: Vec<IpNet> = self
            .leases
            .iter()
            .filter(|(client, lease)| lease.since <= second && is_silent(client))
            .map(|(client, _)| *client)
            .collect();
        self.overhang = if silent.is_empty() { unattributed } else { 0 };
        let each = unattributed.checked_div(u64::try_from(silent.len()).unwrap_or(u64::MAX));
        for client in silent {
            self.reweigh(client, each.unwrap_or(0));
        }
    }

    /// True if a lease of `client` covered a part of `second` or is live now.
    fn held_in(&self, client: &IpNet, second: Timestamp) -> bool {
        let ended = self.clients.get(client).map(|known| known.earlier[0].until);
        self.leases.contains_key(client) || ended.is_some_and(|ended| ended > second)
    }

    fn weight(&self, client: IpNet, budget: RequestRate) -> u64 {
        let known = self.clients.get(&client);
        match known.and_then(Client::weight) {
            Some(weight) if weight > 0 => weight,
            _ if known.is_some_and(Client::is_silent) => {
                self.leases.get(&client).map_or(0, |lease| lease.weight)
            }
            _ => {
                let clients = self.census.present.max(self.census.previous).max(1);
                let budget = budget.millirequests_per_second();
                (budget.saturating_mul(STRANGER_WEIGHT) / clients).clamp(1, budget.max(1))
            }
        }
    }

    /// The edge of a live lease stays. A client that comes back gets the edge it had last, unless
    /// that is busier than the least busy one by more than this client.
    fn edge_for(&self, client: IpNet, weight: u64, edges: &[&EdgeId]) -> Option<EdgeId> {
        let usable = |edge: &&EdgeId| edges.contains(edge);
        if let Some(lease) = self.leases.get(&client)
            && usable(&&lease.edge)
        {
            return Some(lease.edge.clone());
        }
        let load = |edge: &EdgeId| self.by_edge.get(edge).copied().unwrap_or(0);
        let least = edges.iter().copied().min_by_key(|edge| (load(edge), *edge))?;
        let last = self.clients.get(&client).and_then(|known| known.edge.as_ref()).filter(usable);
        let near = |last: &&EdgeId| load(last) <= load(least) + weight;
        Some(last.filter(near).unwrap_or(least).clone())
    }

    fn expire(&mut self, now: Timestamp) {
        while let Some((until, client)) = self.expiries.first().copied() {
            if until > now {
                break;
            }
            if let Some(lease) = self.remove(client) {
                self.remember(client, lease.span());
                self.ended.push_back((until, client));
            }
        }
        while self.ended.front().is_some_and(|(ended, _)| ended.after(LEASES_REMEMBERED) <= now) {
            self.ended.pop_front();
        }
    }

    /// Notes a lease that is over.
    fn remember(&mut self, client: IpNet, span: Span) {
        if let Some(known) = self.clients.get_mut(&client) {
            known.earlier.rotate_right(1);
            known.earlier[0] = span;
        }
    }

    fn refuse(&mut self, client: IpNet, now: Timestamp) {
        if let Some(lease) = self.leases.get_mut(&client).filter(|lease| lease.refused.is_none()) {
            lease.refused = Some(now);
            self.standing -= lease.weight;
        }
    }

    fn insert(&mut self, client: IpNet, lease: Lease) {
        self.leased += lease.weight;
        self.standing += if lease.refused.is_some() { 0 } else { lease.weight };
        *self.by_edge.entry(lease.edge.clone()).or_default() += lease.weight;
        self.expiries.insert((lease.until, client));
        if let Some(known) = self.clients.get_mut(&client) {
            known.edge = Some(lease.edge.clone());
        }
        self.leases.insert(client, lease);
    }

    fn remove(&mut self, client: IpNet) -> Option<Lease> {
        let lease = self.leases.remove(&client)?;
        self.leased -= lease.weight;
        self.standing -= if lease.refused.is_some() { 0 } else { lease.weight };
        if let Some(load) = self.by_edge.get_mut(&lease.edge) {
            *load -= lease.weight;
        }
        self.expiries.remove(&(lease.until, client));
        Some(lease)
    }

    fn reweigh(&mut self, client: IpNet, weight: u64) {
        if let Some(lease) = self.remove(client) {
            self.insert(client, Lease { weight, ..lease });
        }
    }
}

impl Lease {
    fn span(&self) -> Span {
        Span { since: self.since, until: self.refused.unwrap_or(self.until) }
    }
}

impl Span {
    /// Milliseconds of it in the second that begins at `second`.
    fn within(&self, second: Timestamp) -> u64 {
        let (since, until) = (self.since.max(second), self.until.min(second.after(SECOND)));
        millis(until.since(since))
    }
}

impl Client {
    /// Takes in what was brought in so many milliseconds under a lease. What is older than
    /// [`LEARNED_FROM`] fades.
    fn measured(&mut self, brought: u64, covered: u64) {
        let kept = millis(LEARNED_FROM).saturating_sub(covered).min(self.covered);
        self.brought = self.brought * kept / self.covered.max(1) + brought;
        self.covered = kept + covered;
    }

    /// Thousandths of a request per second under a lease, if it was seen for long enough.
    fn weight(&self) -> Option<u64> {
        let known = self.covered >= millis(KNOWN_AFTER);
        known.then(|| self.brought * 1_000 / self.covered)
    }

    /// It was seen for two seconds and more and brought nothing from its own prefix.
    fn is_silent(&self) -> bool {
        self.covered >= 2 * millis(KNOWN_AFTER) && self.weight() == Some(0)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TTL: Duration = Duration::from_secs(20);

    fn client(number: u8) -> IpNet {
        format!("10.0.{number}.0/24").parse().unwrap()
    }

    fn rate(requests: u64) -> RequestRate {
        RequestRate::from_requests_per_second(requests)
    }

    fn seconds(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn edges() -> [EdgeId; 2] {
        ["east-1".parse().unwrap(), "east-2".parse().unwrap()]
    }

    fn lease(ledger: &mut Ledger, number: u8, budget: u64, now: u64) -> Option<EdgeId> {
        let edges = edges();
        ledger.note(client(number), seconds(now), TTL * 2);
        ledger.lease(client(number), rate(budget), &edges.each_ref(), TTL, seconds(now))
    }

    fn learn(ledger: &mut Ledger, second: u64, brought: &[(u8, u64)]) {
        let brought = brought.iter().map(|(number, load)| (client(*number), rate(*load))).collect();
        let budget =
            LeaseBudget { measured_second: seconds(second), brought, ..LeaseBudget::default() };
        ledger.learn(&budget, seconds(second + 1));
    }

    fn crowd(clients: u8) -> Ledger {
        let mut ledger = Ledger::default();
        for number in 0..clients {
            ledger.note(client(number), seconds(0), TTL * 2);
        }
        ledger
    }

    #[test]
    fn strangers_fill_half_the_budget_each_until_they_are_known() {
        let mut ledger = crowd(10);
        let leased = (0..10).filter(|n| lease(&mut ledger, *n, 100, 1).is_some()).count();
        assert_eq!(leased, 5);
    }

    #[test]
    fn a_heavy_client_is_held_to_what_it_really_brings() {
        let mut ledger = crowd(10);
        for number in 0..10 {
            lease(&mut ledger, number, 100, 1);
        }
        learn(&mut ledger, 2, &[(0, 60), (1, 5), (2, 5), (3, 5), (4, 5)]);
        assert_eq!(ledger.leased(), rate(80));
        assert!(lease(&mut ledger, 5, 100, 3).is_some(), "a stranger of 20 fits");
        assert!(lease(&mut ledger, 6, 100, 3).is_none(), "another does not");
        assert!(lease(&mut ledger, 0, 70, 3).is_none(), "a smaller budget drops the heavy one");
    }

    #[test]
    fn the_choice_is_sticky_and_survives_expiry() {
        let mut ledger = Ledger::default();
        let first = lease(&mut ledger, 1, 100, 0).unwrap();
        learn(&mut ledger, 1, &[(1, 10)]);
        lease(&mut ledger, 2, 100, 1);
        learn(&mut ledger, 2, &[(1, 10), (2, 10)]);
        assert_eq!(lease(&mut ledger, 1, 100, 10).unwrap(), first);
        assert_eq!(lease(&mut ledger, 1, 100, 100).unwrap(), first);
    }

    #[test]
    fn who_comes_back_to_a_busy_edge_gets_another() {
        let mut ledger = crowd(10);
        let first = lease(&mut ledger, 1, 1_000, 0).unwrap();
        learn(&mut ledger, 1, &[(1, 5)]);
        for number in 2..6 {
            lease(&mut ledger, number, 1_000, 15);
        }
        let on_first: Vec<_> = (2..6)
            .filter(|number| ledger.leases[&client(*number)].edge == first)
            .map(|number| (number, 100))
            .collect();
        learn(&mut ledger, 16, &on_first);
        assert_ne!(lease(&mut ledger, 1, 1_000, 21).unwrap(), first);
    }

    #[test]
    fn when_there_is_too_much_no_more_are_refused_than_it_takes() {
        let mut ledger = crowd(10);
        let strangers = (0..10).filter(|n| lease(&mut ledger, *n, 100, 1).is_some()).count();
        assert_eq!(strangers, 5);
        learn(&mut ledger, 2, &[(0, 30), (1, 30), (2, 30), (3, 30), (4, 30)]);
        let kept: Vec<_> = (0..10).filter(|n| lease(&mut ledger, *n, 100, 11).is_some()).collect();
        assert_eq!(
            kept,
            [2, 3, 4],
            "150 became 90, and no stranger of 20 fits beside what runs out"
        );
        assert_eq!(ledger.leased(), rate(150), "what was refused has not run out");
        learn(&mut ledger, 21, &[(2, 30), (3, 30), (4, 30)]);
        assert_eq!(ledger.leased(), rate(90));
    }

    #[test]
    fn a_light_client_is_learned_from_leases_that_hold_no_whole_second() {
        let mut ledger = crowd(10);
        let edges = edges();
        for visit in 0..3 {
            let now = Timestamp::from_millis(10_500 + visit * 4_000);
            let ttl = Duration::from_secs(1);
            let leased = ledger.lease(client(1), rate(100), &edges.each_ref(), ttl, now);
            assert!(leased.is_some());
            assert_eq!(ledger.leased(), rate(if visit == 0 { 20 } else { 2 }), "visit {visit}");
            for second in now.seconds()..now.seconds() + 4 {
                let brought = if second < now.seconds() + 2 { 1 } else { 0 };
                learn(&mut ledger, second, &[(1, brought)]);
            }
        }
    }

    #[test]
    fn what_is_told_twice_is_learned_once() {
        let mut ledger = crowd(10);
        lease(&mut ledger, 1, 100, 0);
        learn(&mut ledger, 1, &[(1, 10)]);
        for _ in 0..5 {
            learn(&mut ledger, 1, &[(1, 90)]);
        }
        assert_eq!(ledger.leased(), rate(10));
    }

    #[test]
    fn leases_end_with_their_ttl() {
        let mut ledger = Ledger::default();
        lease(&mut ledger, 1, 100, 0);
        assert_eq!(ledger.count(), 1);
        learn(&mut ledger, 20, &[]);
        assert_eq!((ledger.count(), ledger.leased()), (0, RequestRate::ZERO));
    }

    #[test]
    fn load_beyond_the_leases_leaves_less_room() {
        let mut ledger = crowd(10);
        lease(&mut ledger, 1, 100, 0);
        learn(&mut ledger, 1, &[(1, 10), (9, 85)]);
        assert!(lease(&mut ledger, 2, 100, 2).is_none());
        learn(&mut ledger, 3, &[(1, 10)]);
        assert!(lease(&mut ledger, 2, 100, 4).is_some());
    }

    #[test]
    fn what_was_brought_under_a_lease_that_ended_since_is_no_overhang() {
        let mut ledger = crowd(10);
        lease(&mut ledger, 1, 100, 0);
        learn(&mut ledger, 20, &[(1, 90)]);
        assert_eq!(ledger.overhang, 90_000, "the lease ended at 20");
        let mut ledger = crowd(10);
        lease(&mut ledger, 1, 100, 0);
        learn(&mut ledger, 19, &[(1, 90)]);
        learn(&mut ledger, 19, &[(1, 90)]);
        assert_eq!((ledger.count(), ledger.overhang), (0, 0), "it covered the second 19");
    }

    #[test]
    fn a_resolver_away_from_its_users_gets_their_load() {
        let mut ledger = Ledger::default();
        lease(&mut ledger, 1, 100, 0);
        for second in 1..4 {
            learn(&mut ledger, second, &[(200, 40)]);
        }
        assert_eq!(ledger.leased(), rate(40));
    }

    proptest! {
        /// The ledger's sums are those of its leases, and no lease is given beyond the budget.
        #[test]
        fn sums_hold_under_any_conversation(
            steps in prop::collection::vec((0u8..20, 0u64..5, 1u64..200, 0u64..60), 1..200)
        ) {
            let mut ledger = Ledger::default();
            let mut now = 0;
            for (number, wait, budget, load) in steps {
                now += wait;
                if lease(&mut ledger, number, budget, now).is_some() {
                    let standing = RequestRate::from_millirequests_per_second(ledger.standing);
                    prop_assert!(standing <= rate(budget));
                }
                learn(&mut ledger, now.saturating_sub(1), &[(number, load)]);
                let sum: u64 = ledger.leases.values().map(|lease| lease.weight).sum();
                prop_assert_eq!(ledger.leased, sum);
                let standing = ledger.leases.values().filter(|lease| lease.refused.is_none());
                prop_assert_eq!(ledger.standing, standing.map(|lease| lease.weight).sum::<u64>());
                prop_assert_eq!(ledger.by_edge.values().sum::<u64>(), sum);
                prop_assert_eq!(ledger.expiries.len(), ledger.leases.len());
            }
        }
    }
}
