//! The remainder assigned: which of the purchaser's servers a client is sent to.
//!
//! ```text
//!  servers ──► well? (feed, checks) ──► algorithm, by the client's network ──► one server
//!                └─ none: all are
//! ```
//!
//! Each choice follows from the client's network, the assignment and what is known of its servers,
//! and from nothing else: no turns are counted. So all name servers choose alike, a client stays
//! with its server while nothing changes, and what A and AAAA are answered with are addresses of
//! one server. Shares are of client networks: a large one counts no more than a small one.

mod check;
mod state;
mod text;

use std::{collections::BTreeMap, fmt, net::IpAddr, str::FromStr};

use headroom_units::{ParseError, RegionId, SiteId, Timestamp};
use ipnet::IpNet;

use crate::{Plan, Remainder};

pub use check::{CheckedHealth, ServerCheck};
pub use state::{ServerReport, ServerStates};
pub use text::{ASSIGNMENT_MARK, provided};

/// 2⁶⁴ divided by the golden ratio: multiples of it fill the circle evenly, wherever one begins and
/// whatever the step.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// How the remainder is assigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// How a server is chosen.
    pub algorithm: AssignAlgorithm,
    /// What is chosen from, in the purchaser's order.
    pub servers: Vec<Server>,
    /// How the servers are checked by us, if they are.
    pub check: Option<ServerCheck>,
}

/// The named assignment algorithms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AssignAlgorithm {
    /// Around the servers over neighbouring client networks: each gets the same part.
    RoundRobin,
    /// The same in proportion to the servers' weights.
    Weighted,
    /// In proportion to the weights by a hash of the client (weighted rendezvous hashing): when a
    /// weight changes, or a server comes or goes, only that part of the clients moves.
    ClientHash,
    /// As by [`Self::ClientHash`] among the servers of the client's region; among all if it has none.
    Region,
    /// As by [`Self::ClientHash`] in proportion to what each server has free, by its weight and load.
    LeastLoad,
    /// The first that is well, in the purchaser's order.
    Ordered,
}

/// One of the purchaser's own servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Where it serves visitors.
    pub addresses: Vec<IpAddr>,
    /// Its part relative to the others. One of weight 0 is used when all others are not well.
    pub weight: u32,
    /// The region of the network that it is near to.
    pub region: Option<RegionId>,
}

impl AssignAlgorithm {
    /// All, by their names.
    pub const ALL: [(&'static str, Self); 6] = [
        ("round-robin", Self::RoundRobin),
        ("weighted", Self::Weighted),
        ("client-hash", Self::ClientHash),
        ("region", Self::Region),
        ("least-load", Self::LeastLoad),
        ("ordered", Self::Ordered),
    ];
}

impl fmt::Display for AssignAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Self::ALL.iter().find(|(_, algorithm)| algorithm == self);
        f.pad(named.map_or("", |(name, _)| name))
    }
}

impl FromStr for AssignAlgorithm {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let named = Self::ALL.iter().find(|(name, _)| *name == text);
        named.map(|(_, algorithm)| *algorithm).ok_or_else(|| {
            let accepted = "round-robin, weighted, client-hash, region, least-load or ordered";
            text::refused("an assignment algorithm", text, "it is unknown", accepted)
        })
    }
}

impl Assignment {
    /// The number of the server that `client`, of `region`, is sent to; `None` if there is none. One
    /// that is not well is chosen only if none is well: then all are taken to be.
    #[must_use]
    pub fn choose(
        &self,
        client: IpNet,
        region: &RegionId,
        states: &ServerStates,
        now: Timestamp,
    ) -> Option<usize> {
        let all = || 0..self.servers.len();
        let well: Vec<usize> = all().filter(|at| states.is_up(&self.servers[*at], now)).collect();
        let usable = if well.is_empty() { all().collect() } else { well };
        let weight = |at: usize| self.servers[at].weight;
        let by_weight = |at: usize| f64::from(weight(at));
        match self.algorithm {
            AssignAlgorithm::Ordered => usable.first().copied(),
            AssignAlgorithm::RoundRobin => self.spread(client, &usable, |_| 1),
            AssignAlgorithm::Weighted => self.spread(client, &usable, weight),
            AssignAlgorithm::ClientHash => self.rendezvous(client, &usable, by_weight),
            AssignAlgorithm::Region => {
                let is_near = |at: &usize| self.servers[*at].region.as_ref() == Some(region);
                let near: Vec<usize> = usable.iter().copied().filter(is_near).collect();
                self.rendezvous(client, if near.is_empty() { &usable } else { &near }, by_weight)
            }
            AssignAlgorithm::LeastLoad => {
                let free = self.free(&usable, states, now);
                self.rendezvous(client, &usable, |at| by_weight(at) * free[at])
            }
        }
    }

    /// Evenly by weight over neighbouring networks. Clients of a server that is not usable are
    /// spread over the others, who keep theirs.
    fn spread(
        &self,
        client: IpNet,
        usable: &[usize],
        weight: impl Fn(usize) -> u32,
    ) -> Option<usize> {
        let all: Vec<usize> = (0..self.servers.len()).collect();
        let point = number(client).wrapping_mul(GOLDEN);
        let first = at_point(&all, point, &weight)?;
        if usable.contains(&first) {
            return Some(first);
        }
        at_point(usable, mix(number(client)), weight)
    }

