//! The answers for steered names as they stand on the wire: one to each edge, one to each site's
//! remainder, or to each of the servers it is assigned to. They are made once, by asking the slow path
//! what it would say if so decided: those to edges together, those of a site when it is first asked for.
//! Only the TTLs are set when one is given. What is decided for whom stands in [`crate::decisions`].
//! Pure.
//!
//! Not here are answers that lead to another steered name, remainders that zones or other name servers
//! give, and what does not fit a datagram for those who do not speak EDNS. That an address of the type
//! asked for is not there is a denial, which is the same for all.

mod secure;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use domain::base::{Rtype, iana::Class, rdata::ComposeRecordData as _};
use foldhash::quality::RandomState;
use headroom_steer::{Answer, Plan, Remainder, Server, Site, Target};
use headroom_units::{EdgeId, RegionId, SiteId};

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

/// What answers are made from: all that the slow path looks into. It does not change.
#[derive(Debug, Clone, Default)]
pub(crate) struct Source {
    pub(crate) table: Arc<NameTable>,
    /// The plan that the table was made from, if there is one.
    pub(crate) plan: Option<Arc<Plan>>,
    /// Who asks other name servers.
    pub(crate) forwarder: Option<Arc<Forwarder>>,
}

impl Source {
    /// A table, and the plan that it was made from, if there is one.
    pub(crate) fn new(table: impl Into<Arc<NameTable>>, plan: Option<&Arc<Plan>>) -> Self {
        Self { table: table.into(), plan: plan.cloned(), forwarder: None }
    }
}

/// The answers for the steered names of one plan.
#[derive(Debug, Default)]
pub(crate) struct SteeredAnswers {
    source: Source,
    /// The sites in the order of their numbers, which is that of the plan.
    ids: Arc<[SiteId]>,
    sites: Box<[OnceLock<SiteAnswers>]>,
    regions: Vec<RegionId>,
    edges: HashMap<EdgeId, u32, RandomState>,
    to_edges: Vec<ToEdge>,
    /// The sets of records that steered names give, if any zone is signed.
    sets: Option<SetNumbers>,
}

/// The answers for one site.
#[derive(Debug)]
struct SiteAnswers {
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
    /// The answers for the steered names of `source`.
    pub(crate) fn of(source: Source) -> Self {
        let Some(plan) = source.plan.clone() else { return Self::default() };
        let ids = source.table.sites();
        let mut answers = Self {
            sites: ids.iter().map(|_| OnceLock::new()).collect(),
            ids,
            regions: plan.regions.keys().cloned().collect(),
            sets: source.table.has_signed().then(SetNumbers::default),
            source,
            ..Self::default()
        };
        let all = plan
            .regions
            .iter()
            .flat_map(|(region, of)| of.edges.keys().map(move |edge| (region, edge)));
        let maker = Maker { answers: &answers, plan: &plan };
        let to_edges = all.clone().map(|(region, edge)| maker.to_edge(region, edge)).collect();
        answers.to_edges = to_edges;
        answers.edges = all.zip(0..).map(|((_, edge), number)| (edge.clone(), number)).collect();
        answers
    }

    /// The signatures of a name that has these variants.
    pub(crate) fn signatures(&self, variants: &[Variant]) -> Signatures {
        self.sets.as_ref().map(|sets| Signatures::of(variants, sets)).unwrap_or_default()
    }

    /// The number of a site here.
    pub(crate) fn number(&self, site: &SiteId) -> Option<u32> {
        u32::try_from(self.ids.binary_search(site).ok()?).ok()
    }

    /// The site and the region of these numbers.
    pub(crate) fn place(&self, site: u32, region: u16) -> Option<(SiteId, RegionId)> {
        let site = self.ids.get(usize::try_from(site).ok()?)?.clone();
        Some((site, self.regions.get(usize::from(region))?.clone()))
    }

    /// What was decided, in numbers; `None` if it was decided under another plan.
    pub(crate) fn numbered(&self, decision: &Decision) -> Option<(u32, u16, Said)> {
        if self.source.plan.as_ref()?.generation != decision.generation {
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

    /// What is said of a site, made the first time that it is asked for.
    fn site(&self, number: u32) -> Option<&SiteAnswers> {
        let at = usize::try_from(number).ok()?;
        let (id, plan) = (self.ids.get(at)?, self.source.plan.as_ref()?);
        let site = plan.sites.get(id)?;
        let make = || Maker { answers: self, plan }.site(id, site);
        Some(self.sites.get(at)?.get_or_init(make))
    }
}

struct Maker<'a> {
    answers: &'a SteeredAnswers,
    plan: &'a Arc<Plan>,
}

impl Maker<'_> {
    /// What is said with one edge, as any site says it.
    fn to_edge(&self, region: &RegionId, edge: &EdgeId) -> ToEdge {
        let of = |by_name| {
            let mut sites = self.plan.sites.iter();
            let (id, _) = sites.find(|(_, site)| is_by_name(site) == by_name)?;
            Some(self.by_type(id, region, Target::Edge(edge.clone())))
        };
        ToEdge { by_name: of(true).unwrap_or_default(), by_address: of(false).unwrap_or_default() }
    }

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
        let Source { table, forwarder, .. } = &self.answers.source;
        let fits_hosts = lookup::is_alias_at_host(table, forwarder.as_deref(), site) == by_name;
        SiteAnswers {
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
        let table = &self.answers.source.table;
        let look_up =
            |dnssec_ok| lookup::look_up_as(table, self.plan, &question, answer, dnssec_ok);
        let reply = look_up(false)?;
        if reply.rcode == Rcode::NOERROR && reply.answer.is_empty() && !reply.authority.is_empty() {
            return Some(Told::Denial);
        }
        let mut template = Template::of(&question.name, &reply)?;
        if let Some(sets) = &self.answers.sets {
            let secure = Secure::of(&question.name, &look_up(true)?, sets);
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
