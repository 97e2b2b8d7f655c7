//! The plan: everything the name servers and the edges need to know, whole and immutable.
//!
//! A plan has no behaviour beyond looking things up. It is made by [`crate::plan`], looked over by
//! [`crate::check`], and replaced only by one with a higher [`Generation`].

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use headroom_units::{
    Authority, BitRate, Class, ContractId, EdgeId, Generation, HostName, NameServerId, Origin,
    PurchaserId, RegionId, RequestRate, SiteId, Timestamp,
};
use ipnet::IpNet;

use crate::{Assignment, Purge, SiteRules};

/// One site in one region: what leases, budgets and the fraction are kept for.
pub type SiteRegion = (SiteId, RegionId);

/// Everything `dns` and `edge` need to know, under a rising generation number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The number of this plan.
    pub generation: Generation,
    /// When it was made.
    pub made_at: Timestamp,
    /// The network's own DNS zone. Each site is also known as `<site>.<zone>`.
    pub zone: HostName,
    /// The primary name servers: the only ones that assign names to edges.
    pub name_servers: BTreeMap<NameServerId, NameServer>,
    /// How long a steered answer may be cached; whole seconds.
    pub ttl: Duration,
    /// The region of clients that no region's prefixes cover.
    pub default_region: RegionId,
    /// The places of the network.
    pub regions: BTreeMap<RegionId, Region>,
    /// The purchasers' sites with a proved host name, and the operator's own.
    pub sites: BTreeMap<SiteId, Site>,
}

/// One of the network's name servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameServer {
    /// Its host name, as in the NS records of the zone.
    pub host: HostName,
    /// Where it listens.
    pub addresses: Vec<IpAddr>,
}

/// A group of edges that are one place for the market and for steering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// The clients that are nearest to this region.
    pub client_prefixes: Vec<IpNet>,
    /// Its edges.
    pub edges: BTreeMap<EdgeId, Edge>,
}

/// One caching reverse proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// Where it serves.
    pub addresses: Vec<IpAddr>,
    /// Whether mapping requests may be sent to it.
    pub healthy: bool,
}

/// Whose site it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// The operator's own traffic: always served, never bought.
    Operator,
    /// A purchaser's: served within its entitlements.
    Purchaser(PurchaserId),
}

/// Host names, origin servers and policies of one site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Whose it is.
    pub owner: Owner,
    /// The host names whose control was proved.
    pub hosts: Vec<HostName>,
    /// Where the edges fetch from.
    pub origins: Vec<Origin>,
    /// Where mapping requests go that the edges do not take.
    pub remainder: Remainder,
    /// What an edge does with a request over the share.
    pub over_share: OverShare,
    /// The purchaser's own name for the site, reached without us.
    pub fallback: Authority,
    /// How its requests are handled.
    pub rules: SiteRules,
    /// What must no longer be served from caches, in the order of their sequence.
    pub purges: Vec<Purge>,
    /// What was bought, in order of their start.
    pub entitlements: Vec<Entitlement>,
}

/// The remainder policy: how mapping requests are returned to the purchaser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remainder {
    /// `return`: a CNAME to the purchaser's own name; its name server maps it.
    ReturnName(HostName),
    /// `return`: the purchaser's own address records.
    ReturnAddresses(Vec<IpAddr>),
    /// `return`: the address records that the host itself has in the purchaser's zone, which our
    /// name servers hold, or ask the purchaser's for.
    ReturnRecords,
    /// `assign`: one of the purchaser's servers, by its algorithm.
    Assign(Assignment),
    /// `assign`, as the purchaser's name server says in the TXT record `_headroom-assign.<host>`.
    /// Until it has said so, the addresses of the fallback's host.
    AssignByDns {
        /// A host name of the site; what is not proved provides nothing.
        host: HostName,
    },
}

/// What an edge does with a request over the share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverShare {
    /// 307 to the fallback name.
    Redirect,
    /// Forward to the origin, uncached, on the purchaser's account.
    PassThrough,
    /// 503 with Retry-After: for those whose servers must not get the remainder either.
    Refuse,
}

/// One contract as steering sees it: so much in one region from one moment to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entitlement {
    /// The contract.
    pub contract: ContractId,
    /// Where.
    pub region: RegionId,
    /// The start of its first slot.
    pub from: Timestamp,
    /// The end of its last slot.
    pub until: Timestamp,
    /// The sustained request rate that was bought.
    pub requests: RequestRate,
    /// The sustained egress that was bought.
    pub egress: BitRate,
    /// Firm is served before interruptible.
    pub class: Class,
}

impl Entitlement {
    /// True from the first moment of the first slot to the last of the last.
    #[must_use]
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.from <= now && now < self.until
    }
}

