//! The table: which site a host name belongs to, and the gates of its contracts at this edge.
//!
//! Made from the newest plan and the newest budgets, never changed, replaced as a whole. A gate is
//! carried over from table to table, so that its buckets go on. Pure: it has no clock and sends
//! nothing.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use headroom_cache::{CacheKey, Rules};
use headroom_steer::{
    Budgets, Egress, Entitlement, Gate, OverShare, Owner, Plan, Refusal, Site, SiteRules,
};
use headroom_units::{
    Authority, Class, ContractId, EdgeId, Generation, HostName, Origin, QueryRule, RequestRate,
    SiteId, Timestamp,
};
use quick_cache::DefaultHashBuilder;

use crate::{meter::Account, object::StoredObject, purge::PurgeTable};

/// What this edge serves, and how much of it.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    edge: EdgeId,
    burst: Duration,
    served: Arc<Served>,
    /// One per entitlement of this region, in the order of `Served::entitlements`.
    gates: Vec<Gate>,
    shares: Shares,
}

/// The part that only a plan changes.
#[derive(Debug, Default)]
struct Served {
    generation: Generation,
    hosts: HashMap<Box<str>, (HostName, Arc<ServedSite>), DefaultHashBuilder>,
    sites: HashMap<SiteId, Arc<ServedSite>>,
    entitlements: Vec<Entitlement>,
    by_contract: HashMap<ContractId, usize, DefaultHashBuilder>,
    /// The addresses of all edges and name servers.
    fleet: HashSet<IpAddr>,
}

/// This edge's part of the newest budgets.
#[derive(Debug, Clone, Default)]
struct Shares {
    sequence: u64,
    expires_at: Timestamp,
    by_contract: BTreeMap<ContractId, RequestRate>,
}

/// A site as this edge serves it.
#[derive(Debug)]
pub(crate) struct ServedSite {
    pub(crate) id: SiteId,
    pub(crate) origins: Vec<Origin>,
    pub(crate) over_share: OverShare,
    pub(crate) fallback: Authority,
    pub(crate) rules: SiteRules,
    pub(crate) purges: PurgeTable,
    operator: bool,
    /// Where its gates stand in the table, firm first.
    gates: Vec<usize>,
}

impl ServedSite {
    /// True for the operator's own sites.
    pub(crate) fn is_operators(&self) -> bool {
        self.operator
    }

    /// True if visitors may change to another protocol with its origin.
    pub(crate) fn may_upgrade(&self) -> bool {
        self.rules.upgrades
    }

    /// What the site says about storing.
    pub(crate) fn cache_rules(&self) -> Rules {
        Rules { negative_for: Duration::from_secs(self.rules.negative_seconds) }
    }

    /// Which part of a query belongs to the cache key.
    pub(crate) fn query_rule(&self) -> &QueryRule {
        &self.rules.query
    }

    /// The newest purge of the site.
    pub(crate) fn newest_purge(&self) -> u64 {
        self.purges.newest()
    }

    /// True if a purge that is newer than `object` concerns it.
    pub(crate) fn is_purged(&self, key: &CacheKey, object: &StoredObject) -> bool {
        object.stamp < self.purges.newest()
            && self.purges.is_purged(object.stamp, key.host(), key.path_and_query(), &object.tags())
    }
}

/// What admission said of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The operator's own: always served.
    Own,
    /// Served on this contract.
    Purchased(ContractId),
    /// Nothing is purchased now, or it is used up.
    OverShare,
    /// Nothing is bought for this moment.
    NoContract,
}

impl Verdict {
    /// Whose traffic it is.
    pub(crate) fn account(self) -> Account {
        match self {
            Self::Own => Account::Own,
            Self::Purchased(contract) => Account::Contract(contract),
            Self::OverShare | Self::NoContract => Account::Nobody,
        }
    }
}

/// What one contract has to count for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The request came for it, and it did not admit it; another was asked after it.
    PassedOn,
    /// It admitted the request.
    Served,
    /// It was the last that was asked, and did not admit it.
    Refused,
}

/// A gate with the time it is open.
#[derive(Debug, Clone)]
pub(crate) struct OpenGate {
    pub(crate) gate: Gate,
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
}

impl Table {
    /// The table of an edge that knows no plan yet: it serves nothing.
    pub(crate) fn empty(edge: EdgeId, burst: Duration) -> Self {
        Self { edge, burst, served: Arc::default(), gates: Vec::new(), shares: Shares::default() }
    }

    /// The table under a newer plan; `None` if `plan` is not newer.
    pub(crate) fn with_plan(&self, plan: &Plan, now: Timestamp) -> Option<Self> {
        if plan.generation <= self.served.generation {
            return None;
        }
        let region = plan.region_of_edge(&self.edge);
        let edges = region.and_then(|id| plan.regions.get(id)).map_or(0, |held| held.edges.len());
        let mut served = Served {
            generation: plan.generation,
            fleet: plan.own_addresses().collect(),
            ..Served::default()
        };
        for (id, site) in &plan.sites {
            let mut gates = Vec::new();
            for entitlement in &site.entitlements {
                if Some(&entitlement.region) == region && entitlement.until > now {
                    gates.push(served.entitlements.len());
                    served.by_contract.insert(entitlement.contract, served.entitlements.len());
                    served.entitlements.push(entitlement.clone());
                }
            }
            gates.sort_by_key(|&index| rank(&served.entitlements[index]));
            let served_site = Arc::new(serve_site(id, site, gates));
            served.sites.insert(id.clone(), Arc::clone(&served_site));
            for host in &site.hosts {
                let entry = (host.clone(), Arc::clone(&served_site));
                served.hosts.insert(host.as_str().into(), entry);
            }
        }
        let gates =
            served.entitlements.iter().map(|held| self.gate_for(held, edges, now)).collect();
        Some(Self { served: Arc::new(served), gates, ..self.clone() })
    }

