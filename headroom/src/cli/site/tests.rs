//! Arguments become a site; a site becomes text.

use clap::Parser;
use expect_test::{Expect, expect};

use super::*;

#[derive(Debug, Parser)]
struct Wrapper {
    #[command(flatten)]
    args: CreateArgs,
}

const BASE: &[&str] = &[
    "create",
    "shop",
    "--host",
    "www.shop.example",
    "--origin",
    "192.0.2.10:80",
    "--fallback",
    "origin.shop.example:8080",
];

fn check_create(more: &[&str], expected: Expect) {
    let made = match Wrapper::try_parse_from(BASE.iter().chain(more)) {
        Ok(wrapper) => serde_json::to_string(&new_site(wrapper.args).remainder).unwrap(),
        Err(error) => error.to_string().lines().next().unwrap_or_default().to_owned(),
    };
    expected.assert_eq(&made);
}

#[test]
fn the_remainder_policy_follows_from_the_arguments() {
    check_create(&[], expect![[r#"{"policy":"return","name":"origin.shop.example"}"#]]);
    check_create(
        &["--return-name", "b.shop.example"],
        expect![[r#"{"policy":"return","name":"b.shop.example"}"#]],
    );
    check_create(&["--return-records"], expect![[r#"{"policy":"return-records"}"#]]);
    check_create(
        &["--return-address", "192.0.2.1", "--return-address", "2001:db8::1"],
        expect![[r#"{"policy":"return-addresses","addresses":["192.0.2.1","2001:db8::1"]}"#]],
    );
    let weighted = [
        "--assign",
        "weighted",
        "--server",
        "192.0.2.1,2001:db8::1,weight=3",
        "--server",
        "192.0.2.2",
    ];
    check_create(
        &weighted,
        expect![[
            r#"{"policy":"assign","algorithm":"weighted","servers":[{"addresses":["192.0.2.1","2001:db8::1"],"weight":3},{"addresses":["192.0.2.2"],"weight":1}]}"#
        ]],
    );
    check_create(
        &["--assign", "round-robin"],
        expect!["error: the following required arguments were not provided:"],
    );
    check_create(
        &["--server", "192.0.2.1"],
        expect!["error: the following required arguments were not provided:"],
    );
    check_create(
        &["--assign", "weighted", "--server", "192.0.2.1,weight=x"],
        expect![[
            r#"error: invalid value '192.0.2.1,weight=x' for '--server <ADDRESS[,ADDRESS][,weight=NUMBER][,region=ID]>': "192.0.2.1,weight=x" is not a server: "x" is not a weight; accepted is ADDRESS[,ADDRESS][,weight=NUMBER][,region=ID], such as "192.0.2.10,2001:db8::10,weight=3""#
        ]],
    );
    let ordered =
        ["--assign", "ordered", "--check", "tcp:443", "--server", "192.0.2.1,region=east"];
    check_create(
        &ordered,
        expect![[
            r#"{"policy":"assign","algorithm":"ordered","servers":[{"addresses":["192.0.2.1"],"weight":1,"region":"east"}],"check":"tcp:443"}"#
        ]],
    );
    check_create(
        &["--assign-by-dns", "www.shop.example"],
        expect![[r#"{"policy":"assign-by-dns","host":"www.shop.example"}"#]],
    );
    check_create(
        &["--assign-by-dns", "www.shop.example", "--check", "tcp:443"],
        expect!["error: the following required arguments were not provided:"],
    );
    check_create(
        &["--return-name", "b.shop.example", "--return-address", "192.0.2.1"],
        expect![
            "error: the argument '--return-name <NAME>' cannot be used with '--return-address <ADDRESS>'"
        ],
    );
}

fn check_rules(more: &[&str], expected: Expect) {
    let made = match Wrapper::try_parse_from(BASE.iter().chain(more)) {
        Ok(wrapper) => serde_json::to_string(&new_site(wrapper.args).rules).unwrap(),
        Err(error) => error.to_string().lines().next().unwrap_or_default().to_owned(),
    };
    expected.assert_eq(&made);
}

#[test]
fn the_rules_follow_from_the_arguments() {
    check_rules(&[], expect![[r#"{"query":"keep","upgrades":false,"negative_seconds":0}"#]]);
    check_rules(
        &["--query", "only=size,page", "--allow-upgrades", "--negative", "10"],
        expect![[r#"{"query":{"only":["size","page"]},"upgrades":true,"negative_seconds":10}"#]],
    );
    check_rules(
        &["--query", "except=utm"],
        expect![[r#"{"query":{"except":["utm"]},"upgrades":false,"negative_seconds":0}"#]],
    );
    check_rules(
        &["--query", "only="],
        expect![[
            r#"error: invalid value 'only=' for '--query <RULE>': "only=" is not a query rule: a name is empty; accepted is "keep", "ignore", "sort", "only=NAME,..." or "except=NAME,...""#
        ]],
    );
    check_rules(
        &["--negative", "86401"],
        expect![
            "error: invalid value '86401' for '--negative <SECONDS>': 86401 is not in 0..=86400"
        ],
    );
}

#[test]
fn a_site_says_what_to_do_next() {
    let site: SiteView = serde_json::from_value(serde_json::json!({
        "id": "shop", "purchaser": "shop-inc", "cname": "shop.cdn.example",
        "origins": ["192.0.2.10:80"], "over_share": "redirect", "fallback": "origin.shop.example",
        "remainder": { "policy": "return", "name": "origin.shop.example" },
        "hosts": [
            { "host": "www.shop.example", "proved": true,
              "challenge_name": "_headroom.www.shop.example", "challenge_value": "abc" },
            { "host": "img.shop.example", "proved": false,
              "challenge_name": "_headroom.img.shop.example", "challenge_value": "def" },
        ],
    }))
    .unwrap();
    expect![[r#"
        site shop of shop-inc
        make its host names a CNAME to shop.cdn.example
        origins http://192.0.2.10:80, remainder return to origin.shop.example, over the share redirect, fallback origin.shop.example
        query keep, upgrades not tunnelled, errors remembered for 0 s

        host              proved  TXT record                  its text
        www.shop.example  yes     _headroom.www.shop.example  abc
        img.shop.example  no      _headroom.img.shop.example  def

        Set the TXT records of what is not proved, then: headroom site verify shop
    "#]].assert_eq(&description(&site));
    expect![[r#"
        site  purchaser  hosts                               proved  remainder                      fallback
        shop  shop-inc   www.shop.example, img.shop.example  1 of 2  return to origin.shop.example  origin.shop.example
    "#]].assert_eq(&table(&[site]));
}

#[test]
fn servers_are_shown_with_what_is_known_of_them() {
    let view: ServersView = serde_json::from_value(serde_json::json!({
        "site": "shop", "algorithm": "least-load", "check": "tcp:443",
        "servers": [
            { "addresses": ["192.0.2.1", "2001:db8::1"], "weight": 3, "region": "east",
              "reports": [
                { "address": "192.0.2.1", "healthy": true, "load": "40 %",
                  "expires_at": "2026-11-22T18:00:30Z" },
                { "address": "2001:db8::1", "healthy": false,
                  "expires_at": "2026-11-22T18:00:40Z" },
              ],
              "checked": [{ "name_server": "ns1", "up": true },
                          { "name_server": "ns2", "up": false }] },
            { "addresses": ["192.0.2.2"], "weight": 1 },
        ],
        "provided": [
            { "name_server": "ns1", "text": "v=headroom1; ..." },
            { "name_server": "ns2", "error": "there is no TXT record" },
        ],
    }))
    .unwrap();
    expect![[r#"
        site shop: least-load, tcp:443

        server                  weight  region  reported  load  until                 checks
        192.0.2.1, 2001:db8::1       3  east    down      40 %  2026-11-22T18:00:40Z  ns1 up, ns2 down
        192.0.2.2                    1  -       -            -  -                     -

        ns1: v=headroom1; ...
        ns2: nothing is in force
        ns2: the newest text: there is no TXT record
    "#]].assert_eq(&servers(&view));
}

#[test]
fn a_report_is_an_address_a_word_and_a_load() {
    let check = |text: &str, expected: Expect| {
        let told = match text.parse::<Reported>() {
            Ok(Reported(report)) => serde_json::to_string(&report).unwrap(),
            Err(error) => error,
        };
        expected.assert_eq(&told);
    };
    check("192.0.2.1=up", expect![[r#"{"address":"192.0.2.1","healthy":true}"#]]);
    check(
        "2001:db8::1=down,99.5%",
        expect![[r#"{"address":"2001:db8::1","healthy":false,"load":"99.5 %"}"#]],
    );
    check("192.0.2.1", expect!["it does not say up or down"]);
    check("192.0.2.1=well", expect![[r#""well" is neither up nor down"#]]);
    check(
        "192.0.2.1=up,0.4",
        expect![[
            r#""0.4" is not a fraction: the number has no unit; accepted is a number from 0 to 100 and a percent sign, such as "1 %""#
        ]],
    );
    check("shop=up", expect![[r#""shop" is not an IP address"#]]);
}