impl Plan {
    /// True if both plans say the same, whatever their number and time.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        let renumbered =
            Self { generation: self.generation, made_at: self.made_at, ..other.clone() };
        *self == renumbered
    }

    /// The edges of `region` that mapping requests may be sent to. If all are unhealthy, all are
    /// returned: a wrong health signal must not empty a region.
    pub fn usable_edges<'p>(
        &'p self,
        region: &RegionId,
    ) -> impl Iterator<Item = (&'p EdgeId, &'p Edge)> {
        let edges = self.regions.get(region).map(|region| &region.edges);
        let any_healthy = edges.is_some_and(|edges| edges.values().any(|edge| edge.healthy));
        edges.into_iter().flatten().filter(move |(_, edge)| edge.healthy || !any_healthy)
    }

    /// The network's own addresses: those of all edges and name servers, each in its plain form, so
    /// that an IPv4 address counts as such however it was written.
    pub fn own_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let edges = self.regions.values().flat_map(|region| region.edges.values());
        let edges = edges.flat_map(|edge| &edge.addresses);
        let name_servers = self.name_servers.values().flat_map(|server| &server.addresses);
        edges.chain(name_servers).map(IpAddr::to_canonical)
    }

    /// The region of an edge.
    #[must_use]
    pub fn region_of_edge(&self, edge: &EdgeId) -> Option<&RegionId> {
        self.regions.iter().find(|(_, region)| region.edges.contains_key(edge)).map(|(id, _)| id)
    }

    /// The name every site has in the network's own zone: the target of the purchaser's CNAME.
    ///
    /// # Errors
    /// If the zone's name leaves no room for the site's label.
    pub fn site_name(&self, site: &SiteId) -> Result<HostName, headroom_units::ParseError> {
        self.zone.child(site.as_str())
    }

    /// The name of an edge in the network's own zone: the target of steered CNAMEs.
    ///
    /// # Errors
    /// If the zone's name leaves no room for the labels.
    pub fn edge_name(&self, edge: &EdgeId) -> Result<HostName, headroom_units::ParseError> {
        self.zone.child("edge")?.child(edge.as_str())
    }
}

impl Site {
    /// The entitlements in `region` that are active, firm first.
    #[must_use]
    pub fn active(&self, region: &RegionId, now: Timestamp) -> Vec<&Entitlement> {
        let mut active: Vec<_> = self
            .entitlements
            .iter()
            .filter(|entitlement| entitlement.region == *region && entitlement.is_active(now))
            .collect();
        active.sort_by_key(|entitlement| (entitlement.class, entitlement.contract));
        active
    }

    /// The start of the next entitlement in `region` after `now`.
    #[must_use]
    pub fn next_start(&self, region: &RegionId, now: Timestamp) -> Option<Timestamp> {
        self.entitlements
            .iter()
            .filter(|entitlement| entitlement.region == *region && entitlement.from > now)
            .map(|entitlement| entitlement.from)
            .min()
    }

    /// When the capacity in `region` that is active at `now` runs out, following entitlements
    /// that join without a gap; `None` if nothing is active.
    #[must_use]
    pub fn active_until(&self, region: &RegionId, now: Timestamp) -> Option<Timestamp> {
        let mut until = None;
        let mut at = now;
        while let Some(end) = self
            .entitlements
            .iter()
            .filter(|entitlement| entitlement.region == *region && entitlement.is_active(at))
            .map(|entitlement| entitlement.until)
            .max()
        {
            until = Some(end);
            at = end;
        }
        until
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! A small world that the tests of this crate share: two regions of two edges, one
    //! purchaser's site and one of the operator's.

    use std::collections::BTreeSet;

    use super::*;
    use crate::{Fleet, PlanInput, SiteInput};

    pub(crate) fn input(now: Timestamp) -> PlanInput {
        let region = |prefix: &str, edges: [(&str, &str); 2]| Region {
            client_prefixes: vec![prefix.parse().unwrap()],
            edges: edges
                .map(|(id, address)| {
                    let addresses = vec![address.parse().unwrap()];
                    (id.parse().unwrap(), Edge { addresses, healthy: true })
                })
                .into(),
        };
        PlanInput {
            now,
            generation: Generation::new(1),
            fleet: Fleet {
                zone: "cdn.example".parse().unwrap(),
                name_servers: [(
                    "ns1".parse().unwrap(),
                    NameServer {
                        host: "ns1.cdn.example".parse().unwrap(),
                        addresses: vec!["192.0.2.53".parse().unwrap()],
                    },
                )]
                .into(),
                ttl: Duration::from_secs(20),
                default_region: "east".parse().unwrap(),
                regions: [
                    (
                        "east".parse().unwrap(),
                        region("10.0.0.0/9", [("east-1", "192.0.2.1"), ("east-2", "192.0.2.2")]),
                    ),
                    (
                        "west".parse().unwrap(),
                        region("10.128.0.0/9", [("west-1", "192.0.2.3"), ("west-2", "192.0.2.4")]),
                    ),
                ]
                .into(),
            },
            down: BTreeSet::new(),
            sites: vec![
                site("shop", "www.shop.example", Owner::Purchaser("shop-inc".parse().unwrap())),
                site("own", "www.operator.example", Owner::Operator),
            ],
            entitlements: Vec::new(),
        }
    }

    fn site(id: &str, host: &str, owner: Owner) -> SiteInput {
        SiteInput {
            id: id.parse().unwrap(),
            owner,
            hosts: vec![(host.parse().unwrap(), true)],
            origins: vec!["198.51.100.1:80".parse().unwrap()],
            remainder: Remainder::ReturnName("origin.shop.example".parse().unwrap()),
            over_share: OverShare::Redirect,
            fallback: "origin.shop.example".parse().unwrap(),
            rules: SiteRules::default(),
            purges: Vec::new(),
        }
    }

    pub(crate) fn entitlement(
        site: &str,
        region: &str,
        contract: u64,
        from: u64,
        until: u64,
        units: u64,
    ) -> (SiteId, Entitlement) {
        let entitlement = Entitlement {
            contract: ContractId::new(contract),
            region: region.parse().unwrap(),
            from: Timestamp::from_seconds(from),
            until: Timestamp::from_seconds(until),
            requests: RequestRate::from_requests_per_second(units),
            egress: BitRate::from_bits_per_second(units * 500_000),
            class: Class::Firm,
        };
        (site.parse().unwrap(), entitlement)
    }
}
