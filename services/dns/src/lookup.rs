//! One question's way through the zones to its answer (RFC 1034 §4.3.2).

mod secure;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use bytes::Bytes;
use domain::{
    base::{CharStr, Rtype, iana::Class},
    rdata::{Cname, Hinfo},
};
use headroom_steer::{Answer, Owner, Plan, Remainder, Site, Steering, Target};
use headroom_units::{SiteId, Timestamp};

use crate::{
    Zone,
    decisions::Decision,
    ecs::Client,
    forward::{Forwarder, Known, Wish},
    limits,
    message::{self, Data, ExtendedErrorCode, Name, Question, Rcode, Record, Reply},
    names::{NameTable, address_record, name_of},
    zone::{Found, Node, RecordSet, is_steered},
};

/// The mapping requests that one question was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mapped {
    /// Answered with an edge.
    pub(crate) to_edges: u32,
    /// Answered with the remainder.
    pub(crate) to_remainder: u32,
}

/// What was found.
pub(crate) struct Lookup {
    pub(crate) reply: Reply,
    pub(crate) mapped: Mapped,
    /// What was decided, if nothing else has to be asked to say the same again.
    pub(crate) decision: Option<Decision>,
}

impl Lookup {
    /// A reply that nothing was looked up for.
    pub(crate) fn without(reply: Reply) -> Self {
        Self { reply, mapped: Mapped::default(), decision: None }
    }
}

/// Answers a question of class IN.
pub(crate) fn look_up(
    table: &NameTable,
    steering: Option<&mut Steering>,
    forwarder: Option<&Forwarder>,
    question: &Question,
    client: Client,
    dnssec_ok: bool,
    now: Timestamp,
) -> Lookup {
    let decider = steering.map_or(Decider::Nobody, Decider::Steering);
    let mut walk = Walk::new(table, decider, question, client, now);
    walk.forwarder = forwarder;
    walk.dnssec_ok = dnssec_ok;
    walk.follow(&question.name);
    let decision = walk.decision.filter(|_| walk.steered == 1);
    Lookup { reply: walk.reply, mapped: walk.mapped, decision }
}

/// The same if no steered name has a part in the answer: then it is the same for everyone.
pub(crate) fn look_up_unsteered(
    table: &NameTable,
    question: &Question,
    dnssec_ok: bool,
) -> Option<Reply> {
    let mut walk = Walk::new(table, Decider::Nobody, question, anyone(), Timestamp::EPOCH);
    walk.dnssec_ok = dnssec_ok;
    walk.follow(&question.name);
    (walk.steered == 0).then_some(walk.reply)
}

/// The same if just one steered name has a part in it, for which `answer` is decided.
pub(crate) fn look_up_as(
    table: &NameTable,
    plan: &Arc<Plan>,
    question: &Question,
    answer: &Answer,
    dnssec_ok: bool,
) -> Option<Reply> {
    let decider = Decider::Decided(plan, answer);
    let mut walk = Walk::new(table, decider, question, anyone(), Timestamp::EPOCH);
    walk.dnssec_ok = dnssec_ok;
    walk.follow(&question.name);
    (walk.steered == 1).then_some(walk.reply)
}

fn anyone() -> Client {
    Client::of(None, IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

/// Who says where a steered name leads.
enum Decider<'w> {
    Steering(&'w mut Steering),
    Decided(&'w Arc<Plan>, &'w Answer),
    Nobody,
}

impl Decider<'_> {
    fn plan(&self) -> Option<Arc<Plan>> {
        match self {
            Self::Steering(steering) => Some(Arc::clone(steering.plan())),
            Self::Decided(plan, _) => Some(Arc::clone(plan)),
            Self::Nobody => None,
        }
    }

    fn answer(&mut self, site: &SiteId, client: Client, now: Timestamp) -> Option<Answer> {
        match self {
            Self::Steering(steering) => steering.answer(site, client.prefix, now),
            Self::Decided(_, answer) => Some((*answer).clone()),
            Self::Nobody => None,
        }
    }
}

/// Where a walk is: at a name of a zone, and the node that was found for it.
#[derive(Clone, Copy)]
struct Place<'p> {
    name: &'p Name,
    zone: &'p Zone,
    node: &'p Node,
}

