//! The reader from outside: texts in, values or mistakes out.

use std::path::Path;

use expect_test::{Expect, expect};
use headroom_steer::SiteRules;
use headroom_units::QueryRule;

use super::*;

pub(super) const MINIMAL: &str = r#"
[network]
zone = "cdn.example"
[[name_servers]]
id = "ns1"
host = "ns1.cdn.example"
addresses = ["192.0.2.53"]
[[regions]]
id = "east"
[[regions.edges]]
id = "east-1"
addresses = ["192.0.2.1", "2001:db8::1"]
capacity = "500 units"
"#;

fn shipped() -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/headroom.toml");
    let text = fs::read_to_string(&path).unwrap();
    (path, text)
}

fn check_mistakes(text: &str, expected: Expect) {
    let errors = Config::parse(text, Path::new("/base")).unwrap_err();
    expected.assert_eq(&format!("{errors}\n"));
}

/// The mistakes after replacing one part of the minimal file.
fn check_changed(from: &str, to: &str, expected: Expect) {
    assert!(MINIMAL.contains(from), "{from}");
    check_mistakes(&MINIMAL.replace(from, to), expected);
}

#[test]
fn a_recall_is_told_no_later_than_leases_last() {
    let text = |notice: &str| format!("{MINIMAL}[market]\nrecall_notice = \"{notice}\"\n");
    assert!(Config::parse(&text("20s"), Path::new("/base")).is_ok());
    check_mistakes(
        &text("19s"),
        expect![[r#"
        the configuration has a mistake:
          line 15: market.recall_notice = "19s": leases that were handed out before a recall would outlive the contract; accepted is 20s (network.ttl) or more
    "#]],
    );
}

#[test]
fn a_short_file_is_enough() {
    let config = Config::parse(MINIMAL, Path::new("/base")).unwrap();
    let exchange = &config.exchange;
    assert_eq!(exchange.data_dir, Path::new("/base/headroom-data"));
    assert_eq!(exchange.fleet.default_region.as_str(), "east");
    assert_eq!(exchange.capacity(&"east".parse().unwrap()).count(), 500);
    assert_eq!((exchange.forecast.season_slots, exchange.horizon_slots), (96, 144));
    let edge = config.edge(&"east-1".parse().unwrap()).unwrap();
    let listen: Vec<_> = edge.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["192.0.2.1:8080", "[2001:db8::1]:8080"]);
    assert_eq!(
        edge.plan_file.as_deref(),
        Some(Path::new("/base/headroom-data/edges/east-1/plan.json"))
    );
    assert!(edge.visitors.tls_listen.is_empty() && edge.visitors.certificates.is_none());
    let server = config.name_server(&"ns1".parse().unwrap()).unwrap();
    assert_eq!(server.listen[0].to_string(), "192.0.2.53:5353");
}

#[test]
fn with_certificates_edges_listen_for_tls() {
    let text = format!("{MINIMAL}\n[edge]\ncertificates = \"certs\"\ntls_port = 443\n");
    let config = Config::parse(&text, Path::new("/base")).unwrap();
    let visitors = &config.edge(&"east-1".parse().unwrap()).unwrap().visitors;
    let listen: Vec<_> = visitors.tls_listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["192.0.2.1:443", "[2001:db8::1]:443"]);
    assert_eq!(visitors.certificates.as_deref(), Some(Path::new("/base/certs")));
}

#[test]
fn the_shipped_file_is_right_and_knows_every_key_with_its_default() {
    let (path, text) = shipped();
    let config = Config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!((config.edges.len(), config.dns.len()), (4, 1));
    let table = document::parse(&text).unwrap();
    let reader = Reader::default();
    read(&reader, &text, path.parent().unwrap()).unwrap();
    for (pattern, default) in reader.known() {
        let written = written_values(&table, &pattern);
        assert!(!written.is_empty(), "config/headroom.toml does not mention {pattern}");
        let examples = ["regions[].client_prefixes", "edge.allow_private_origins"];
        if let Some(default) = default.filter(|_| !examples.contains(&pattern.as_str())) {
            assert_eq!(written[0], default, "{pattern} does not show its default");
        }
    }
}

