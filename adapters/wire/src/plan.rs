//! The plan as a document: the plan file, the bus message, the answer of `/v1/plan`.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use headroom_steer::{self as steer, Plan, ServerCheck};
use headroom_units::{
    Authority, BitRate, Class, ContractId, EdgeId, Generation, HostName, NameServerId, Origin,
    PurchaserId, RegionId, RequestRate, SiteId,
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{PurgeDocument, SiteRulesDocument, Text, Time};

/// A plan, whole, under its generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanDocument {
    /// The number of the plan; rises with every change.
    pub generation: u64,
    /// When it was made.
    #[schema(value_type = String)]
    pub made_at: Time,
    /// The network's own DNS zone.
    #[schema(value_type = String)]
    pub zone: Text<HostName>,
    /// The primary name servers.
    pub name_servers: Vec<NameServerDocument>,
    /// How long a steered answer may be cached.
    pub ttl_seconds: u64,
    /// The region of clients that no prefix covers.
    #[schema(value_type = String)]
    pub default_region: Text<RegionId>,
    /// The places of the network.
    pub regions: Vec<RegionDocument>,
    /// The sites that are served.
    pub sites: Vec<SiteDocument>,
}

/// A name server in a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NameServerDocument {
    /// Its id.
    #[schema(value_type = String)]
    pub id: Text<NameServerId>,
    /// Its host name.
    #[schema(value_type = String)]
    pub host: Text<HostName>,
    /// Where it listens.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
}

/// A region in a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RegionDocument {
    /// Its id.
    #[schema(value_type = String)]
    pub id: Text<RegionId>,
    /// The clients nearest to it.
    #[schema(value_type = Vec<String>)]
    pub client_prefixes: Vec<Text<IpNet>>,
    /// Its edges.
    pub edges: Vec<EdgeDocument>,
}

/// An edge in a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EdgeDocument {
    /// Its id.
    #[schema(value_type = String)]
    pub id: Text<EdgeId>,
    /// Where it serves.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
    /// Whether mapping requests may be sent to it.
    pub healthy: bool,
}

/// A site in a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SiteDocument {
    /// Its id.
    #[schema(value_type = String)]
    pub id: Text<SiteId>,
    /// The purchaser; none for the operator's own sites.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub purchaser: Option<Text<PurchaserId>>,
    /// Its proved host names.
    #[schema(value_type = Vec<String>)]
    pub hosts: Vec<Text<HostName>>,
    /// Where the edges fetch from.
    #[schema(value_type = Vec<String>)]
    pub origins: Vec<Text<Origin>>,
    /// Where mapping requests go that the edges do not take.
    pub remainder: RemainderDocument,
    /// What happens to a request over the share.
    pub over_share: OverShareDocument,
    /// The purchaser's own name for the site.
    #[schema(value_type = String)]
    pub fallback: Text<Authority>,
    /// How its requests are handled.
    #[serde(default, skip_serializing_if = "SiteRulesDocument::is_default")]
    pub rules: SiteRulesDocument,
    /// What must no longer be served from caches, in the order of their sequence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub purges: Vec<PurgeDocument>,
    /// What was bought.
    pub entitlements: Vec<EntitlementDocument>,
}

/// A remainder policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "policy", rename_all = "kebab-case", deny_unknown_fields)]
pub enum RemainderDocument {
    /// Back to the purchaser's own name, by CNAME.
    Return {
        /// The purchaser's own name.
        #[schema(value_type = String)]
        name: Text<HostName>,
    },
    /// Back to the purchaser's own addresses.
    ReturnAddresses {
        /// The purchaser's own addresses.
        #[schema(value_type = Vec<String>)]
        addresses: Vec<IpAddr>,
    },
    /// Back to the addresses that the host itself has in the purchaser's zone, which the network's
    /// name servers hold, or ask the purchaser's name servers for.
    ReturnRecords,
    /// To one of the purchaser's servers, by its algorithm.
    Assign {
        /// How one is chosen.
        algorithm: AlgorithmDocument,
        /// What is chosen from.
        servers: Vec<ServerDocument>,
        /// How the servers are checked by the network, if they are: "tcp:443", "http:80/up" or
        /// "http:80:204/up".
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<String>)]
        check: Option<Text<ServerCheck>>,
    },
    /// To one of the purchaser's servers, as its own name server says in the TXT record
    /// `_headroom-assign.<host>`.
    AssignByDns {
        /// A host name of the site.
        #[schema(value_type = String)]
        host: Text<HostName>,
    },
}

