//! Tests of what a stored response may be used for, with the time as a number.

use http::{Method, StatusCode};
use proptest::prelude::*;

use super::*;
use crate::{Rules, storable, testing::headers};

const STORED: u64 = 1_000_000_000;

fn stored(request: &str, response: &str) -> StoredPolicy {
    let at = Timestamp::from_seconds(STORED);
    let times = Exchange { requested_at: at, received_at: at };
    let (request, response) = (headers(request), headers(response));
    storable(&Method::GET, &request, StatusCode::OK, &response, &times, &Rules::default())
        .expect("a test stores it")
}

fn decide(response: &str, request: &str, after_seconds: u64) -> String {
    let now = Timestamp::from_seconds(STORED + after_seconds);
    format!("{:?}", stored("", response).decide(&headers(request), now))
}

#[test]
fn a_request_without_wishes_gets_what_is_fresh() {
    let cases = [
        ("cache-control: max-age=10", 9, "Fresh { age: 9s }", "§4.2"),
        ("cache-control: max-age=10", 10, "Miss", "§4.2: fresh while lifetime > age"),
        ("cache-control: max-age=10|etag: \"a\"", 10, "Validate", "§4.3"),
        ("cache-control: max-age=10|age: 4", 5, "Fresh { age: 9s }", "§4.2.3"),
        ("cache-control: max-age=10|age: 4", 6, "Miss", "§4.2.3"),
        ("cache-control: max-age=10|age: 40", 0, "Miss", "§4.2.3"),
        ("cache-control: no-cache, max-age=10|etag: \"a\"", 1, "Validate", "§5.2.2.4"),
        ("etag: \"a\"", 0, "Validate", "§4.2.4"),
    ];
    for (response, after, expected, rule) in cases {
        assert_eq!(decide(response, "", after), expected, "{response} +{after} s ({rule})");
    }
}

#[test]
fn a_request_may_ask_for_more_or_less() {
    let plain = "cache-control: max-age=10|etag: \"a\"";
    let cases = [
        (plain, "no-cache", 1, "Validate", "§5.2.1.4"),
        (plain, "no-store", 1, "Miss", "§5.2.1.5"),
        (plain, "max-age=5", 5, "Fresh { age: 5s }", "§5.2.1.1"),
        (plain, "max-age=5", 6, "Validate", "§5.2.1.1"),
        (plain, "max-age=x", 1, "Validate", "§5.2.1.1"),
        (plain, "min-fresh=5", 5, "Fresh { age: 5s }", "§5.2.1.3"),
        (plain, "min-fresh=5", 6, "Validate", "§5.2.1.3"),
        (plain, "max-stale", 99, "Stale { age: 99s }", "§5.2.1.2"),
        (plain, "max-stale=5", 15, "Stale { age: 15s }", "§5.2.1.2"),
        (plain, "max-stale=5", 16, "Validate", "§5.2.1.2"),
        (plain, "max-stale=5, min-fresh=1", 11, "Validate", "§5.2.1.3"),
        (plain, "max-stale, max-age=12", 13, "Validate", "§5.2.1.1"),
        (plain, "max-stale, no-cache", 11, "Validate", "§5.2.1.4"),
        (plain, "only-if-cached", 9, "Fresh { age: 9s }", "§5.2.1.7"),
        (plain, "only-if-cached", 10, "GatewayTimeout", "§5.2.1.7"),
        (plain, "only-if-cached, no-cache", 1, "GatewayTimeout", "§5.2.1.7"),
        (plain, "only-if-cached, max-stale", 11, "Stale { age: 11s }", "§5.2.1.7"),
    ];
    for (response, wish, after, expected, rule) in cases {
        let request = format!("cache-control: {wish}");
        assert_eq!(decide(response, &request, after), expected, "{wish} +{after} s ({rule})");
    }
    assert_eq!(decide(plain, "pragma: no-cache", 1), "Validate", "§5.4");
    assert_eq!(
        decide(plain, "pragma: no-cache|cache-control: max-age=9", 1),
        "Fresh { age: 1s }",
        "§5.4"
    );
}

#[test]
fn no_request_overrules_the_origin() {
    for strict in ["must-revalidate", "proxy-revalidate", "s-maxage=10", "no-cache"] {
        let response = format!("cache-control: max-age=10, {strict}|etag: \"a\"");
        let found = decide(&response, "cache-control: max-stale", 11);
        assert_eq!(found, "Validate", "{strict} (§4.2.4)");
    }
}

