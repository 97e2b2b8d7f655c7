//! Contracts, sites and the fleet become a plan.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use headroom_units::{
    Authority, EdgeId, Generation, HostName, NameServerId, Origin, RegionId, SiteId, Timestamp,
};

use crate::{
    Entitlement, NameServer, OverShare, Owner, Plan, Purge, Region, Remainder, Site, SiteRules,
    fold, limits,
};

/// The proxy network as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fleet {
    /// The network's own DNS zone.
    pub zone: HostName,
    /// Its name servers.
    pub name_servers: BTreeMap<NameServerId, NameServer>,
    /// How long a steered answer may be cached.
    pub ttl: Duration,
    /// The region of clients that no region's prefixes cover.
    pub default_region: RegionId,
    /// Its places; the edges' health here is ignored.
    pub regions: BTreeMap<RegionId, Region>,
}

/// One site as registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteInput {
    /// Its id.
    pub id: SiteId,
    /// Whose it is.
    pub owner: Owner,
    /// Its host names, each with whether control of it was proved.
    pub hosts: Vec<(HostName, bool)>,
    /// Where the edges fetch from.
    pub origins: Vec<Origin>,
    /// Its remainder policy.
    pub remainder: Remainder,
    /// What happens to a request over the share.
    pub over_share: OverShare,
    /// The purchaser's own name for the site.
    pub fallback: Authority,
    /// How its requests are handled.
    pub rules: SiteRules,
    /// What was purged; folded when there is too much of it.
    pub purges: Vec<Purge>,
}

/// All that a plan is made from.
#[derive(Debug, Clone)]
pub struct PlanInput {
    /// The moment the plan is made.
    pub now: Timestamp,
    /// The number it gets.
    pub generation: Generation,
    /// The network.
    pub fleet: Fleet,
    /// The edges that are known to be down.
    pub down: BTreeSet<EdgeId>,
    /// All sites, the operator's first.
    pub sites: Vec<SiteInput>,
    /// All contracts that are not over, with the site each is for.
    pub entitlements: Vec<(SiteId, Entitlement)>,
}

/// Makes the plan. Names whose control was not proved, sites without a proved name, and
/// entitlements that are long over or belong to no planned site are left out.
#[must_use]
pub fn plan(input: &PlanInput) -> Plan {
    let fleet = &input.fleet;
    let mut regions = fleet.regions.clone();
    for region in regions.values_mut() {
        for (id, edge) in &mut region.edges {
            edge.healthy = !input.down.contains(id);
        }
    }
    let mut sites = BTreeMap::new();
    for site in &input.sites {
        // Where two have the same id the operator's stays: its sites are listed first.
        if let Some(planned) = planned(site) {
            sites.entry(site.id.clone()).or_insert(planned);
        }
    }
    for (id, entitlement) in &input.entitlements {
        if entitlement.until.after(limits::ENTITLEMENT_KEPT) <= input.now {
            continue;
        }
        if let Some(site) = sites.get_mut(id) {
            site.entitlements.push(entitlement.clone());
        }
    }
    for site in sites.values_mut() {
        site.entitlements.sort_by_key(|entitlement| (entitlement.from, entitlement.contract));
    }
    Plan {
        generation: input.generation,
        made_at: input.now,
        zone: fleet.zone.clone(),
        name_servers: fleet.name_servers.clone(),
        ttl: fleet.ttl,
        default_region: fleet.default_region.clone(),
        regions,
        sites,
    }
}

fn planned(site: &SiteInput) -> Option<Site> {
    let hosts: Vec<_> =
        site.hosts.iter().filter(|(_, proved)| *proved).map(|(host, _)| host.clone()).collect();
    if hosts.is_empty() {
        return None;
    }
    Some(Site {
        owner: site.owner.clone(),
        hosts,
        origins: site.origins.clone(),
        remainder: site.remainder.clone(),
        over_share: site.over_share,
        fallback: site.fallback.clone(),
        rules: site.rules.clone(),
        purges: fold(site.purges.clone()),
        entitlements: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::testing;

    #[test]
    fn unproved_names_and_finished_contracts_are_left_out() {
        let now = Timestamp::from_seconds(100);
        let mut input = testing::input(now);
        input.sites[0].hosts.push(("not-mine.example".parse().unwrap(), false));
        input.entitlements.push(testing::entitlement("shop", "east", 1, 0, 90, 50));
        input.entitlements.push(testing::entitlement("shop", "east", 2, 90, 120, 50));
        input.entitlements.push(testing::entitlement("nobody", "east", 3, 90, 120, 50));
        let plan = plan(&input);
        let shop = &plan.sites[&"shop".parse().unwrap()];
        assert_eq!(shop.hosts, ["www.shop.example".parse().unwrap()]);
        assert_eq!(shop.entitlements.len(), 1);
        assert_eq!(plan.sites.len(), 2);
    }

    #[test]
    fn the_operators_site_keeps_its_id() {
        let mut input = testing::input(Timestamp::EPOCH);
        let mut taken = input.sites[0].clone();
        taken.id = "own".parse().unwrap();
        input.sites.push(taken);
        assert_eq!(plan(&input).sites[&"own".parse().unwrap()].owner, Owner::Operator);
    }

    #[test]
    fn a_site_without_a_proved_name_is_left_out() {
        let mut input = testing::input(Timestamp::EPOCH);
        input.sites[0].hosts[0].1 = false;
        assert!(!plan(&input).sites.contains_key(&"shop".parse().unwrap()));
    }

    #[test]
    fn a_region_is_never_emptied_by_its_health() {
        let mut input = testing::input(Timestamp::EPOCH);
        let east: RegionId = "east".parse().unwrap();
        input.down.insert("east-1".parse().unwrap());
        let usable = |input: &PlanInput| plan(input).usable_edges(&east).count();
        assert_eq!(usable(&input), 1);
        input.down.insert("east-2".parse().unwrap());
        assert_eq!(usable(&input), 2);
    }

    #[test]
    fn only_what_a_plan_says_is_compared() {
        let mut input = testing::input(Timestamp::EPOCH);
        let first = plan(&input);
        input.generation = Generation::new(7);
        input.now = Timestamp::from_seconds(1);
        assert!(first.says_the_same(&plan(&input)));
        input.down.insert("east-1".parse().unwrap());
        assert!(!first.says_the_same(&plan(&input)));
    }
}
