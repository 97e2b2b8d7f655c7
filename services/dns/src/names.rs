//! The table of all names served: the static zones and those taken from others, and what a plan
//! adds to them.
//!
//! ```text
//!   <zone>                     SOA (serial: the plan's generation), NS
//!   <name server's host>       A, AAAA, if within the zone
//!   <edge>.edge.<zone>         A, AAAA
//!   <site>.<zone>              steered; the target of the purchaser's CNAME
//!   <host of a site>           steered; a little zone of its own, as it was delegated to us,
//!                              or a name laid over the zone that it stands in
//! ```
//!
//! A table is made off the hot path and replaced as a whole.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use domain::{
    base::{Rtype, Serial, Ttl},
    rdata::{A, Aaaa, Ns, Soa},
};
use foldhash::quality::RandomState;
use headroom_steer::Plan;
use headroom_units::{HostName, SiteId};

use crate::{
    Zone,
    hosts::{HostNames, Hosts},
    limits,
    message::{Data, ExtendedErrorCode, Name},
    zone::{Found, RecordSet},
};

/// What is found by a name. The hasher is quick with names, which are hashed octet by octet.
pub(crate) type ByName<T> = HashMap<Name, T, RandomState>;

/// All zones by their names.
#[derive(Debug, Clone, Default)]
pub struct NameTable {
    zones: ByName<Arc<Zone>>,
    /// The host names that are little zones of their own.
    hosts: Option<Hosts>,
    /// The hosts of sites that are not steered, as their zone is signed by its owner.
    left_out: Arc<BTreeSet<Name>>,
}

/// Where the host names of a plan's sites stand beside static zones. The next plan has the same if
/// it has the same hosts.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    /// Those that are little zones of their own.
    alone: Arc<HostNames>,
    /// Those that are laid over a zone: its name, theirs, and their site.
    laid_over: Vec<(Name, Name, SiteId)>,
    /// Those that are not steered, as their zone is signed by its owner.
    left_out: Arc<BTreeSet<Name>>,
}

impl Layout {
    pub(crate) fn of(plan: &Plan, zones: &[Arc<Zone>]) -> Self {
        let (statics, network) = (NameTable::of_zones(zones), name_of(&plan.zone));
        let (mut alone, mut laid_over) = (HostNames::default(), Vec::new());
        let mut left_out = BTreeSet::new();
        for (number, (id, site)) in (0..).zip(&plan.sites) {
            for name in site.hosts.iter().map(name_of) {
                match statics.stand_of(&name) {
                    Stand::In(apex) => laid_over.push((apex, name, id.clone())),
                    Stand::Aliased => {}
                    Stand::Signed => drop(left_out.insert(name)),
                    Stand::Alone if name == network => {
                        laid_over.push((network.clone(), name, id.clone()));
                    }
                    Stand::Alone if alone.insert(&name, number) => {}
                    Stand::Alone => tracing::warn!(host = %name, "there is no room for its name"),
                }
            }
        }
        alone.shrink();
        Self { alone: Arc::new(alone), laid_over, left_out: Arc::new(left_out) }
    }

    /// Whether that of one plan is that of another, beside the same zones.
    pub(crate) fn is_of_both(one: &Plan, other: &Plan) -> bool {
        fn hosts(plan: &Plan) -> impl Iterator<Item = (&SiteId, &[HostName])> {
            plan.sites.iter().map(|(id, site)| (id, &site.hosts[..]))
        }
        one.zone == other.zone && hosts(one).eq(hosts(other))
    }
}

impl NameTable {
    /// The table of static zones alone.
    pub(crate) fn of_zones(zones: &[Arc<Zone>]) -> Self {
        let named = |zone: &Arc<Zone>| (zone.apex().clone(), Arc::clone(zone));
        let zones = zones.iter().map(named).collect();
        Self { zones, ..Self::default() }
    }

    /// The table of a plan beside static zones. Of a static zone and the network's own of the same
    /// name, the network's is served.
    #[must_use]
    pub fn of_plan(plan: &Plan, zones: &[Arc<Zone>], hostmaster: Option<&HostName>) -> Self {
        Self::of_layout(&Layout::of(plan, zones), plan, zones, hostmaster)
    }

    /// The same, where it is known how the hosts stand to the zones.
    pub(crate) fn of_layout(
        layout: &Layout,
        plan: &Plan,
        zones: &[Arc<Zone>],
        hostmaster: Option<&HostName>,
    ) -> Self {
        let mut table = Self::of_zones(zones);
        let maker = Maker { plan, records: ApexRecords::of(plan, hostmaster) };
        let own = maker.network_zone();
        if table.zones.contains_key(own.apex()) {
            tracing::warn!(zone = %own.apex(), "a static zone is hidden by the network's own");
        }
        table.zones.insert(own.apex().clone(), Arc::new(own));
        for (apex, name, site) in &layout.laid_over {
            let zone = table.zones.get_mut(apex).expect("it is one of those laid out");
            Arc::make_mut(zone).steer(name, site.clone()).expect("it encloses the host");
        }
        table.left_out = Arc::clone(&layout.left_out);
        let sites = plan.sites.keys().cloned();
        table.hosts = Some(Hosts::new(Arc::clone(&layout.alone), sites, maker.records));
        table
    }