#[test]
fn another_variant_is_a_miss() {
    let policy = stored("accept: a", "cache-control: max-age=10|etag: \"a\"|vary: accept");
    let now = Timestamp::from_seconds(STORED + 1);
    let decide = |request: &str| policy.decide(&headers(request), now);
    assert_eq!(decide("accept: a"), Decision::Fresh { age: Duration::from_secs(1) }, "§4.1");
    assert_eq!(decide("accept: b"), Decision::Miss, "§4.1");
    assert_eq!(decide("accept: b|cache-control: max-age=9"), Decision::Miss, "§4.1");
    assert_eq!(decide("cache-control: only-if-cached"), Decision::GatewayTimeout, "§4.1");
}

#[test]
fn a_clock_that_went_back_does_no_harm() {
    let policy = stored("", "cache-control: max-age=10");
    let decision = policy.decide(&HeaderMap::new(), Timestamp::EPOCH);
    assert_eq!(decision, Decision::Fresh { age: Duration::ZERO });
    let policy = stored("", "cache-control: max-age=10|age: 11");
    let decision = policy.decide(&HeaderMap::new(), Timestamp::from_millis(STORED * 1_000 - 1));
    assert_eq!(decision, Decision::Miss, "it was stale when it came");
}

#[test]
fn a_response_may_be_used_while_it_is_refreshed() {
    let plain = "cache-control: max-age=10, stale-while-revalidate=5|etag: \"a\"";
    let cases = [
        (plain, "", 9, "Fresh { age: 9s }"),
        (plain, "", 10, "StaleWhileRevalidate { age: 10s }"),
        (plain, "", 14, "StaleWhileRevalidate { age: 14s }"),
        (plain, "", 15, "Validate"),
        (plain, "cache-control: no-transform", 14, "StaleWhileRevalidate { age: 14s }"),
        (plain, "pragma: x", 14, "StaleWhileRevalidate { age: 14s }"),
        (plain, "cache-control: no-cache", 11, "Validate"),
        (plain, "pragma: no-cache", 11, "Validate"),
        (plain, "cache-control: max-age=99", 11, "Validate"),
        (plain, "cache-control: min-fresh=0", 11, "Validate"),
        (plain, "cache-control: max-stale=0", 11, "Validate"),
        (plain, "cache-control: max-stale=1", 11, "Stale { age: 11s }"),
        (
            "cache-control: max-age=0, stale-while-revalidate=5",
            "",
            4,
            "StaleWhileRevalidate { age: 4s }",
        ),
        ("cache-control: max-age=10, stale-while-revalidate=x", "", 10, "Miss"),
    ];
    for (response, request, after, expected) in cases {
        let found = decide(response, request, after);
        assert_eq!(found, expected, "{response} / {request} +{after} s (RFC 5861 §3)");
    }
    for strict in ["must-revalidate", "proxy-revalidate", "s-maxage=10", "no-cache"] {
        let response = format!("{plain}|cache-control: {strict}");
        assert_eq!(decide(&response, "", 11), "Validate", "{strict} (§4.2.4)");
    }
}

#[test]
fn a_failing_origin_is_covered_for() {
    use OriginFailure::{ServerError, Unreachable};
    const DAY: u64 = 86_400;
    let plain = "cache-control: max-age=10|etag: \"a\"";
    let said = "cache-control: max-age=10, stale-if-error=5";
    let cases = [
        (plain, "", Unreachable, 10 + DAY, true, "§4.2.4"),
        (plain, "", Unreachable, 11 + DAY, false, "§4.2.4"),
        (plain, "", ServerError, 11, false, "RFC 5861 §4: not said"),
        (said, "", ServerError, 15, true, "RFC 5861 §4"),
        (said, "", ServerError, 16, false, "RFC 5861 §4"),
        (said, "", Unreachable, 15, true, "RFC 5861 §4"),
        (said, "", Unreachable, 16, false, "RFC 5861 §4: the origin says how long"),
        (plain, "cache-control: stale-if-error=5", ServerError, 15, true, "RFC 5861 §4"),
        (said, "cache-control: stale-if-error=2", ServerError, 13, false, "the request's"),
        (said, "cache-control: stale-if-error=x", ServerError, 13, false, "invalid"),
        (said, "cache-control: max-age=3", ServerError, 11, false, "§5.2.1.1"),
        (said, "cache-control: max-age=3, stale-if-error=9", ServerError, 11, true, "§4"),
        (said, "cache-control: max-stale=3", ServerError, 14, false, "§5.2.1.2"),
        (said, "cache-control: min-fresh=3", ServerError, 11, false, "§5.2.1.3"),
        (said, "cache-control: no-cache", Unreachable, 1, false, "§5.2.1.4"),
        (said, "pragma: no-cache", Unreachable, 1, false, "§5.4"),
        (said, "cache-control: no-store", Unreachable, 1, false, "§5.2.1.5"),
    ];
    for (response, request, failure, after, expected, rule) in cases {
        let now = Timestamp::from_seconds(STORED + after);
        let found = stored("", response).on_error(&headers(request), failure, now);
        let expected = expected.then(|| Duration::from_secs(after));
        assert_eq!(found, expected, "{response} / {request} {failure:?} +{after} s ({rule})");
    }
    let now = Timestamp::from_seconds(STORED + 11);
    for strict in ["must-revalidate", "proxy-revalidate", "s-maxage=10", "no-cache"] {
        let policy = stored("", &format!("{said}, {strict}|etag: \"a\""));
        let request = headers("cache-control: stale-if-error=99");
        assert_eq!(policy.on_error(&request, Unreachable, now), None, "{strict} (§4.2.4)");
    }
    let policy = stored("accept: a", "cache-control: max-age=10|vary: accept");
    assert_eq!(policy.on_error(&headers("accept: b"), Unreachable, now), None, "§4.1");
}

