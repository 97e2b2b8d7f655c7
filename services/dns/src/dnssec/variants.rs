//! Everything that steering may answer at a name, so that it can be signed in advance: the records of
//! each edge that the site may be sent to, and those of its remainder. Pure.

use std::{collections::BTreeSet, net::IpAddr};

use domain::{base::Rtype, rdata::Cname};
use headroom_steer::{Assignment, Owner, Plan, Remainder, Site};
use headroom_units::{HostName, RegionId, SiteId};

use crate::{
    NameTable, Zone,
    assigned::Provided,
    forward::Forwarder,
    limits, lookup,
    message::{Data, Name},
    names::{ByName, address_record, name_of},
    zone::Node,
};

/// The types of addresses.
const ADDRESSES: [Rtype; 2] = [Rtype::A, Rtype::AAAA];

/// What one steered name may be answered with.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Answers {
    /// Whether it is a CNAME, and so for every type.
    pub(super) is_alias: bool,
    /// The sets of records.
    pub(super) sets: Vec<(Rtype, Vec<Data>)>,
    /// The types of addresses that not every answer has.
    pub(super) lacking: BTreeSet<Rtype>,
    /// Why some of them are not known, if they are not.
    pub(super) unknown: Option<&'static str>,
}

impl Answers {
    /// Takes in an answer by addresses.
    fn add(&mut self, sets: impl IntoIterator<Item = (Rtype, Vec<Data>)>) {
        let before = self.sets.len();
        self.sets.extend(sets);
        let added = &self.sets[before..];
        let lacks = |rtype: &Rtype| !added.iter().any(|(held, _)| held == rtype);
        self.lacking.extend(ADDRESSES.into_iter().filter(lacks));
    }
}

/// What steered names are answered from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Steered<'p> {
    pub(crate) plan: &'p Plan,
    /// Who asks other name servers.
    pub(crate) forwarder: Option<&'p Forwarder>,
    /// What the sites' own DNS provides.
    pub(crate) provided: &'p Provided,
}

/// Knows what a plan lets names be answered with.
#[derive(Debug)]
pub(super) struct Variants<'p> {
    from: Steered<'p>,
    table: &'p NameTable,
    edges: Vec<Edge<'p>>,
}

/// The records of one edge.
#[derive(Debug)]
struct Edge<'p> {
    region: &'p RegionId,
    alias: Option<Data>,
    addresses: Vec<(Rtype, Vec<Data>)>,
}

impl<'p> Variants<'p> {
    /// Those in the `table` of the plan.
    pub(super) fn new(from: Steered<'p>, table: &'p NameTable) -> Self {
        let plan = from.plan;
        let all = plan.regions.iter().flat_map(|(region, of)| {
            of.edges.iter().map(move |(id, edge)| Edge {
                region,
                alias: plan.edge_name(id).ok().map(|name| alias(&name)),
                addresses: by_type(&edge.addresses),
            })
        });
        Self { from, table, edges: all.collect() }
    }

    /// How long a cache may keep any of them, in seconds.
    pub(super) fn ttl(&self) -> u32 {
        u32::try_from(self.from.plan.ttl.as_secs()).unwrap_or(u32::MAX)
    }

    /// Those of all steered names of a zone.
    pub(super) fn of_all(&self, zone: &Zone) -> ByName<Answers> {
        let of = |(name, node): (&Name, &Node)| {
            Some((name.clone(), self.of(name, zone, node, node.site.as_ref()?)))
        };
        zone.nodes().filter_map(of).collect()
    }

    /// Those of a name with the records of `node` that `id` decides.
    fn of(&self, name: &Name, zone: &Zone, node: &Node, id: &SiteId) -> Answers {
        let Steered { plan, forwarder, .. } = self.from;
        let Some(site) = plan.sites.get(id) else { return Answers::default() };
        let is_alias = lookup::is_alias(self.table, forwarder, name, zone, node, site);
        let mut answers = Answers { is_alias, ..Answers::default() };
        for edge in self.edges.iter().filter(|edge| may_serve(site, edge.region)) {
            if is_alias {
                answers
                    .sets
                    .extend(edge.alias.iter().map(|data| (Rtype::CNAME, vec![data.clone()])));
            } else {
                answers.add(edge.addresses.iter().cloned());
            }
        }
        self.remainder(name, id, site, &mut answers);
        let has_edges = || plan.regions.values().all(|of| !of.edges.is_empty());
        if site.owner == Owner::Operator && has_edges() {
            // It is always at the edges.
            answers.unknown = None;
        }
        if answers.sets.len() > limits::VARIANTS_MAX {
            answers.sets.truncate(limits::VARIANTS_MAX);
            answers.unknown = Some("there are too many");
        }
        answers
    }

    fn remainder(&self, name: &Name, id: &SiteId, site: &Site, answers: &mut Answers) {
        match &site.remainder {
            Remainder::ReturnName(remainder) if answers.is_alias => {
                answers.sets.push((Rtype::CNAME, vec![alias(remainder)]));
            }
            Remainder::ReturnName(remainder) => self.held(&name_of(remainder), answers),
            Remainder::ReturnRecords => {
                let hosts = site.hosts.iter().map(name_of);
                let host = hosts.clone().find(|host| host == name).or(hosts.clone().next());
                host.iter().for_each(|host| self.held(host, answers));
            }
            Remainder::ReturnAddresses(addresses) => answers.add(by_type(addresses)),
            Remainder::Assign(assignment) => assigned(assignment, answers),
            Remainder::AssignByDns { .. } => {
                for provided in self.from.provided.get(id).map_or(&[None][..], Vec::as_slice) {
                    match provided {
                        Some(assignment) => assigned(assignment, answers),
                        None => self.held(&name_of(&site.fallback.host), answers),
                    }
                }
            }
        }
    }

    /// The addresses that `target` has in a zone held here. What another name server would be asked
    /// for is not known in advance.
    fn held(&self, target: &Name, answers: &mut Answers) {
        let mut sets = Vec::new();
        for rtype in ADDRESSES {
            match self.table.addresses(target, rtype) {
                Ok(Some(set)) => sets.push((rtype, set.data.clone())),
                Ok(None) => {}
                Err(_) => answers.unknown = Some("no zone that is held here has its remainder"),
            }
        }
        answers.add(sets);
    }
}

/// The addresses of each server.
fn assigned(assignment: &Assignment, answers: &mut Answers) {
    assignment.servers.iter().for_each(|server| answers.add(by_type(&server.addresses)));
}

/// Whether visitors of a site may ever be sent to the edges of a region.
fn may_serve(site: &Site, region: &RegionId) -> bool {
    match site.owner {
        Owner::Operator => true,
        Owner::Purchaser(_) => site.entitlements.iter().any(|one| one.region == *region),
    }
}

fn alias(target: &HostName) -> Data {
    Data::Cname(Cname::new(name_of(target)))
}

/// Addresses as the sets that they are answered in.
fn by_type(addresses: &[IpAddr]) -> Vec<(Rtype, Vec<Data>)> {
    let records = || addresses.iter().map(|address| address_record(*address));
    let of = |rtype| records().filter(|(held, _)| *held == rtype).map(|(_, data)| data).collect();
    let sets = ADDRESSES.map(|rtype| (rtype, of(rtype)));
    sets.into_iter().filter(|(_, data): &(Rtype, Vec<Data>)| !data.is_empty()).collect()
}
