//! `[network]`, `[[name_servers]]`, `[[regions]]`, `[[own_sites]]`: what the network is made of.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use headroom_steer::{
    Edge, Fleet, NameServer, OverShare, Owner, Region, Remainder, SiteInput, SiteRules,
    limits as steer,
};
use headroom_units::{
    Authority, Currency, EdgeId, HostName, NameServerId, Origin, RegionId, SiteId, SlotLength,
    UnitSize, Units,
};
use ipnet::IpNet;

use super::{
    duration, limits,
    mistake::Refusal,
    reader::{Placed, Section, parsed},
    values,
};

/// The keys of `[network]`. Other sections are checked against those that could be read.
pub(super) struct Basics {
    pub(super) zone: Option<Placed<HostName>>,
    pub(super) ttl: Option<Placed<Duration>>,
    pub(super) slot: Option<SlotLength>,
    pub(super) currency: Option<Currency>,
    unit: Option<UnitSize>,
    default_region: Option<Placed<RegionId>>,
    /// True if `default_region` is given, rightly or not.
    default_region_given: bool,
}

/// The network, its own sites, and the words of its market.
pub(super) struct Network {
    pub(super) fleet: Fleet,
    pub(super) capacities: BTreeMap<EdgeId, Units>,
    pub(super) own_sites: Vec<SiteInput>,
    pub(super) currency: Currency,
    pub(super) slot: SlotLength,
    pub(super) unit: UnitSize,
    /// The values of `dns.prefix_map_field`, and the region that each means.
    pub(super) client_values: Vec<(Placed<String>, RegionId)>,
    /// The ids in the order of the file.
    pub(super) name_server_order: Vec<NameServerId>,
    /// The ids in the order of the file.
    pub(super) edge_order: Vec<EdgeId>,
}

pub(super) fn basics(root: &Section<'_>) -> Basics {
    let section = root.section("network");
    let slot = section.optional("slot", "15m", values::slot);
    let ttl = section.optional("ttl", "20s", values::seconds(limits::TTL));
    if let (Some(ttl), Some(slot)) = (&ttl, &slot)
        && ttl.value >= slot.value.duration()
    {
        let length = duration::write(slot.value.duration());
        let reason = format!("steered answers would outlive a slot of {length}");
        section.refuse(&ttl.place, Refusal::new(reason, format!("less than {length}")));
    }
    let default_region = section.maybe("default_region", parsed);
    let basics = Basics {
        zone: section.required("zone", parsed),
        ttl,
        slot: slot.map(|slot| slot.value),
        currency: section.optional("currency", "EUR", parsed).map(|currency| currency.value),
        unit: section.optional("unit_egress", "0.5 Mbit/s", values::unit_size).map(|u| u.value),
        default_region_given: section.has("default_region"),
        default_region,
    };
    section.finish();
    basics
}

/// Reads the rest of the network; what it is made of must fit together.
pub(super) fn fleet(root: &Section<'_>, basics: &Basics) -> Option<Network> {
    let (name_server_order, name_servers) = name_servers(root).unzip();
    let (places, region_ids) = regions(root);
    let own_sites = own_sites(root, basics, name_servers.as_ref());
    let default_region = region_ids.and_then(|ids| default_region(root, basics, &ids));
    let (name_server_order, name_servers) = (name_server_order?, name_servers?);
    let Places { regions, client_values, capacities, edge_order } = places?;
    Some(Network {
        fleet: Fleet {
            zone: basics.zone.clone()?.value,
            name_servers,
            ttl: basics.ttl.clone()?.value,
            default_region: default_region?,
            regions,
        },
        capacities,
        own_sites: own_sites?,
        currency: basics.currency?,
        slot: basics.slot?,
        unit: basics.unit?,
        client_values,
        name_server_order,
        edge_order,
    })
}

type NameServers = BTreeMap<NameServerId, NameServer>;

fn name_servers(root: &Section<'_>) -> Option<(Vec<NameServerId>, NameServers)> {
    let sections = root.sections("name_servers");
    if sections.is_empty() && !root.has("name_servers") {
        root.missing("name_servers", Some("[[name_servers]] with id, host, addresses".to_owned()));
    }
    let (mut ids, mut hosts, mut addresses) = (Claims::new(), Claims::new(), Claims::new());
    let mut servers = Vec::new();
    for section in sections {
        let id = section.required("id", parsed::<NameServerId>);
        let host = section.required("host", parsed::<HostName>);
        let listen = section.list("addresses", None, values::address);
        ids.claim(&section, &id);
        hosts.claim(&section, &host);
        addresses.claim_all(&section, &listen);
        section.finish();
        servers.push(id.zip(host).zip(listen).map(|((id, host), listen)| {
            (id.value, NameServer { host: host.value, addresses: plain(listen) })
        }));
    }
    let servers: Vec<_> = servers.into_iter().collect::<Option<_>>()?;
    let order = servers.iter().map(|(id, _)| id.clone()).collect();
    (!servers.is_empty()).then(|| (order, servers.into_iter().collect()))
}