/// The values as written of all keys that `pattern` ("regions[].id") stands for.
fn written_values(table: &document::Table, pattern: &str) -> Vec<String> {
    let (first, rest) = pattern.split_once('.').unwrap_or((pattern, ""));
    let Some(node) = table.get(first.trim_end_matches("[]")) else { return Vec::new() };
    match &node.value {
        document::Value::Table(table) if !rest.is_empty() => written_values(table, rest),
        document::Value::List(items) if !rest.is_empty() => items
            .iter()
            .flat_map(|item| match &item.value {
                document::Value::Table(table) => written_values(table, rest),
                _ => Vec::new(),
            })
            .collect(),
        _ => vec![node.raw.clone()],
    }
}

#[test]
fn an_empty_file_is_told_what_is_needed() {
    check_mistakes(
        "",
        expect![[r#"
        the configuration has 3 mistakes:
          network.zone: it is missing; accepted is labels of letters, digits and inner hyphens, at least two, such as "www.shop.example"
          name_servers: it is missing; accepted is [[name_servers]] with id, host, addresses
          regions: it is missing; accepted is [[regions]] with id and [[regions.edges]]
    "#]],
    );
}

#[test]
fn origins_may_be_private_only_if_it_is_said() {
    let edge = |section: &str| {
        let config = Config::parse(&format!("{MINIMAL}{section}"), Path::new("/base")).unwrap();
        let edge = config.edge(&"east-1".parse().unwrap()).unwrap();
        (edge.allow_private_origins, edge.origin_ca_file.clone())
    };
    assert_eq!(edge(""), (false, None));
    let said = "[edge]\nallow_private_origins = true\norigin_ca_file = \"roots.pem\"\n";
    assert_eq!(edge(said), (true, Some(PathBuf::from("/base/roots.pem"))));
    check_mistakes(
        &format!("{MINIMAL}[edge]\nallow_private_origins = \"yes\"\n"),
        expect![[r#"
            the configuration has a mistake:
              line 15: edge.allow_private_origins = "yes": it is a text; accepted is true or false
        "#]],
    );
}

#[test]
fn own_sites_have_the_rules_of_purchasers_sites() {
    let rules = |more: &str| {
        let site = "[[own_sites]]\nid = \"www\"\nhosts = [\"www.operator.example\"]\n\
                    origins = [\"192.0.2.9:80\"]\n";
        Config::parse(&format!("{MINIMAL}{site}{more}"), Path::new("/base"))
            .map(|config| config.exchange.own_sites[0].rules.clone())
    };
    assert_eq!(rules("").unwrap(), SiteRules::default());
    let query = QueryRule::Except(vec!["utm_source".to_owned(), "utm_medium".to_owned()]);
    assert_eq!(
        rules("query = \"except=utm_source,utm_medium\"\nupgrades = true\nnegative = \"1m\"\n")
            .unwrap(),
        SiteRules { query, upgrades: true, negative_seconds: 60 }
    );
    let long = "n".repeat(129);
    for (more, expected) in [
        (
            "query = \"none\"\nnegative = 10\nupgrades = \"yes\"\nnegativ = \"1s\"\n".to_owned(),
            expect![[r#"
                the configuration has 4 mistakes:
                  line 18: own_sites[0].query = "none": it is not a query rule: there is no such rule; accepted is "keep", "ignore", "sort", "only=NAME,..." or "except=NAME,..."
                  line 19: own_sites[0].negative = 10: the number has no unit; accepted is a duration from 0s to 1d in ms, s, m, h or d, such as "20s" or "1h30m"
                  line 20: own_sites[0].upgrades = "yes": it is a text; accepted is true or false
                  line 21: own_sites[0].negativ: the key is unknown; did you mean "negative"?
            "#]],
        ),
        (
            format!("query = \"only={long}\"\nnegative = \"2d\"\n"),
            expect![[r#"
            the configuration has 2 mistakes:
              line 18: own_sites[0].query = "only=nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn...: a name of its query rule is empty or longer than 128 bytes
              line 19: own_sites[0].negative = "2d": it is too long; accepted is a duration from 0s to 1d in ms, s, m, h or d, such as "20s" or "1h30m"
        "#]],
        ),
        (
            "query = \"only=a,,b\"\nnegative = \"500ms\"\n".to_owned(),
            expect![[r#"
            the configuration has 2 mistakes:
              line 18: own_sites[0].query = "only=a,,b": it is not a query rule: a name is empty; accepted is "keep", "ignore", "sort", "only=NAME,..." or "except=NAME,..."
              line 19: own_sites[0].negative = "500ms": it is not a number of whole seconds; accepted is whole seconds, such as "20s"
        "#]],
        ),
    ] {
        expected.assert_eq(&format!("{}\n", rules(&more).unwrap_err()));
    }
}

const MANY_MISTAKES: &str = r#"
networks = 1
[network]
zone = "cdn"
ttl = 20
slot = "7m"
tll = "20s"
burst = "1s"
currency = "euro"
default_region = "north"
[[name_servers]]
id = "ns1"
host = "ns1.cdn.example"
addresses = []
[[name_servers]]
id = "ns1"
host = ["ns2.cdn.example"]
adresses = ["192.0.2.53"]
[[regions]]
id = "east"
client_prefixes = ["10.0.0.1/8", "internal"]
edges = [
  { id = "East", addresses = ["0.0.0.0", "host"], capacity = "500" },
  { id = 7, addresses = "192.0.2.1", capacity = "0 units" },
]
[[regions]]
id = "west"
[[own_sites]]
id = "www"
hosts = ["localhost"]
origins = ["192.0.2.9"]
[exchange]
listen = "localhost:7080"
resolvers = "192.0.2.53"
edge_timeout = "1s"
[forecast]
history_seasons = "14"
risk = "0.01"
[market]
cost = "1 USD"
lead = "soon"
[edge]
port = 80_000
threads = "many"
cache_size = "64"
[dns]
zones = ["operator.zone"]
"#;

#[test]
fn all_mistakes_are_told_at_once() {
    check_mistakes(
        MANY_MISTAKES,
        expect![[r#"
            the configuration has 35 mistakes:
              line 2: networks: the key is unknown; did you mean "network"?
              line 4: network.zone = "cdn": it is not a host name: it has a single label; accepted is labels of letters, digits and inner hyphens, at least two, such as "www.shop.example"
              line 5: network.ttl = 20: the number has no unit; accepted is a duration from 1s to 5m in ms, s, m, h or d, such as "20s" or "1h30m"
              line 6: network.slot = "7m": it does not divide a day; accepted is whole seconds that divide 24 hours, such as "10s", "5m", "15m" or "1h"
              line 7: network.tll: the key is unknown; did you mean "ttl"?
              line 8: network.burst: the key is unknown here; did you mean "control.burst"?; accepted is currency, default_region, slot, ttl, unit_egress, zone
              line 9: network.currency = "euro": it is not a currency: it is not a code of three capital letters; accepted is an ISO 4217 code, such as "EUR"
              line 10: network.default_region = "north": there is no such region; accepted is one of the regions: "east", "west"
              line 14: name_servers[0].addresses = []: it is empty; accepted is a list, each item an IP address, such as "192.0.2.1"
              line 15: name_servers[1].addresses: it is missing; accepted is a list, each item an IP address, such as "192.0.2.1"
              line 16: name_servers[1].id = "ns1": it already stands at name_servers[0].id
              line 17: name_servers[1].host = ["ns2.cdn.example"]: it is a list, not a text; accepted is labels of letters, digits and inner hyphens, at least two, such as "www.shop.example"
              line 18: name_servers[1].adresses: the key is unknown; did you mean "addresses"?
              line 21: regions[0].client_prefixes[0] = "10.0.0.1/8": it has bits beyond its length; accepted is "10.0.0.0/8"
              line 21: regions[0].client_prefixes[1] = "internal": it is not a prefix; accepted is a prefix, such as "10.0.0.0/8"
              line 23: regions[0].edges[0].id = "East": it is not an edge id: it has a character that is not allowed; accepted is 1 to 40 of a-z, 0-9 and inner hyphens, such as "shop-1"
              line 23: regions[0].edges[0].addresses[0] = "0.0.0.0": no client can be sent to it; accepted is an IP address, such as "192.0.2.1"
              line 23: regions[0].edges[0].addresses[1] = "host": it is not an IP address; accepted is an IP address, such as "192.0.2.1"
              line 23: regions[0].edges[0].capacity = "500": it is not a number of units: the number has no unit; accepted is a whole number and its unit, such as "300 units"
              line 24: regions[0].edges[1].id = 7: it is not in quotes; accepted is "7"
              line 24: regions[0].edges[1].addresses = "192.0.2.1": it is a text, not a list; accepted is a list, each item an IP address, such as "192.0.2.1"
              line 24: regions[0].edges[1].capacity = "0 units": it is zero; accepted is at least "1 unit"
              line 26: regions[1].edges: it is missing; accepted is [[regions.edges]] with id, addresses, capacity
              line 30: own_sites[0].hosts[0] = "localhost": it is not a host name: it has a single label; accepted is labels of letters, digits and inner hyphens, at least two, such as "www.shop.example"
              line 31: own_sites[0].origins[0] = "192.0.2.9": it is not an origin server: it is neither an IP address and a port nor a URL; accepted is an IP address and a port such as "192.0.2.1:8080", "http://origin.shop.example" or "https://origin.shop.example:8443"
              line 33: exchange.listen = "localhost:7080": it is not an IP address and a port; accepted is such as "192.0.2.1:8080"
              line 34: exchange.resolvers = "192.0.2.53": it is a text, not a list; accepted is a list, each item an IP address and a port if it is not 53, such as "192.0.2.53"
              line 35: exchange.edge_timeout = "1s": it is too short; accepted is a duration from 2s to 5m in ms, s, m, h or d, such as "20s" or "1h30m"
              line 37: forecast.history_seasons = "14": it is not a whole number; accepted is a whole number from 2 to 10000
              line 38: forecast.risk = "0.01": it is not a fraction: the number has no unit; accepted is a number from 0 to 100 and a percent sign, such as "1 %"
              line 41: market.lead = "soon": it does not begin with a whole number; accepted is a duration from 0s to 1d in ms, s, m, h or d, such as "20s" or "1h30m"
              line 43: edge.port = 80_000: it is out of range; accepted is a whole number from 1 to 65535
              line 44: edge.threads = "many": it is neither "cores" nor a whole number in range; accepted is "cores" or a whole number from 1 to 1024
              line 45: edge.cache_size = "64": it is not a number of bytes: the number has no unit; accepted is a number and B, kB, MB, GB, KiB, MiB or GiB, such as "64 MiB"
              line 47: dns.zones[0] = "operator.zone": it is a text, not a table; accepted is [[dns.zones]]
        "#]],
    );
}

const WRONG_TOGETHER: &str = r#"
[network]
zone = "cdn.example"
ttl = "20s"
slot = "10s"
currency = "USD"
default_region = "north"
[[name_servers]]
id = "ns1"
host = "ns1.cdn.example"
addresses = ["192.0.2.53"]
[[name_servers]]
id = "ns1"
host = "ns1.cdn.example"
addresses = ["192.0.2.53"]
[[regions]]
id = "east"
client_prefixes = ["10.0.0.0/8"]
[[regions.edges]]
id = "east-1"
addresses = ["192.0.2.1"]
capacity = "500 units"
[[regions]]
id = "west"
client_prefixes = ["10.0.0.0/8"]
[[regions.edges]]
id = "east-1"
addresses = ["192.0.2.1"]
capacity = "500 units"
[[own_sites]]
id = "ns1"
hosts = ["www.operator.example", "img.cdn.example"]
origins = ["192.0.2.9:80"]
[[own_sites]]
id = "www"
hosts = ["WWW.operator.example"]
origins = ["192.0.2.9:0"]
[market]
cost = "0.0001 EUR"
lead = "2h"
horizon = "1h"
[edge]
cache_size = "16 MiB"
[dns]
zones = [
  { origin = "cdn.example", file = "/nowhere/cdn.zone" },
]
"#;

#[test]
fn what_is_right_alone_can_be_wrong_together() {
    check_mistakes(
        WRONG_TOGETHER,
        expect![[r#"
            the configuration has 19 mistakes:
              line 4: network.ttl = "20s": steered answers would outlive a slot of 10s; accepted is less than 10s
              line 7: network.default_region = "north": there is no such region; accepted is one of the regions: "east", "west"
              line 13: name_servers[1].id = "ns1": it already stands at name_servers[0].id
              line 14: name_servers[1].host = "ns1.cdn.example": it already stands at name_servers[0].host
              line 15: name_servers[1].addresses[0] = "192.0.2.53": it already stands at name_servers[0].addresses[0]
              line 25: regions[1].client_prefixes[0] = "10.0.0.0/8": it already stands at regions[0].client_prefixes[0]
              line 27: regions[1].edges[0].id = "east-1": it already stands at regions[0].edges[0].id
              line 28: regions[1].edges[0].addresses[0] = "192.0.2.1": it already stands at regions[0].edges[0].addresses[0]
              line 31: own_sites[0].id = "ns1": ns1.cdn.example would be both the site and a name server; accepted is another id
              line 32: own_sites[0].hosts[1] = "img.cdn.example": it lies in the network's own zone cdn.example; accepted is a name outside of it
              line 36: own_sites[1].hosts[0] = "WWW.operator.example": it already stands at own_sites[0].hosts[0]
              line 37: own_sites[1].origins[0] = "192.0.2.9:0": it is not an origin server: its port is zero; accepted is an IP address and a port such as "192.0.2.1:8080", "http://origin.shop.example" or "https://origin.shop.example:8443"
              line 39: market.cost = "0.0001 EUR": this exchange keeps its books in USD; accepted is a number and USD, such as "0.0005 USD"
              line 40: market.lead = "2h": no slot could be sold: bids reach no further than the lead; accepted is less than 1h
              line 42: edge.object_max = "16 MiB" (the default): the cache is too small for it; accepted is at most a quarter of edge.cache_size
              line 46: dns.zones[0].origin = "cdn.example": the network's own zone is made from the plan, not from a file; accepted is another zone
              line 46: dns.zones[0].file = "/nowhere/cdn.zone": /nowhere/cdn.zone cannot be read: No such file or directory (os error 2)
              forecast.horizon = "36h" (the default): it is 12960 slots of 10s; accepted is 1 to 10000 slots
              forecast.history_seasons: 14 seasons of 8640 slots are more than can be kept; accepted is at most 5 seasons of this length
        "#]],
    );
}

#[test]
fn horizons_and_seasons_are_whole_slots_and_fit_each_other() {
    check_changed(
        "[[name_servers]]",
        "[forecast]\nseason = \"100m\"\nhorizon = \"5h\"\n[market]\nhorizon = \"6h\"\n[[name_servers]]",
        expect![[r#"
            the configuration has 2 mistakes:
              line 5: forecast.season = "100m": it is not a whole number of slots of 15m; accepted is a multiple of 15m
              line 8: market.horizon = "6h": bids would reach 24 slots ahead, the forecast only 20; accepted is at most forecast.horizon
        "#]],
    );
}

#[test]
fn syntax_is_told_with_its_lines() {
    check_changed(
        "id = \"ns1\"",
        "id = ns1",
        expect![[r#"
            the configuration has a mistake:
              line 5: id = ns1: it is not TOML: invalid float, expected `nan`; accepted is TOML, where a text stands in quotes and a key once
        "#]],
    );
    check_changed(
        "zone = ",
        "zone = \"a.example\"\nzone = ",
        expect![[r#"
            the configuration has a mistake:
              line 4: zone = "cdn.example": it is not TOML: duplicate key; accepted is TOML, where a text stands in quotes and a key once
        "#]],
    );
}

#[test]
fn a_file_that_is_not_there_is_told_by_name() {
    let errors = Config::load(Path::new("/nowhere/headroom.toml")).unwrap_err().to_string();
    assert!(errors.starts_with("/nowhere/headroom.toml has a mistake:\n  file: the file cannot"));
}

#[test]
fn zones_of_others_name_their_primaries_and_keys() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("good"), "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0\n").unwrap();
    let text = format!(
        "{MINIMAL}[[dns.keys]]\nname = \"Shop.\"\nsecret_file = \"good\"\n\
         [[dns.secondaries]]\nzone = \"shop.example\"\n\
         primaries = [\"192.0.2.7\", \"192.0.2.8:5353\"]\nkey = \"shop\"\n"
    );
    let config = Config::parse(&text, folder.path()).unwrap();
    let [secondary] = &config.dns[0].secondaries[..] else { panic!("one") };
    let primaries: Vec<_> = secondary.primaries.iter().map(|p| p.address.to_string()).collect();
    assert_eq!(primaries, ["192.0.2.7:53", "192.0.2.8:5353"]);
    assert!(secondary.primaries.iter().all(|primary| primary.key.is_some()));
    assert!(!format!("{config:?}").contains("c2Vj"), "secrets are never told");
}

#[test]
fn what_is_wrong_with_zones_of_others_is_told() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("short"), "c2VjcmV0").unwrap();
    let text = format!(
        "{MINIMAL}[dns]\n\
         keys = [{{ name = \"a\", secret_file = \"short\" }},\n\
         {{ name = \"a\", secret_file = \"none\", algorithm = \"hmac-md5\" }}]\n\
         [[dns.secondaries]]\nzone = \"cdn.example\"\nprimaries = [\"ns1\"]\n\
         [[dns.secondaries]]\nzone = \"b.example\"\nprimaries = []\n\
         [[dns.secondaries]]\nzone = \"b.example\"\nprimaries = [\"192.0.2.7\"]\nkey = \"c\"\n"
    );
    let errors = Config::parse(&text, folder.path()).unwrap_err().to_string();
    let errors = errors.replace(&folder.path().display().to_string(), "FOLDER");
    expect![[r#"
        the configuration has 7 mistakes:
          line 15: dns.keys[0].secret_file = "short": it makes no key: the secret has 6 octets; accepted are 16 or more
          line 16: dns.keys[1].name = "a": it already stands at dns.keys[0].name
          line 16: dns.keys[1].secret_file = "none": FOLDER/none cannot be read: No such file or directory (os error 2)
          line 18: dns.secondaries[0].zone = "cdn.example": the network's own zone is made from the plan, not transferred; accepted is another zone
          line 19: dns.secondaries[0].primaries[0] = "ns1": it is not an IP address; accepted is an IP address and a port if it is not 53, such as "192.0.2.53"
          line 22: dns.secondaries[1].primaries = []: it is empty; accepted is a list, each item an IP address and a port if it is not 53, such as "192.0.2.53"
          line 24: dns.secondaries[2].zone = "b.example": it already stands at dns.secondaries[1].zone"#]].assert_eq(&errors);
}