    /// Weighted rendezvous hashing: for each server the client draws a time that is exponentially
    /// distributed with the server's weight as its rate, and goes to the first.
    fn rendezvous(
        &self,
        client: IpNet,
        usable: &[usize],
        weight: impl Fn(usize) -> f64,
    ) -> Option<usize> {
        let is_weightless = usable.iter().all(|at| weight(*at) <= 0.0);
        let client = mix(number(client));
        let time = |at: usize| {
            let rate = if is_weightless { 1.0 } else { weight(at) };
            -unit(mix(client ^ key(&self.servers[at]))).ln() / rate
        };
        let drawn = usable.iter().map(|at| (time(*at), *at));
        drawn.min_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, at)| at)
    }

    /// The part of each server that is free. One of unknown load is taken to be as busy as the
    /// others; if all are full, or nothing is known, only weights count.
    fn free(&self, usable: &[usize], states: &ServerStates, now: Timestamp) -> Vec<f64> {
        let free = |server: &Server| states.load(server, now).map(|load| 1.0 - load.as_f64());
        let free: Vec<Option<f64>> = self.servers.iter().map(free).collect();
        let known: Vec<f64> = usable.iter().filter_map(|at| free[*at]).collect();
        let sum: f64 = known.iter().sum();
        if sum <= 0.0 {
            return vec![1.0; free.len()];
        }
        let count = u32::try_from(known.len()).unwrap_or(u32::MAX);
        free.into_iter().map(|free| free.unwrap_or(sum / f64::from(count))).collect()
    }
}

/// The server whose part of the whole a point of the circle lies in. If none has a weight, all have
/// the same.
fn at_point(of: &[usize], point: u64, weight: impl Fn(usize) -> u32) -> Option<usize> {
    let is_weightless = of.iter().all(|at| weight(*at) == 0);
    let part = |at: usize| if is_weightless { 1 } else { u64::from(weight(at)) };
    let total: u64 = of.iter().map(|at| part(*at)).sum();
    let mut left = u64::try_from((u128::from(point) * u128::from(total)) >> 64).ok()?;
    of.iter().copied().find(|at| {
        let is_here = left < part(*at);
        left = left.saturating_sub(part(*at));
        is_here
    })
}

/// The number of a client network: neighbours have numbers that follow each other.
fn number(client: IpNet) -> u64 {
    match client.addr() {
        IpAddr::V4(address) => u64::from(address.to_bits() >> 8),
        IpAddr::V6(address) => u64::try_from(address.to_bits() >> 72).unwrap_or(u64::MAX),
    }
}

/// What tells a server from others, whatever stands around it.
fn key(server: &Server) -> u64 {
    let octets = server.addresses.first().map_or(0, |address| match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    });
    let [high, low] = [octets >> 64, octets & u128::from(u64::MAX)];
    let half = |half: u128| u64::try_from(half).unwrap_or(u64::MAX);
    mix(half(low) ^ mix(half(high)))
}

/// Scatters numbers: the last step of the SplitMix64 generator.
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(GOLDEN);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

/// A number above 0 and at most 1, made of the upper 53 bits.
fn unit(bits: u64) -> f64 {
    let parts = 1_u64 << 53;
    ((bits >> 11) + 1) as f64 / parts as f64
}

/// What a name server knows of the servers that remainders are assigned to, by site.
#[derive(Debug, Default)]
pub struct Assignments {
    states: BTreeMap<SiteId, ServerStates>,
    provided: BTreeMap<SiteId, Assignment>,
}

impl Assignments {
    /// The assignment of a site that is in force: what the plan says, or what the purchaser's name
    /// server has provided.
    #[must_use]
    pub fn of<'a>(&'a self, id: &SiteId, remainder: &'a Remainder) -> Option<&'a Assignment> {
        match remainder {
            Remainder::Assign(assignment) => Some(assignment),
            Remainder::AssignByDns { .. } => self.provided.get(id),
            _ => None,
        }
    }

    /// Puts what a site's name server provides in force.
    pub fn provide(&mut self, site: SiteId, assignment: Assignment) {
        self.provided.insert(site, assignment);
    }

    /// Withdraws what was provided for a site.
    pub fn withdraw(&mut self, site: &SiteId) {
        self.provided.remove(site);
    }

    /// What is known of a site's servers, to be changed.
    pub fn states_mut(&mut self, site: &SiteId) -> &mut ServerStates {
        self.states.entry(site.clone()).or_default()
    }

    /// Forgets what is about sites that `plan` does not assign.
    pub fn keep(&mut self, plan: &Plan) {
        let remainder = |id: &SiteId| plan.sites.get(id).map(|site| &site.remainder);
        let is_assigned = |id: &SiteId| {
            matches!(remainder(id), Some(Remainder::Assign(_) | Remainder::AssignByDns { .. }))
        };
        self.states.retain(|id, _| is_assigned(id));
        let by_dns = |id: &SiteId| matches!(remainder(id), Some(Remainder::AssignByDns { .. }));
        self.provided.retain(|id, _| by_dns(id));
    }

    /// The server that a client is sent to, with its number; `None` if nothing is assigned.
    pub(crate) fn choose<'a>(
        &'a self,
        id: &SiteId,
        remainder: &'a Remainder,
        (client, region): (IpNet, &RegionId),
        now: Timestamp,
    ) -> Option<(usize, &'a Server)> {
        let assignment = self.of(id, remainder)?;
        let nothing = ServerStates::default();
        let states = self.states.get(id).unwrap_or(&nothing);
        let number = assignment.choose(client, region, states, now)?;
        assignment.servers.get(number).map(|server| (number, server))
    }
}

#[cfg(test)]
mod tests;
