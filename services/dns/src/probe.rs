//! What the fuzz targets in `fuzz/` call, and the test of their seeds: whatever comes in, the rules
//! of an answer hold, or it panics. Not in a build that is shipped.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use domain::{
    base::{Message, ParsedRecord, Rtype},
    rdata::AllRecordData,
};
use headroom_steer::{
    Edge, Entitlement, Fleet, NameServer, OverShare, Owner, PlanInput, Region, Remainder,
    SiteInput, SiteRules,
};
use headroom_units::{BitRate, Class, ContractId, Generation, RequestRate, Timestamp};

use crate::{
    CookieSecret, NameTable, Responder, Transport, Zone,
    cookies::Cookie,
    decisions::Decisions,
    ecs::ClientSubnet,
    edns::EdnsPolicy,
    limits,
    snapshot::{Answered, Snapshot},
    steered::Source,
};

const SOURCE: &str = "198.51.100.100:5353";
const SECRET: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";
/// The time of the example in RFC 9018, appendix A.1, whose secret this is.
const AT: Timestamp = Timestamp::from_seconds(1_559_731_985);
const ZONE: &str = "\
$ORIGIN z.example.
$TTL 600
@ SOA ns1 admin 1 2 3 4 300
@ NS ns1
@ MX 10 mail
@ TXT \"text\"
@ CAA 0 issue \"ca.example\"
ns1 A 203.0.113.53
mail AAAA 2001:db8::1
alias CNAME mail
loop CNAME pool
pool CNAME loop
old DNAME new
a.old TXT \"hidden\"
a.new A 203.0.113.7
grow DNAME more.grow
*.wild TXT \"any\"
svc HTTPS 1 . alpn=h2 ipv4hint=203.0.113.1
odd TYPE65400 \\# 3 010203
steered CNAME shop.cdn.example.
sub NS ns.sub
sub DS 1 13 2 00
ns.sub A 203.0.113.99
";

/// A name server without sockets: a zone, a plan, cookies.
#[derive(Debug)]
pub struct Probe {
    responder: Responder,
    snapshot: Snapshot,
    decisions: Decisions,
    edns: Arc<EdnsPolicy>,
    source: SocketAddr,
}

impl Default for Probe {
    fn default() -> Self {
        let zones = [Arc::new(Zone::parse(ZONE).expect("it is a zone"))];
        let secrets = CookieSecret::parse_list(SECRET).expect("it is a secret");
        let edns = Arc::new(EdnsPolicy::new(&secrets, Some("ns1")));
        let plan = Arc::new(headroom_steer::plan(&input()));
        let table = NameTable::of_plan(&plan, &zones, None);
        let snapshot = Snapshot::of(Source::new(table.clone(), Some(&plan)));
        let id = "ns1".parse().expect("it is an id");
        let mut responder = Responder::new(Some(id), &zones).with(Arc::clone(&edns));
        assert!(responder.install(plan, table));
        let source = SOURCE.parse().expect("it is an address");
        Self { responder, snapshot, decisions: Decisions::new(), edns, source }
    }
}

impl Probe {
    /// Answers a message over every transport.
    ///
    /// # Panics
    /// If an answer breaks a rule.
    pub fn message(&mut self, query: &[u8]) {
        for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
            let reply = self.responder.respond(query, self.source, transport, AT);
            check(query, reply.as_deref(), transport);
        }
        let slip = self.edns.slip(query, self.source.ip(), AT);
        if let Some(slip) = slip {
            check(query, Some(&slip), Transport::Udp);
            assert!(slip.len() <= query.len(), "larger than the question");
        }
    }

    /// Answers a message from the snapshot, as the slow path does if at all; what that decides is
    /// remembered.
    ///
    /// # Panics
    /// If the two answers differ.
    pub fn snapshot(&mut self, query: &[u8]) {
        let (mut answer, ip) = (Vec::new(), self.source.ip());
        let answered = self.snapshot.answer(query, ip, &mut self.decisions, AT, &mut answer);
        let slowly = self.responder.handle(query, self.source, Transport::Udp, AT);
        match answered {
            Some(Answered::SameForAll) => {
                let slowly = slowly.expect("the slow path answers").octets;
                // What all hosts say is not compressed.
                assert_eq!(told(&answer), told(&slowly), "the paths differ");
                check(query, Some(&answer), Transport::Udp);
            }
            // Its names are not compressed.
            Some(Answered::Steered) => check(query, Some(&answer), Transport::Udp),
            None => {
                if let Some(decision) = slowly.and_then(|response| response.decision)
                    && let Some(numbered) = self.snapshot.steered.numbered(&decision)
                {
                    self.decisions.remember(numbered, decision.client, decision.hold);
                }
            }
        }
    }

    /// Reads the options that are not simply there or not: a client subnet, a cookie.
    ///
    /// # Panics
    /// If what was read does not go back as it came.
    pub fn options(data: &[u8]) {
        if let Ok(subnet) = ClientSubnet::read(data) {
            let mut written = Vec::new();
            subnet.write(0, &mut written);
            assert_eq!(written, data, "the option goes back as it came");
            assert!(data.len() + 4 <= limits::CLIENT_SUBNET_MAX);
        }
        let is_cookie = matches!(data.len(), 8 | 16..=40);
        assert_eq!(Cookie::read(data).is_ok(), is_cookie, "RFC 7873 §4");
    }
}

