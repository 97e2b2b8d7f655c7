//! Two visits to one page: what the second is given, by what the first was answered.

use headroom_cache::{Decision, Exchange, Rules, http_date, storable};
use headroom_units::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

const FIRST: u64 = 1_000_000_000;
/// Seconds between the visits.
const PAUSE: u64 = 3;

/// Fields from `name: value` lines with `|` between them; `@-60` is the date a minute before the
/// first visit.
fn headers(text: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in text.split('|').filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").expect("a field has a value");
        let value = match value.strip_prefix('@') {
            Some(offset) => {
                let offset: i64 = offset.parse().expect("an offset is a number");
                http_date(Timestamp::from_seconds(FIRST.saturating_add_signed(offset)))
            }
            None => HeaderValue::from_str(value).expect("a test has valid values"),
        };
        headers.append(HeaderName::try_from(name).expect("a field name"), value);
    }
    headers
}

/// What `request` is given after the request and response in `first`.
fn second(status: u16, first: (&str, &str), request: &str) -> &'static str {
    let at = Timestamp::from_seconds(FIRST);
    let times = Exchange { requested_at: at, received_at: at };
    let status = StatusCode::from_u16(status).expect("a status");
    let (asked, answered) = (headers(first.0), headers(first.1));
    let rules = Rules::default();
    let Ok(policy) = storable(&Method::GET, &asked, status, &answered, &times, &rules) else {
        return "not stored";
    };
    match policy.decide(&headers(request), Timestamp::from_seconds(FIRST + PAUSE)) {
        Decision::Fresh { .. } => "fresh",
        Decision::Stale { .. } => "stale",
        Decision::StaleWhileRevalidate { .. } => "refreshed",
        Decision::Validate => "validated",
        Decision::Miss => "missed",
        Decision::GatewayTimeout => "504",
    }
}

#[test]
fn ages_and_directives_make_it_fresh() {
    let cases = [
        ("", "not stored"),
        ("cache-control: max-age=3600", "fresh"),
        ("cache-control: max-age=2", "missed"),
        ("cache-control: max-age=0", "not stored"),
        ("cache-control: max-age=2147483647", "fresh"),
        ("cache-control: max-age=2147483649", "fresh"),
        ("cache-control: max-age=99999999999", "fresh"),
        ("cache-control: max-age=-3600", "not stored"),
        ("cache-control: max-age=003600", "fresh"),
        ("cache-control: max-age='3600'", "not stored"),
        ("cache-control: foobar, MaX-aGe=3600", "fresh"),
        ("cache-control: extension=\"max-age=3600\", max-age=1", "missed"),
        ("cache-control: max-age=1, extension=\"max-age=3600\"", "missed"),
        ("cache-control: max-age=3600|date: @0|expires: @-7200", "fresh"),
        ("cache-control: max-age=3600|date: @0|expires: 0", "fresh"),
        ("cache-control: max-age=0|date: @0|expires: @3600", "not stored"),
        ("cache-control: s-maxage=3600, max-age=1", "fresh"),
        ("cache-control: max-age=0, s-maxage=3600|expires: @-10", "fresh"),
        ("cache-control: max-age=3600|cache-control: s-maxage=1", "missed"),
        ("cache-control: max-age=3600|date: @-7200", "missed"),
        ("cache-control: max-age=3600|date: @0|age: 7200", "missed"),
        ("cache-control: max-age=3600|date: @0|age: 2147483648", "missed"),
        ("cache-control: max-age=3600|date: @0|age: 7200, 0", "missed"),
        ("cache-control: max-age=3600|date: @0|age: 0, 7200", "fresh"),
        ("cache-control: max-age=3600|date: @0|age: 7200|age: 0", "missed"),
        ("cache-control: max-age=3600|date: @0|age: 0|age: 7200", "fresh"),
        ("cache-control: max-age=3600|date: @0|age: -7200", "fresh"),
        ("cache-control: max-age=3600|date: @0|age: 7200.0", "fresh"),
        ("cache-control: max-age=3600|date: @0|age: abc", "fresh"),
        ("cache-control: max-age=10000|date: @0|age: 3600|age: 3600", "fresh"),
        ("date: @0|last-modified: @-86400", "fresh"),
        ("date: @0|last-modified: @-86400|pragma: no-cache", "fresh"),
        ("cache-control: max-age=3600|pragma: no-cache", "fresh"),
    ];
    for (response, expected) in cases {
        assert_eq!(second(200, ("", response), ""), expected, "{response}");
    }
}

