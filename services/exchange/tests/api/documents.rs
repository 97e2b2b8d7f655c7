//! What the exchange says about itself.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::harness::House;

const PATHS: [&str; 23] = [
    "/v1/bids",
    "/v1/bids/{id}",
    "/v1/contracts",
    "/v1/contracts/{id}",
    "/v1/contracts/{id}/meters",
    "/v1/headroom",
    "/v1/invoices/{purchaser}/{month}",
    "/v1/ledger",
    "/v1/ledger/events",
    "/v1/live",
    "/v1/meters",
    "/v1/plan",
    "/v1/purchasers",
    "/v1/purchasers/{id}/credits",
    "/v1/purchasers/{id}/tokens",
    "/v1/regions",
    "/v1/regions/{id}/recalls",
    "/v1/regions/{id}/series",
    "/v1/sites",
    "/v1/sites/{id}",
    "/v1/sites/{id}/purges",
    "/v1/sites/{id}/servers",
    "/v1/sites/{id}/verify",
];

#[test]
fn the_openapi_document_names_every_call_once() {
    let house = House::start();
    let document = house.call("GET", "/v1/openapi.json").send().ok(200);
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    let paths = document["paths"].as_object().unwrap();
    let documented: BTreeSet<&str> = paths.keys().map(String::as_str).collect();
    assert_eq!(documented, BTreeSet::from(PATHS));
    let mut names = BTreeSet::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name.to_owned()), "two operations are called {name}");
            assert!(operation["summary"].is_string() || operation["description"].is_string());
            // Each documented call is there, and nobody makes it without a token.
            let call = house.call(&method.to_uppercase(), &path.replace("{id}", "x")).send();
            call.problem(401, "unauthorized");
            assert!(operation["responses"]["4XX"].is_object(), "{method} {path}");
        }
    }
    assert!(names.len() > 20, "{names:?}");
}

#[test]
fn every_shape_that_the_document_refers_to_is_in_it() {
    let house = House::start();
    let document = house.call("GET", "/v1/openapi.json").send().ok(200);
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(references.len() > 30);
    for reference in references {
        let pointer = reference.trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{reference} is not there");
    }
}

fn collect_references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|inner| collect_references(inner, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| collect_references(inner, found)),
        _ => {}
    }
}

#[test]
fn health_and_metrics_are_plain_to_read() {
    let house = House::start();
    let health = house.call("GET", "/healthz").send();
    assert_eq!((health.status, health.body.as_str()), (200, "ok\n"));
    let metrics = house.call("GET", "/metrics").send();
    assert_eq!(metrics.status, 200);
    assert!(metrics.header("content-type").starts_with("application/openmetrics-text"));
    for line in [
        "headroom_exchange_plan_generation 1",
        "headroom_exchange_contracts_made_total 0",
        "headroom_exchange_slots_settled_total 0",
        "headroom_exchange_reconcile_failures_total 0",
        "# EOF",
    ] {
        assert!(metrics.body.lines().any(|found| found == line), "{line} is not there");
    }
}

#[test]
fn answers_are_not_for_caches() {
    let house = House::start();
    for call in [house.call("GET", "/v1/bids"), house.call("GET", "/nothing")] {
        let answer = call.token(&house.operator).send();
        assert_eq!(answer.header("cache-control"), "no-store");
    }
}