/// The rules of any answer.
fn check(query: &[u8], reply: Option<&[u8]>, transport: Transport) {
    let is_query = query.len() >= limits::HEADER_LENGTH && query[2] & 0x80 == 0;
    assert_eq!(reply.is_some(), is_query, "silence is for responses alone");
    let Some(reply) = reply else { return };
    let most = match transport {
        Transport::Udp => usize::from(limits::UDP_ANSWER_MAX),
        Transport::Tcp | Transport::Tls => limits::MESSAGE_MAX,
    };
    assert!(reply.len() <= most, "{} octets", reply.len());
    assert_eq!(reply[..2], query[..2], "the id");
    assert_eq!(reply[2] & 0xf9, query[2] & 0x79 | 0x80, "QR, the opcode, RD");
    assert_eq!(reply[3] & 0xe0, 0, "neither RA, Z nor AD");
    let message = Message::from_octets(reply).expect("a header");
    let asked = Message::from_octets(query).expect("a header");
    if let Ok(question) = message.sole_question() {
        assert_eq!(Ok(question), asked.sole_question(), "the question is echoed");
    } else {
        assert_eq!(message.header_counts().qdcount(), 0);
    }
    let has_opt = sections(&message, transport);
    let opts = asked.additional().ok().into_iter().flatten().filter_map(Result::ok);
    let asked_opts = opts.filter(|record| record.rtype() == Rtype::OPT).count();
    assert!(!has_opt || asked_opts > 0, "no OPT record for who sent none");
}

/// What an answer says, however its names are compressed.
fn told(reply: &[u8]) -> (&[u8], Vec<String>) {
    let message = Message::from_octets(reply).expect("a header");
    let sections = [message.answer(), message.authority(), message.additional()];
    let records = sections.into_iter().flat_map(|section| section.expect("a section"));
    let text = |record: ParsedRecord<'_, &[u8]>| {
        let class = record.class();
        let record = record.to_any_record::<AllRecordData<_, _>>().expect("its data can be read");
        format!("{} {class} {:?} {}", record.owner(), record.ttl(), record.data())
    };
    let records = records.map(|record| text(record.expect("a record"))).collect();
    (&reply[..limits::HEADER_LENGTH], records)
}

/// Reads all sections; true if there is an OPT record.
fn sections(message: &Message<&[u8]>, transport: Transport) -> bool {
    let mut counts = BTreeMap::new();
    let sections = [message.answer(), message.authority(), message.additional()];
    for record in sections.into_iter().flat_map(|section| section.expect("a section")) {
        let record = record.expect("a record");
        *counts.entry(record.rtype()).or_insert(0) += 1;
        record.to_any_record::<AllRecordData<_, _>>().expect("its data can be read");
    }
    let opts = counts.remove(&Rtype::OPT).unwrap_or(0);
    assert!(opts <= 1);
    assert!(!message.header().tc() || counts.is_empty(), "all of an RRset or nothing");
    assert!(!message.header().tc() || transport == Transport::Udp, "TCP has room");
    opts == 1
}

