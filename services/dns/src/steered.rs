//! The answers for steered names as they stand on the wire: one to each edge, one to each site's
//! remainder, or to each of the servers it is assigned to. They are made in advance by asking the slow
//! path what it would say if so decided; only the TTLs are set when one is given. What is decided for
//! whom stands in [`crate::decisions`]. Pure.
//!
//! Not here are answers that lead to another steered name, remainders that zones or other name servers
//! give, and what does not fit a datagram for those who do not speak EDNS. That an address of the type
//! asked for is not there is a denial, which is the same for all.

mod secure;
#[cfg(test)]
mod tests;

use std::{cell::RefCell, collections::HashMap, sync::Arc, time::Duration};

use domain::base::{Rtype, iana::Class, rdata::ComposeRecordData as _};
use foldhash::quality::RandomState;
use headroom_steer::{Answer, Plan, Remainder, Server, Site, Target};
use headroom_units::{EdgeId, Generation, RegionId, SiteId};

use crate::{
    NameTable,
    decisions::{Decision, Said},
    dnssec::Variant,
    forward::Forwarder,
    limits,
    lookup::{self, is_by_name},
    message::{Name, Question, Rcode, Record, Reply},
    names::name_of,
};

pub(crate) use secure::{Secure, SetNumbers, Signatures};

/// A type that no name has (RFC 6895 §3.1: private use). What is answered to it is answered to all
/// types that a name has no records of.
pub(crate) const UNUSED: Rtype = Rtype::from_int(65_280);
/// A pointer to the question's name (RFC 1035 §4.1.4).
const QUESTION: [u8; 2] = [0xc0, 12];
/// A TTL that cuts none (RFC 2181 §8).
const LONGEST: Duration = Duration::from_secs(0x7fff_ffff);

/// The answers for the steered names of one plan. It does not change.
#[derive(Debug, Default)]
pub(crate) struct SteeredAnswers {
    generation: Option<Generation>,
    sites: Vec<SiteAnswers>,
    numbers: HashMap<SiteId, u32, RandomState>,
    regions: Vec<RegionId>,
    edges: HashMap<EdgeId, u32, RandomState>,
    to_edges: Vec<ToEdge>,
    /// The sets of records that steered names give, if any zone is signed.
    sets: SetNumbers,
}

/// The answers for one site.
#[derive(Debug)]
struct SiteAnswers {
    id: SiteId,
    by_name: bool,
    /// Whether its host names that are little zones of their own are answered in its own way.
    fits_hosts: bool,
    remainder: ByType,
    /// Of each server that its remainder is assigned to.
    servers: Box<[ByType]>,
}

/// The answers with one edge: they are the same for all sites.
#[derive(Debug)]
struct ToEdge {
    by_name: ByType,
    by_address: ByType,
}

/// To A, to AAAA, and to any other type.
type ByType = [Told; 3];

/// What is asked for of a steered name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    A,
    Aaaa,
    /// A type that it has no records of; it is a name that is answered by an alias.
    Other,
}

/// What is said to one of them.
#[derive(Debug, Clone, Default)]
pub(crate) enum Told {
    Records(Template),
    /// There is no such record.
    Denial,
    /// The slow path has to answer.
    #[default]
    Elsewhere,
}

/// An answer without its header, question and OPT record.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    /// ANCOUNT and NSCOUNT as they stand in the header.
    pub(crate) counts: [u8; 4],
    pub(crate) records: Box<[u8]>,
    /// Where the TTLs stand that depend on the decision, and the most that each may be.
    ttls: Box<[(u16, u32)]>,
    /// What is said to those who ask for signatures, if any zone is signed.
    secure: Option<Box<Secure>>,
}