    /// The table under newer budgets; `None` if `budgets` are not newer.
    pub(crate) fn with_budgets(&self, budgets: &Budgets, now: Timestamp) -> Option<Self> {
        if budgets.sequence <= self.shares.sequence {
            return None;
        }
        let mine = budgets.shares.iter().filter_map(|(contract, shares)| {
            shares.get(&self.edge).map(|share| (*contract, *share))
        });
        let shares = Shares {
            sequence: budgets.sequence,
            expires_at: budgets.expires_at,
            by_contract: mine.collect(),
        };
        let gates = self.gates.iter().map(|gate| shares.renew(gate, now)).collect();
        Some(Self { shares, gates, ..self.clone() })
    }

    /// The gate of the table before if it was for the same purchase, else a new one under the
    /// budgets in force.
    fn gate_for(&self, entitlement: &Entitlement, edges: usize, now: Timestamp) -> Gate {
        let before = self.served.by_contract.get(&entitlement.contract);
        match before {
            Some(&index) if self.served.entitlements[index] == *entitlement => {
                self.gates[index].clone()
            }
            _ => self.shares.renew(&Gate::new(entitlement, edges, self.burst, now), now),
        }
    }

    /// The site that `host` (lower case, without port) belongs to, and the name as the plan has it.
    pub(crate) fn site(&self, host: &str) -> Option<&(HostName, Arc<ServedSite>)> {
        self.served.hosts.get(host)
    }

    /// True if an edge or a name server of the network is at `address`.
    pub(crate) fn is_fleet(&self, address: IpAddr) -> bool {
        self.served.fleet.contains(&address.to_canonical())
    }

    /// Asks the gates of `site`, firm first, until one admits the request, and tells what each
    /// contract that was active has to count.
    pub(crate) fn admit(
        &self,
        site: &ServedSite,
        now: Timestamp,
        mut tell: impl FnMut(ContractId, Asked),
    ) -> Verdict {
        if site.operator {
            return Verdict::Own;
        }
        let mut last = None;
        for gate in site.gates.iter().filter_map(|&index| self.gates.get(index)) {
            let answer = gate.admit(now);
            if answer == Err(Refusal::NotActive) {
                continue;
            }
            if let Some(before) = last.replace(gate.contract()) {
                tell(before, Asked::PassedOn);
            }
            if answer.is_ok() {
                tell(gate.contract(), Asked::Served);
                return Verdict::Purchased(gate.contract());
            }
        }
        match last {
            Some(last) => {
                tell(last, Asked::Refused);
                Verdict::OverShare
            }
            None => Verdict::NoContract,
        }
    }

    /// Charges bytes that were sent to the contract's gate.
    pub(crate) fn charge(&self, contract: ContractId, bytes: u64, now: Timestamp) {
        if let Some(gate) = self.gate(contract) {
            gate.charge_egress(bytes, now);
        }
    }

    /// Pays for bytes that are to be sent; without a gate the contract is over.
    pub(crate) fn take_egress(&self, contract: ContractId, wanted: u64, now: Timestamp) -> Egress {
        self.gate(contract).map_or(Egress::Over, |gate| gate.take_egress(wanted, now))
    }

    /// Pays for all of the bytes that are to be sent, or for nothing. True if it did.
    pub(crate) fn pay_egress(&self, contract: ContractId, bytes: u64, now: Timestamp) -> bool {
        self.gate(contract).is_some_and(|gate| gate.pay_egress(bytes, now))
    }

    /// A contract of `site` that is active, the one that pays first.
    pub(crate) fn active_contract(&self, site: &ServedSite, now: Timestamp) -> Option<ContractId> {
        let site = self.served.sites.get(&site.id)?;
        let active = site.gates.iter().filter_map(|&index| self.served.entitlements.get(index));
        active.filter(|held| held.is_active(now)).map(|held| held.contract).next()
    }

    fn gate(&self, contract: ContractId) -> Option<&Gate> {
        self.served.by_contract.get(&contract).and_then(|&index| self.gates.get(index))
    }

    /// Every gate with its time.
    pub(crate) fn open_gates(&self) -> impl Iterator<Item = OpenGate> {
        self.gates.iter().zip(&self.served.entitlements).map(|(gate, entitlement)| OpenGate {
            gate: gate.clone(),
            from: entitlement.from,
            until: entitlement.until,
        })
    }

    /// The plan it was made from.
    pub(crate) fn generation(&self) -> Generation {
        self.served.generation
    }

    /// The newest budgets that are in it.
    pub(crate) fn budget_sequence(&self) -> u64 {
        self.shares.sequence
    }
}

impl Shares {
    fn renew(&self, gate: &Gate, now: Timestamp) -> Gate {
        match self.by_contract.get(&gate.contract()) {
            Some(share) if self.expires_at > now => gate.renewed(*share, self.expires_at, now),
            _ => gate.clone(),
        }
    }
}

fn rank(entitlement: &Entitlement) -> (Class, ContractId) {
    (entitlement.class, entitlement.contract)
}

fn serve_site(id: &SiteId, site: &Site, gates: Vec<usize>) -> ServedSite {
    ServedSite {
        id: id.clone(),
        origins: site.origins.clone(),
        over_share: site.over_share,
        fallback: site.fallback.clone(),
        rules: site.rules.clone(),
        purges: PurgeTable::new(id, &site.purges, &site.rules.query),
        operator: site.owner == Owner::Operator,
        gates,
    }
}

#[cfg(test)]
mod tests;
