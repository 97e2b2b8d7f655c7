//! Budgets: the fast part of control, renewed every second, with an expiry.

use std::collections::BTreeMap;

use headroom_units::{ContractId, EdgeId, Generation, NameServerId, RequestRate, Timestamp};
use ipnet::IpNet;

use crate::SiteRegion;

/// How much load each DNS server may lease out and each edge may admit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budgets {
    /// Rises with every issue; an older one never replaces a newer.
    pub sequence: u64,
    /// The plan they were made under.
    pub generation: Generation,
    /// When they were made.
    pub issued_at: Timestamp,
    /// When they lose their force.
    pub expires_at: Timestamp,
    /// For the name servers.
    pub leases: BTreeMap<SiteRegion, LeaseBudget>,
    /// For the edges: the live shares of each contract.
    pub shares: BTreeMap<ContractId, BTreeMap<EdgeId, RequestRate>>,
}

/// How much load of one site in one region may be leased out, and what is known of its clients.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeaseBudget {
    /// The load each name server may have leased out at any moment. Of none if that is not known yet:
    /// name servers then go on with what they were told before.
    pub by_name_server: BTreeMap<NameServerId, RequestRate>,
    /// The start of the second that `brought` was measured in.
    pub measured_second: Timestamp,
    /// How demand was then, in millionths of its usual level; zero if that is not known. What the
    /// clients brought is divided by it before their weights are learned.
    pub level: u64,
    /// The load each client prefix brought to the edges in that second.
    pub brought: BTreeMap<IpNet, RequestRate>,
}