    /// The zone that answers for `name`: the nearest enclosing one. The DS records of a zone's own
    /// name are its parent's, if that is served here too (RFC 4035 §3.1.4.1).
    pub(crate) fn zone(&self, name: &Name, rtype: Rtype) -> Option<Arc<Zone>> {
        let mut at = Some(name.clone());
        let mut nearest = None;
        while let Some(here) = at {
            let of_host = || self.hosts.as_ref().and_then(|hosts| hosts.zone(&here));
            if let Some(zone) = self.zones.get(&here).cloned().or_else(of_host) {
                if rtype != Rtype::DS || here.len() < name.len() {
                    return Some(zone);
                }
                nearest = Some(zone);
            }
            at = here.parent();
        }
        nearest
    }

    /// All zones but the little ones of host names.
    pub(crate) fn zones(&self) -> &ByName<Arc<Zone>> {
        &self.zones
    }

    /// Whether any zone is signed.
    pub(crate) fn has_signed(&self) -> bool {
        self.zones.values().any(|zone| zone.chain().is_some())
    }

    /// The little zone of a host name, if it has none that was put here.
    pub(crate) fn host_zone(&self, name: &Name) -> Option<Arc<Zone>> {
        let hosts = self.hosts.as_ref().filter(|_| !self.zones.contains_key(name))?;
        hosts.zone(name)
    }

    /// Has a zone instead of the one of the same name.
    pub(crate) fn put(&mut self, zone: Arc<Zone>) {
        self.zones.insert(zone.apex().clone(), zone);
    }

    /// The hosts of sites that are not steered, as their zone is signed by its owner: an answer of
    /// ours would be refused by all who validate.
    pub(crate) fn left_out(&self) -> &BTreeSet<Name> {
        &self.left_out
    }

    /// Whether a zone that holds the records of a name is here.
    pub(crate) fn holds(&self, name: &Name) -> bool {
        let zone = self.zone(name, Rtype::A).filter(|zone| !zone.is_assumed());
        zone.is_some_and(|zone| !matches!(zone.find(name, Rtype::A), Found::Cut(..)))
    }

    /// The records of type A or AAAA that a name has in a zone held here, behind CNAMEs if need be;
    /// none if it has addresses of the other type alone.
    pub(crate) fn addresses(
        &self,
        name: &Name,
        rtype: Rtype,
    ) -> Result<Option<RecordSet>, ExtendedErrorCode> {
        let mut name = name.clone();
        for _ in 0..limits::CHAIN_MAX {
            let zone = self.zone(&name, rtype).filter(|zone| !zone.is_assumed());
            let zone = zone.ok_or(ExtendedErrorCode::NOT_AUTHORITATIVE)?;
            if let Some(why) = zone.why_absent() {
                return Err(why);
            }
            let node = match zone.find(&name, rtype) {
                Found::Node(node) => node,
                Found::Cut(..) => return Err(ExtendedErrorCode::NOT_AUTHORITATIVE),
                Found::Renamed(..) | Found::Missing => break,
            };
            if let Some(set) = node.set(rtype) {
                return Ok(Some(set.clone()));
            }
            let Some(set) = node.set(Rtype::CNAME) else {
                let has_any =
                    [Rtype::A, Rtype::AAAA].iter().any(|rtype| node.set(*rtype).is_some());
                // With no address at all it is not the name that was meant.
                return if has_any { Ok(None) } else { Err(ExtendedErrorCode::OTHER) };
            };
            let Some(Data::Cname(cname)) = set.data.first() else { break };
            name = cname.cname().clone();
        }
        Err(ExtendedErrorCode::OTHER)
    }

    /// The host names that are little zones of their own.
    pub(crate) fn hosts(&self) -> Arc<HostNames> {
        self.hosts.as_ref().map(|hosts| Arc::clone(hosts.names())).unwrap_or_default()
    }

    /// The sites of the plan, in its order.
    pub(crate) fn sites(&self) -> Arc<[SiteId]> {
        self.hosts.as_ref().map(|hosts| Arc::clone(hosts.sites())).unwrap_or_default()
    }

    /// All names of all other zones. Two zones may have the same.
    pub(crate) fn owners(&self) -> impl Iterator<Item = &Name> {
        self.zones.values().flat_map(|zone| zone.owners())
    }

