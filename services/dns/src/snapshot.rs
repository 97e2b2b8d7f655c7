//! The answers that need no thought, kept as they stand on the wire: those that are the
//! same for everyone, and those of steered names for clients about whom it was decided lately.
//!
//! ```text
//!   read: header, one question, OPT alone ──► snapshot: name, type ─┬────────► header, question, answer
//!     │                                              │              └ steered ─► decided lately? ──┘ yes
//!     └── anything else ─────────────────────────────┴─ not there ──────────────┴─ no ─► slow path (lookup.rs)
//! ```
//!
//! A snapshot belongs to a table and does not change. What a name answers is made when it is first asked
//! for, by asking the slow path, and is there from then on: what the two answer cannot differ, and a plan
//! with many names is in force before anything is made of it. The little zones of host names, of which
//! there may be a million, all say the same but for their names. Names of signed zones have what they say
//! to those who ask for signatures beside it. Not in it are what leads to steered names, names of a site
//! that are not answered in its own way, wildcards and most of what they stand for, names at and below a
//! delegation, names that do not exist, and answers that do not fit a datagram for those who do not speak
//! EDNS. Pure.

mod secure;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use domain::base::{Rtype, iana::Class};
use foldhash::quality::RandomState;
use headroom_steer::{Answer, Target};
use headroom_units::Timestamp;

use crate::{
    NameTable,
    asked::Asked,
    decisions::Decisions,
    ecs::Client,
    hosts::HostNames,
    limits, lookup,
    message::{self, Name, Question, Rcode, Reply, Request},
    steered::{self, Source, SteeredAnswers, Told, UNUSED, Wanted},
    zone::Found,
};
use secure::{SecureAnswers, is_odd};

/// Answers by name.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    source: Source,
    names: HashMap<Box<[u8]>, Entry, RandomState>,
    hosts: Arc<HostNames>,
    /// What all of them say whose sites are answered by address, and by name.
    at_hosts: [OnceLock<Answers>; 2],
    pub(crate) steered: SteeredAnswers,
    is_any_signed: bool,
    /// What many names say to types that they have no records of.
    shared: Mutex<HashSet<Arc<Template>>>,
}

/// A name of a zone.
#[derive(Debug)]
struct Entry {
    name: Name,
    /// What it answers; nothing if the slow path has to.
    answers: OnceLock<Option<Answers>>,
}

/// How a query was answered here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answered {
    /// As everyone is.
    SameForAll,
    /// As it was decided for the client.
    Steered,
}

/// What one name answers.
#[derive(Debug, Default)]
struct Answers {
    /// For types it has records of; none where the slow path has to answer.
    by_type: Box<[(u16, Option<Template>)]>,
    /// For types it has no records of; none for an alias. Many names share it.
    other: Option<Arc<Template>>,
    /// The site that decides its addresses.
    site: Option<u32>,
    /// What it says to those who ask for signatures; nothing else than to all others if none.
    secure: Option<Box<SecureAnswers>>,
}

/// An answer without its header, question and OPT record. Its names point to the question, which
/// has one length in whatever case it is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Template {
    /// NSCOUNT and ANCOUNT as they stand in the header; there are no others.
    counts: [u8; 4],
    records: Box<[u8]>,
}

impl Snapshot {
    /// The answers that are made from `source`.
    pub(crate) fn of(source: Source) -> Self {
        let table = &source.table;
        let mut names =
            HashMap::with_capacity_and_hasher(table.owners().count(), RandomState::default());
        for name in table.owners() {
            let entry = Entry { name: name.clone(), answers: OnceLock::new() };
            names.insert(name.as_slice().to_ascii_lowercase().into(), entry);
        }
        Self {
            names,
            hosts: table.hosts(),
            is_any_signed: table.has_signed(),
            steered: SteeredAnswers::of(source.clone()),
            source,
            ..Self::default()
        }
    }

