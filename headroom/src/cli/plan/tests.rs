//! A plan becomes text.

use expect_test::expect;

use super::*;

const PLAN: &str = r#"{
  "generation": 7, "made_at": "2026-11-22T18:00:00Z", "zone": "cdn.example", "ttl_seconds": 20,
  "default_region": "east",
  "name_servers": [{ "id": "ns1", "host": "ns1.cdn.example", "addresses": ["192.0.2.53"] }],
  "regions": [{ "id": "east", "client_prefixes": ["10.0.0.0/8"], "edges": [
    { "id": "east-1", "addresses": ["192.0.2.1"], "healthy": true },
    { "id": "east-2", "addresses": ["192.0.2.2"], "healthy": false }
  ] }],
  "sites": [
    { "id": "shop", "purchaser": "shop-inc", "hosts": ["www.shop.example"],
      "origins": ["192.0.2.10:80"], "over_share": "redirect", "fallback": "origin.shop.example",
      "remainder": { "policy": "assign", "algorithm": "weighted", "servers": [
        { "addresses": ["192.0.2.10"], "weight": 3 }, { "addresses": ["192.0.2.11"] } ] },
      "entitlements": [{ "contract": "contract-1", "region": "east",
        "from": "2026-11-22T18:00:00Z", "until": "2026-11-22T18:30:00Z",
        "requests": "300 req/s", "egress": "150 Mbit/s", "class": "firm" }] },
    { "id": "www", "hosts": ["www.operator.example"], "origins": ["192.0.2.20:80"],
      "over_share": "pass-through", "fallback": "www.operator.example",
      "remainder": { "policy": "return", "name": "www.operator.example" }, "entitlements": [] }
  ]
}"#;

fn shown(text: &str) -> (String, ExitCode) {
    let mut out = Vec::new();
    let code = print(serde_json::from_str(text).unwrap(), text, false, &mut out).unwrap();
    (String::from_utf8(out).unwrap(), code)
}

#[test]
fn a_plan_is_tables_and_notes() {
    let (text, code) = shown(PLAN);
    assert_eq!(code, ExitCode::SUCCESS);
    expect![[r#"
        plan 7 of 2026-11-22T18:00:00Z: zone cdn.example, TTL 20 s, default region east

        name server  host             addresses
        ns1          ns1.cdn.example  192.0.2.53

        region  edge    addresses  healthy  client prefixes
        east    east-1  192.0.2.1  yes      10.0.0.0/8
        east    east-2  192.0.2.2  no       10.0.0.0/8

        site  owner     hosts                 origins               remainder                                       over share  fallback
        shop  shop-inc  www.shop.example      http://192.0.2.10:80  assign weighted 192.0.2.10,weight=3 192.0.2.11  redirect    origin.shop.example
        www   operator  www.operator.example  http://192.0.2.20:80  -                                               -           -

        contract    site  region  from                  until                  requests      egress  class
        contract-1  shop  east    2026-11-22T18:00:00Z  2026-11-22T18:30:00Z  300 req/s  150 Mbit/s  firm

        The check finds nothing.
    "#]].assert_eq(&text);
}

#[test]
fn a_plan_that_fails_its_check_says_so() {
    let (text, code) = shown(&PLAN.replace("\"ttl_seconds\": 20", "\"ttl_seconds\": 900"));
    assert_eq!(code, ExitCode::from(FAILED));
    assert!(text.ends_with("error: ttl: 900s is not within 1 s to 300 s\n"), "{text}");
}

#[test]
fn a_plan_file_is_shown_as_it_is_in_json() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plan.json");
    fs::write(&path, PLAN).unwrap();
    let mut out = Vec::new();
    show_file(&path, true, &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap().trim_end(), PLAN);
    fs::write(&path, "{}").unwrap();
    let error = format!("{:#}", show_file(&path, true, &mut Vec::new()).unwrap_err());
    assert!(error.contains("plan.json is not a plan: missing field"), "{error}");
}
