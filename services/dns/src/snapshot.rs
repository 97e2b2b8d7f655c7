//! The answers that need no thought, made in advance as they stand on the wire: those that are the
//! same for everyone, and those of steered names for clients about whom it was decided lately.
//!
//! ```text
//!   read: header, one question, OPT alone ──► snapshot: name, type ─┬────────► header, question, answer
//!     │                                              │              └ steered ─► decided lately? ──┘ yes
//!     └── anything else ─────────────────────────────┴─ not there ──────────────┴─ no ─► slow path (lookup.rs)
//! ```
//!
//! A snapshot is made from a table together with it, by asking the slow path for every name it
//! holds: what the two answer cannot differ. The little zones of host names, of which there may be a
//! million, all say the same but for their names, and are asked once. Names of signed zones have what
//! they say to those who ask for signatures beside it. Not in it are what leads to steered names, names
//! of a site that are not answered in its own way, wildcards and most of what they stand for, names at
//! and below a delegation, names that do not exist, and answers that do not fit a datagram for those
//! who do not speak EDNS. Pure.

mod secure;

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use domain::base::{Rtype, iana::Class};
use foldhash::quality::RandomState;
use headroom_steer::{Answer, Plan, Target};
use headroom_units::Timestamp;

use crate::{
    NameTable,
    asked::Asked,
    decisions::Decisions,
    ecs::Client,
    forward::Forwarder,
    hosts::HostNames,
    limits, lookup,
    message::{self, Name, Question, Rcode, Reply, Request},
    steered::{self, SteeredAnswers, Told, UNUSED, Wanted},
    zone::Found,
};
use secure::{SecureAnswers, is_odd};

/// Answers by name. It does not change.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    names: HashMap<Box<[u8]>, Answers, RandomState>,
    hosts: Arc<HostNames>,
    /// What all of them say whose sites are answered by address, and by name.
    at_hosts: [Answers; 2],
    pub(crate) steered: SteeredAnswers,
    is_any_signed: bool,
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
    /// The answers of `table`, which was made from `plan`, if there is one, beside what `forwarder`
    /// asks for.
    pub(crate) fn of(
        table: &NameTable,
        plan: Option<&Arc<Plan>>,
        forwarder: Option<&Forwarder>,
    ) -> Self {
        let of_plan = |plan| SteeredAnswers::of(plan, table, forwarder);
        let steered = plan.map(of_plan).unwrap_or_default();
        let is_any_signed = table.has_signed();
        let maker = Maker { table, plan, forwarder, steered: &steered, is_any_signed };
        let (mut names, mut shared) = (HashMap::default(), HashSet::new());
        for (apex, name) in table.owners() {
            if let Some(answers) = maker.answers(apex, name, &mut shared) {
                names.insert(name.as_slice().to_ascii_lowercase().into(), answers);
            }
        }
        let at_hosts = [false, true].map(|by_name| maker.at_hosts(by_name).unwrap_or_default());
        Self { names, hosts: table.hosts(), at_hosts, steered, is_any_signed }
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

    /// What a name answers, and the site that decides its addresses.
    fn find(&self, name: &[u8]) -> Option<(&Answers, Option<u32>)> {
        if let Some(answers) = self.names.get(name) {
            return Some((answers, answers.site));
        }
        let site = self.hosts.site(name)?;
        let by_name = self.steered.hosts_by_name(site)?;
        Some((&self.at_hosts[usize::from(by_name)], Some(site)))
    }
}

/// Makes a snapshot's answers by asking the slow path.
struct Maker<'t> {
    table: &'t NameTable,
    plan: Option<&'t Arc<Plan>>,
    forwarder: Option<&'t Forwarder>,
    steered: &'t SteeredAnswers,
    is_any_signed: bool,
}

