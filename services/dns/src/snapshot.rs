//! The answers that are the same for everyone, made in advance as they stand on the wire.
//!
//! ```text
//!   read: header, one question, OPT alone ──► snapshot: name, type ──► header, question, answer
//!     └── anything else ────────────────────────┴── not there ───────► the slow path (lookup.rs)
//! ```
//!
//! A snapshot is made from a table together with it, by asking the slow path for every name it
//! holds: what the two answer cannot differ. Not in it are steered names and what leads to them,
//! wildcards and what they stand for, names at and below a delegation, names that do not exist,
//! and answers that do not fit a datagram for those who do not speak EDNS. Pure.

use std::collections::HashMap;

use domain::base::{Rtype, iana::Class};
use foldhash::quality::RandomState;

use crate::{
    NameTable,
    ecs::ClientSubnet,
    limits, lookup,
    message::{self, Edns, Name, Question, Rcode, Request},
};

/// A type that no name has (RFC 6895 §3.1: private use). What is answered to it is answered to all
/// types that a name has no records of.
const UNUSED: Rtype = Rtype::from_int(65_280);
/// QR and AA in the third octet of a header; what it keeps of a query: RD.
const QR_AA: u8 = 0x84;
const RD: u8 = 0x01;
/// CD, in the fourth octet.
const CD: u8 = 0x10;
/// What an OPT record takes before its options: root, type, size, code, version, flags, length.
const OPT_LENGTH: usize = 11;
/// DO, in the flags of an OPT record.
const DO: u8 = 0x80;

/// Answers by name. It does not change.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    names: HashMap<Box<[u8]>, Answers, RandomState>,
}

/// What one name answers.
#[derive(Debug)]
struct Answers {
    /// For types it has records of; none where the slow path has to answer.
    by_type: Box<[(u16, Option<Template>)]>,
    /// For types it has no records of; none for an alias.
    other: Option<Template>,
}

/// An answer without its header, question and OPT record. Its names point to the question, which
/// has one length in whatever case it is asked.
#[derive(Debug)]
struct Template {
    /// NSCOUNT and ANCOUNT as they stand in the header; there are no others.
    counts: [u8; 4],
    records: Box<[u8]>,
}

impl Snapshot {
    /// The answers that are the same for everyone who asks `table`.
    pub(crate) fn of(table: &NameTable) -> Self {
        let mut names = HashMap::default();
        for (zone, name, rtypes) in table.owners() {
            // Of two zones that know a name, only the nearer answers for it.
            let answers = |zone_of: &Name| zone_of == zone;
            if !table.zone(name, Rtype::A).is_some_and(|zone| answers(zone.apex())) {
                continue;
            }
            let template = |rtype: Rtype| {
                let question = Question { name: name.clone(), rtype, class: Class::IN };
                Template::of(table, &question)
            };
            // What an alias answers is up to another name, which may have records of any type.
            let is_alias = rtypes.contains(&Rtype::CNAME);
            let followed: &[Rtype] = if is_alias { &[Rtype::A, Rtype::AAAA] } else { &[] };
            let by_type = rtypes.iter().chain(followed);
            let by_type = by_type.map(|rtype| (rtype.to_int(), template(*rtype)));
            let other = if is_alias { None } else { template(UNUSED) };
            let answers = Answers { by_type: by_type.collect(), other };
            names.insert(name.as_slice().to_ascii_lowercase().into(), answers);
        }
        Self { names }
    }

    /// Writes the answer to a query that came in a datagram. False if the slow path has to answer,
    /// or has to leave it unanswered; then `answer` holds nothing of use.
    pub(crate) fn answer(&self, query: &[u8], answer: &mut Vec<u8>) -> bool {
        self.find(query, answer).is_some()
    }

    fn find(&self, query: &[u8], answer: &mut Vec<u8>) -> Option<()> {
        let asked = Asked::read(query)?;
        let template = self.template(asked.name, asked.rtype)?;
        // It fits: it was made for those who do not speak EDNS, with room for what those who do get.
        answer.clear();
        answer.extend_from_slice(&query[..2]);
        answer.push(QR_AA | query[2] & RD);
        answer.push(query[3] & CD);
        answer.extend_from_slice(&[0, 1]);
        answer.extend_from_slice(&template.counts);
        answer.extend_from_slice(&[0, u8::from(asked.edns.is_some())]);
        answer.extend_from_slice(asked.question);
        answer.extend_from_slice(&template.records);
        if let Some(edns) = asked.edns {
            write_opt(edns, answer);
        }
        Some(())
    }

    fn template(&self, name: &[u8], rtype: u16) -> Option<&Template> {
        let mut lower = [0; limits::NAME_MAX];
        let lower = &mut lower[..name.len()];
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let answers = self.names.get(&*lower)?;
        match answers.by_type.iter().find(|(held, _)| *held == rtype) {
            _ if !is_plain(rtype) => None,
            Some((_, template)) => template.as_ref(),
            None => answers.other.as_ref(),
        }
    }
}

impl Template {
    fn of(table: &NameTable, question: &Question) -> Option<Self> {
        let reply = lookup::look_up_unsteered(table, question)?;
        if !reply.authoritative || reply.rcode != Rcode::NOERROR || !reply.additional.is_empty() {
            return None;
        }
        let request = Request::of(question.clone());
        let limit = usize::from(limits::UDP_ANSWER_PLAIN) - OPT_LENGTH - limits::CLIENT_SUBNET_MAX;
        let written = message::write(&request, &reply, limit);
        if written.truncated {
            return None;
        }
        let records = limits::HEADER_LENGTH + question.name.len() + 4;
        let counts = written.octets.get(6..10)?.try_into().ok()?;
        Some(Self { counts, records: written.octets.get(records..)?.into() })
    }
}

