//! Looks a plan over before it is published.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use headroom_units::{HostName, SiteId};

use crate::{Assignment, Owner, Plan, Remainder, Site, is_too_fine, limits};

/// How bad a note is. A plan with an error is not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth a look.
    Warning,
    /// Must not go into force.
    Error,
}

/// One finding: how bad, about which part, what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// How bad.
    pub severity: Severity,
    /// The part of the plan: "site shop".
    pub about: String,
    /// What is wrong with it.
    pub finding: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{severity}: {}: {}", self.about, self.finding)
    }
}

/// Everything that is wrong with `plan`; empty for a good one.
#[must_use]
pub fn check(plan: &Plan) -> Vec<Note> {
    let mut notes = Notes(Vec::new());
    check_network(plan, &mut notes);
    check_regions(plan, &mut notes);
    check_hosts(plan, &mut notes);
    for (id, site) in &plan.sites {
        check_site(plan, id, site, &mut notes);
        check_entitlements(plan, id, site, &mut notes);
    }
    notes.0
}

struct Notes(Vec<Note>);

impl Notes {
    fn error(&mut self, about: impl fmt::Display, finding: impl Into<String>) {
        self.add(Severity::Error, about, finding);
    }

    fn warning(&mut self, about: impl fmt::Display, finding: impl Into<String>) {
        self.add(Severity::Warning, about, finding);
    }

    fn add(&mut self, severity: Severity, about: impl fmt::Display, finding: impl Into<String>) {
        self.0.push(Note { severity, about: about.to_string(), finding: finding.into() });
    }
}

fn check_network(plan: &Plan, notes: &mut Notes) {
    if plan.ttl < limits::TTL_MIN || plan.ttl > limits::TTL_MAX {
        notes.error("ttl", format!("{:?} is not within 1 s to 300 s", plan.ttl));
    }
    if plan.name_servers.is_empty() {
        notes.error("name servers", "there is none");
    }
    if !plan.regions.contains_key(&plan.default_region) {
        notes.error("default region", format!("{} is not a region", plan.default_region));
    }
    if plan.regions.len() > limits::REGIONS_MAX {
        notes.error("regions", format!("more than {}", limits::REGIONS_MAX));
    }
    if plan.sites.len() > limits::SITES_MAX {
        notes.error("sites", format!("more than {}", limits::SITES_MAX));
    }
}

fn check_regions(plan: &Plan, notes: &mut Notes) {
    let mut prefixes = BTreeMap::new();
    for (id, region) in &plan.regions {
        let about = format!("region {id}");
        if region.edges.is_empty() {
            notes.error(&about, "it has no edge");
        }
        if region.edges.len() > limits::EDGES_PER_REGION_MAX {
            notes.error(&about, format!("more than {} edges", limits::EDGES_PER_REGION_MAX));
        }
        for (edge, planned) in &region.edges {
            if planned.addresses.is_empty() {
                notes.error(format!("edge {edge}"), "it has no address");
            }
        }
        for prefix in &region.client_prefixes {
            if is_too_fine(*prefix) {
                // No error: what was once in force must not stop a start from the plan file.
                notes.warning(&about, format!("{prefix} is finer than clients are told apart"));
            }
            if let Some(other) = prefixes.insert(prefix.trunc(), id) {
                notes.error(&about, format!("{prefix} is also claimed by region {other}"));
            }
        }
    }
}

fn check_hosts(plan: &Plan, notes: &mut Notes) {
    let mut owners: BTreeMap<&HostName, &SiteId> = BTreeMap::new();
    for (id, site) in &plan.sites {
        for host in &site.hosts {
            if let Some(other) = owners.insert(host, id) {
                notes.error(format!("site {id}"), format!("{host} also belongs to site {other}"));
            }
            if host.is_within(&plan.zone) {
                notes.error(format!("site {id}"), format!("{host} lies in the network's own zone"));
            }
        }
    }
}

