//! Conversations as text, with time as a step: a script of queries in, the replies printed.
//!
//! ```text
//! @100                                     the time, in seconds and tenths
//! 10.0.1.7 www.shop.example A              who asks, what
//! 10.0.1.7 www.shop.example A edns subnet=192.0.2.0/24 size=4096 do tcp
//! ```
//!
//! Queries are written octet by octet, apart from the code under test.

pub(crate) mod primary;
pub(crate) mod running;

use std::{fmt::Write, net::IpAddr, sync::Arc, time::Duration};

use domain::{
    base::{Message, Rtype, iana::OptionCode, opt::UnknownOptData},
    rdata::AllRecordData,
};
use expect_test::Expect;
use headroom_steer::{
    AssignAlgorithm, Assignment, Edge, Entitlement, Fleet, NameServer, OverShare, Owner, PlanInput,
    Region, Remainder, Server, Severity, SiteInput, SiteRules,
};
use headroom_units::{BitRate, Class, ContractId, Generation, RequestRate, SiteId, Timestamp};
use ipnet::IpNet;

use crate::{NameTable, Responder, Transport, Zone};

pub(crate) fn input() -> PlanInput {
    let name_server = |id: &str, host: &str, addresses: &[&str]| {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        (id.parse().unwrap(), NameServer { host: host.parse().unwrap(), addresses })
    };
    let region = |prefix: &str, name: &str, number: u8| Region {
        client_prefixes: vec![prefix.parse().unwrap()],
        edges: [1_u8, 2]
            .map(|index| {
                let addresses =
                    [format!("192.0.2.{number}{index}"), format!("2001:db8:e::{number}{index}")];
                let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
                (format!("{name}-{index}").parse().unwrap(), Edge { addresses, healthy: true })
            })
            .into(),
    };
    let servers = |addresses: &[(&str, u32)]| {
        let server = |(address, weight): &(&str, u32)| Server {
            addresses: vec![address.parse().unwrap()],
            weight: *weight,
            region: None,
        };
        addresses.iter().map(server).collect::<Vec<_>>()
    };
    let returned = ["198.51.100.9", "2001:db8:f::9"].map(|address| address.parse().unwrap());
    let pool = servers(&[("198.51.100.1", 1), ("198.51.100.2", 1), ("198.51.100.3", 2)]);
    let assign =
        |algorithm| Remainder::Assign(Assignment { algorithm, servers: pool.clone(), check: None });
    PlanInput {
        now: Timestamp::EPOCH,
        generation: Generation::new(7),
        fleet: Fleet {
            zone: "cdn.example".parse().unwrap(),
            name_servers: [
                name_server("ns1", "ns1.cdn.example", &["192.0.2.53", "2001:db8::53"]),
                name_server("ns2", "ns.other.example", &["192.0.2.54"]),
            ]
            .into(),
            ttl: Duration::from_secs(20),
            default_region: "east".parse().unwrap(),
            regions: [
                ("east".parse().unwrap(), region("10.0.0.0/9", "east", 1)),
                ("west".parse().unwrap(), region("10.128.0.0/9", "west", 2)),
            ]
            .into(),
        },
        down: Default::default(),
        sites: vec![
            site("shop", "www.shop.example", by_name("origin.shop.example")),
            site("held", "www.held.example", by_name("origin.static.example")),
            site("media", "media.example", Remainder::ReturnAddresses(returned.into())),
            site("turns", "turns.pool.example", assign(AssignAlgorithm::RoundRobin)),
            site("parts", "parts.pool.example", assign(AssignAlgorithm::Weighted)),
            SiteInput {
                owner: Owner::Operator,
                ..site("own", "www.operator.example", by_name("origin.operator.example"))
            },
        ],
        entitlements: ["shop", "held", "media"]
            .iter()
            .enumerate()
            .map(|(index, site)| (site.parse().unwrap(), entitlement(index, 100, 200)))
            .collect(),
    }
}

pub(crate) fn by_name(name: &str) -> Remainder {
    Remainder::ReturnName(name.parse().unwrap())
}

pub(crate) fn site(id: &str, host: &str, remainder: Remainder) -> SiteInput {
    SiteInput {
        id: id.parse::<SiteId>().unwrap(),
        owner: Owner::Purchaser("shop-inc".parse().unwrap()),
        hosts: vec![(host.parse().unwrap(), true)],
        origins: vec!["198.51.100.1:80".parse().unwrap()],
        remainder,
        over_share: OverShare::Redirect,
        fallback: "origin.shop.example".parse().unwrap(),
        rules: SiteRules::default(),
        purges: Vec::new(),
    }
}

fn entitlement(index: usize, from: u64, until: u64) -> Entitlement {
    Entitlement {
        contract: ContractId::new(u64::try_from(index).unwrap()),
        region: "east".parse().unwrap(),
        from: Timestamp::from_seconds(from),
        until: Timestamp::from_seconds(until),
        requests: RequestRate::from_requests_per_second(50),
        egress: BitRate::from_bits_per_second(25_000_000),
        class: Class::Firm,
    }
}

