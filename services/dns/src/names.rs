//! The table of all names served: the static zones, and what a plan adds to them.
//!
//! ```text
//!   <zone>                     SOA (serial: the plan's generation), NS
//!   <name server's host>       A, AAAA, if within the zone
//!   <edge>.edge.<zone>         A, AAAA
//!   <site>.<zone>              steered; the target of the purchaser's CNAME
//!   <host of a site>           steered; a little zone of its own, as it was delegated to us,
//!                              or a name laid over the static zone that it stands in
//! ```
//!
//! A table is made off the hot path and replaced as a whole.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use domain::{
    base::{Rtype, Serial, Ttl},
    rdata::{A, Aaaa, Ns, Soa},
};
use headroom_steer::Plan;
use headroom_units::HostName;

use crate::{
    Zone, limits,
    message::{Data, Name},
    zone::Found,
};

/// All zones by their names.
#[derive(Debug, Clone, Default)]
pub struct NameTable {
    zones: HashMap<Name, Arc<Zone>>,
}

impl NameTable {
    /// The table of static zones alone.
    pub(crate) fn of_zones(zones: &[Arc<Zone>]) -> Self {
        let named = |zone: &Arc<Zone>| (zone.apex().clone(), Arc::clone(zone));
        Self { zones: zones.iter().map(named).collect() }
    }

    /// The table of a plan beside static zones. Of a static zone and the network's own of the same
    /// name, the network's is served.
    #[must_use]
    pub fn of_plan(plan: &Plan, zones: &[Arc<Zone>], hostmaster: Option<&HostName>) -> Self {
        let statics = Self::of_zones(zones);
        let mut table = statics.clone();
        let maker = Maker::new(plan, hostmaster);
        let own = maker.network_zone();
        if table.zones.contains_key(own.apex()) {
            tracing::warn!(zone = %own.apex(), "a static zone is hidden by the network's own");
        }
        table.zones.insert(own.apex().clone(), Arc::new(own));
        for (id, site) in &plan.sites {
            for host in &site.hosts {
                let name = name_of(host);
                let apex = match statics.stand_of(&name) {
                    Stand::In(apex) => apex,
                    Stand::Aliased => continue,
                    Stand::Alone => name.clone(),
                };
                let new = || Arc::new(maker.zone(&name).assumed());
                let zone = table.zones.entry(apex).or_insert_with(new);
                Arc::make_mut(zone).steer(&name, id.clone()).expect("the zone encloses the host");
            }
        }
        table
    }

    /// The zone that answers for `name`: the nearest enclosing one. The DS records of a zone's own
    /// name are its parent's, if that is served here too (RFC 4035 §3.1.4.1).
    pub(crate) fn zone(&self, name: &Name, rtype: Rtype) -> Option<&Arc<Zone>> {
        let mut at = Some(name.clone());
        let mut nearest = None;
        while let Some(here) = at {
            if let Some(zone) = self.zones.get(&here) {
                if rtype != Rtype::DS || here.len() < name.len() {
                    return Some(zone);
                }
                nearest = Some(zone);
            }
            at = here.parent();
        }
        nearest
    }

    /// All names of all zones, each with the name of its zone and the types of its records.
    pub(crate) fn owners(&self) -> impl Iterator<Item = (&Name, &Name, Vec<Rtype>)> {
        self.zones
            .values()
            .flat_map(|zone| zone.owners().map(|(name, rtypes)| (zone.apex(), name, rtypes)))
    }

    /// How a host name of a site stands to the static zones.
    fn stand_of(&self, host: &Name) -> Stand {
        let Some(zone) = self.zone(host, Rtype::A) else {
            return Stand::Alone;
        };
        match zone.find(host, Rtype::A) {
            Found::Cut(..) => Stand::Alone,
            Found::Node(node) if node.set(Rtype::CNAME).is_some() => Stand::Aliased,
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
    /// A zone has a CNAME for it, as a rule to the site's name: that answers for itself.
    Aliased,
}

struct Maker<'p> {
    plan: &'p Plan,
    hostmaster: Name,
    name_servers: Vec<Name>,
}

impl<'p> Maker<'p> {
    fn new(plan: &'p Plan, hostmaster: Option<&HostName>) -> Self {
        let default = || plan.zone.child("hostmaster").unwrap_or_else(|_| plan.zone.clone());
        let hostmaster = name_of(&hostmaster.cloned().unwrap_or_else(default));
        let name_servers = plan.name_servers.values().map(|server| name_of(&server.host));
        Self { plan, hostmaster, name_servers: name_servers.collect() }
    }

    /// A zone with the records that every zone has.
    fn zone(&self, apex: &Name) -> Zone {
        let primary = self.name_servers.first().unwrap_or(apex).clone();
        let soa = Soa::new(
            primary,
            self.hostmaster.clone(),
            Serial(serial(self.plan)),
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

    fn network_zone(&self) -> Zone {
        let apex = name_of(&self.plan.zone);
        let mut zone = self.zone(&apex);
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
        for id in self.plan.sites.keys() {
            let Ok(name) = self.plan.site_name(id).map(|name| name_of(&name)) else {
                continue;
            };
            if zone.node(&name).is_some_and(|node| !node.is_empty()) {
                tracing::warn!(site = %id, "the site's name is taken by a server of the network");
                continue;
            }
            zone.steer(&name, id.clone()).expect("a site's name lies in the network's zone");
        }
        zone
    }
}

/// The zone's serial: its generation. It wraps as RFC 1982 wants it.
fn serial(plan: &Plan) -> u32 {
    let wrapped = plan.generation.number() & u64::from(u32::MAX);
    u32::try_from(wrapped).expect("cut to 32 bits")
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
