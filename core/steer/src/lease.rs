//! The ledger of leases: what one name server has handed out, and has not expired, of one site in
//! one region.
//!
//! A lease carries the load its client really brings (its hidden load). A mapping request gets an
//! edge only if the ledger with the new lease fits the budget, so the sum is held whatever the
//! clients' sizes are; coin flips cannot do that when one client in a hundred carries a third of
//! the load. The choice is sticky: a client that holds a lease keeps its edge.
//!
//! Who does not ask again although its lease is over may keep the answer longer than it should. If
//! it did before, is heavy enough to have asked at once, or is seen to bring load still, its lease is
//! overdue, and counted until the meters say that it brings nothing, or it asks. The heaviest clients,
//! and those not known yet, are left to the remainder while more light ones wait, whose weight is
//! known, than there is room for: what one client brings cannot be divided.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use headroom_units::{EdgeId, RequestRate, Timestamp};
use ipnet::IpNet;

use crate::{
    LeaseBudget,
    lease::{
        client::{Client, Span},
        tally::{Census, Scale, Slack, Strangers},
    },
    limits,
};

mod client;
mod tally;

/// A stranger is taken to be this many times as heavy as if demand just filled the budget: sales
/// happen because demand is larger than that.
const STRANGER_WEIGHT: u64 = 2;
/// What was measured before this is not learned from.
const LEASES_REMEMBERED: Duration = Duration::from_secs(30);
/// What a lighter client brings in a second, in thousandths of a request, says nothing: whether it
/// keeps an answer is not looked for.
const TELLS: u64 = 500;
/// A client of this weight asks again at once when its lease is over, if it keeps to its TTL.
const ASKS_AT_ONCE: u64 = 20_000;
/// A client that is heavier than one part in this many of the budget is heavy.
const HEAVY_PARTS: u64 = 20;
/// A client stays at its edge while that is busier than another by less than this ratio.
const STAYS: (u128, u128) = (20, 21);

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
    strangers: Strangers,
    slack: Slack,
    /// The load of those that were refused, are known, and are not heavy.
    waiting: Census,
}

/// What a name server has leased out of one site in one region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leased {
    /// The load, at the usual level of demand, with what no lease accounts for.
    pub load: RequestRate,
    /// The part of it that is a guess: of clients that were not measured yet.
    pub strangers: RequestRate,
}

#[derive(Debug, Clone)]
struct Lease {
    edge: EdgeId,
    weight: u64,
    since: Timestamp,
    until: Timestamp,
    /// When its client last got an answer.
    given: Timestamp,
    /// When its client asked again and was sent to the remainder: it only runs out since.
    refused: Option<Timestamp>,
    overdue: Overdue,
}