pub(crate) const STATIC_ZONE: &str = "\
$ORIGIN static.example.
$TTL 600
@        SOA ns1 admin 42 3600 600 604800 120
@        NS ns1
@        NS ns.other.example.
@        MX 10 mail
@        TXT \"v=spf1 -all\"
ns1      A 203.0.113.53
mail     A 203.0.113.25
origin   A 203.0.113.1
origin   AAAA 2001:db8:a::1
alias    CNAME origin
twice    CNAME alias
away     CNAME www.elsewhere.example.
gone     CNAME nowhere
steered  CNAME shop.cdn.example.
loop     CNAME pool
pool     CNAME loop
a.deep   A 203.0.113.7
*.wild   TXT \"any\"
svc      HTTPS 1 . alpn=h2
odd      TYPE65400 \\# 3 010203
sub      NS ns.sub
sub      NS ns1
sub      NS ns.other.example.
sub      DS 1 13 2 00
ns.sub   A 203.0.113.99
";

/// A zone that a site's hosts lie in.
pub(crate) const OVER_ZONE: &str = "\
$ORIGIN over.example.
$TTL 600
@        SOA ns1 admin 42 3600 600 604800 120
@        NS ns1
@        A 203.0.113.1
@        AAAA 2001:db8:a::1
@        MX 10 mail
@        TXT \"v=spf1 -all\"
@        HTTPS 1 . alpn=h3 ipv4hint=203.0.113.1
ns1      A 203.0.113.53
mail     A 203.0.113.25
www  10  A 203.0.113.2
www      A 203.0.113.3
www      CAA 0 issue \"ca.example\"
origin   A 203.0.113.4
*.wild   A 203.0.113.5
*.wild   TXT \"any\"
";

/// The plan with a site whose hosts lie in that zone: its apex, a name with other records, one that
/// a wildcard stands for, and one that the zone does not have.
pub(crate) fn over(remainder: &Remainder) -> PlanInput {
    let mut input = input();
    let hosts = ["over.example", "www.over.example", "a.wild.over.example", "new.over.example"];
    let mut over = site("over", hosts[0], remainder.clone());
    over.hosts = hosts.map(|host| (host.parse().unwrap(), true)).into();
    input.sites.push(over);
    input.entitlements.push(("over".parse().unwrap(), entitlement(9, 100, 200)));
    input
}

pub(crate) fn zones() -> Vec<Arc<Zone>> {
    vec![Arc::new(Zone::parse(STATIC_ZONE).unwrap())]
}

/// A responder under the plan made of `input`, beside `zones`.
pub(crate) fn responder_of(input: &PlanInput, zones: &[Arc<Zone>]) -> Responder {
    let plan = headroom_steer::plan(input);
    let mut notes = headroom_steer::check(&plan);
    notes.retain(|note| note.severity == Severity::Error);
    assert!(notes.is_empty(), "{notes:?}");
    let table = NameTable::of_plan(&plan, zones, None);
    let mut responder = Responder::new(Some("ns1".parse().unwrap()), zones);
    assert!(responder.install(Arc::new(plan), table));
    responder
}

pub(crate) fn responder() -> Responder {
    responder_of(&input(), &zones())
}

/// Runs a script and compares what is printed.
pub(crate) fn check(responder: &mut Responder, script: &str, expected: Expect) {
    let mut printed = String::new();
    let mut now = Timestamp::EPOCH;
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        writeln!(printed, "{line}").unwrap();
        if let Some(seconds) = line.strip_prefix('@') {
            let (whole, tenths) = seconds.split_once('.').unwrap_or((seconds, "0"));
            let (whole, tenths): (u64, u64) = (whole.parse().unwrap(), tenths.parse().unwrap());
            now = Timestamp::from_millis(whole * 1_000 + tenths * 100);
            continue;
        }
        let query = Query::parse(line);
        let source = (query.source, 5353).into();
        let reply = responder.respond(&query.octets(), source, query.transport, now);
        printed += &reply.map_or("  silence\n".to_owned(), |reply| print(&reply));
    }
    expected.assert_eq(&printed);
}

/// A query as a script says it.
pub(crate) struct Query {
    pub(crate) source: IpAddr,
    pub(crate) transport: Transport,
    name: String,
    rtype: Rtype,
    class: u16,
    edns: bool,
    version: u8,
    size: u16,
    dnssec_ok: bool,
    options: Vec<(u16, Vec<u8>)>,
    /// Whether it goes without a question.
    is_bare: bool,
}