    /// How a host name of a site stands to the static zones.
    fn stand_of(&self, host: &Name) -> Stand {
        let Some(zone) = self.zone(host, Rtype::A) else {
            return Stand::Alone;
        };
        match zone.find(host, Rtype::A) {
            Found::Cut(..) => Stand::Alone,
            Found::Node(node) if node.set(Rtype::CNAME).is_some() => Stand::Aliased,
            Found::Renamed(..) => Stand::Aliased,
            _ if zone.is_signed_elsewhere() => Stand::Signed,
            Found::Node(_) | Found::Missing => Stand::In(zone.apex().clone()),
        }
    }
}

/// How a host name of a site stands to the static zones.
enum Stand {
    /// No zone has it, or the one that had it has delegated it, as a rule to us.
    Alone,
    /// The zone of this name has it: the steered answer is laid over.
    In(Name),
    /// A zone has a CNAME or DNAME for it, as a rule to the site's name: that answers for itself.
    Aliased,
    /// A zone has it that its owner has signed: nothing can be laid over.
    Signed,
}

/// The records that every zone made from a plan has.
#[derive(Debug, Clone)]
pub(crate) struct ApexRecords {
    serial: Serial,
    hostmaster: Name,
    name_servers: Vec<Name>,
}

impl ApexRecords {
    fn of(plan: &Plan, hostmaster: Option<&HostName>) -> Self {
        let default = || plan.zone.child("hostmaster").unwrap_or_else(|_| plan.zone.clone());
        let hostmaster = name_of(&hostmaster.cloned().unwrap_or_else(default));
        let name_servers = plan.name_servers.values().map(|server| name_of(&server.host));
        Self { serial: Serial(serial(plan)), hostmaster, name_servers: name_servers.collect() }
    }

    /// A zone with these records.
    pub(crate) fn zone(&self, apex: &Name) -> Zone {
        let primary = self.name_servers.first().unwrap_or(apex).clone();
        let soa = Soa::new(
            primary,
            self.hostmaster.clone(),
            self.serial,
            Ttl::from_secs(limits::SOA_REFRESH),
            Ttl::from_secs(limits::SOA_RETRY),
            Ttl::from_secs(limits::SOA_EXPIRE),
            Ttl::from_secs(limits::NEGATIVE_TTL),
        );
        let mut zone = Zone::new(apex.clone(), limits::INFRASTRUCTURE_TTL, Data::Soa(soa));
        for server in &self.name_servers {
            let data = Data::Ns(Ns::new(server.clone()));
            zone.add(apex, limits::INFRASTRUCTURE_TTL, Rtype::NS, data).expect("its own apex");
        }
        zone
    }
}

struct Maker<'p> {
    plan: &'p Plan,
    records: ApexRecords,
}

impl Maker<'_> {
    fn network_zone(&self) -> Zone {
        let apex = name_of(&self.plan.zone);
        let mut zone = self.records.zone(&apex);
        for server in self.plan.name_servers.values() {
            if server.host.is_within(&self.plan.zone) {
                add_addresses(&mut zone, &name_of(&server.host), &server.addresses);
            }
        }
        for (id, edge) in self.plan.regions.values().flat_map(|region| &region.edges) {
            match self.plan.edge_name(id) {
                Ok(name) => add_addresses(&mut zone, &name_of(&name), &edge.addresses),
                Err(error) => tracing::warn!(edge = %id, %error, "the edge has no name"),
            }
        }
        zone.make_room(self.plan.sites.len());
        for id in self.plan.sites.keys() {
            let Some(name) = below(&apex, id.as_str()) else { continue };
            if zone.node(&name).is_some_and(|node| !node.is_empty()) {
                tracing::warn!(site = %id, "the site's name is taken by a server of the network");
                continue;
            }
            zone.steer_alone(&name, id.clone()).expect("a site's name lies in the network's zone");
        }
        zone
    }
}

/// The zone's serial: its generation. It wraps as RFC 1982 wants it.
fn serial(plan: &Plan) -> u32 {
    let wrapped = plan.generation.number() & u64::from(u32::MAX);
    u32::try_from(wrapped).expect("cut to 32 bits")
}

/// The name of a label below another; none if it is too long.
fn below(name: &Name, label: &str) -> Option<Name> {
    let length = u8::try_from(label.len()).ok()?;
    Name::from_octets([&[length], label.as_bytes(), name.as_slice()].concat().into()).ok()
}

fn add_addresses(zone: &mut Zone, owner: &Name, addresses: &[IpAddr]) {
    for address in addresses {
        let (rtype, data) = address_record(*address);
        zone.add(owner, limits::ADDRESS_TTL, rtype, data).expect("the name lies in the zone");
    }
}

/// The record type and data of an address.
pub(crate) fn address_record(address: IpAddr) -> (Rtype, Data) {
    match address {
        IpAddr::V4(address) => (Rtype::A, Data::A(A::new(address))),
        IpAddr::V6(address) => (Rtype::AAAA, Data::Aaaa(Aaaa::new(address))),
    }
}

/// A host name as a domain name.
pub(crate) fn name_of(host: &HostName) -> Name {
    Name::bytes_from_str(host.as_str()).expect("a host name is a domain name")
}
