//! The command line as a whole, against an API that is a few canned answers.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    thread::{self, JoinHandle},
};

use clap::CommandFactory;
use expect_test::{Expect, expect};

use super::*;

/// Answers each connection with one canned response; gives the requests back.
struct Api {
    url: String,
    requests: JoinHandle<Vec<String>>,
}

fn api(responses: &[(&str, &str)]) -> Api {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let responses: Vec<_> = responses
        .iter()
        .map(|(status, body)| {
            let length = body.len();
            format!(
                "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            )
        })
        .collect();
    let requests = thread::spawn(move || {
        let answer = |response: String| {
            let (mut stream, _) = listener.accept().unwrap();
            let request = read_request(&mut BufReader::new(stream.try_clone().unwrap()));
            stream.write_all(response.as_bytes()).unwrap();
            request
        };
        responses.into_iter().map(answer).collect()
    });
    Api { url, requests }
}

/// The request line, the headers that matter, and the body.
fn read_request(stream: &mut impl BufRead) -> String {
    let (mut kept, mut length) = (Vec::new(), 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        let line = line.trim_end();
        let lower = line.to_ascii_lowercase();
        if line.is_empty() {
            break;
        } else if let Some(value) = lower.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        } else if let Some(key) = lower.strip_prefix("idempotency-key: ") {
            kept.push(format!("idempotency-key of {} characters", key.len()));
        } else if lower.starts_with("authorization") || kept.is_empty() {
            kept.push(line.to_owned());
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    kept.push(String::from_utf8(body).unwrap());
    kept.join("\n")
}

/// Runs a command line; gives what it prints, with errors as `report` writes them.
fn run_line(url: &str, arguments: &[&str]) -> String {
    let arguments = ["headroom", "--api", url].into_iter().chain(arguments.iter().copied());
    let cli = Cli::try_parse_from(arguments).unwrap();
    let mut out = Vec::new();
    if let Err(error) = run(cli, &mut out) {
        report(&error, &mut out);
    }
    String::from_utf8(out).unwrap().replace(url, "API")
}

fn check(responses: &[(&str, &str)], arguments: &[&str], requests: Expect, output: Expect) {
    let api = api(responses);
    output.assert_eq(&run_line(&api.url, arguments));
    requests.assert_eq(&format!("{}\n", api.requests.join().unwrap().join("\n---\n")));
}

const LEDGER: &str = r#"{"currency":"EUR","accounts":[],"sum_micro":0,"charged_micro":0,"refunded_micro":0,"penalties_micro":0,"slot_seconds":900,"events":0,"head":"0000000000000000000000000000000000000000000000000000000000000000"}"#;
const BID: &str = r#"{"id":"bid-7","purchaser":"shop-inc","site":"shop","region":"east","first_slot":"2026-11-22T18:00:00Z","last_slot":"2026-11-22T18:45:00Z","units":300,"filled_units":0,"limit_price_micro":500,"class":"firm","status":"open","held_micro":600000,"contracts":[]}"#;
const PLACE: &[&str] = &[
    "--token",
    "t1",
    "bid",
    "place",
    "--site",
    "shop",
    "--region",
    "east",
    "--first-slot",
    "2026-11-22T18:00:00Z",
    "--slots",
    "4",
    "--units",
    "300",
    "--limit-price",
];

#[test]
fn the_arguments_are_consistent_and_every_command_has_examples() {
    Cli::command().debug_assert();
    fn check_examples(command: &clap::Command, path: &str) {
        let subcommands: Vec<_> = command.get_subcommands().collect();
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(
            !subcommands.is_empty() || help.contains("Examples:\n  headroom"),
            "{path} --help has no example"
        );
        for subcommand in subcommands {
            check_examples(subcommand, &format!("{path} {}", subcommand.get_name()));
        }
    }
    check_examples(&Cli::command(), "headroom");
}

#[test]
fn a_bid_is_placed_in_the_currency_of_the_exchange() {
    let responses = [("200 OK", LEDGER), ("201 Created", BID)];
    let line: Vec<_> = PLACE.iter().copied().chain(["0.0005 EUR"]).collect();
    check(
        &responses,
        &line,
        expect![[r#"
        GET /v1/ledger HTTP/1.1
        authorization: Bearer t1

        ---
        POST /v1/bids HTTP/1.1
        authorization: Bearer t1
        idempotency-key of 32 characters
        {"site":"shop","region":"east","first_slot":"2026-11-22T18:00:00Z","slots":4,"units":300,"limit_price_micro":500,"class":"firm"}
    "#]],
        expect![[r#"
        bid    site  region  first slot            last slot             units  filled   limit  held  class  status  contracts
        bid-7  shop  east    2026-11-22T18:00:00Z  2026-11-22T18:45:00Z    300       0  0.0005   0.6  firm   open    -
    "#]],
    );
    let line: Vec<_> = PLACE.iter().copied().chain(["0.0005 USD"]).collect();
    check(
        &responses[..1],
        &line,
        expect![[r#"
        GET /v1/ledger HTTP/1.1
        authorization: Bearer t1

    "#]],
        expect![[r#"
        error: "0.0005 USD" is not an amount of money: this exchange keeps its books in EUR; accepted is a number and the exchange's currency, such as "12.50 EUR"
    "#]],
    );
}

#[test]
fn a_bid_says_units_or_both_rates() {
    let accepted = |need: &[&str]| {
        let rest = ["--limit-price", "1 EUR"];
        let line = ["headroom"].iter().chain(&PLACE[..12]).chain(&rest).chain(need);
        Cli::try_parse_from(line).is_ok()
    };
    assert!(accepted(&["--units", "300"]));
    assert!(accepted(&["--requests", "300 req/s", "--egress", "10 Mbit/s"]));
    for wrong in [
        &[][..],
        &["--requests", "300 req/s"],
        &["--egress", "10 Mbit/s"],
        &["--requests", "300", "--egress", "10 Mbit/s"],
        &["--units", "300", "--requests", "300 req/s", "--egress", "10 Mbit/s"],
    ] {
        assert!(!accepted(wrong), "{wrong:?}");
    }
}

#[test]
fn a_purge_names_what_it_is_of() {
    let answer = r#"{"site":"shop","purges":[{"sequence":7,"scope":{"url":"www.shop.example/a"}},{"sequence":8,"scope":{"tag":"sale"}}]}"#;
    check(
        &[("202 Accepted", answer)],
        &["purge", "shop", "--url", "https://www.shop.example/a", "--tag", "sale"],
        expect![[r#"
        POST /v1/sites/shop/purges HTTP/1.1
        idempotency-key of 32 characters
        {"urls":["https://www.shop.example/a"],"tags":["sale"]}
    "#]],
        expect![[r#"
        sequence  site  purged
               7  shop  URL www.shop.example/a
               8  shop  tag sale
    "#]],
    );
    for wrong in [&[][..], &["--all", "--tag", "sale"], &["--tag"]] {
        let line = ["headroom", "purge", "shop"].iter().chain(wrong);
        assert!(Cli::try_parse_from(line).is_err(), "{wrong:?}");
    }
}

#[test]
fn json_is_printed_as_it_came() {
    let body = "[ {\"new_field\": 1} ]\n";
    check(
        &[("200 OK", body)],
        &["bid", "list", "--json"],
        expect![[r#"
        GET /v1/bids HTTP/1.1

    "#]],
        expect![[r#"
        [ {"new_field": 1} ]
    "#]],
    );
}

#[test]
fn what_the_api_has_against_it_is_told() {
    let problem = r#"{"type":"https://headroom.example/problems/insufficient-funds","title":"insufficient funds","status":402,"detail":"0.6 EUR would be held, 0.1 EUR are available"}"#;
    check(
        &[("402 Payment Required", problem)],
        &["bid", "cancel", "bid-7"],
        expect![[r#"
            DELETE /v1/bids/bid-7 HTTP/1.1

        "#]],
        expect![[r#"
            error: insufficient funds: 0.6 EUR would be held, 0.1 EUR are available (status 402)
        "#]],
    );
    let problem = r#"{"type":"https://headroom.example/problems/unauthorized","title":"unauthorized","status":401,"detail":"no token was sent"}"#;
    check(
        &[("401 Unauthorized", problem)],
        &["purchaser", "list"],
        expect![[r#"
        GET /v1/purchasers HTTP/1.1

    "#]],
        expect![[r#"
        error: unauthorized: no token was sent (status 401)
        hint: give --token, HEADROOM_TOKEN or --token-file; the operator's token is in operator.token of the exchange's data folder
    "#]],
    );
    let page = "<html>\nbad gateway</html>";
    check(
        &[("502 Bad Gateway", page)],
        &["region", "list"],
        expect![[r#"
        GET /v1/regions HTTP/1.1

    "#]],
        expect![[r#"
        error: API has answered with status 502 and no problem document: <html> bad gateway</html>
    "#]],
    );
    check(
        &[("200 OK", "{}")],
        &["region", "list"],
        expect![[r#"
        GET /v1/regions HTTP/1.1

    "#]],
        expect![[r#"
            error: API has answered in an unknown form; is it of another version? invalid type: map, expected a sequence at line 1 column 0
        "#]],
    );
}

#[test]
fn a_cancellation_without_an_answer_is_said() {
    check(
        &[("200 OK", "")],
        &["bid", "cancel", "bid-7"],
        expect![[r#"
        DELETE /v1/bids/bid-7 HTTP/1.1

    "#]],
        expect![[r#"
        bid-7 is cancelled.
    "#]],
    );
}

#[test]
fn live_events_are_lines() {
    let live = r#"{"at":"2026-11-22T18:00:01Z","generation":7,"regions":[],"contracts":[]}"#;
    let body = format!(": hello\n\ndata: {live}\n\ndata: {live}\n\n");
    check(
        &[("200 OK", &body)],
        &["live"],
        expect![[r#"
        GET /v1/live HTTP/1.1

    "#]],
        expect![[r#"
        2026-11-22T18:00:01Z plan 7
        2026-11-22T18:00:01Z plan 7
        error: the exchange has ended the stream
    "#]],
    );
}

#[test]
fn a_token_is_read_from_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("operator.token");
    std::fs::write(&path, "hr_operator_1\n").unwrap();
    let arguments = ["--token-file", path.to_str().unwrap(), "show", "--region", "east"];
    check(
        &[("200 OK", "[]")],
        &arguments,
        expect![[r#"
        GET /v1/headroom?region=east HTTP/1.1
        authorization: Bearer hr_operator_1

    "#]],
        expect![[r#"
            (no region)
        "#]],
    );
}

#[test]
fn nobody_there_gives_a_hint() {
    // The port is free again once the listener is dropped.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    expect![[r#"
        error: nothing listens at API: is the exchange running (headroom all --config FILE), and is --api or HEADROOM_API right?
    "#]].assert_eq(&run_line(&format!("http://{address}"), &["region", "list"]));
    expect![[r#"
        error: "API" is not the URL of an API; accepted is such as "http://127.0.0.1:7080"
    "#]]
    .assert_eq(&run_line("localhost", &["region", "list"]));
}

const GOOD: &str = r#"
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
addresses = ["192.0.2.1"]
capacity = "500 units"
"#;

fn check_config(text: &str, more: &[&str], expected: Expect) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("headroom.toml");
    std::fs::write(&path, text).unwrap();
    let line = ["check-config", path.to_str().unwrap()];
    let line: Vec<_> = line.iter().chain(more).copied().collect();
    let folder = folder.path().to_str().unwrap();
    expected.assert_eq(&run_line("http://api.example", &line).replace(folder, "DIR"));
}

#[test]
fn a_right_configuration_is_summed_up() {
    check_config(
        GOOD,
        &[],
        expect![[r#"
        The configuration is right.
        zone cdn.example, slots of 15m, TTL 20s, name servers: 1, own sites: 0
        API at http://127.0.0.1:7080, data in DIR/headroom-data

        region  edges   capacity
        east        1  500 units
    "#]],
    );
    check_config(
        GOOD,
        &["--json"],
        expect![[r#"
        {
          "api": "127.0.0.1:7080",
          "data_dir": "DIR/headroom-data",
          "mistakes": [],
          "name_servers": 1,
          "own_sites": 0,
          "regions": [
            {
              "capacity_units": 500,
              "edges": 1,
              "id": "east"
            }
          ],
          "slot_seconds": 900,
          "valid": true,
          "warnings": [],
          "zone": "cdn.example"
        }
    "#]],
    );
    check_config(
        &format!("{GOOD}\n[edge]\ncertificates = \"certs\"\n"),
        &[],
        expect![[r#"
            The configuration is right.
            zone cdn.example, slots of 15m, TTL 20s, name servers: 1, own sites: 0
            API at http://127.0.0.1:7080, data in DIR/headroom-data

            region  edges   capacity
            east        1  500 units

            warning: edge.certificates: DIR/certs: there is no certificate yet: nobody is served over TLS
        "#]],
    );
}

#[test]
fn a_prefix_map_that_cannot_be_used_is_a_mistake() {
    check_config(
        &format!("{GOOD}\n[dns]\nprefix_map = \"clients.csv\"\n"),
        &[],
        expect![[r#"
        error: DIR/headroom.toml has a mistake:
          dns.prefix_map: the prefix map DIR/clients.csv cannot be read: No such file or directory (os error 2)
    "#]],
    );
}

#[test]
fn a_wrong_configuration_is_told_its_mistakes() {
    let wrong = GOOD.replace("500 units", "500");
    check_config(
        &wrong,
        &[],
        expect![[r#"
        error: DIR/headroom.toml has a mistake:
          line 13: regions[0].edges[0].capacity = "500": it is not a number of units: the number has no unit; accepted is a whole number and its unit, such as "300 units"
    "#]],
    );
    check_config(
        &wrong,
        &["--json"],
        expect![[r#"
        {
          "mistakes": [
            {
              "accepted": "a whole number and its unit, such as \"300 units\"",
              "key": "regions[0].edges[0].capacity",
              "line": 13,
              "reason": "it is not a number of units: the number has no unit",
              "value": "\"500\""
            }
          ],
          "valid": false
        }
    "#]],
    );
}