impl SteeredAnswers {
    /// The answers for the steered names that `table` has by `plan`, beside what `forwarder` asks
    /// for.
    pub(crate) fn of(plan: &Arc<Plan>, table: &NameTable, forwarder: Option<&Forwarder>) -> Self {
        let sets = table.has_signed().then(RefCell::default);
        let maker = Maker { plan, table, forwarder, sets };
        let edges = plan
            .regions
            .iter()
            .flat_map(|(region, of)| of.edges.keys().map(move |edge| (region, edge)));
        let edges: Vec<_> = edges.collect();
        let number = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let site_of = |by_name| plan.sites.iter().find(|(_, site)| is_by_name(site) == by_name);
        let (named, addressed) = (site_of(true), site_of(false));
        let to_edge = |site: Option<(&SiteId, &Site)>, region: &RegionId, edge: &EdgeId| {
            let target = || Target::Edge(edge.clone());
            site.map(|(id, _)| maker.by_type(id, region, target())).unwrap_or_default()
        };
        let to_edges = edges.iter().map(|(region, edge)| ToEdge {
            by_name: to_edge(named, region, edge),
            by_address: to_edge(addressed, region, edge),
        });
        let mut answers = Self {
            generation: Some(plan.generation),
            sites: plan.sites.iter().map(|(id, site)| maker.site(id, site)).collect(),
            numbers: plan
                .sites
                .keys()
                .enumerate()
                .map(|(at, id)| (id.clone(), number(at)))
                .collect(),
            regions: plan.regions.keys().cloned().collect(),
            to_edges: to_edges.collect(),
            edges: edges
                .iter()
                .enumerate()
                .map(|(at, (_, edge))| ((*edge).clone(), number(at)))
                .collect(),
            sets: SetNumbers::default(),
        };
        answers.sets = maker.sets.map(RefCell::into_inner).unwrap_or_default();
        answers
    }

    /// The signatures of a name that has these variants.
    pub(crate) fn signatures(&self, variants: &[Variant]) -> Signatures {
        Signatures::of(variants, &self.sets)
    }

    /// The number of a site here.
    pub(crate) fn number(&self, site: &SiteId) -> Option<u32> {
        self.numbers.get(site).copied()
    }

    /// The site and the region of these numbers.
    pub(crate) fn place(&self, site: u32, region: u16) -> Option<(SiteId, RegionId)> {
        let site = self.site(site)?.id.clone();
        Some((site, self.regions.get(usize::from(region))?.clone()))
    }

    /// What was decided, in numbers; `None` if it was decided under another plan.
    pub(crate) fn numbered(&self, decision: &Decision) -> Option<(u32, u16, Said)> {
        if self.generation != Some(decision.generation) {
            return None;
        }
        let region = self.regions.binary_search(&decision.region).ok()?;
        let said = match (&decision.edge, decision.server) {
            (Some(edge), _) => Said::Edge(*self.edges.get(edge)?),
            (None, Some(server)) => Said::Server(u16::try_from(server).ok()?),
            (None, None) => Said::Remainder,
        };
        Some((self.number(&decision.site)?, u16::try_from(region).ok()?, said))
    }

    /// What is said of a site, as it is decided.
    pub(crate) fn told(&self, site: u32, said: Said, wanted: Wanted) -> &Told {
        let by_type = self.site(site).and_then(|site| match said {
            Said::Remainder => Some(&site.remainder),
            Said::Server(server) => site.servers.get(usize::from(server)),
            Said::Edge(edge) => {
                let edge = self.to_edges.get(usize::try_from(edge).ok()?)?;
                Some(if site.by_name { &edge.by_name } else { &edge.by_address })
            }
        });
        by_type.map_or(&Told::Elsewhere, |by_type| &by_type[wanted as usize])
    }

    /// Whether a site is answered by name.
    pub(crate) fn is_by_name(&self, site: u32) -> bool {
        self.site(site).is_some_and(|site| site.by_name)
    }

    /// Whether a site's hosts that are little zones of their own are answered by name; `None` if
    /// the slow path has to answer for them.
    pub(crate) fn hosts_by_name(&self, site: u32) -> Option<bool> {
        self.site(site).filter(|site| site.fits_hosts).map(|site| site.by_name)
    }

    fn site(&self, number: u32) -> Option<&SiteAnswers> {
        self.sites.get(usize::try_from(number).ok()?)
    }
}

struct Maker<'p> {
    plan: &'p Arc<Plan>,
    table: &'p NameTable,
    forwarder: Option<&'p Forwarder>,
    /// If any zone is signed.
    sets: Option<RefCell<SetNumbers>>,
}