/// False for the types that ask for more or for something else than the records of a name.
fn is_plain(rtype: u16) -> bool {
    let (ds, opt) = (Rtype::DS.to_int(), Rtype::OPT.to_int());
    rtype != ds && rtype != opt && !(128..=255).contains(&rtype)
}

/// A query of the usual form.
struct Asked<'q> {
    /// Name, type and class as they stand in the query.
    question: &'q [u8],
    name: &'q [u8],
    rtype: u16,
    edns: Option<Edns>,
}

impl<'q> Asked<'q> {
    /// Reads a query of the usual form: opcode QUERY, one question of class IN, no records but an
    /// OPT record of version 0 at its end. `None` for any other.
    fn read(query: &'q [u8]) -> Option<Self> {
        let (header, rest) = query.split_at_checked(limits::HEADER_LENGTH)?;
        let is_query = header[2] & !RD == 0 && header[4..10] == [0, 1, 0, 0, 0, 0];
        if !is_query || header[10] != 0 || header[11] > 1 {
            return None;
        }
        let length = name_length(rest)?;
        let (question, rest) = rest.split_at_checked(length + 4)?;
        let (name, fixed) = question.split_at(length);
        let rtype = u16::from_be_bytes([fixed[0], fixed[1]]);
        if fixed[2..] != Class::IN.to_int().to_be_bytes() {
            return None;
        }
        let edns = match (header[11], rest) {
            (0, []) => None,
            (1, rest) => Some(read_opt(rest)?),
            _ => return None,
        };
        Some(Self { question, name, rtype, edns })
    }
}

/// How long the name is that `octets` begin with, if it is whole and is not compressed.
fn name_length(octets: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let label = usize::from(*octets.get(at)?);
        at += 1 + label;
        match label {
            0 => return (at <= limits::NAME_MAX).then_some(at),
            1..=63 => {}
            _ => return None,
        }
    }
}

fn read_opt(record: &[u8]) -> Option<Edns> {
    let (fixed, mut options) = record.split_at_checked(OPT_LENGTH)?;
    let [0, 0, 41, size_high, size_low, _, 0, flags, _, length_high, length_low] = *fixed else {
        return None;
    };
    if options.len() != usize::from(u16::from_be_bytes([length_high, length_low])) {
        return None;
    }
    let mut edns = Edns {
        udp_size: u16::from_be_bytes([size_high, size_low]),
        dnssec_ok: flags & DO != 0,
        subnet: None,
    };
    while !options.is_empty() {
        let (head, rest) = options.split_at_checked(4)?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let (data, rest) = rest.split_at_checked(length)?;
        options = rest;
        if head[..2] == ClientSubnet::CODE && edns.subnet.is_none() {
            edns.subnet = Some(ClientSubnet::read(data).ok()?);
        }
    }
    Some(edns)
}

fn write_opt(edns: Edns, answer: &mut Vec<u8>) {
    let [size_high, size_low] = limits::UDP_ANSWER_MAX.to_be_bytes();
    let flags = if edns.dnssec_ok { DO } else { 0 };
    answer.extend_from_slice(&[0, 0, 41, size_high, size_low, 0, 0, flags, 0]);
    let length = answer.len();
    answer.extend_from_slice(&[0, 0]);
    if let Some(subnet) = edns.subnet {
        // RFC 7871 §7.2.1: the answer is the same for all.
        answer.extend_from_slice(&ClientSubnet::CODE);
        answer.extend_from_slice(&[0, 0]);
        let begin = answer.len();
        subnet.write(0, answer);
        let written = u8::try_from(answer.len() - begin).unwrap_or_default();
        answer[begin - 1] = written;
        answer[length + 1] = written + 4;
    }
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, sync::Arc};

    use domain::base::{Message, ToName as _, iana::Opcode};
    use headroom_units::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::{Responder, Transport, Zone, testing};

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
        loop1 60 CNAME loop2
        loop2 60 CNAME loop1
        ";
    const NAMES: [&str; 14] = [
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
        let mut query = vec![7, 8, RD, CD, 0, 1, 0, 0, 0, 0, 0, u8::from(opt.is_some())];
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
        let snapshot = Snapshot::of(&NameTable::of_zones(&[zone()]));
        let mut answer = Vec::new();
        snapshot.answer(query, &mut answer).then_some(answer)
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
        ] {
            let found = at_once(&query(name, rtype.to_int(), None));
            assert_eq!(found.is_some(), expected, "{name} {rtype}");
        }
    }

    #[test]
    fn steered_names_and_what_leads_to_them_are_not_in_it() {
        let plan = headroom_steer::plan(&testing::input());
        let table = NameTable::of_plan(&plan, &testing::zones(), None);
        let snapshot = Snapshot::of(&table);
        let (mut steered, mut others) = (0, 0);
        for (_, name, _) in table.owners() {
            for rtype in [Rtype::A, Rtype::AAAA] {
                let question = Question { name: name.clone(), rtype, class: Class::IN };
                let query = query(&name.to_string(), rtype.to_int(), None);
                let is_in = snapshot.answer(&query, &mut Vec::new());
                match lookup::look_up_unsteered(&table, &question) {
                    None => steered += 1,
                    Some(_) => others += u32::from(is_in),
                }
                assert!(!is_in || lookup::look_up_unsteered(&table, &question).is_some(), "{name}");
            }
        }
        assert!(steered > 2 && others > 2, "{steered} {others}");
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