/// The regions with their edges.
#[derive(Default)]
struct Places {
    regions: BTreeMap<RegionId, Region>,
    client_values: Vec<(Placed<String>, RegionId)>,
    capacities: BTreeMap<EdgeId, Units>,
    edge_order: Vec<EdgeId>,
}

/// The regions, and apart from them their ids in the order of the file.
fn regions(root: &Section<'_>) -> (Option<Places>, Option<Vec<RegionId>>) {
    let sections = root.sections("regions");
    if sections.is_empty() && !root.has("regions") {
        root.missing("regions", Some("[[regions]] with id and [[regions.edges]]".to_owned()));
    }
    let (mut ids, mut prefixes, mut values) = (Claims::new(), Claims::new(), Claims::new());
    let mut edge_claims = (Claims::new(), Claims::new());
    let (mut places, mut order) = (Some(Places::default()), Vec::new());
    for section in sections {
        let id = section.required("id", parsed::<RegionId>);
        let client_prefixes = section.list("client_prefixes", Some(&[]), values::prefix);
        ids.claim(&section, &id);
        order.push(id.as_ref().map(|id| id.value.clone()));
        prefixes.claim_all(&section, &client_prefixes);
        let client_values = section.list("client_values", Some(&[]), values::path);
        values.claim_all(&section, &client_values);
        let edges = edges(&section, &mut edge_claims);
        section.finish();
        places = places.zip(id).zip(client_prefixes).zip(client_values).zip(edges).map(
            |((((mut places, id), prefixes), values), edges)| {
                let values = values.into_iter().map(|value| (value, id.value.clone()));
                places.client_values.extend(values);
                places.add(id.value, plain(prefixes), edges);
                places
            },
        );
    }
    (places.filter(|places| !places.regions.is_empty()), order.into_iter().collect())
}

impl Places {
    fn add(
        &mut self,
        id: RegionId,
        client_prefixes: Vec<IpNet>,
        edges: Vec<(EdgeId, Edge, Units)>,
    ) {
        let mut region = Region { client_prefixes, edges: BTreeMap::new() };
        for (edge_id, edge, capacity) in edges {
            region.edges.insert(edge_id.clone(), edge);
            self.capacities.insert(edge_id.clone(), capacity);
            self.edge_order.push(edge_id);
        }
        self.regions.insert(id, region);
    }
}

fn edges(
    region: &Section<'_>,
    (ids, addresses): &mut (Claims<EdgeId>, Claims<IpAddr>),
) -> Option<Vec<(EdgeId, Edge, Units)>> {
    let sections = region.sections("edges");
    if sections.is_empty() && !region.has("edges") {
        let accepted = "[[regions.edges]] with id, addresses, capacity";
        region.missing("edges", Some(accepted.to_owned()));
        return None;
    }
    let mut edges = Vec::new();
    for section in sections {
        let id = section.required("id", parsed::<EdgeId>);
        let listen = section.list("addresses", None, values::address);
        let capacity = section.required("capacity", values::capacity);
        ids.claim(&section, &id);
        addresses.claim_all(&section, &listen);
        section.finish();
        edges.push(id.zip(listen).zip(capacity).map(|((id, listen), capacity)| {
            (id.value, Edge { addresses: plain(listen), healthy: true }, capacity.value)
        }));
    }
    edges.into_iter().collect()
}

fn own_sites(
    root: &Section<'_>,
    basics: &Basics,
    name_servers: Option<&NameServers>,
) -> Option<Vec<SiteInput>> {
    let (mut ids, mut host_claims) = (Claims::new(), Claims::new());
    let mut sites = Vec::new();
    for section in root.sections("own_sites") {
        let id = section.required("id", parsed::<SiteId>);
        let hosts = section.list("hosts", None, parsed::<HostName>);
        let origins = section.list("origins", None, values::origin);
        ids.claim(&section, &id);
        host_claims.claim_all(&section, &hosts);
        check_site(&section, basics, name_servers, &id, &hosts);
        most(&section, "hosts", hosts.as_ref().map(Vec::len), steer::HOSTS_PER_SITE_MAX);
        most(&section, "origins", origins.as_ref().map(Vec::len), steer::SERVERS_PER_SITE_MAX);
        let rules = site_rules(&section);
        section.finish();
        sites.push(id.zip(hosts).zip(origins).zip(rules).map(|(((id, hosts), origins), rules)| {
            let (hosts, origins) = (plain(hosts), plain(origins));
            own_site(id.value, hosts, origins, rules)
        }));
    }
    sites.into_iter().collect()
}