    /// Writes the answer to a query that came in a datagram from `source`. `None` if the slow path has
    /// to answer, or has to leave it unanswered; then `answer` holds nothing of use.
    pub(crate) fn answer(
        &self,
        query: &[u8],
        source: IpAddr,
        decisions: &mut Decisions,
        now: Timestamp,
        answer: &mut Vec<u8>,
    ) -> Option<Answered> {
        let asked = Asked::read(query)?;
        let (answers, site) = self.find(asked.lower(&mut [0; limits::NAME_MAX]))?;
        let is_secure = self.is_any_signed && asked.is_secure();
        let steered = site.and_then(|site| Some((site, self.wanted(answers, site, asked.rtype)?)));
        let Some((site, wanted)) = steered else {
            answers.template(asked.rtype, is_secure)?.write(&asked, query, answer);
            return (answer.len() <= asked.limit()).then_some(Answered::SameForAll);
        };
        let client = Client::of(asked.edns.and_then(|edns| edns.subnet), source);
        let recalled = decisions.recall(site, client.prefix, now)?;
        match self.steered.told(site, recalled.said, wanted) {
            Told::Records(template) if is_secure => {
                let signatures = answers.secure.as_ref().and_then(|secure| secure.signatures());
                let begin = |counts, answer: &mut Vec<u8>| asked.begin(query, counts, answer);
                template.secure()?.write(signatures, recalled.ttl, begin, answer)?;
                asked.end(client.scope, answer);
            }
            Told::Records(template) => {
                asked.begin(query, template.counts, answer);
                template.write(recalled.ttl, answer);
                asked.end(client.scope, answer);
            }
            Told::Denial => answers.denial(wanted, is_secure)?.write(&asked, query, answer),
            Told::Elsewhere => return None,
        }
        if answer.len() > asked.limit() {
            return None;
        }
        decisions.count(&recalled);
        Some(Answered::Steered)
    }

    /// What is wanted of a site at one of its names, if it is for the site to decide.
    fn wanted(&self, answers: &Answers, site: u32, rtype: u16) -> Option<Wanted> {
        const A: u16 = Rtype::A.to_int();
        const AAAA: u16 = Rtype::AAAA.to_int();
        const CNAME: u16 = Rtype::CNAME.to_int();
        match rtype {
            A => Some(Wanted::A),
            AAAA => Some(Wanted::Aaaa),
            // Only who asks for the alias itself is not told what is behind it.
            CNAME => None,
            _ if !is_plain(rtype) || answers.by_type.iter().any(|(held, _)| *held == rtype) => None,
            _ => self.steered.is_by_name(site).then_some(Wanted::Other),
        }
    }

    /// What a name answers, and the site that decides its addresses. It is made the first time.
    fn find(&self, name: &[u8]) -> Option<(&Answers, Option<u32>)> {
        let maker = Maker(self);
        if let Some(entry) = self.names.get(name)
            && let Some(answers) = entry.answers.get_or_init(|| maker.answers(&entry.name))
        {
            return Some((answers, answers.site));
        }
        let site = self.hosts.site(name)?;
        let by_name = self.steered.hosts_by_name(site)?;
        let at_hosts = &self.at_hosts[usize::from(by_name)];
        let make = || maker.at_host(name, by_name).unwrap_or_default();
        Some((at_hosts.get_or_init(make), Some(site)))
    }
}

/// Makes a snapshot's answers by asking the slow path.
struct Maker<'s>(&'s Snapshot);

impl Maker<'_> {
    /// What a name of a zone answers; nothing if another zone answers for it.
    fn answers(&self, name: &Name) -> Option<Answers> {
        let Source { table, plan, forwarder } = &self.0.source;
        // Of two zones that know a name, only the nearer answers for it; and none does for what it
        // has below a cut or a DNAME.
        let zone = table.zone(name, Rtype::A).filter(|zone| zone.node(name).is_some())?;
        let Found::Node(node) = zone.find(name, Rtype::A) else { return None };
        let rtypes: Vec<Rtype> = node.rtypes().collect();
        // What is made in advance for a site fits where it is answered in the site's own way.
        let site = node.site.as_ref().and_then(|id| {
            let site = plan.as_ref()?.sites.get(id)?;
            let forwarder = forwarder.as_deref();
            let is_alias = lookup::is_alias(table, forwarder, name, &zone, node, site);
            let by_name = lookup::is_by_name(site);
            Some((self.0.steered.number(id)?, by_name)).filter(|_| is_alias == by_name)
        });
        // What an alias answers is up to another name, which may have records of any type.
        let is_alias = rtypes.contains(&Rtype::CNAME);
        let followed: &[Rtype] = if is_alias { &[Rtype::A, Rtype::AAAA] } else { &[] };
        let template = |rtype: Rtype| Template::of(table, &question(name, rtype));
        let by_type = rtypes.iter().chain(followed);
        let by_type = by_type
            .map(|rtype| (rtype.to_int(), if is_odd(*rtype) { None } else { template(*rtype) }));
        let other = match site {
            Some((_, by_name)) if !by_name && !is_alias => self
                .denial(name, UNUSED, false)
                .and_then(|said| Template::of_plain(&question(name, UNUSED), &said)),
            _ if is_alias => None,
            _ => template(UNUSED),
        };
        let other = other.map(|template| {
            let template = Arc::new(template);
            let mut shared = self.0.shared.lock().unwrap_or_else(PoisonError::into_inner);
            shared.get(&template).cloned().unwrap_or_else(|| {
                shared.insert(Arc::clone(&template));
                template
            })
        });
        let secure = self.secure(name, &zone, node, site.map(|(_, by_name)| by_name));
        let site = site.map(|(number, _)| number);
        Some(Answers { by_type: by_type.collect(), other, site, secure })
    }

    /// What all host names say that are little zones of their own, as this one does.
    fn at_host(&self, name: &[u8], by_name: bool) -> Option<Answers> {
        let name = Name::from_octets(name.to_vec().into()).ok()?;
        let apex = [Rtype::SOA, Rtype::NS].map(|rtype| {
            let question = question(&name, rtype);
            let reply = lookup::look_up_unsteered(&self.0.source.table, &question, false);
            (rtype.to_int(), reply.and_then(|reply| Template::at_any_name(&name, &reply)))
        });
        let denial = if by_name { None } else { self.denial(&name, UNUSED, false) };
        let other = denial.and_then(|reply| Template::at_any_name(&name, &reply));
        let other = other.map(Arc::new);
        Some(Answers { by_type: apex.into(), other, site: None, secure: None })
    }

    /// What a steered name that is answered by address says to types that it has no records of.
    fn denial(&self, name: &Name, rtype: Rtype, dnssec_ok: bool) -> Option<Reply> {
        let Source { table, plan, .. } = &self.0.source;
        let plan = plan.as_ref()?;
        let (region, _) = plan.regions.first_key_value()?;
        let nowhere = Target::Addresses(Vec::new());
        let ttl = Duration::ZERO;
        let (target, region) = (nowhere, region.clone());
        let nowhere = Answer { target, ttl, region, scope: 0, server: None, hold: None };
        let question = question(name, rtype);
        lookup::look_up_as(table, plan, &question, &nowhere, dnssec_ok)
    }
}