fn check_site(plan: &Plan, id: &SiteId, site: &Site, notes: &mut Notes) {
    let about = format!("site {id}");
    if site.hosts.is_empty() || site.hosts.len() > limits::HOSTS_PER_SITE_MAX {
        notes.error(&about, format!("{} host names", site.hosts.len()));
    }
    if site.origins.is_empty() || site.origins.len() > limits::SERVERS_PER_SITE_MAX {
        notes.error(&about, format!("{} origin servers", site.origins.len()));
    }
    if let Some(excess) = site.rules.excess() {
        notes.error(&about, excess);
    }
    if !site.purges.is_sorted_by_key(|purge| purge.sequence) {
        notes.error(&about, "its purges are not in the order of their sequence");
    }
    match plan.site_name(id) {
        Ok(name) if is_network_name(plan, &name) => {
            notes.error(&about, format!("{name} is one of the network's own names"));
        }
        Ok(_) => {}
        Err(_) => notes.error(&about, "its name in the network's zone is too long"),
    }
    if matches!(site.owner, Owner::Operator) {
        return;
    }
    if site.hosts.contains(&site.fallback.host) || site.fallback.host.is_within(&plan.zone) {
        notes.error(&about, format!("its fallback {} is steered itself", site.fallback.host));
    }
    match &site.remainder {
        Remainder::ReturnName(name) => {
            if site.hosts.contains(name) || name.is_within(&plan.zone) {
                notes.error(&about, format!("its remainder name {name} is steered itself"));
            }
        }
        Remainder::ReturnAddresses(addresses) => {
            check_families(plan, &about, addresses, notes);
        }
        // The zones are the name servers' matter: no plan holds them.
        Remainder::ReturnRecords => {}
        Remainder::Assign(assignment) => check_assignment(plan, &about, assignment, notes),
        // What it provides is the name servers' matter, and whether the host is proved too.
        Remainder::AssignByDns { .. } => {}
    }
}

fn check_assignment(plan: &Plan, about: &str, assignment: &Assignment, notes: &mut Notes) {
    if let Some(excess) = assignment.excess() {
        notes.error(about, excess);
    }
    for server in &assignment.servers {
        check_families(plan, about, &server.addresses, notes);
        // No error: a region that the operator takes away must not stop everyone's plan.
        if let Some(region) = &server.region
            && !plan.regions.contains_key(region)
        {
            notes.warning(about, format!("a server is in unknown region {region}"));
        }
    }
}

/// The names below which edges stand, and those of the name servers, are not for sites.
fn is_network_name(plan: &Plan, name: &HostName) -> bool {
    let edges = plan.zone.child("edge").is_ok_and(|edges| edges == *name);
    edges || plan.name_servers.values().any(|server| server.host == *name)
}

/// Both answers of a name must be of the same record types, or resolvers keep the one they like.
fn check_families(plan: &Plan, about: &str, addresses: &[IpAddr], notes: &mut Notes) {
    if addresses.is_empty() {
        notes.error(about, "its remainder has no address");
    }
    let families = |addresses: &[IpAddr]| {
        (addresses.iter().any(IpAddr::is_ipv4), addresses.iter().any(IpAddr::is_ipv6))
    };
    let remainder = families(addresses);
    let edges = plan.regions.values().flat_map(|region| region.edges.values());
    if edges.into_iter().any(|edge| families(&edge.addresses) != remainder) {
        notes.warning(about, "edges and remainder do not have the same address families");
    }
}

fn check_entitlements(plan: &Plan, id: &SiteId, site: &Site, notes: &mut Notes) {
    let about = format!("site {id}");
    if site.entitlements.len() > limits::ENTITLEMENTS_PER_SITE_MAX {
        // No error: one purchaser with many small contracts must not stop everyone's plan.
        notes.warning(&about, format!("more than {} contracts", limits::ENTITLEMENTS_PER_SITE_MAX));
    }
    let mut contracts = BTreeSet::new();
    for entitlement in &site.entitlements {
        let contract = entitlement.contract;
        if !contracts.insert(contract) {
            notes.error(&about, format!("{contract} stands there twice"));
        }
        if entitlement.from >= entitlement.until {
            notes.error(&about, format!("{contract} ends before it begins"));
        }
        if !plan.regions.contains_key(&entitlement.region) {
            notes.error(&about, format!("{contract} is in unknown region {}", entitlement.region));
        }
        if matches!(site.owner, Owner::Operator) {
            notes.error(&about, format!("{contract} is sold to the operator itself"));
        }
    }
}