#[test]
fn a_date_makes_it_fresh_if_it_is_one() {
    let cases = [
        ("date: @0|expires: @2592000", "fresh"),
        ("date: @0|expires: @0", "not stored"),
        ("date: @400|expires: @300", "not stored"),
        ("date: foo|expires: @10", "fresh"),
        ("date: @-10|expires: @10|age: 25", "missed"),
        ("date: @10|expires: @20|age: 15", "missed"),
        ("date: @0|expires: Tue, 19 Jan 2038 14:14:08 GMT", "fresh"),
        ("date: @0|expires: Sun, 21 Nov 2286 04:46:39 GMT", "fresh"),
        ("date: @0|expires: Fri, 31 Dec 9999 23:59:59 GMT", "fresh"),
        ("date: @0|expires: Thursday, 18-Aug-50 02:01:18 GMT", "fresh"),
        ("date: @0|expires: Thu Aug  8 02:01:18 2050", "fresh"),
        ("date: @0|expires: THU, 18 Aug 2050 02:01:18 GMT", "fresh"),
        ("date: @0|expires: Thu, 18 AUG 2050 02:01:18 GMT", "fresh"),
        ("date: @0|expires: Thu, 18 Aug 2050 02:01:18 gMT", "fresh"),
        ("date: @0|expires: Thu, 18 Aug 2050 02:01:18 UTC", "not stored"),
        ("date: @0|expires: Thu, 18 Aug 2050 02:01:18 AEST", "not stored"),
        ("date: @0|expires: Thu, 18 Aug 50 02:01:18 GMT", "not stored"),
        ("date: @0|expires: Thu 18 Aug 2050 02:01:18 GMT", "not stored"),
        ("date: @0|expires: Thu, 18  Aug  2050 02:01:18 GMT", "not stored"),
        ("date: @0|expires: Thu, 18-Aug-2050 02:01:18 GMT", "not stored"),
        ("date: @0|expires: Thu, 18 Aug 2050 02.01.18 GMT", "not stored"),
        ("date: @0|expires: Thu, 18 Aug 2050 2:01:18 GMT", "not stored"),
        ("date: @0|expires: @3600|expires: @3601", "not stored"),
    ];
    for (response, expected) in cases {
        assert_eq!(second(200, ("", response), ""), expected, "{response}");
    }
}

#[test]
fn directives_are_kept() {
    let cases = [
        ("cache-control: private, max-age=3600", "not stored"),
        ("cache-control: No-StOrE, max-age=10000|expires: @10000|date: @0", "not stored"),
        ("cache-control: max-age=10000, No-CaChE|expires: @10000|date: @0", "not stored"),
        ("cache-control: max-age=10000, no-cache|etag: \"abcd\"", "validated"),
        ("cache-control: max-age=10000, must-revalidate|etag: \"abcd\"", "fresh"),
        ("cache-control: max-age=2, must-revalidate|etag: \"abcd\"", "validated"),
        ("cache-control: max-age=1, stale-while-revalidate=3600|etag: \"abc\"", "refreshed"),
        ("cache-control: max-age=1, stale-while-revalidate=1|etag: \"abc\"", "validated"),
        ("cache-control: max-age=3600|set-cookie: a=b", "not stored"),
        ("cdn-cache-control: max-age=3600", "fresh"),
        ("cdn-cache-control: max-age=99999999999", "fresh"),
        ("cdn-cache-control: max-age=3600|age: 7200", "missed"),
        ("cdn-cache-control: max-age=0|expires: @10000", "not stored"),
        ("cdn-cache-control: foobar, max-age=3600|expires: @-10000", "fresh"),
        ("cdn-cache-control: max-age=3600|expires: 0", "fresh"),
        ("cache-control: max-age=1|cdn-cache-control: max-age=3600", "fresh"),
        ("cache-control: max-age=3600|cdn-cache-control: max-age=1", "missed"),
        ("cache-control: max-age=10000|cdn-cache-control: private", "not stored"),
        ("cache-control: max-age=10000|cdn-cache-control: no-cache", "not stored"),
        ("cache-control: max-age=10000|cdn-cache-control: no-store", "not stored"),
        ("cache-control: no-store|cdn-cache-control: max-age=10000", "fresh"),
        ("cache-control: no-store|cdn-cache-control: max-age=10000, &&&&&", "not stored"),
        ("cache-control: no-store|cdn-cache-control: max-age=\"10000\"", "not stored"),
    ];
    for (response, expected) in cases {
        assert_eq!(second(200, ("", response), ""), expected, "{response}");
    }
}

