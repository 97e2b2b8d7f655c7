//! What the services tell each other on the bus, beside the plan.

use headroom_steer::{Budgets, ContractMeter, EdgeReport, LeaseBudget};
use headroom_units::{ContractId, EdgeId, Generation, NameServerId, RegionId, RequestRate, SiteId};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{AssignmentMessage, Text, Time};

/// Budgets, as the exchange issues them every second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BudgetsMessage {
    /// Rises with every issue.
    pub sequence: u64,
    /// The plan they were made under.
    pub generation: u64,
    /// When they were made.
    pub issued_at: Time,
    /// When they lose their force.
    pub expires_at: Time,
    /// For the name servers.
    pub leases: Vec<LeaseBudgetMessage>,
    /// For the edges.
    pub shares: Vec<ShareMessage>,
}

/// The load that may be leased out of one site in one region.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeaseBudgetMessage {
    /// The site.
    pub site: Text<SiteId>,
    /// The region.
    pub region: Text<RegionId>,
    /// The load each name server may have leased out.
    pub by_name_server: Vec<(Text<NameServerId>, Text<RequestRate>)>,
    /// The second that `brought` was measured in.
    pub measured_second: Time,
    /// How demand was then, in millionths of its usual level.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub level: u64,
    /// What each client prefix brought.
    pub brought: Vec<(Text<IpNet>, Text<RequestRate>)>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn none() -> Text<RequestRate> {
    Text(RequestRate::ZERO)
}

fn is_none(rate: &Text<RequestRate>) -> bool {
    rate.0 == RequestRate::ZERO
}

/// One edge's share of one contract.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShareMessage {
    /// The contract.
    pub contract: Text<ContractId>,
    /// The edge.
    pub edge: Text<EdgeId>,
    /// The share.
    pub share: Text<RequestRate>,
}

/// What one edge counted in one second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeterReport {
    /// The edge.
    pub edge: Text<EdgeId>,
    /// Which run of the edge counted it: two runs can share a second, at a restart or a hand-over,
    /// and both count. It rises from run to run; 0 for edges from before there were runs.
    #[serde(default)]
    pub incarnation: u64,
    /// The start of the second.
    pub second: Time,
    /// The plan it served by.
    pub generation: u64,
    /// The newest budgets it had applied.
    pub budget_sequence: u64,
    /// The operator's own traffic.
    pub own: OwnMeter,
    /// Each contract's traffic.
    pub contracts: Vec<ContractMeterMessage>,
    /// Requests per site and client prefix.
    pub clients: Vec<ClientMeter>,
}

/// The exchange has a meter report in its database: the edge may forget it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeterAck {
    /// The edge.
    pub edge: Text<EdgeId>,
    /// Which run of it.
    pub incarnation: u64,
    /// The start of the second.
    pub second: Time,
}

/// The operator's own traffic in one second.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct OwnMeter {
    /// Requests served.
    pub requests: u64,
    /// Of these, from the cache.
    pub hits: u64,
    /// Bytes sent.
    pub bytes: u64,
}

/// One contract's traffic in one second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContractMeterMessage {
    /// The contract.
    pub contract: Text<ContractId>,
    /// Requests that came for it.
    pub offered: u64,
    /// Requests admitted and served.
    pub served: u64,
    /// Requests sent back to the purchaser.
    pub refused: u64,
    /// Of the served, from the cache.
    pub hits: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// The share held available, summed over the second, in thousandths of a request.
    pub available_millirequests: u64,
}

/// The requests of one client prefix for one site in one second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientMeter {
    /// The site.
    pub site: Text<SiteId>,
    /// The client prefix.
    pub client: Text<IpNet>,
    /// Its requests.
    pub requests: u64,
}

/// What one name server did in one second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NameServerReport {
    /// The name server.
    pub name_server: Text<NameServerId>,
    /// The start of the second.
    pub second: Time,
    /// Per site and region.
    pub places: Vec<MappingMeter>,
    /// What it knows of the servers that remainders are assigned to: of each site at its changes,
    /// and from time to time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assignments: Vec<AssignmentMessage>,
}