impl Maker<'_> {
    /// What a name of a zone answers; nothing if another zone answers for it.
    fn answers(
        &self,
        apex: &Name,
        name: &Name,
        shared: &mut HashSet<Arc<Template>>,
    ) -> Option<Answers> {
        // Of two zones that know a name, only the nearer answers for it; and none does for what it
        // has below a cut or a DNAME.
        let zone = self.table.zone(name, Rtype::A).filter(|zone| zone.apex() == apex)?;
        let Found::Node(node) = zone.find(name, Rtype::A) else { return None };
        let rtypes: Vec<Rtype> = node.rtypes().collect();
        // What is made in advance for a site fits where it is answered in the site's own way.
        let site = node.site.as_ref().and_then(|id| {
            let site = self.plan?.sites.get(id)?;
            let is_alias = lookup::is_alias(self.table, self.forwarder, name, &zone, node, site);
            let by_name = lookup::is_by_name(site);
            Some((self.steered.number(id)?, by_name)).filter(|_| is_alias == by_name)
        });
        // What an alias answers is up to another name, which may have records of any type.
        let is_alias = rtypes.contains(&Rtype::CNAME);
        let followed: &[Rtype] = if is_alias { &[Rtype::A, Rtype::AAAA] } else { &[] };
        let template = |rtype: Rtype| Template::of(self.table, &question(name, rtype));
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
            shared.get(&template).cloned().unwrap_or_else(|| {
                shared.insert(Arc::clone(&template));
                template
            })
        });
        let secure = self.secure(name, &zone, node, site.map(|(_, by_name)| by_name));
        let site = site.map(|(number, _)| number);
        Some(Answers { by_type: by_type.collect(), other, site, secure })
    }

    /// What all host names say that are little zones of their own, as one of them does.
    fn at_hosts(&self, by_name: bool) -> Option<Answers> {
        let hosts = self.table.hosts();
        let is_such = |(name, site): &(Name, u32)| {
            // One that is signed says something else.
            self.steered.hosts_by_name(*site) == Some(by_name)
                && self.table.host_zone(name).is_some()
        };
        let (name, _) = hosts.iter().find(is_such)?;
        let apex = [Rtype::SOA, Rtype::NS].map(|rtype| {
            let reply = lookup::look_up_unsteered(self.table, &question(&name, rtype), false);
            (rtype.to_int(), reply.and_then(|reply| Template::at_any_name(&name, &reply)))
        });
        let denial = if by_name { None } else { self.denial(&name, UNUSED, false) };
        let other = denial.and_then(|reply| Template::at_any_name(&name, &reply));
        let other = other.map(Arc::new);
        Some(Answers { by_type: apex.into(), other, site: None, secure: None })
    }

    /// What a steered name that is answered by address says to types that it has no records of.
    fn denial(&self, name: &Name, rtype: Rtype, dnssec_ok: bool) -> Option<Reply> {
        let (region, _) = self.plan?.regions.first_key_value()?;
        let nowhere = Target::Addresses(Vec::new());
        let ttl = Duration::ZERO;
        let (target, region) = (nowhere, region.clone());
        let nowhere = Answer { target, ttl, region, scope: 0, server: None, hold: None };
        let question = question(name, rtype);
        lookup::look_up_as(self.table, self.plan?, &question, &nowhere, dnssec_ok)
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

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, sync::Arc};

    use domain::base::{Message, ToName as _, iana::Opcode};
    use headroom_units::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Responder, Transport, Zone,
        asked::{CD, DO, RD},
        message::Name,
        testing,
    };

    const ZONE: &str = "$ORIGIN shop.example.
        @ 3600 SOA ns1 admin 1 2 3 4 60
        @ 3600 NS ns1
        @ 60 A 192.0.2.1
        ns1 60 A 192.0.2.2
        www 60 CNAME web
        web 60 A 192.0.2.3
        web 60 A 192.0.2.4
        web 60 AAAA 2001:db8::1
        out 60 CNAME www.elsewhere.example.
        a.b.deep 60 TXT \"c\"
        *.wild 60 A 192.0.2.5
        sub 60 NS ns.sub
        ns.sub 60 A 192.0.2.6
        old 60 DNAME deep
        hid.old 60 TXT d
        loop1 60 CNAME loop2
        loop2 60 CNAME loop1
        ";
    const NAMES: [&str; 16] = [
        "shop.example",
        "ns1.shop.example",
        "www.shop.example",
        "web.shop.example",
        "out.shop.example",
        "b.deep.shop.example",
        "a.b.deep.shop.example",
        "x.wild.shop.example",
        "sub.shop.example",
        "ns.sub.shop.example",
        "old.shop.example",
        "hid.old.shop.example",
        "loop1.shop.example",
        "none.shop.example",
        "example",
        "long.shop.example",
    ];

    /// A, NS, CNAME, SOA, MX, TXT, AAAA, HTTPS, ANY and an unused one.
    const TYPES: [u16; 10] = [1, 2, 5, 6, 15, 16, 28, 65, 255, 65_280];

    fn zone() -> Arc<Zone> {
        let long = (0..9).map(|at| format!("long 60 TXT \"{at:060}\"\n"));
        let lines = ZONE.lines().map(|line| format!("{}\n", line.trim_start()));
        Arc::new(Zone::parse(&lines.chain(long).collect::<String>()).unwrap())
    }

    fn query(name: &str, rtype: u16, opt: Option<&[u8]>) -> Vec<u8> {
        let mut query = vec![0xab, 0xcd, RD, CD, 0, 1, 0, 0, 0, 0, 0, u8::from(opt.is_some())];
        query.extend_from_slice(Name::bytes_from_str(name).unwrap().as_slice());
        query.extend_from_slice(&rtype.to_be_bytes());
        query.extend_from_slice(&[0, 1]);
        if let Some(options) = opt {
            let length = u16::try_from(options.len()).unwrap().to_be_bytes();
            query.extend_from_slice(&[0, 0, 41, 4, 0xd0, 0, 0, DO, 0, length[0], length[1]]);
            query.extend_from_slice(options);
        }
        query
    }

    fn slowly(query: &[u8]) -> Option<Vec<u8>> {
        let mut responder = Responder::new(None, &[zone()]);
        let source: SocketAddr = "198.51.100.1:53".parse().unwrap();
        responder.respond(query, source, Transport::Udp, Timestamp::EPOCH)
    }

    fn at_once(query: &[u8]) -> Option<Vec<u8>> {
        let snapshot = Snapshot::of(&NameTable::of_zones(&[zone()]), None, None);
        let (answered, answer) = ask(&snapshot, &mut Decisions::new(), query);
        answered.map(|_| answer)
    }

    fn ask(
        snapshot: &Snapshot,
        decisions: &mut Decisions,
        query: &[u8],
    ) -> (Option<Answered>, Vec<u8>) {
        let (source, now) = ("198.51.100.1".parse().unwrap(), Timestamp::EPOCH);
        let mut answer = Vec::new();
        (snapshot.answer(query, source, decisions, now, &mut answer), answer)
    }

    #[test]
    fn what_is_the_same_for_everyone_is_answered_at_once() {
        for (name, rtype, expected) in [
            ("web.shop.example", Rtype::A, true),
            ("web.shop.example", Rtype::MX, true),
            ("www.shop.example", Rtype::AAAA, true),
            ("www.shop.example", Rtype::TXT, false),
            ("out.shop.example", Rtype::A, true),
            ("b.deep.shop.example", Rtype::A, true),
            ("shop.example", Rtype::SOA, true),
            ("long.shop.example", Rtype::A, true),
            ("long.shop.example", Rtype::TXT, false),
            ("web.shop.example", Rtype::ANY, false),
            ("web.shop.example", Rtype::DS, false),
            ("sub.shop.example", Rtype::A, false),
            ("ns.sub.shop.example", Rtype::A, false),
            ("x.wild.shop.example", Rtype::A, false),
            ("none.shop.example", Rtype::A, false),
            ("old.shop.example", Rtype::A, true),
            ("hid.old.shop.example", Rtype::TXT, false),
        ] {
            let found = at_once(&query(name, rtype.to_int(), None));
            assert_eq!(found.is_some(), expected, "{name} {rtype}");
        }
    }

    #[test]
    fn steered_names_and_what_leads_to_them_are_not_the_same_for_all() {
        let plan = Arc::new(headroom_steer::plan(&testing::input()));
        let table = NameTable::of_plan(&plan, &testing::zones(), None);
        let snapshot = Snapshot::of(&table, Some(&plan), None);
        let (mut steered, mut others) = (0, 0);
        let hosts = table.hosts();
        let hosts = hosts.iter().map(|(name, _)| name);
        for name in table.owners().map(|(_, name)| name.clone()).chain(hosts) {
            for rtype in [Rtype::A, Rtype::AAAA] {
                let question = question(&name, rtype);
                let query = query(&name.to_string(), rtype.to_int(), None);
                let is_in = ask(&snapshot, &mut Decisions::new(), &query).0.is_some();
                match lookup::look_up_unsteered(&table, &question, false) {
                    None => steered += 1,
                    Some(_) => others += u32::from(is_in),
                }
                assert!(
                    !is_in || lookup::look_up_unsteered(&table, &question, false).is_some(),
                    "{name}"
                );
            }
        }
        assert!(steered > 2 && others > 2, "{steered} {others}");
    }

    #[test]
    fn hosts_with_a_zone_of_their_own_are_answered_as_the_slow_path_does() {
        let input = testing::input();
        let mut responder = testing::responder_of(&input, &testing::zones());
        let plan = Arc::new(headroom_steer::plan(&input));
        let table = NameTable::of_plan(&plan, &testing::zones(), None);
        let snapshot = Snapshot::of(&table, Some(&plan), None);
        let mut answered = [0; 2];
        for ((name, site), rtype) in
            table.hosts().iter().flat_map(|host| TYPES.map(|rtype| (host.clone(), rtype)))
        {
            let query = query(&name.to_string(), rtype, Some(&[]));
            if let (Some(found), answer) = ask(&snapshot, &mut Decisions::new(), &query) {
                assert_eq!(found, Answered::SameForAll);
                let source: SocketAddr = "198.51.100.1:53".parse().unwrap();
                let now = Timestamp::EPOCH;
                let slowly = responder.respond(&query, source, Transport::Udp, now).unwrap();
                assert_eq!(testing::print(&answer), testing::print(&slowly), "{name} {rtype}");
                answered[usize::from(snapshot.steered.hosts_by_name(site).unwrap())] += 1;
            }
        }
        // SOA and NS of each, and of those without an alias what they do not have.
        assert!(answered[0] >= 2 * 4 && answered[1] >= 2, "{answered:?}");
    }

    #[test]
    fn what_a_steered_name_is_laid_over_is_answered_as_the_slow_path_does() {
        let mut input = testing::over(&headroom_steer::Remainder::ReturnRecords);
        let deep = "x.b.wild.over.example".parse().unwrap();
        input.sites.last_mut().unwrap().hosts.push((deep, true));
        let zones = [Arc::new(Zone::parse(testing::OVER_ZONE).unwrap())];
        let mut responder = testing::responder_of(&input, &zones);
        let plan = Arc::new(headroom_steer::plan(&input));
        let table = NameTable::of_plan(&plan, &zones, None);
        let snapshot = Snapshot::of(&table, Some(&plan), None);
        let mut answered = 0;
        for ((_, name), rtype) in table.owners().flat_map(|name| TYPES.map(|rtype| (name, rtype))) {
            let query = query(&name.to_string(), rtype, None);
            if let (Some(_), answer) = ask(&snapshot, &mut Decisions::new(), &query) {
                let source: SocketAddr = "198.51.100.1:53".parse().unwrap();
                let now = Timestamp::EPOCH;
                let slowly = responder.respond(&query, source, Transport::Udp, now).unwrap();
                assert_eq!(answer, slowly, "{name} {rtype}");
                answered += 1;
            }
        }
        assert!(answered > 20, "{answered}");
    }

    #[test]
    fn the_case_of_a_question_is_kept() {
        let answer = at_once(&query("wEb.sHop.Example", 1, None)).unwrap();
        let message = Message::from_octets(answer).unwrap();
        let question = message.sole_question().unwrap();
        assert_eq!(question.qname().to_name::<Vec<u8>>().to_string(), "wEb.sHop.Example");
        assert_eq!(message.header().opcode(), Opcode::QUERY);
        assert_eq!(message.answer().unwrap().count(), 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn both_paths_say_the_same(
            name in prop::sample::select(&NAMES[..]),
            rtype in prop_oneof![0u16..300, prop::sample::select(&TYPES[..])],
            opt in prop_oneof![
                Just(None),
                Just(Some(vec![])),
                Just(Some(vec![0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2])),
                Just(Some(vec![0, 8, 0, 4, 0, 1, 0, 0])),
                Just(Some(vec![0, 3, 0, 0, 0, 8, 0, 4, 0, 0, 0, 0])),
                prop::collection::vec(0u8..30, 0..24).prop_map(Some),
            ],
            change in prop::option::weighted(0.5, (0usize..80, any::<u8>())),
            cut in prop::option::weighted(0.1, 0usize..80),
        ) {
            let mut query = query(name, rtype, opt.as_deref());
            if let Some((at, octet)) = change && at < query.len() {
                query[at] = octet;
            }
            query.truncate(cut.unwrap_or(query.len()));
            if let Some(answer) = at_once(&query) {
                prop_assert_eq!(Some(answer), slowly(&query));
            }
        }
    }
}