/// Whether a lease goes on although its time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Overdue {
    /// Its time is not over.
    #[default]
    No,
    /// It is, and the meters have not told yet.
    Perhaps,
    /// It is, and its client still brings load.
    Seen,
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
            self.waiting.previous = if followed { self.waiting.present } else { 0 };
            self.waiting.present = 0;
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
    /// out. So when there is too much, only as many are refused as it takes. Of the edges, which all
    /// may be used, the one is taken that has the least load for its share.
    pub fn lease(
        &mut self,
        client: IpNet,
        budget: RequestRate,
        (edges, share): (&[&EdgeId], impl Fn(&EdgeId) -> u64),
        ttl: Duration,
        now: Timestamp,
    ) -> Option<EdgeId> {
        self.expire(now);
        self.came_back(client, now);
        let weight = self.weight(client, budget);
        let others = match self.leases.get(&client) {
            Some(lease) if lease.refused.is_some() => self.leased - lease.weight,
            Some(lease) => self.standing - lease.weight,
            None => self.leased,
        };
        let room = budget.millirequests_per_second().saturating_sub(self.overhang);
        let room = self.slack.add_to(room);
        self.slack.observe((room, others), self.waiting.most(), now);
        let left = room.saturating_sub(others + weight);
        if others + weight > room || self.gives_way(client, weight, left, budget) {
            self.refuse(client, now);
            self.note_waiting(client, budget);
            return None;
        }
        let edge = self.edge_for(client, weight, edges, share)?;
        self.waits_no_more(client);
        let since = match self.remove(client) {
            Some(lease) if lease.refused.is_none() => lease.since,
            Some(lease) => {
                self.remember(client, lease.span());
                now
            }
            None => now,
        };
        let (until, given, refused, overdue) = (now.after(ttl), now, None, Overdue::No);
        let lease = Lease { edge: edge.clone(), weight, since, until, given, refused, overdue };
        self.insert(client, lease);
        Some(edge)
    }

    /// Whether `client` is known to carry more than a twentieth of `budget`. Its answers should be
    /// short: what it brings cannot be divided.
    #[must_use]
    pub fn is_heavy(&self, client: IpNet, budget: RequestRate) -> bool {
        let weight = self.clients.get(&client).and_then(Client::weight).unwrap_or(0);
        weight > budget.millirequests_per_second() / HEAVY_PARTS
    }

    /// How long `client` showed to keep an answer; zero if it keeps to the TTL.
    #[must_use]
    pub fn keeps(&self, client: IpNet) -> Duration {
        self.clients.get(&client).map_or(Duration::ZERO, |known| known.keeps)
    }

    /// The load that `client` brings while it holds a lease, at the usual level of demand; none while
    /// it is not known.
    #[must_use]
    pub fn known_weight(&self, client: IpNet) -> Option<RequestRate> {
        let weight = self.clients.get(&client).and_then(Client::weight)?;
        Some(RequestRate::from_millirequests_per_second(weight))
    }

    /// Forgets the leases of edges that are not among `usable`: who was sent there brings nothing.
    pub fn keep_edges(&mut self, usable: &[&EdgeId], now: Timestamp) {
        let lost = self.leases.iter().filter(|(_, lease)| !usable.contains(&&lease.edge));
        let lost: Vec<IpNet> = lost.map(|(client, _)| *client).collect();
        for client in lost {
            if let Some(lease) = self.remove(client) {
                self.remember(client, Span { until: lease.span().until.min(now), ..lease.span() });
            }
        }
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
            .map(|(_, rate)| budget.at_usual_level(*rate))
            .sum();
        // Among several, what one has not leased out another may have.
        let is_alone = budget.by_name_server.len() == 1;
        self.attribute(if is_alone { unattributed } else { 0 }, second);
    }

    /// The load leased out and not expired, at the usual level of demand.
    #[must_use]
    pub fn leased(&self) -> RequestRate {
        RequestRate::from_millirequests_per_second(self.leased)
    }

    /// The same with what no lease accounts for; and the part of it whose clients are strangers yet.
    #[must_use]
    pub fn accounted(&self) -> Leased {
        let is_known =
            |client: &IpNet| self.clients.get(client).is_some_and(|known| known.weight().is_some());
        let strangers = self.leases.iter().filter(|(client, _)| !is_known(client));
        let strangers = strangers.map(|(_, lease)| lease.weight).sum();
        Leased {
            load: RequestRate::from_millirequests_per_second(self.leased + self.overhang),
            strangers: RequestRate::from_millirequests_per_second(strangers),
        }
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
        let mut seen = Vec::new();
        for client in held {
            let brought =
                budget.brought.get(&client).map_or(0, |rate| budget.at_usual_level(*rate));
            self.heard_of(client, brought, second);
            let Some(known) = self.clients.get(&client) else {
                continue;
            };
            let live = self.leases.get(&client).map(Lease::span);
            let covered = known.earlier.iter().chain(&live).map(|span| span.within(second)).sum();
            if covered > 0 {
                seen.push((client, brought, covered));
            }
        }
        let known =
            |client| self.clients.get(client).filter(|known: &&Client| known.is_well_known());
        let weighed = seen.iter().filter_map(|(client, brought, covered)| {
            Some((known(client).and_then(Client::weight)?, *covered, *brought))
        });
        let scale = Scale::new(weighed, budget.level);
        for (client, brought, covered) in seen {
            let Some(known) = self.clients.get_mut(&client) else {
                continue;
            };
            let was_known = known.weight().is_some();
            known.measured(scale.of(brought), covered);
            if let Some(weight) = known.weight() {
                if !was_known {
                    self.strangers.turned_out(weight);
                }
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
                let clients = self.census.most().max(1);
                let budget = budget.millirequests_per_second();
                let guess = budget.saturating_mul(STRANGER_WEIGHT) / clients;
                self.strangers.weight().unwrap_or(guess).clamp(1, budget.max(1))
            }
        }
    }

    /// The edge of a live lease stays, unless it is busier for its share than the least busy one by
    /// more than this client and a twentieth. A client that comes back gets the edge it had last, if
    /// that is no busier than by this client.
    fn edge_for(
        &self,
        client: IpNet,
        weight: u64,
        edges: &[&EdgeId],
        share: impl Fn(&EdgeId) -> u64,
    ) -> Option<EdgeId> {
        let usable = |edge: &&EdgeId| edges.contains(edge);
        // An edge without a share is the last choice.
        let busy = |edge: &EdgeId, more: u64| {
            let load = self.by_edge.get(edge).copied().unwrap_or(0) + more;
            match share(edge) {
                0 => u128::MAX - u128::from(u64::MAX - load),
                share => (u128::from(load) << 32) / u128::from(share),
            }
        };
        let least = edges.iter().copied().min_by_key(|edge| (busy(edge, 0), *edge))?;
        let held = self.leases.get(&client).map(|lease| &lease.edge).filter(usable);
        if let Some(edge) = held {
            let stays = busy(edge, 0) / STAYS.1 <= busy(least, weight) / STAYS.0;
            return Some(if stays { edge } else { least }.clone());
        }
        let last = self.clients.get(&client).and_then(|known| known.edge.as_ref()).filter(usable);
        let near = |last: &&EdgeId| busy(last, 0) <= busy(least, weight);
        Some(last.filter(near).unwrap_or(least).clone())
    }

    fn expire(&mut self, now: Timestamp) {
        while let Some((until, client)) = self.expiries.first().copied() {
            if until > now {
                break;
            }
            if self.may_be_kept(client) {
                self.expiries.remove(&(until, client));
                if let Some(lease) = self.leases.get_mut(&client) {
                    lease.overdue = Overdue::Perhaps;
                }
                continue;
            }
            self.end(client);
        }
        while self.ended.front().is_some_and(|(ended, _)| ended.after(LEASES_REMEMBERED) <= now) {
            self.ended.pop_front();
        }
    }

    /// Whether a client that does not ask again is likely to have kept its answer: it did before, or
    /// it would have asked by now.
    fn may_be_kept(&self, client: IpNet) -> bool {
        let stands = self.leases.get(&client).is_some_and(|lease| lease.refused.is_none());
        let known = self.clients.get(&client).and_then(Client::weight);
        let is_prompt = known.is_some_and(|weight| weight >= ASKS_AT_ONCE);
        stands && (is_prompt || self.keeps(client) > Duration::ZERO)
    }

    /// A lease is over.
    fn end(&mut self, client: IpNet) {
        if let Some(lease) = self.remove(client) {
            let until = lease.refused.unwrap_or(lease.until);
            self.remember(client, Span { until, ..lease.span() });
            self.ended.push_back((lease.until, client));
            let kept = lease.refused.is_none().then_some(lease.given);
            self.clients.entry(client).and_modify(|known| known.kept = kept);
        }
    }

    /// The meters told that `client` brought much in a second after its lease was over: it keeps its
    /// answer, and the lease goes on.
    fn revive(&mut self, client: IpNet, brought: u64, second: Timestamp) {
        let Some(known) = self.clients.get(&client) else { return };
        let (Some(given), Some(edge), Some(weight)) = (known.kept, &known.edge, known.weight())
        else {
            return;
        };
        let until = known.earlier[0].until;
        if second >= until && weight >= TELLS && brought * 2 >= weight {
            let (edge, overdue) = (edge.clone(), Overdue::Seen);
            let lease = Lease { edge, weight, since: second, until, given, refused: None, overdue };
            self.insert(client, lease);
        }
    }

    /// The meters told what `client` brought in `second`: an overdue lease that brings next to
    /// nothing is over.
    fn heard_of(&mut self, client: IpNet, brought: u64, second: Timestamp) {
        let Some(lease) = self.leases.get_mut(&client) else {
            return self.revive(client, brought, second);
        };
        if lease.overdue == Overdue::No || second < lease.until {
            return;
        }
        let is_old = second.since(lease.given) > limits::ANSWER_KEPT_MAX;
        if brought * 10 < lease.weight || is_old {
            self.end(client);
        } else {
            lease.overdue = Overdue::Seen;
        }
    }

    /// Learns how long a client keeps an answer, when it asks for the next.
    fn came_back(&mut self, client: IpNet, now: Timestamp) {
        let Some(lease) = self.leases.get(&client) else { return };
        let keeps = match lease.overdue {
            Overdue::No => Duration::ZERO,
            // It had nothing to ask for.
            Overdue::Perhaps => return self.end(client),
            Overdue::Seen => now.since(lease.given),
        };
        if let Some(known) = self.clients.get_mut(&client) {
            known.keeps = keeps;
        }
    }

    /// Who brings much at once, and who may, gives way while there is enough of what is known and
    /// light: a mistake about it would take a TTL to mend.
    fn gives_way(&self, client: IpNet, weight: u64, left: u64, budget: RequestRate) -> bool {
        let heavy = budget.millirequests_per_second() / HEAVY_PARTS;
        let is_known = self.clients.get(&client).is_some_and(|known| known.weight().is_some());
        let waiting = self.waiting.most();
        (!is_known || weight > heavy) && waiting > weight.max(heavy) && waiting > left
    }

    fn note_waiting(&mut self, client: IpNet, budget: RequestRate) {
        let period = self.census.period;
        let weight = self.clients.get(&client).and_then(Client::weight);
        let light = budget.millirequests_per_second() / HEAVY_PARTS;
        let Some(weight) = weight.filter(|weight| *weight <= light) else { return };
        if let Some(known) = self.clients.get_mut(&client).filter(|known| known.waited.0 != period)
        {
            known.waited = (period, weight);
            self.waiting.present += weight;
        }
    }

    fn waits_no_more(&mut self, client: IpNet) {
        let period = self.census.period;
        let Some(known) = self.clients.get_mut(&client) else { return };
        let (waited, weight) = std::mem::take(&mut known.waited);
        let counted = match period - waited {
            0 => &mut self.waiting.present,
            1 => &mut self.waiting.previous,
            _ => return,
        };
        *counted = counted.saturating_sub(weight);
    }

    /// Notes a lease that is over.
    fn remember(&mut self, client: IpNet, span: Span) {
        if let Some(known) = self.clients.get_mut(&client) {
            known.earlier.rotate_right(1);
            known.earlier[0] = span;
        }
    }

    fn refuse(&mut self, client: IpNet, now: Timestamp) {
        if let Some(known) = self.clients.get_mut(&client) {
            known.kept = None;
        }
        let Some(lease) = self.leases.get_mut(&client) else { return };
        if lease.overdue != Overdue::No {
            // Its time was over before.
            if let Some(lease) = self.remove(client) {
                self.remember(client, Span { until: now, ..lease.span() });
                self.ended.push_back((now, client));
            }
        } else if lease.refused.is_none() {
            lease.refused = Some(now);
            self.standing -= lease.weight;
        }
    }

    fn insert(&mut self, client: IpNet, lease: Lease) {
        self.leased += lease.weight;
        self.standing += if lease.refused.is_some() { 0 } else { lease.weight };
        *self.by_edge.entry(lease.edge.clone()).or_default() += lease.weight;
        if lease.overdue == Overdue::No {
            self.expiries.insert((lease.until, client));
        }
        if let Some(known) = self.clients.get_mut(&client) {
            known.edge = Some(lease.edge.clone());
            known.kept = None;
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
        let end = if self.overdue == Overdue::Seen { Timestamp::MAX } else { self.until };
        Span { since: self.since, until: self.refused.unwrap_or(end) }
    }
}

#[cfg(test)]
mod tests;