impl Maker<'_> {
    fn site(&self, id: &SiteId, site: &Site) -> SiteAnswers {
        let target = match &site.remainder {
            Remainder::ReturnName(name) if is_by_name(site) => Some(Target::Name(name.clone())),
            Remainder::ReturnAddresses(addresses) => Some(Target::Addresses(addresses.clone())),
            Remainder::ReturnName(_)
            | Remainder::ReturnRecords
            | Remainder::Assign(_)
            | Remainder::AssignByDns { .. } => None,
        };
        let remainder = target.zip(self.plan.regions.keys().next());
        let remainder = remainder.map(|(target, region)| self.by_type(id, region, target));
        let by_name = is_by_name(site);
        let fits_hosts = lookup::is_alias_at_host(self.table, self.forwarder, site) == by_name;
        SiteAnswers {
            id: id.clone(),
            by_name,
            fits_hosts,
            remainder: remainder.unwrap_or_default(),
            servers: self.servers(id, &site.remainder),
        }
    }

    fn servers(&self, id: &SiteId, remainder: &Remainder) -> Box<[ByType]> {
        let Remainder::Assign(assignment) = remainder else { return Box::default() };
        let Some(region) = self.plan.regions.keys().next() else { return Box::default() };
        let to =
            |server: &Server| self.by_type(id, region, Target::Addresses(server.addresses.clone()));
        assignment.servers.iter().map(to).collect()
    }

    fn by_type(&self, site: &SiteId, region: &RegionId, target: Target) -> ByType {
        let (ttl, region) = (LONGEST, region.clone());
        let answer = Answer { target, ttl, region, scope: 0, server: None, hold: None };
        let told = |rtype| self.told(site, rtype, &answer).unwrap_or_default();
        [Rtype::A, Rtype::AAAA, UNUSED].map(told)
    }

    /// What the slow path says to the site's name in the network's zone. It says the same to its
    /// other names.
    fn told(&self, site: &SiteId, rtype: Rtype, answer: &Answer) -> Option<Told> {
        let name = name_of(&self.plan.zone.child(site.as_str()).ok()?);
        let question = Question { name, rtype, class: Class::IN };
        let look_up =
            |dnssec_ok| lookup::look_up_as(self.table, self.plan, &question, answer, dnssec_ok);
        let reply = look_up(false)?;
        if reply.rcode == Rcode::NOERROR && reply.answer.is_empty() && !reply.authority.is_empty() {
            return Some(Told::Denial);
        }
        let mut template = Template::of(&question.name, &reply)?;
        if let Some(sets) = &self.sets {
            let secure = Secure::of(&question.name, &look_up(true)?, &mut sets.borrow_mut());
            template.secure = secure.map(Box::new);
        }
        Some(Told::Records(template))
    }
}

impl Template {
    /// `reply`, as it is said to any name that is asked about.
    pub(crate) fn of(question: &Name, reply: &Reply) -> Option<Self> {
        let is_plain = reply.rcode == Rcode::NOERROR
            && reply.authoritative
            && reply.additional.is_empty()
            && !(reply.answer.is_empty() && reply.authority.is_empty());
        if !is_plain {
            return None;
        }
        let (mut records, mut ttls) = (Vec::new(), Vec::new());
        for record in &reply.answer {
            write_record(question, record, &mut records, &mut ttls)?;
        }
        // A denial at the end is about a name that is not steered.
        for record in &reply.authority {
            write_record(question, record, &mut records, &mut Vec::new())?;
        }
        let room = usize::from(limits::UDP_ANSWER_PLAIN)
            - limits::HEADER_LENGTH
            - (limits::NAME_MAX + 4)
            - limits::OPT_LENGTH
            - limits::CLIENT_SUBNET_MAX;
        let count = |section: &[Record]| u16::try_from(section.len()).ok().map(u16::to_be_bytes);
        let ([a, b], [c, d]) = count(&reply.answer).zip(count(&reply.authority))?;
        (records.len() <= room).then(|| Self {
            counts: [a, b, c, d],
            records: records.into(),
            ttls: ttls.into(),
            secure: None,
        })
    }

    /// What is said to those who ask for signatures.
    pub(crate) fn secure(&self) -> Option<&Secure> {
        self.secure.as_deref()
    }

    /// Writes the records, none of which may be cached longer than `ttl`.
    pub(crate) fn write(&self, ttl: u32, out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend_from_slice(&self.records);
        for (at, most) in &self.ttls {
            let at = begin + usize::from(*at);
            out[at..at + 4].copy_from_slice(&ttl.min(*most).to_be_bytes());
        }
    }
}

/// Writes a record without pointers but to the question, whatever name that is.
fn write_record(
    question: &Name,
    record: &Record,
    out: &mut Vec<u8>,
    ttls: &mut Vec<(u16, u32)>,
) -> Option<()> {
    if record.owner() == question {
        out.extend_from_slice(&QUESTION);
    } else {
        out.extend_from_slice(record.owner().as_slice());
    }
    out.extend_from_slice(&record.rtype().to_int().to_be_bytes());
    out.extend_from_slice(&record.class().to_int().to_be_bytes());
    ttls.push((u16::try_from(out.len()).ok()?, record.ttl().as_secs()));
    out.extend_from_slice(&record.ttl().as_secs().to_be_bytes());
    record.data().compose_len_rdata(out).ok()
}
