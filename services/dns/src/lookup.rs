//! One question's way through the zones to its answer (RFC 1034 §4.3.2).

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use domain::{
    base::{CharStr, Rtype, iana::Class},
    rdata::{Cname, Hinfo},
};
use headroom_steer::{Owner, Remainder, Site, Steering, Target};
use headroom_units::{SiteId, Timestamp};

use crate::{
    Zone,
    ecs::Client,
    limits,
    message::{self, Data, Name, Question, Rcode, Record, Reply},
    names::{NameTable, address_record, name_of},
    zone::{Found, Node, RecordSet},
};

/// The mapping requests that one question was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mapped {
    /// Answered with an edge.
    pub(crate) to_edges: u32,
    /// Answered with the remainder.
    pub(crate) to_remainder: u32,
}

/// Answers a question of class IN.
pub(crate) fn look_up(
    table: &NameTable,
    steering: Option<&mut Steering>,
    question: &Question,
    client: Client,
    now: Timestamp,
) -> (Reply, Mapped) {
    let mut walk = Walk::new(table, steering, question, client, now);
    walk.follow(&question.name);
    (walk.reply, walk.mapped)
}

/// The same if no steered name has a part in the answer: then it is the same for everyone.
pub(crate) fn look_up_unsteered(table: &NameTable, question: &Question) -> Option<Reply> {
    let anyone = Client::of(None, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let mut walk = Walk::new(table, None, question, anyone, Timestamp::EPOCH);
    walk.follow(&question.name);
    (!walk.is_steered).then_some(walk.reply)
}

struct Walk<'w> {
    table: &'w NameTable,
    steering: Option<&'w mut Steering>,
    client: Client,
    now: Timestamp,
    rtype: Rtype,
    reply: Reply,
    mapped: Mapped,
    /// Records behind a steered CNAME are cached no longer than it.
    ttl_max: u32,
    /// Whether a steered name was met.
    is_steered: bool,
}

impl<'w> Walk<'w> {
    fn new(
        table: &'w NameTable,
        steering: Option<&'w mut Steering>,
        question: &Question,
        client: Client,
        now: Timestamp,
    ) -> Self {
        Self {
            table,
            steering,
            client,
            now,
            rtype: question.rtype,
            reply: Reply::bare(Rcode::NOERROR),
            mapped: Mapped::default(),
            ttl_max: u32::MAX,
            is_steered: false,
        }
    }

    fn follow(&mut self, question: &Name) {
        let mut seen = vec![question.clone()];
        while let Some(next) = self.step(seen.last().expect("the question"), seen.len() == 1) {
            // A chain that loops, or does not end, is left to the resolver as far as it goes.
            if seen.contains(&next) || seen.len() > limits::CHAIN_MAX {
                break;
            }
            seen.push(next);
        }
    }

    /// Answers for one name; returns the next, if it is an alias.
    fn step(&mut self, name: &Name, is_first: bool) -> Option<Name> {
        let table = self.table;
        let Some(zone) = table.zone(name, self.rtype) else {
            if is_first {
                // No upward referral: the sender has no business with us.
                self.reply.rcode = Rcode::REFUSED;
            }
            return None;
        };
        match zone.find(name, self.rtype) {
            Found::Cut(owner, delegation) => {
                // Behind an alias the resolver finds its own way.
                if is_first {
                    self.refer(zone, &owner, delegation);
                }
                None
            }
            // Whoever asks below a host's zone was sent here by a delegation; an alias proves none.
            Found::Missing if zone.is_assumed() && !is_first => None,
            Found::Missing => {
                self.reply.authoritative = true;
                // RFC 6604 §2.1: the code is about the last name of the chain.
                self.reply.rcode = Rcode::NXDOMAIN;
                self.reply.authority.push(zone.denial().clone());
                None
            }
            Found::Node(node) => {
                self.reply.authoritative = true;
                self.at_node(name, zone, node)
            }
        }
    }

    fn at_node(&mut self, name: &Name, zone: &Zone, node: &Node) -> Option<Name> {
        if self.rtype == Rtype::ANY {
            return self.minimal_any(name, zone, node);
        }
        if let Some(site) = &node.site {
            let is_address = matches!(self.rtype, Rtype::A | Rtype::AAAA | Rtype::CNAME);
            if is_address || node.set(self.rtype).is_none() {
                return self.steer(name, zone, site);
            }
        }
        if let Some(set) = node.set(self.rtype) {
            self.push_set(name, set);
            return None;
        }
        match node.set(Rtype::CNAME) {
            Some(set) => {
                self.push_set(name, set);
                alias_of(set)
            }
            None => self.deny(zone),
        }
    }