fn input() -> PlanInput {
    let address = |text: &str| vec![text.parse().expect("it is an address")];
    let edge = Edge { addresses: address("192.0.2.1"), healthy: true };
    let region = Region {
        client_prefixes: vec!["10.0.0.0/8".parse().expect("it is a prefix")],
        edges: [("east-1".parse().expect("it is an id"), edge)].into(),
    };
    let host = "ns1.cdn.example".parse().expect("it is a name");
    let name_server = NameServer { host, addresses: address("192.0.2.53") };
    let east = || "east".parse().expect("it is an id");
    let pool = "v=headroom1; algorithm=weighted; server=198.51.100.1";
    let pool = pool.parse().expect("it is an assignment");
    let entitlement = Entitlement {
        contract: ContractId::new(1),
        region: east(),
        from: Timestamp::EPOCH,
        until: Timestamp::MAX,
        requests: RequestRate::from_requests_per_second(50),
        egress: BitRate::from_bits_per_second(25_000_000),
        class: Class::Firm,
    };
    PlanInput {
        now: AT,
        generation: Generation::new(1),
        fleet: Fleet {
            zone: "cdn.example".parse().expect("it is a name"),
            name_servers: [("ns1".parse().expect("it is an id"), name_server)].into(),
            ttl: Duration::from_secs(20),
            default_region: east(),
            regions: [(east(), region)].into(),
        },
        down: BTreeSet::default(),
        sites: vec![
            site("shop", Remainder::ReturnName("z.example".parse().expect("it is a name"))),
            site("pool", Remainder::Assign(pool)),
        ],
        entitlements: vec![("shop".parse().expect("it is an id"), entitlement)],
    }
}

fn site(id: &str, remainder: Remainder) -> SiteInput {
    SiteInput {
        id: id.parse().expect("it is an id"),
        owner: Owner::Purchaser("inc".parse().expect("it is an id")),
        hosts: vec![(format!("www.{id}.example").parse().expect("it is a name"), true)],
        origins: vec!["198.51.100.1:80".parse().expect("it is an origin")],
        remainder,
        over_share: OverShare::Redirect,
        fallback: "origin.shop.example".parse().expect("it is a name"),
        rules: SiteRules::default(),
        purges: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// Changes of one seed that are tried.
    const CHANGES: usize = 3_000;
    /// Octets that mean something: lengths of labels, pointers, types, sizes.
    const TELLING: [u8; 10] = [0, 1, 8, 10, 41, 63, 64, 0x80, 0xc0, 0xff];

    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
        let mut files: Vec<_> =
            fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        files.into_iter().map(|file| fs::read(file).unwrap()).collect()
    }

    /// Knuth's linear congruential generator: a run can be repeated.
    struct Draw(u64);

    impl Draw {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(self.0 >> 33).unwrap() % limit.max(1)
        }

        fn octet(&mut self) -> u8 {
            match self.below(2) {
                0 => TELLING[self.below(TELLING.len())],
                _ => u8::try_from(self.below(256)).unwrap(),
            }
        }

        fn change(&mut self, input: &mut Vec<u8>, other: &[u8]) {
            let at = self.below(input.len() + 1);
            match self.below(6) {
                0 => input.truncate(at),
                1 => input.insert(at, self.octet()),
                2 => input.extend_from_slice(&other[self.below(other.len())..]),
                3 if at < input.len() => drop(input.remove(at)),
                4 if at < input.len() => input[at] ^= 1 << self.below(8),
                _ if at < input.len() => input[at] = self.octet(),
                _ => {}
            }
        }
    }

    fn hold(target: &str, mut run: impl FnMut(&[u8])) {
        let seeds = seeds(target);
        assert!(seeds.len() >= 4, "the seeds of {target} are there");
        let mut draw = Draw(1);
        for seed in &seeds {
            run(seed);
            for _ in 0..CHANGES {
                let mut input = seed.clone();
                for _ in 0..=draw.below(4) {
                    let other = &seeds[draw.below(seeds.len())];
                    draw.change(&mut input, other);
                }
                run(&input);
            }
        }
    }

    #[test]
    fn messages_like_the_seeds_are_answered_by_the_rules() {
        let mut probe = Probe::default();
        hold("message", |input| probe.message(input));
    }

    #[test]
    fn the_snapshot_answers_what_is_like_the_seeds_as_the_slow_path_does() {
        let mut probe = Probe::default();
        hold("message", |input| probe.snapshot(input));
    }

    #[test]
    fn options_like_the_seeds_go_back_as_they_came() {
        hold("options", Probe::options);
    }
}