#[test]
fn the_newest_variant_that_matches_is_selected() {
    let of = |request: &str, date: u64| {
        let date = http_date(Timestamp::from_seconds(date));
        let date = date.to_str().unwrap();
        stored(request, &format!("cache-control: max-age=10|vary: accept|date: {date}"))
    };
    let mut all =
        vec![of("accept: a", STORED - 1), of("accept: b", STORED), of("accept: a", STORED - 2)];
    let select = |all: &[StoredPolicy], request: &str| select(all.iter(), &headers(request));
    assert_eq!(select(&all, "accept: a"), Some(0), "§4.1");
    assert_eq!(select(&all, "accept: b"), Some(1), "§4.1");
    assert_eq!(select(&all, "accept: c"), None, "§4.1");
    all[2].date = all[0].date;
    all[2].received_at = all[0].received_at.after(Duration::from_nanos(1));
    assert_eq!(select(&all, "accept: a"), Some(2), "the one received last");
    all.push(stored("", "cache-control: max-age=10"));
    assert_eq!(select(&all, "accept: c"), Some(3), "§4.1: it does not vary");
}

prop_compose! {
    fn any_parts()(
        times in any::<[u64; 6]>(),
        stale in any::<(u32, Option<u32>)>(),
        flags in any::<(bool, bool, bool)>(),
        etag in prop::option::of("(W/)?\"[a-z]{0,3}\""),
        dated in any::<bool>(),
        vary in prop::collection::btree_map("[a-z]{1,3}", prop::collection::vec("[a-z]?", 0..3), 0..3),
    ) -> PolicyParts {
        let value = |text: String| HeaderValue::try_from(text).unwrap();
        PolicyParts {
            received_at: Timestamp::from_nanos(times[0]),
            initial_age: Duration::from_nanos(times[1]),
            fresh_for: Duration::from_nanos(times[2]),
            date: Timestamp::from_nanos(times[3]),
            stale_while_revalidate: stale.0.min(NOT_SAID - 1),
            stale_if_error: stale.1.map(|seconds| seconds.min(NOT_SAID - 1)),
            no_cache: flags.0,
            must_revalidate: flags.1,
            heuristic: flags.2,
            etag: etag.map(value),
            last_modified: dated.then(|| Timestamp::from_seconds(times[4] >> 30)),
            vary: vary.into_iter().map(|(name, lines)| {
                let name = HeaderName::try_from(name).unwrap();
                (name, lines.into_iter().map(value).collect())
            }).collect(),
        }
    }
}

proptest! {
    #[test]
    fn a_policy_survives_being_written_down(parts in any_parts(), now in any::<u64>()) {
        let policy = StoredPolicy::from_parts(parts.clone());
        prop_assert_eq!(policy.to_parts(), parts);
        prop_assert_eq!(&StoredPolicy::from_parts(policy.to_parts()), &policy);
        // No moment makes the arithmetic overflow.
        let (now, request) = (Timestamp::from_nanos(now), HeaderMap::new());
        let _ = policy.decide(&request, now);
        let _ = policy.on_error(&request, OriginFailure::Unreachable, now);
    }
}