/// A named assignment algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AlgorithmDocument {
    /// Each gets the same part.
    RoundRobin,
    /// In proportion to the weights.
    Weighted,
    /// In proportion to the weights; of the clients only those move that have to.
    ClientHash,
    /// Those of the client's region, else all.
    Region,
    /// In proportion to what is free, by weight and load.
    LeastLoad,
    /// The first that is well.
    Ordered,
}

/// One of the purchaser's servers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerDocument {
    /// Where it serves.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
    /// Its part relative to the others; one of weight 0 is used when all others are not well.
    #[serde(default = "one")]
    pub weight: u32,
    /// The region of the network that it is near to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub region: Option<Text<RegionId>>,
}

fn one() -> u32 {
    1
}

/// What an edge does with a request over the share.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OverShareDocument {
    /// 307 to the fallback name.
    #[default]
    Redirect,
    /// Forward to the origin, uncached.
    PassThrough,
    /// 503 with Retry-After.
    Refuse,
}

/// One contract in a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EntitlementDocument {
    /// The contract.
    #[schema(value_type = String)]
    pub contract: Text<ContractId>,
    /// Where.
    #[schema(value_type = String)]
    pub region: Text<RegionId>,
    /// The start of its first slot.
    #[schema(value_type = String)]
    pub from: Time,
    /// The end of its last slot.
    #[schema(value_type = String)]
    pub until: Time,
    /// The sustained request rate that was bought.
    #[schema(value_type = String)]
    pub requests: Text<RequestRate>,
    /// The sustained egress that was bought.
    #[schema(value_type = String)]
    pub egress: Text<BitRate>,
    /// Its class.
    #[schema(value_type = String)]
    pub class: Text<Class>,
}

impl From<&Plan> for PlanDocument {
    fn from(plan: &Plan) -> Self {
        Self {
            generation: plan.generation.number(),
            made_at: Time(plan.made_at),
            zone: Text(plan.zone.clone()),
            name_servers: plan
                .name_servers
                .iter()
                .map(|(id, server)| NameServerDocument {
                    id: Text(id.clone()),
                    host: Text(server.host.clone()),
                    addresses: server.addresses.clone(),
                })
                .collect(),
            ttl_seconds: plan.ttl.as_secs(),
            default_region: Text(plan.default_region.clone()),
            regions: plan.regions.iter().map(region_document).collect(),
            sites: plan.sites.iter().map(site_document).collect(),
        }
    }
}

fn region_document((id, region): (&RegionId, &steer::Region)) -> RegionDocument {
    RegionDocument {
        id: Text(id.clone()),
        client_prefixes: region.client_prefixes.iter().copied().map(Text).collect(),
        edges: region
            .edges
            .iter()
            .map(|(id, edge)| EdgeDocument {
                id: Text(id.clone()),
                addresses: edge.addresses.clone(),
                healthy: edge.healthy,
            })
            .collect(),
    }
}

fn site_document((id, site): (&SiteId, &steer::Site)) -> SiteDocument {
    SiteDocument {
        id: Text(id.clone()),
        purchaser: match &site.owner {
            steer::Owner::Operator => None,
            steer::Owner::Purchaser(purchaser) => Some(Text(purchaser.clone())),
        },
        hosts: site.hosts.iter().cloned().map(Text).collect(),
        origins: site.origins.iter().cloned().map(Text).collect(),
        remainder: (&site.remainder).into(),
        over_share: site.over_share.into(),
        fallback: Text(site.fallback.clone()),
        rules: (&site.rules).into(),
        purges: site.purges.iter().map(PurgeDocument::from).collect(),
        entitlements: site.entitlements.iter().map(EntitlementDocument::from).collect(),
    }
}