impl Query {
    pub(crate) fn parse(line: &str) -> Self {
        let mut words = line.split_whitespace();
        let mut query = Self {
            source: words.next().unwrap().parse().unwrap(),
            transport: Transport::Udp,
            name: words.next().unwrap().to_owned(),
            rtype: words.next().unwrap().parse().unwrap(),
            class: 1,
            edns: false,
            version: 0,
            size: 1232,
            dnssec_ok: false,
            options: Vec::new(),
            is_bare: false,
        };
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            query.edns |= !matches!(key, "tcp" | "tls" | "class" | "bare");
            match key {
                "edns" => {}
                "tcp" => query.transport = Transport::Tcp,
                "tls" => query.transport = Transport::Tls,
                "bare" => query.is_bare = true,
                "class" => query.class = value.parse().unwrap(),
                "do" => query.dnssec_ok = true,
                "version" => query.version = value.parse().unwrap(),
                "size" => query.size = value.parse().unwrap(),
                "subnet" => query.options.push((8, subnet(value.parse().unwrap()))),
                "option" => query.options.push((value.parse().unwrap(), vec![1, 2, 3, 4])),
                "raw" => {
                    let (code, data) = value.split_once(':').unwrap();
                    query.options.push((code.parse().unwrap(), octets(data)));
                }
                "raw-subnet" => {
                    let octets = value.split(',').map(|octet| octet.parse().unwrap()).collect();
                    query.options.push((8, octets));
                }
                _ => panic!("unknown word {word}"),
            }
        }
        query
    }

    pub(crate) fn octets(&self) -> Vec<u8> {
        let additional = u8::from(self.edns);
        let questions = u8::from(!self.is_bare);
        let mut octets = vec![0xab, 0xcd, 0x01, 0, 0, questions, 0, 0, 0, 0, 0, additional];
        if !self.is_bare {
            for label in self.name.split('.').filter(|label| !label.is_empty()) {
                octets.push(u8::try_from(label.len()).unwrap());
                octets.extend(label.as_bytes());
            }
            octets.push(0);
            octets.extend(self.rtype.to_int().to_be_bytes());
            octets.extend(self.class.to_be_bytes());
        }
        if self.edns {
            octets.extend([0, 0, 41]);
            octets.extend(self.size.to_be_bytes());
            octets.extend([0, self.version, if self.dnssec_ok { 0x80 } else { 0 }, 0]);
            let mut options = Vec::new();
            for (code, data) in &self.options {
                options.extend(code.to_be_bytes());
                options.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
                options.extend(data);
            }
            octets.extend(u16::try_from(options.len()).unwrap().to_be_bytes());
            octets.extend(options);
        }
        octets
    }
}

/// Octets from hexadecimal digits.
pub(crate) fn octets(hex: &str) -> Vec<u8> {
    let pairs = (0..hex.len()).step_by(2);
    pairs.map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn subnet(net: IpNet) -> Vec<u8> {
    let (family, address) = match net.addr() {
        IpAddr::V4(address) => (1, address.octets().to_vec()),
        IpAddr::V6(address) => (2, address.octets().to_vec()),
    };
    let mut data = vec![0, family, net.prefix_len(), 0];
    data.extend(&address[..usize::from(net.prefix_len().div_ceil(8))]);
    data
}

/// A reply as text: code and flags, the question as it was echoed, the sections, the options.
pub(crate) fn print(reply: &[u8]) -> String {
    let message = Message::from_octets(reply).unwrap();
    let header = message.header();
    let mut text = format!("  {}", message.opt_rcode());
    for (flag, is_set) in [("AA", header.aa()), ("TC", header.tc()), ("RA", header.ra())] {
        if is_set {
            write!(text, " {flag}").unwrap();
        }
    }
    assert!(header.qr() && header.id() == 0xabcd);
    text.push('\n');
    let sections = [
        ("answer", message.answer().unwrap()),
        ("authority", message.authority().unwrap()),
        ("additional", message.additional().unwrap()),
    ];
    for (name, section) in sections {
        for record in section.map(Result::unwrap) {
            if record.rtype() == Rtype::OPT {
                continue;
            }
            let record = record.to_any_record::<AllRecordData<_, _>>().unwrap();
            let (owner, ttl, rtype) = (record.owner(), record.ttl().as_secs(), record.rtype());
            writeln!(text, "  {name}: {owner} {ttl} {rtype} {}", record.data()).unwrap();
        }
    }
    if let Some(opt) = message.opt() {
        let dnssec_ok = if opt.dnssec_ok() { " do" } else { "" };
        write!(text, "  edns: size={}{dnssec_ok}", opt.udp_payload_size()).unwrap();
        for option in opt.opt().iter::<UnknownOptData<_>>().map(Result::unwrap) {
            let data = option.as_slice();
            match option.code() {
                OptionCode::CLIENT_SUBNET => {
                    write!(text, " subnet={:?} scope={}", [&data[..3], &data[4..]], data[3])
                }
                OptionCode::EXTENDED_ERROR => {
                    write!(text, " error={}", u16::from_be_bytes([data[0], data[1]]))
                }
                OptionCode::COOKIE => {
                    let hex: String = data.iter().map(|octet| format!("{octet:02x}")).collect();
                    write!(text, " cookie={hex}")
                }
                OptionCode::PADDING => write!(text, " padding={} of {}", data.len(), reply.len()),
                code => write!(text, " {code}={data:?}"),
            }
            .unwrap();
        }
        text.push('\n');
    }
    text
}