#[test]
fn statuses_differ_without_freshness_only() {
    let modified = "date: @0|last-modified: @-86400";
    for status in [200, 203, 204, 404, 405, 410, 414, 501] {
        assert_eq!(second(status, ("", modified), ""), "fresh", "{status}");
    }
    for status in [201, 202, 403, 502, 503, 504, 599] {
        assert_eq!(second(status, ("", modified), ""), "not stored", "{status}");
    }
    let public = format!("{modified}|cache-control: public");
    assert_eq!(second(599, ("", &public), ""), "fresh");
    for status in [200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 503, 599] {
        let fresh = ("", "date: @0|cache-control: max-age=3600");
        assert_eq!(second(status, fresh, ""), "fresh", "{status}");
        let stale = ("", "date: @0|expires: @-5000|last-modified: @-100000");
        assert_eq!(second(status, stale, ""), "validated", "{status}");
    }
    let understood = ("", "cache-control: max-age=3600, no-store, must-understand");
    assert_eq!(second(200, understood, ""), "fresh");
    assert_eq!(second(599, understood, ""), "not stored");
}

#[test]
fn visitors_differ_where_the_response_says_so() {
    let vary = |name: &str| format!("date: @0|cache-control: max-age=5000|vary: {name}");
    let cases = [
        ("foo", "foo: 1", "foo: 1", "fresh"),
        ("foo", "foo: 1", "foo: 2", "missed"),
        ("foo", "", "foo: 1", "missed"),
        ("foo", "foo: 1", "", "missed"),
        ("foo", "foo: 1|other: 2", "foo: 1|other: 3", "fresh"),
        ("foo, bar", "foo: 1|bar: abc", "bar: abc|foo: 1", "fresh"),
        ("foo, bar", "foo: 1|bar: abc", "foo: 1|bar: abcde", "missed"),
        ("foo, bar, baz", "foo: 1|baz: 9", "foo: 1|baz: 9", "fresh"),
        ("foo", "foo: 1, 2", "foo: 1|foo: 2", "fresh"),
        ("foo", "foo: 1,2", "foo: 1, 2", "fresh"),
        ("accept-language", "accept-language: en, de", "accept-language: eN,   De", "fresh"),
        ("*", "foo: 1", "foo: 1", "not stored"),
        (", *", "foo: 1", "foo: 1", "not stored"),
        ("foo, *", "foo: 1", "foo: 1", "not stored"),
        ("foo|vary: *", "foo: 1", "foo: 1", "not stored"),
    ];
    for (name, first, request, expected) in cases {
        assert_eq!(second(200, (first, &vary(name)), request), expected, "{name}: {request}");
    }
    let shared = [
        ("max-age=3600", "not stored"),
        ("max-age=3600, public", "fresh"),
        ("max-age=3600, must-revalidate", "fresh"),
        ("s-maxage=3600", "fresh"),
    ];
    for (directives, expected) in shared {
        let response = format!("date: @0|cache-control: {directives}");
        assert_eq!(second(200, ("authorization: FOO", &response), ""), expected, "{directives}");
    }
}

#[test]
fn requests_are_heard() {
    let cases = [
        ("max-age=3600", "max-age=0", "missed"),
        ("max-age=3600", "max-age=1", "missed"),
        ("max-age=3600|age: 1800", "max-age=600", "missed"),
        ("max-age=2", "max-stale=1000", "stale"),
        ("max-age=1500|age: 2000", "max-stale=1000", "stale"),
        ("max-age=1500", "min-fresh=2000", "missed"),
        ("max-age=1500|age: 1000", "min-fresh=1000", "missed"),
        ("max-age=3600", "no-cache", "missed"),
        ("max-age=3600|last-modified: @-10000|date: @0", "no-cache", "validated"),
        ("max-age=3600|etag: \"a\"", "no-cache", "validated"),
        ("max-age=3600", "no-store", "missed"),
        ("max-age=2", "only-if-cached", "504"),
    ];
    for (response, request, expected) in cases {
        let response = format!("cache-control: {response}");
        let request = format!("cache-control: {request}");
        assert_eq!(second(200, ("", &response), &request), expected, "{response} / {request}");
    }
    let fresh = ("", "cache-control: max-age=3600");
    assert_eq!(second(200, fresh, "pragma: no-cache"), "missed");
    assert_eq!(second(200, fresh, "pragma: unrecognised-extension"), "fresh");
    assert_eq!(second(200, fresh, "cookie: a=b"), "fresh");
}