/// The rules that purchasers' sites have too.
fn site_rules(section: &Section<'_>) -> Option<SiteRules> {
    let query = section.optional("query", "keep", values::query_rule);
    let upgrades = section.flag("upgrades", false);
    let negative = section.optional("negative", "0s", values::seconds(limits::NEGATIVE));
    Some(SiteRules {
        query: query?.value,
        upgrades: upgrades?,
        negative_seconds: negative?.value.as_secs(),
    })
}

/// The operator's sites are always served: remainder, fallback and the rest are never looked at.
fn own_site(id: SiteId, hosts: Vec<HostName>, origins: Vec<Origin>, rules: SiteRules) -> SiteInput {
    let first = hosts[0].clone();
    SiteInput {
        id,
        owner: Owner::Operator,
        hosts: hosts.into_iter().map(|host| (host, true)).collect(),
        origins,
        remainder: Remainder::ReturnName(first.clone()),
        over_share: OverShare::PassThrough,
        fallback: Authority { host: first, port: None },
        rules,
        purges: Vec::new(),
    }
}

fn check_site(
    section: &Section<'_>,
    basics: &Basics,
    name_servers: Option<&NameServers>,
    id: &Option<Placed<SiteId>>,
    hosts: &Option<Vec<Placed<HostName>>>,
) {
    let Some(zone) = basics.zone.as_ref().map(|zone| &zone.value) else { return };
    for host in hosts.iter().flatten().filter(|host| host.value.is_within(zone)) {
        let reason = format!("it lies in the network's own zone {zone}");
        section.refuse(&host.place, Refusal::new(reason, "a name outside of it"));
    }
    let Some(id) = id else { return };
    let servers = name_servers.into_iter().flat_map(BTreeMap::values);
    match zone.child(id.value.as_str()) {
        Err(_) => {
            let reason = format!("with the zone {zone} its name is too long");
            section.refuse(&id.place, Refusal { reason, accepted: None });
        }
        Ok(name) => {
            if servers.into_iter().any(|server| server.host == name) {
                let reason = format!("{name} would be both the site and a name server");
                section.refuse(&id.place, Refusal::new(reason, "another id"));
            }
        }
    }
}

fn default_region(root: &Section<'_>, basics: &Basics, regions: &[RegionId]) -> Option<RegionId> {
    match &basics.default_region {
        Some(given) if regions.contains(&given.value) => Some(given.value.clone()),
        Some(given) => {
            let ids: Vec<_> = regions.iter().map(|id| format!("\"{id}\"")).collect();
            let accepted = format!("one of the regions: {}", ids.join(", "));
            root.refuse(&given.place, Refusal::new("there is no such region", accepted));
            None
        }
        None if basics.default_region_given => None,
        None => regions.first().cloned(),
    }
}

fn most(section: &Section<'_>, key: &str, count: Option<usize>, max: usize) {
    if let Some(count) = count.filter(|count| *count > max) {
        let refusal = Refusal::new(format!("{count} are too many"), format!("at most {max}"));
        section.refuse(&section.place(key), refusal);
    }
}

fn plain<T>(placed: Vec<Placed<T>>) -> Vec<T> {
    placed.into_iter().map(|placed| placed.value).collect()
}

/// Values that may stand in one place only, with that place.
pub(super) struct Claims<T>(BTreeMap<T, String>);

impl<T: Ord + Clone> Claims<T> {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    pub(super) fn claim(&mut self, section: &Section<'_>, value: &Option<Placed<T>>) {
        let Some(Placed { value, place }) = value else { return };
        match self.0.get(value) {
            Some(first) => {
                let reason = format!("it already stands at {first}");
                section.refuse(place, Refusal { reason, accepted: None });
            }
            None => {
                self.0.insert(value.clone(), place.key.clone());
            }
        }
    }

    fn claim_all(&mut self, section: &Section<'_>, values: &Option<Vec<Placed<T>>>) {
        for value in values.iter().flatten() {
            self.claim(section, &Some(value.clone()));
        }
    }
}