fn question(name: &Name, rtype: Rtype) -> Question {
    Question { name: name.clone(), rtype, class: Class::IN }
}

impl Answers {
    fn template(&self, rtype: u16, is_secure: bool) -> Option<&Template> {
        let secure = self.secure.as_ref().filter(|_| is_secure);
        match self.by_type.iter().find(|(held, _)| *held == rtype) {
            _ if !is_plain(rtype) => None,
            _ if secure.is_some() => secure?.template(rtype),
            Some((_, template)) => template.as_ref(),
            None => self.other.as_deref(),
        }
    }

    /// That steering gives it no address of the type that is wanted.
    fn denial(&self, wanted: Wanted, is_secure: bool) -> Option<&Template> {
        match self.secure.as_ref().filter(|_| is_secure) {
            Some(secure) => secure.denial(wanted),
            None => self.other.as_deref(),
        }
    }
}

impl Template {
    fn of(table: &NameTable, question: &Question) -> Option<Self> {
        Self::of_plain(question, &lookup::look_up_unsteered(table, question, false)?)
    }

    /// `reply`, as it is said to this question, for those who do not speak EDNS too.
    fn of_plain(question: &Question, reply: &Reply) -> Option<Self> {
        Self::of_reply(question, reply, limits::UDP_ANSWER_PLAIN)
    }

    /// `reply`, as it is said to this question, with room within `limit` for what those who speak
    /// EDNS get.
    fn of_reply(question: &Question, reply: &Reply, limit: u16) -> Option<Self> {
        if !reply.authoritative || reply.rcode != Rcode::NOERROR || !reply.additional.is_empty() {
            return None;
        }
        let request = Request::of(question.clone());
        let limit = usize::from(limit) - limits::OPT_LENGTH - limits::CLIENT_SUBNET_MAX;
        let written = message::write(&request, reply, limit);
        if written.truncated {
            return None;
        }
        let records = limits::HEADER_LENGTH + question.name.len() + 4;
        let counts = written.octets.get(6..10)?.try_into().ok()?;
        Some(Self { counts, records: written.octets.get(records..)?.into() })
    }

    /// `reply`, as it is said to any name in place of this one.
    fn at_any_name(name: &Name, reply: &Reply) -> Option<Self> {
        let steered::Template { counts, records, .. } = steered::Template::of(name, reply)?;
        Some(Self { counts, records })
    }

    /// Writes it as the answer to a query. It is the same for everyone (RFC 7871 §7.2.1).
    fn write(&self, asked: &Asked<'_>, query: &[u8], answer: &mut Vec<u8>) {
        asked.begin(query, self.counts, answer);
        answer.extend_from_slice(&self.records);
        asked.end(0, answer);
    }
}

/// False for the types that ask for more or for something else than the records of a name.
fn is_plain(rtype: u16) -> bool {
    let (ds, opt) = (Rtype::DS.to_int(), Rtype::OPT.to_int());
    rtype != ds && rtype != opt && !(128..=255).contains(&rtype)
}