#[cfg(test)]
mod tests {
    use headroom_units::Timestamp;

    use super::*;
    use crate::{PlanInput, plan::testing};

    fn check_input(change: impl FnOnce(&mut PlanInput), expected: &[&str]) {
        let mut input = testing::input(Timestamp::EPOCH);
        input.entitlements.push(testing::entitlement("shop", "east", 1, 0, 100, 50));
        change(&mut input);
        let notes: Vec<_> = check(&crate::plan(&input)).iter().map(Note::to_string).collect();
        assert_eq!(notes, expected);
    }

    #[test]
    fn a_good_plan_has_no_notes() {
        check_input(|_| {}, &[]);
    }

    #[test]
    fn every_mistake_is_told() {
        check_input(
            |input| {
                input.fleet.ttl = std::time::Duration::from_secs(900);
                let taken = input.sites[0].hosts[0].clone();
                input.sites[1].hosts.push(taken);
                input.sites[0].fallback = "www.shop.example".parse().unwrap();
                input.sites[0].remainder = Remainder::ReturnName("x.cdn.example".parse().unwrap());
                input.entitlements.push(testing::entitlement("shop", "north", 1, 9, 9, 5));
            },
            &[
                "error: ttl: 900s is not within 1 s to 300 s",
                "error: site shop: www.shop.example also belongs to site own",
                "error: site shop: its fallback www.shop.example is steered itself",
                "error: site shop: its remainder name x.cdn.example is steered itself",
                "error: site shop: contract-1 stands there twice",
                "error: site shop: contract-1 ends before it begins",
                "error: site shop: contract-1 is in unknown region north",
            ],
        );
    }

    #[test]
    fn no_site_takes_a_name_of_the_network() {
        for (id, name) in [("ns1", "ns1.cdn.example"), ("edge", "edge.cdn.example")] {
            let note = format!("error: site {id}: {name} is one of the network's own names");
            check_input(|input| input.sites[1].id = id.parse().unwrap(), &[&note]);
        }
    }

    #[test]
    fn prefixes_that_tell_no_clients_apart_are_told() {
        check_input(
            |input| {
                let regions = input.fleet.regions.values_mut();
                let prefixes = regions.flat_map(|region| &mut region.client_prefixes);
                prefixes.for_each(|prefix| {
                    *prefix = ipnet::IpNet::new(prefix.addr(), 25).unwrap().trunc();
                });
            },
            &[
                "warning: region east: 10.0.0.0/25 is finer than clients are told apart",
                "warning: region west: 10.128.0.0/25 is finer than clients are told apart",
            ],
        );
    }

    #[test]
    fn both_answers_have_one_record_type() {
        check_input(
            |input| {
                let addresses = vec!["2001:db8::1".parse().unwrap()];
                input.sites[0].remainder = Remainder::ReturnAddresses(addresses);
            },
            &["warning: site shop: edges and remainder do not have the same address families"],
        );
    }

    #[test]
    fn the_servers_of_an_assignment_are_looked_at() {
        let check = |text: &str, expected: &[&str]| {
            check_input(
                |input| {
                    input.sites[0].remainder = Remainder::Assign(Assignment {
                        servers: text.split(' ').map(|server| server.parse().unwrap()).collect(),
                        algorithm: crate::AssignAlgorithm::Region,
                        check: None,
                    });
                },
                expected,
            );
        };
        check("192.0.2.1,region=east 192.0.2.2", &[]);
        check(
            "192.0.2.1,region=north",
            &["warning: site shop: a server is in unknown region north"],
        );
        check("192.0.2.1 192.0.2.1", &["error: site shop: 192.0.2.1 stands there twice"]);
    }
}