    /// Answers for a steered name. Both answers of a name are of one record type, edge or
    /// remainder: resolvers prefer one type, so a mix would not be divided as decided.
    fn steer(&mut self, name: &Name, zone: &Zone, id: &SiteId) -> Option<Name> {
        self.is_steered = true;
        let steering = self.steering.as_deref_mut()?;
        let plan = std::sync::Arc::clone(steering.plan());
        let by_name = is_by_name(plan.sites.get(id)?);
        if !by_name && !matches!(self.rtype, Rtype::A | Rtype::AAAA) {
            return self.deny(zone);
        }
        let answer = steering.answer(id, self.client.prefix, self.now)?;
        self.reply.scope = self.client.scope;
        let ttl = u32::try_from(answer.ttl.as_secs()).unwrap_or(u32::MAX);
        match answer.target {
            Target::Edge(edge) => {
                self.mapped.to_edges += 1;
                if by_name {
                    return self.alias(name, name_of(&plan.edge_name(&edge).ok()?), ttl);
                }
                let region = plan.regions.get(&answer.region);
                let edge = region.and_then(|region| region.edges.get(&edge));
                self.addresses(name, zone, edge.map_or(&[], |edge| &edge.addresses), ttl)
            }
            Target::Name(remainder) => {
                self.mapped.to_remainder += 1;
                self.alias(name, name_of(&remainder), ttl)
            }
            Target::Addresses(addresses) => {
                self.mapped.to_remainder += 1;
                self.addresses(name, zone, &addresses, ttl)
            }
        }
    }

    fn alias(&mut self, name: &Name, target: Name, ttl: u32) -> Option<Name> {
        self.push(name, ttl, Data::Cname(Cname::new(target.clone())));
        self.ttl_max = self.ttl_max.min(ttl);
        (self.rtype != Rtype::CNAME).then_some(target)
    }

    fn addresses(
        &mut self,
        name: &Name,
        zone: &Zone,
        addresses: &[IpAddr],
        ttl: u32,
    ) -> Option<Name> {
        let before = self.reply.answer.len();
        for (rtype, data) in addresses.iter().map(|address| address_record(*address)) {
            if rtype == self.rtype {
                self.push(name, ttl, data);
            }
        }
        if self.reply.answer.len() == before {
            // RFC 7871 §7.4: a denial is the same for all.
            self.reply.scope = 0;
            return self.deny(zone);
        }
        None
    }

    /// RFC 8482 §4.2: an answer that satisfies and is of no use to an attacker.
    fn minimal_any(&mut self, name: &Name, zone: &Zone, node: &Node) -> Option<Name> {
        if let Some(set) = node.set(Rtype::CNAME) {
            self.push_set(name, set);
        } else if node.is_empty() {
            return self.deny(zone);
        } else {
            let text = |text: &'static [u8]| {
                CharStr::from_octets(Bytes::from_static(text)).expect("a short text")
            };
            let data = Data::Hinfo(Hinfo::new(text(b"RFC8482"), text(b"")));
            self.push(name, limits::INFRASTRUCTURE_TTL, data);
        }
        None
    }

    /// The name exists, but not with this type.
    fn deny(&mut self, zone: &Zone) -> Option<Name> {
        self.reply.authority.push(zone.denial().clone());
        None
    }

    /// Points to the name servers of a delegated zone, with their addresses if we hold them: a
    /// resolver cannot find them otherwise (RFC 9471).
    fn refer(&mut self, zone: &Zone, owner: &Name, delegation: &RecordSet) {
        self.reply.authority.extend(records(owner, delegation, u32::MAX));
        for data in &delegation.data {
            let Data::Ns(server) = data else { continue };
            let Some(node) = zone.node(server.nsdname()) else { continue };
            for set in [Rtype::A, Rtype::AAAA].iter().filter_map(|rtype| node.set(*rtype)) {
                self.reply.additional.extend(records(server.nsdname(), set, u32::MAX));
            }
        }
    }

    fn push_set(&mut self, name: &Name, set: &RecordSet) {
        self.reply.answer.extend(records(name, set, self.ttl_max));
    }

    fn push(&mut self, name: &Name, ttl: u32, data: Data) {
        self.reply.answer.push(message::record(name, ttl.min(self.ttl_max), data));
    }
}

fn records(owner: &Name, set: &RecordSet, ttl_max: u32) -> impl Iterator<Item = Record> {
    set.data.iter().map(move |data| message::record(owner, set.ttl.min(ttl_max), data.clone()))
}

fn alias_of(set: &RecordSet) -> Option<Name> {
    set.data.iter().find_map(|data| match data {
        Data::Cname(cname) => Some(cname.cname().clone()),
        _ => None,
    })
}

/// Whether a site's answers are CNAMEs: its remainder goes to a name of the purchaser's.
fn is_by_name(site: &Site) -> bool {
    matches!(site.owner, Owner::Purchaser(_)) && matches!(site.remainder, Remainder::ReturnName(_))
}

/// Whether a question may be asked at all: of class IN, and not for a whole zone.
pub(crate) fn is_served(question: &Question) -> bool {
    question.class == Class::IN && !matches!(question.rtype, Rtype::AXFR | Rtype::IXFR)
}