/// The mapping requests of one site in one region in one second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MappingMeter {
    /// The site.
    pub site: Text<SiteId>,
    /// The region.
    pub region: Text<RegionId>,
    /// Mapping requests answered.
    pub mapping_requests: u64,
    /// Of these, answered with an edge.
    pub mapped_to_edges: u64,
    /// The load leased out at the end of the second.
    pub leased: Text<RequestRate>,
    /// The part of it that is a guess.
    #[serde(default = "none", skip_serializing_if = "is_none")]
    pub strangers: Text<RequestRate>,
}

impl From<&Budgets> for BudgetsMessage {
    fn from(budgets: &Budgets) -> Self {
        let leases = budgets.leases.iter().map(|((site, region), budget)| LeaseBudgetMessage {
            site: Text(site.clone()),
            region: Text(region.clone()),
            by_name_server: budget
                .by_name_server
                .iter()
                .map(|(id, load)| (Text(id.clone()), Text(*load)))
                .collect(),
            measured_second: Time(budget.measured_second),
            level: budget.level,
            brought: budget
                .brought
                .iter()
                .map(|(client, load)| (Text(*client), Text(*load)))
                .collect(),
        });
        let shares = budgets.shares.iter().flat_map(|(contract, shares)| {
            shares.iter().map(|(edge, share)| ShareMessage {
                contract: Text(*contract),
                edge: Text(edge.clone()),
                share: Text(*share),
            })
        });
        Self {
            sequence: budgets.sequence,
            generation: budgets.generation.number(),
            issued_at: Time(budgets.issued_at),
            expires_at: Time(budgets.expires_at),
            leases: leases.collect(),
            shares: shares.collect(),
        }
    }
}

impl From<BudgetsMessage> for Budgets {
    fn from(message: BudgetsMessage) -> Self {
        let mut budgets = Self {
            sequence: message.sequence,
            generation: Generation::new(message.generation),
            issued_at: message.issued_at.0,
            expires_at: message.expires_at.0,
            leases: message.leases.into_iter().map(lease_budget).collect(),
            shares: Default::default(),
        };
        for ShareMessage { contract, edge, share } in message.shares {
            budgets.shares.entry(contract.0).or_default().insert(edge.0, share.0);
        }
        budgets
    }
}

fn lease_budget(message: LeaseBudgetMessage) -> (headroom_steer::SiteRegion, LeaseBudget) {
    let by_name_server =
        message.by_name_server.into_iter().map(|(id, load)| (id.0, load.0)).collect();
    let brought = message.brought.into_iter().map(|(client, load)| (client.0, load.0)).collect();
    let (measured_second, level) = (message.measured_second.0, message.level);
    let budget = LeaseBudget { by_name_server, measured_second, level, brought };
    ((message.site.0, message.region.0), budget)
}

impl From<&MeterReport> for EdgeReport {
    fn from(report: &MeterReport) -> Self {
        Self {
            edge: report.edge.0.clone(),
            second: report.second.0,
            budget_sequence: report.budget_sequence,
            contracts: report
                .contracts
                .iter()
                .map(|meter| ContractMeter {
                    contract: meter.contract.0,
                    offered: meter.offered,
                    served: meter.served,
                    available: RequestRate::from_millirequests_per_second(
                        meter.available_millirequests,
                    ),
                })
                .collect(),
            clients: report
                .clients
                .iter()
                .map(|meter| (meter.site.0.clone(), meter.client.0, meter.requests))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_an_edge_without_runs_is_read() {
        let report: MeterReport = serde_json::from_str(
            r#"{"edge":"east-1","second":"2026-11-22T18:00:00Z","generation":1,
                "budget_sequence":2,"own":{"requests":3,"hits":0,"bytes":0},
                "contracts":[],"clients":[]}"#,
        )
        .unwrap();
        assert_eq!((report.incarnation, report.own.requests), (0, 3));
    }
}