impl From<PlanDocument> for Plan {
    fn from(document: PlanDocument) -> Self {
        Self {
            generation: Generation::new(document.generation),
            made_at: document.made_at.0,
            zone: document.zone.0,
            name_servers: document
                .name_servers
                .into_iter()
                .map(|server| {
                    let NameServerDocument { id, host, addresses } = server;
                    (id.0, steer::NameServer { host: host.0, addresses })
                })
                .collect(),
            ttl: Duration::from_secs(document.ttl_seconds),
            default_region: document.default_region.0,
            regions: document.regions.into_iter().map(planned_region).collect(),
            sites: document.sites.into_iter().map(planned_site).collect(),
        }
    }
}

fn planned_region(document: RegionDocument) -> (RegionId, steer::Region) {
    let edges: BTreeMap<_, _> = document
        .edges
        .into_iter()
        .map(|edge| (edge.id.0, steer::Edge { addresses: edge.addresses, healthy: edge.healthy }))
        .collect();
    let client_prefixes = document.client_prefixes.into_iter().map(|prefix| prefix.0).collect();
    (document.id.0, steer::Region { client_prefixes, edges })
}

fn planned_site(document: SiteDocument) -> (SiteId, steer::Site) {
    let owner = match document.purchaser {
        None => steer::Owner::Operator,
        Some(purchaser) => steer::Owner::Purchaser(purchaser.0),
    };
    let site = steer::Site {
        owner,
        hosts: document.hosts.into_iter().map(|host| host.0).collect(),
        origins: document.origins.into_iter().map(|origin| origin.0).collect(),
        remainder: document.remainder.into(),
        over_share: document.over_share.into(),
        fallback: document.fallback.0,
        rules: document.rules.into(),
        purges: document.purges.into_iter().map(Into::into).collect(),
        entitlements: document.entitlements.into_iter().map(Into::into).collect(),
    };
    (document.id.0, site)
}

impl From<&steer::Remainder> for RemainderDocument {
    fn from(remainder: &steer::Remainder) -> Self {
        match remainder {
            steer::Remainder::ReturnName(name) => Self::Return { name: Text(name.clone()) },
            steer::Remainder::ReturnAddresses(addresses) => {
                Self::ReturnAddresses { addresses: addresses.clone() }
            }
            steer::Remainder::ReturnRecords => Self::ReturnRecords,
            steer::Remainder::Assign(assignment) => Self::Assign {
                algorithm: assignment.algorithm.into(),
                servers: assignment.servers.iter().map(ServerDocument::from).collect(),
                check: assignment.check.clone().map(Text),
            },
            steer::Remainder::AssignByDns { host } => {
                Self::AssignByDns { host: Text(host.clone()) }
            }
        }
    }
}

impl From<RemainderDocument> for steer::Remainder {
    fn from(document: RemainderDocument) -> Self {
        match document {
            RemainderDocument::Return { name } => Self::ReturnName(name.0),
            RemainderDocument::ReturnAddresses { addresses } => Self::ReturnAddresses(addresses),
            RemainderDocument::ReturnRecords => Self::ReturnRecords,
            RemainderDocument::Assign { algorithm, servers, check } => {
                Self::Assign(steer::Assignment {
                    algorithm: algorithm.into(),
                    servers: servers.into_iter().map(Into::into).collect(),
                    check: check.map(|check| check.0),
                })
            }
            RemainderDocument::AssignByDns { host } => Self::AssignByDns { host: host.0 },
        }
    }
}

impl From<&steer::Server> for ServerDocument {
    fn from(server: &steer::Server) -> Self {
        let region = server.region.clone().map(Text);
        Self { addresses: server.addresses.clone(), weight: server.weight, region }
    }
}

impl From<ServerDocument> for steer::Server {
    fn from(document: ServerDocument) -> Self {
        let region = document.region.map(|region| region.0);
        Self { addresses: document.addresses, weight: document.weight, region }
    }
}