struct Walk<'w> {
    table: &'w NameTable,
    decider: Decider<'w>,
    forwarder: Option<&'w Forwarder>,
    client: Client,
    now: Timestamp,
    rtype: Rtype,
    /// Whether signatures are asked for (RFC 3225).
    dnssec_ok: bool,
    reply: Reply,
    mapped: Mapped,
    /// Records behind a steered CNAME are cached no longer than it.
    ttl_max: u32,
    /// How many steered names were met.
    steered: u32,
    decision: Option<Decision>,
}

impl<'w> Walk<'w> {
    fn new(
        table: &'w NameTable,
        decider: Decider<'w>,
        question: &Question,
        client: Client,
        now: Timestamp,
    ) -> Self {
        Self {
            table,
            decider,
            forwarder: None,
            client,
            now,
            rtype: question.rtype,
            dnssec_ok: false,
            reply: Reply::bare(Rcode::NOERROR),
            mapped: Mapped::default(),
            ttl_max: u32::MAX,
            steered: 0,
            decision: None,
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
        let found = zone.find(name, self.rtype);
        if let Some(why) = zone.why_absent().filter(|_| !self.is_steered_at(&found)) {
            if is_first {
                self.fail(why);
            }
            return None;
        }
        match found {
            Found::Renamed(owner, set) => self.rename(name, &zone, &owner, set),
            Found::Cut(owner, delegation) => {
                // Behind an alias the resolver finds its own way.
                if is_first {
                    self.refer(&zone, &owner, delegation);
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
                self.show_no_name(&zone, name);
                None
            }
            Found::Node(node) => {
                self.reply.authoritative = true;
                let at = Place { name, zone: &zone, node };
                self.show_expansion(at);
                self.at_node(at)
            }
        }
    }

    /// Whether an address is asked for that the zone's records have no part in.
    fn is_steered_at(&self, found: &Found<'_>) -> bool {
        matches!(self.rtype, Rtype::A | Rtype::AAAA)
            && matches!(found, Found::Node(node) if node.site.is_some())
    }

    /// Says that there is no answer, and why.
    fn fail(&mut self, why: ExtendedErrorCode) {
        self.reply.rcode = Rcode::SERVFAIL;
        self.reply.authoritative = false;
        self.reply.extended_error = Some(why);
    }

    /// Answers for a name below a DNAME: a CNAME to the name that stands for it (RFC 6672 §3).
    fn rename(&mut self, name: &Name, zone: &Zone, owner: &Name, set: &RecordSet) -> Option<Name> {
        self.reply.authoritative = true;
        // A chain may come by here again.
        let is_told = |record: &Record| record.rtype() == Rtype::DNAME && record.owner() == owner;
        if !self.reply.answer.iter().any(is_told) {
            self.push_set(owner, zone.node(owner), set);
        }
        let Some(Data::Dname(dname)) = set.data.first() else { return None };
        let kept = name.len() - owner.len();
        let octets = [&name.as_slice()[..kept], dname.dname().as_slice()].concat();
        let Ok(target) = Name::from_octets(Bytes::from(octets)) else {
            // RFC 6672 §2.2: the new name would be too long.
            self.reply.rcode = Rcode::YXDOMAIN;
            return None;
        };
        self.push(name, set.ttl, Data::Cname(Cname::new(target.clone())));
        (!matches!(self.rtype, Rtype::CNAME | Rtype::ANY)).then_some(target)
    }

    fn at_node(&mut self, at: Place<'_>) -> Option<Name> {
        let Place { name, node, .. } = at;
        if self.rtype == Rtype::ANY {
            return self.minimal_any(at);
        }
        if let Some(site) = &node.site
            && (is_steered(self.rtype) || node.set(self.rtype).is_none())
        {
            return self.steer(at, site);
        }
        if let Some(set) = node.set(self.rtype) {
            self.push_set(name, Some(node), set);
            return None;
        }
        match node.set(Rtype::CNAME) {
            Some(set) => {
                self.push_set(name, Some(node), set);
                alias_of(set)
            }
            None => self.deny(at),
        }
    }

    /// Answers for a steered name. Both answers of a name are of one record type, edge or
    /// remainder: resolvers prefer one type, so a mix would not be divided as decided.
    fn steer(&mut self, at: Place<'_>, id: &SiteId) -> Option<Name> {
        let Place { name, zone, node } = at;
        self.steered += 1;
        let plan = self.decider.plan()?;
        let site = plan.sites.get(id)?;
        let by_name = is_alias(self.table, self.forwarder, name, zone, node, site);
        if !by_name && !matches!(self.rtype, Rtype::A | Rtype::AAAA) {
            return self.deny(at);
        }
        let answer = self.decider.answer(id, self.client, self.now)?;
        self.decision = Decision::of(plan.generation, id, self.client.prefix, &answer);
        self.reply.scope = self.client.scope_of(&answer);
        let ttl = u32::try_from(answer.ttl.as_secs()).unwrap_or(u32::MAX);
        match answer.target {
            Target::Edge(edge) => {
                self.mapped.to_edges += 1;
                if by_name {
                    return self.alias(at, name_of(&plan.edge_name(&edge).ok()?), ttl);
                }
                let region = plan.regions.get(&answer.region);
                let edge = region.and_then(|region| region.edges.get(&edge));
                self.addresses(at, edge.map_or(&[], |edge| &edge.addresses), ttl)
            }
            Target::Name(remainder) => {
                self.mapped.to_remainder += 1;
                if by_name {
                    return self.alias(at, name_of(&remainder), ttl);
                }
                self.records_of(at, &name_of(&remainder), ttl)
            }
            Target::Records => {
                self.mapped.to_remainder += 1;
                // The site's name in the network's zone stands for its first host.
                let hosts = site.hosts.iter().map(name_of);
                let host = hosts.clone().find(|host| host == name).or(hosts.clone().next());
                self.records_of(at, &host?, ttl)
            }
            Target::Addresses(addresses) => {
                self.mapped.to_remainder += 1;
                self.addresses(at, &addresses, ttl)
            }
        }
    }

    /// Answers with the addresses that `target` has in a zone held here, or that its own name
    /// server gives it, for `ttl` at most.
    fn records_of(&mut self, at: Place<'_>, target: &Name, ttl: u32) -> Option<Name> {
        // They are not made in advance, and may be others the next time.
        self.decision = None;
        match self.table.addresses(target, self.rtype) {
            Ok(Some(set)) => {
                let set = RecordSet { ttl: ttl.min(set.ttl), ..set.clone() };
                self.push_said(at, set);
                None
            }
            Ok(None) => {
                self.reply.scope = 0;
                self.deny(at)
            }
            Err(ExtendedErrorCode::NOT_AUTHORITATIVE) => {
                self.forwarded(at, target, ttl);
                None
            }
            Err(why) => {
                self.reply.scope = 0;
                self.fail(why);
                None
            }
        }
    }

    /// Answers with what the purchaser's name server says of `target`, as far as that is known.
    fn forwarded(&mut self, at: Place<'_>, target: &Name, ttl: u32) {
        let client = self.client.prefix;
        let wish = Wish { name: target.clone(), rtype: self.rtype, client };
        let forwarder = self.forwarder.filter(|forwarder| forwarder.covers(target));
        let known = forwarder.map(|forwarder| forwarder.known(wish, self.now));
        match known {
            Some(Known::Answer { data, ttl: left, .. }) if !data.is_empty() => {
                self.push_said(at, RecordSet { rtype: self.rtype, ttl: ttl.min(left), data });
            }
            Some(Known::Answer { .. }) => {
                self.reply.scope = 0;
                self.deny(at);
            }
            Some(Known::Nothing) => {
                self.reply.scope = 0;
                self.fail(ExtendedErrorCode::NETWORK_ERROR);
                self.reply.comes_later = true;
            }
            None => {
                self.reply.scope = 0;
                self.fail(ExtendedErrorCode::OTHER);
            }
        }
    }

    fn alias(&mut self, at: Place<'_>, target: Name, ttl: u32) -> Option<Name> {
        let data = vec![Data::Cname(Cname::new(target.clone()))];
        self.push_said(at, RecordSet { rtype: Rtype::CNAME, ttl, data });
        self.ttl_max = self.ttl_max.min(ttl);
        (self.rtype != Rtype::CNAME).then_some(target)
    }

    fn addresses(&mut self, at: Place<'_>, addresses: &[IpAddr], ttl: u32) -> Option<Name> {
        let rtype = self.rtype;
        let records = addresses.iter().map(|address| address_record(*address));
        let fitting = records.filter(|(held, _)| *held == rtype);
        let data: Vec<Data> = fitting.map(|(_, data)| data).collect();
        if data.is_empty() {
            // RFC 7871 §7.4: a denial is the same for all.
            self.reply.scope = 0;
            return self.deny(at);
        }
        self.push_said(at, RecordSet { rtype, ttl, data });
        None
    }

    /// RFC 8482 §4.2: an answer that satisfies and is of no use to an attacker. Who asks for
    /// signatures gets one of the sets that have some (§4.1).
    fn minimal_any(&mut self, at: Place<'_>) -> Option<Name> {
        let Place { name, node, .. } = at;
        let signed = || self.signed_set(at);
        if let Some(set) = node.set(Rtype::CNAME).or_else(signed) {
            self.push_set(name, Some(node), set);
        } else if node.is_empty() {
            return self.deny(at);
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
    fn deny(&mut self, at: Place<'_>) -> Option<Name> {
        if let Some(why) = at.zone.why_absent() {
            self.fail(why);
            return None;
        }
        self.reply.authority.push(at.zone.denial().clone());
        self.show_no_type(at);
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
        self.show_delegation(zone, owner);
    }

    /// Answers with a set that stands at `node`, beside its signatures if they are asked for.
    fn push_set(&mut self, name: &Name, node: Option<&Node>, set: &RecordSet) {
        self.reply.answer.extend(records(name, set, self.ttl_max));
        self.sign_set(name, node, set);
    }

    /// Answers with a set that steering chose.
    fn push_said(&mut self, at: Place<'_>, set: RecordSet) {
        self.reply.answer.extend(records(at.name, &set, self.ttl_max));
        self.sign_said(at, &set);
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

/// Whether a site's answers are CNAMEs where they may be: its remainder goes to a name of the purchaser's.
pub(crate) fn is_by_name(site: &Site) -> bool {
    matches!(site.owner, Owner::Purchaser(_)) && matches!(site.remainder, Remainder::ReturnName(_))
}

/// Whether a steered name is answered with a CNAME: nothing else stands there (RFC 1034 §3.6.2). At
/// the name of a host's own little zone there is more; it is answered so only where nothing else is
/// known of the name that the remainder goes to.
pub(crate) fn is_alias(
    table: &NameTable,
    forwarder: Option<&Forwarder>,
    name: &Name,
    zone: &Zone,
    node: &Node,
    site: &Site,
) -> bool {
    if zone.is_assumed() {
        return is_alias_at_host(table, forwarder, site);
    }
    is_by_name(site) && name != zone.apex() && !node.has_others()
}

/// The same at the name of a host's own little zone.
pub(crate) fn is_alias_at_host(
    table: &NameTable,
    forwarder: Option<&Forwarder>,
    site: &Site,
) -> bool {
    let Remainder::ReturnName(remainder) = &site.remainder else { return false };
    let remainder = name_of(remainder);
    is_by_name(site)
        && !table.holds(&remainder)
        && !forwarder.is_some_and(|forwarder| forwarder.covers(&remainder))
}

/// Why a question may not be asked at all, if it may not: it is not of class IN, or for a whole
/// zone.
pub(crate) fn refusal(question: &Question) -> Option<ExtendedErrorCode> {
    match question.rtype {
        _ if question.class != Class::IN => Some(ExtendedErrorCode::NOT_SUPPORTED),
        Rtype::AXFR | Rtype::IXFR => Some(ExtendedErrorCode::PROHIBITED),
        _ => None,
    }
}