impl From<steer::AssignAlgorithm> for AlgorithmDocument {
    fn from(algorithm: steer::AssignAlgorithm) -> Self {
        match algorithm {
            steer::AssignAlgorithm::RoundRobin => Self::RoundRobin,
            steer::AssignAlgorithm::Weighted => Self::Weighted,
            steer::AssignAlgorithm::ClientHash => Self::ClientHash,
            steer::AssignAlgorithm::Region => Self::Region,
            steer::AssignAlgorithm::LeastLoad => Self::LeastLoad,
            steer::AssignAlgorithm::Ordered => Self::Ordered,
        }
    }
}

impl From<AlgorithmDocument> for steer::AssignAlgorithm {
    fn from(document: AlgorithmDocument) -> Self {
        match document {
            AlgorithmDocument::RoundRobin => Self::RoundRobin,
            AlgorithmDocument::Weighted => Self::Weighted,
            AlgorithmDocument::ClientHash => Self::ClientHash,
            AlgorithmDocument::Region => Self::Region,
            AlgorithmDocument::LeastLoad => Self::LeastLoad,
            AlgorithmDocument::Ordered => Self::Ordered,
        }
    }
}

impl From<steer::OverShare> for OverShareDocument {
    fn from(over_share: steer::OverShare) -> Self {
        match over_share {
            steer::OverShare::Redirect => Self::Redirect,
            steer::OverShare::PassThrough => Self::PassThrough,
            steer::OverShare::Refuse => Self::Refuse,
        }
    }
}

impl From<OverShareDocument> for steer::OverShare {
    fn from(document: OverShareDocument) -> Self {
        match document {
            OverShareDocument::Redirect => Self::Redirect,
            OverShareDocument::PassThrough => Self::PassThrough,
            OverShareDocument::Refuse => Self::Refuse,
        }
    }
}

impl From<&steer::Entitlement> for EntitlementDocument {
    fn from(entitlement: &steer::Entitlement) -> Self {
        Self {
            contract: Text(entitlement.contract),
            region: Text(entitlement.region.clone()),
            from: Time(entitlement.from),
            until: Time(entitlement.until),
            requests: Text(entitlement.requests),
            egress: Text(entitlement.egress),
            class: Text(entitlement.class),
        }
    }
}

impl From<EntitlementDocument> for steer::Entitlement {
    fn from(document: EntitlementDocument) -> Self {
        Self {
            contract: document.contract.0,
            region: document.region.0,
            from: document.from.0,
            until: document.until.0,
            requests: document.requests.0,
            egress: document.egress.0,
            class: document.class.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remainders_are_read_as_they_were_and_are_written() {
        let check = |text: &str, written: &str| {
            let document: RemainderDocument = serde_json::from_str(text).unwrap();
            let remainder = steer::Remainder::from(document);
            assert_eq!(
                serde_json::to_string(&RemainderDocument::from(&remainder)).unwrap(),
                written
            );
        };
        let same = |text: &str| check(text, text);
        check(
            r#"{"policy":"assign","algorithm":"weighted","servers":[{"addresses":["192.0.2.1"]}]}"#,
            r#"{"policy":"assign","algorithm":"weighted","servers":[{"addresses":["192.0.2.1"],"weight":1}]}"#,
        );
        for (name, algorithm) in steer::AssignAlgorithm::ALL {
            same(&format!(
                r#"{{"policy":"assign","algorithm":"{name}","servers":[{{"addresses":["192.0.2.1","2001:db8::1"],"weight":3,"region":"east"}}],"check":"http:80:204/up"}}"#
            ));
            assert_eq!(steer::AssignAlgorithm::from(AlgorithmDocument::from(algorithm)), algorithm);
        }
        same(r#"{"policy":"assign-by-dns","host":"www.shop.example"}"#);
        for bad in [
            r#"{"policy":"assign","algorithm":"random","servers":[]}"#,
            r#"{"policy":"assign","algorithm":"ordered","servers":[],"check":"tcp"}"#,
            r#"{"policy":"assign","algorithm":"ordered","servers":[{"addresses":[],"zone":"a"}]}"#,
            r#"{"policy":"assign-by-dns"}"#,
        ] {
            assert!(serde_json::from_str::<RemainderDocument>(bad).is_err(), "{bad}");
        }
    }
}
