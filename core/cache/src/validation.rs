//! Validation: asking the origin, and answering visitors who ask (RFC 9111 §4.3, RFC 9110 §13).
//!
//! It compares and merges fields. It sends nothing; `If-Range` is judged with the ranges.

use headroom_units::Timestamp;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{
        AGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, IF_MATCH,
        IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED, SET_COOKIE,
    },
};

use crate::{
    StoredPolicy,
    date::{date_field, parse_date},
    hop_by_hop::HopByHop,
    list::members,
    vary::compact,
};

/// What a response can be recognised by (RFC 9110 §8.8). What is malformed or there twice is left
/// out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Validators {
    pub(crate) etag: Option<HeaderValue>,
    pub(crate) last_modified: Option<Timestamp>,
}

impl Validators {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut tags = headers.get_all(ETAG).iter();
        let etag = match (tags.next(), tags.next()) {
            (Some(tag), None) if is_entity_tag(tag.as_bytes()) => Some(compact(tag)),
            _ => None,
        };
        Self { etag, last_modified: date_field(headers, &LAST_MODIFIED).value() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }
}

/// The fields that turn a request into a question about the stored response (§4.3.1).
#[must_use]
pub fn conditional_headers(policy: &StoredPolicy) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(etag) = policy.etag() {
        headers.insert(IF_NONE_MATCH, etag.clone());
    }
    if let Some(modified) = policy.last_modified() {
        headers.insert(IF_MODIFIED_SINCE, modified);
    }
    headers
}

/// True for a condition of a visitor's (RFC 9110 §13.1): it is about the visitor's copy, not about
/// ours.
#[must_use]
pub fn is_conditional(name: &HeaderName) -> bool {
    [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, IF_RANGE].contains(name)
}

/// True if a 304 with `headers` is about the response stored under `policy` (§4.3.4). If it is
/// not, the request has to be sent again without conditions.
#[must_use]
pub fn selects(policy: &StoredPolicy, headers: &HeaderMap) -> bool {
    let fresh = Validators::of(headers);
    match (&fresh.etag, policy.etag()) {
        (Some(fresh), Some(stored)) => return weak_match(fresh.as_bytes(), stored.as_bytes()),
        // A strong validator that nothing stored has.
        (Some(fresh), None) if !fresh.as_bytes().starts_with(b"W/") => return false,
        _ => {}
    }
    match (fresh.last_modified, policy.modified_at()) {
        (Some(fresh), Some(stored)) => fresh == stored,
        _ => true,
    }
}

/// What the response to a HEAD says about the stored response to a GET (§4.3.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadNews {
    /// It is still the same: its fields may be freshened with [`update_on_304`].
    Same,
    /// It is another one by now: the stored response is stale.
    Changed,
    /// Only a 200 says something.
    Nothing,
}

/// Compares the response to a HEAD with the response stored under `stored`, whose content is of
/// `stored_length` bytes, if that is known. What the HEAD gives of entity tag, date of modification
/// and length has to be as stored.
#[must_use]
pub fn head_says(
    stored: &StoredPolicy,
    stored_length: Option<u64>,
    head: &HeaderMap,
    status: StatusCode,
) -> HeadNews {
    if status != StatusCode::OK {
        return HeadNews::Nothing;
    }
    let given = Validators::of(head);
    let same_tag = given.etag.as_ref().is_none_or(|given| {
        stored.etag().is_some_and(|stored| weak_match(given.as_bytes(), stored.as_bytes()))
    });
    let same_date = given.last_modified.is_none_or(|given| stored.modified_at() == Some(given));
    let length = head.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let same_length = match (length, stored_length) {
        (Some(given), Some(stored)) => u64::eq(&given, &stored),
        _ => true,
    };
    if same_tag && same_date && same_length { HeadNews::Same } else { HeadNews::Changed }
}

/// Freshens the fields of a stored response with those of a 304 (§3.2): each field given replaces
/// the stored ones of its name, except those that describe the stored body, belong to one
/// connection, or set a cookie that would reach other visitors.
pub fn update_on_304(stored_headers: &mut HeaderMap, fresh_304: &HeaderMap) {
    // They tell when a message was made and how long it travelled; the old ones are outdated.
    stored_headers.remove(AGE);
    stored_headers.remove(DATE);
    let one_hop = HopByHop::of(fresh_304);
    for name in fresh_304.keys() {
        if is_kept(name) || one_hop.contains(name) {
            continue;
        }
        stored_headers.remove(name);
        for value in fresh_304.get_all(name) {
            stored_headers.append(name, value.clone());
        }
    }
}

/// Fields of a stored response that a 304 does not change.
fn is_kept(name: &HeaderName) -> bool {
    [CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, SET_COOKIE].contains(name)
}

/// True if a visitor's GET or HEAD is to be answered with 304, because the visitor has what is
/// stored (§4.3.2). `If-None-Match` decides alone if it is there (RFC 9110 §13.1.3).
#[must_use]
pub fn not_modified(
    request: &HeaderMap,
    etag: Option<&HeaderValue>,
    last_modified: Option<&HeaderValue>,
) -> bool {
    names(request, &IF_NONE_MATCH, etag, weak_match).unwrap_or_else(|| {
        is_modified_since(request, &IF_MODIFIED_SINCE, last_modified) == Some(false)
    })
}

/// Whether a list of entity tags names `etag`; `None` if there is no list.
fn names(
    request: &HeaderMap,
    field: &HeaderName,
    etag: Option<&HeaderValue>,
    same: fn(&[u8], &[u8]) -> bool,
) -> Option<bool> {
    let named =
        |member: &[u8]| member == b"*" || etag.is_some_and(|etag| same(member, etag.as_bytes()));
    request.contains_key(field).then(|| members(request, field).any(named))
}

/// Whether what is stored was modified after the date in a field; `None` if either is not known.
fn is_modified_since(
    request: &HeaderMap,
    field: &HeaderName,
    last_modified: Option<&HeaderValue>,
) -> Option<bool> {
    // The field first: most requests have none.
    let since = date_field(request, field).value()?;
    Some(last_modified.and_then(parse_date)? > since)
}

/// Weak comparison (RFC 9110 §8.8.3.2): the tags are the same, whether weak or not.
fn weak_match(one: &[u8], other: &[u8]) -> bool {
    match (opaque_tag(one), opaque_tag(other)) {
        (Some(one), Some(other)) => one == other,
        _ => false,
    }
}

/// Strong comparison (RFC 9110 §8.8.3.2): the tags are the same, and neither is weak.
pub(crate) fn strong_match(one: &[u8], other: &[u8]) -> bool {
    one == other && one.starts_with(b"\"") && is_entity_tag(one)
}

/// True if it has the form of an entity tag, weak or not.
pub(crate) fn is_entity_tag(tag: &[u8]) -> bool {
    opaque_tag(tag).is_some()
}

/// The part of an entity tag that is compared, with its quotes (RFC 9110 §8.8.3).
fn opaque_tag(tag: &[u8]) -> Option<&[u8]> {
    let opaque = tag.strip_prefix(b"W/").unwrap_or(tag);
    let inner = opaque.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let allowed = |byte: &u8| *byte == 0x21 || (0x23..=0x7e).contains(byte) || *byte >= 0x80;
    inner.iter().all(allowed).then_some(opaque)
}

#[cfg(test)]
mod tests {
    use http::Method;
    use proptest::prelude::*;

    use super::*;
    use crate::{Exchange, Rules, storable};

    const OLD: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const NEW: &str = "Mon, 07 Nov 1994 08:49:37 GMT";

    type Lines<'a> = &'a [(&'static str, &'a str)];

    fn headers(lines: Lines<'_>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let value = value.parse().expect("a test has valid values");
            headers.append(HeaderName::from_static(name), value);
        }
        headers
    }

    fn stored(lines: Lines<'_>) -> StoredPolicy {
        let at = Timestamp::from_seconds(1_000_000_000);
        let times = Exchange { requested_at: at, received_at: at };
        let mut response = headers(lines);
        response.insert("cache-control", HeaderValue::from_static("max-age=9"));
        let request = HeaderMap::new();
        storable(&Method::GET, &request, StatusCode::OK, &response, &times, &Rules::default())
            .expect("a test stores it")
    }

    #[test]
    fn the_origin_is_asked_with_what_is_known() {
        let policy = stored(&[("etag", "W/\"a\""), ("last-modified", OLD)]);
        let expected = headers(&[("if-none-match", "W/\"a\""), ("if-modified-since", OLD)]);
        assert_eq!(conditional_headers(&policy), expected, "§4.3.1");
        let policy = stored(&[("etag", "unquoted"), ("last-modified", "yesterday")]);
        assert!(conditional_headers(&policy).is_empty());
    }

    #[test]
    fn a_visitor_who_has_it_is_told_so() {
        let cases: [(Lines<'_>, bool, &str); 14] = [
            (&[], false, "no condition"),
            (&[("if-none-match", "\"a\"")], true, "RFC 9110 §13.1.2"),
            (&[("if-none-match", "W/\"a\"")], true, "§8.8.3.2: weak comparison"),
            (&[("if-none-match", "\"x\", \"a\"")], true, "§13.1.2: a list"),
            (&[("if-none-match", "\"x\""), ("if-none-match", "\"a\"")], true, "§5.3: lines"),
            (&[("if-none-match", "\"x,\"a\"")], false, "§8.8.3: malformed"),
            (&[("if-none-match", "*")], true, "§13.1.2"),
            (&[("if-none-match", "a")], false, "§8.8.3: unquoted"),
            (&[("if-none-match", "\"x\""), ("if-modified-since", NEW)], false, "§13.1.3"),
            (&[("if-modified-since", OLD)], true, "§13.1.3"),
            (&[("if-modified-since", NEW)], true, "§13.1.3"),
            (&[("if-modified-since", "Sat, 05 Nov 1994 08:49:37 GMT")], false, "§13.1.3"),
            (&[("if-modified-since", "x")], false, "§13.1.3: invalid is ignored"),
            (&[("if-modified-since", OLD), ("if-modified-since", OLD)], false, "§13.1.3"),
        ];
        let (etag, modified) = (HeaderValue::from_static("\"a\""), HeaderValue::from_static(OLD));
        for (request, expected, rule) in cases {
            let found = not_modified(&headers(request), Some(&etag), Some(&modified));
            assert_eq!(found, expected, "{request:?} ({rule})");
        }
        let since = headers(&[("if-modified-since", NEW)]);
        assert!(!not_modified(&since, Some(&etag), None));
    }

    #[test]
    fn a_head_tells_whether_it_is_the_same() {
        let policy = stored(&[("etag", "\"a\""), ("last-modified", OLD)]);
        let cases: [(Lines<'_>, HeadNews); 9] = [
            (&[], HeadNews::Same),
            (&[("etag", "\"a\""), ("content-length", "9")], HeadNews::Same),
            (&[("etag", "W/\"a\"")], HeadNews::Same),
            (&[("etag", "\"b\"")], HeadNews::Changed),
            (&[("last-modified", OLD)], HeadNews::Same),
            (&[("last-modified", NEW)], HeadNews::Changed),
            (&[("content-length", "8")], HeadNews::Changed),
            (&[("content-length", "x")], HeadNews::Same),
            (&[("etag", "\"a\""), ("content-length", "8")], HeadNews::Changed),
        ];
        for (head, expected) in cases {
            let says = |status| head_says(&policy, Some(9), &headers(head), status);
            assert_eq!(says(StatusCode::OK), expected, "{head:?} (§4.3.5)");
            assert_eq!(says(StatusCode::GONE), HeadNews::Nothing, "{head:?} (§4.3.5)");
        }
        let unmarked = stored(&[]);
        let tagged = headers(&[("etag", "\"a\"")]);
        assert_eq!(head_says(&unmarked, None, &tagged, StatusCode::OK), HeadNews::Changed);
    }

    #[test]
    fn a_304_must_be_about_what_is_stored() {
        let policy = stored(&[("etag", "\"a\""), ("last-modified", OLD)]);
        let dated = stored(&[("last-modified", OLD)]);
        assert!(selects(&policy, &headers(&[])), "§4.3.4");
        assert!(selects(&policy, &headers(&[("etag", "W/\"a\"")])));
        assert!(!selects(&policy, &headers(&[("etag", "\"b\"")])));
        assert!(!selects(&dated, &headers(&[("etag", "\"b\"")])), "a strong validator");
        assert!(selects(&dated, &headers(&[("last-modified", OLD)])));
        assert!(!selects(&dated, &headers(&[("last-modified", NEW)])));
    }

    #[test]
    fn a_304_freshens_all_but_the_body() {
        let mut all = headers(&[
            ("age", "50"),
            ("cache-control", "max-age=1"),
            ("content-length", "10"),
            ("content-type", "text/plain"),
            ("date", OLD),
            ("x-old", "kept"),
            ("x-two", "1"),
            ("x-two", "2"),
        ]);
        let fresh = headers(&[
            ("cache-control", "max-age=9"),
            ("connection", "x-hop"),
            ("content-length", "0"),
            ("content-encoding", "br"),
            ("content-type", "text/html"),
            ("date", NEW),
            ("set-cookie", "a=b"),
            ("transfer-encoding", "chunked"),
            ("x-hop", "1"),
            ("x-two", "3"),
        ]);
        update_on_304(&mut all, &fresh);
        let expected = headers(&[
            ("cache-control", "max-age=9"),
            ("content-length", "10"),
            ("content-type", "text/html"),
            ("date", NEW),
            ("x-old", "kept"),
            ("x-two", "3"),
        ]);
        assert_eq!(all, expected, "§3.2");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let mut all = HeaderMap::new();
                for name in [
                    ETAG, IF_NONE_MATCH, IF_MODIFIED_SINCE, LAST_MODIFIED, DATE, AGE, IF_MATCH,
                    IF_UNMODIFIED_SINCE, CONTENT_LENGTH,
                    http::header::VARY, http::header::EXPIRES, http::header::CONNECTION,
                ] {
                    all.insert(name, value.clone());
                }
                let _ = not_modified(&all, Some(&value), Some(&value));
                let mut updated = all.clone();
                update_on_304(&mut updated, &all);
                crate::remove_hop_by_hop(&mut updated);
                let at = Timestamp::from_seconds(1);
                let times = Exchange { requested_at: at, received_at: at };
                let (rules, status) = (Rules::default(), StatusCode::OK);
                if let Ok(policy) = storable(&Method::GET, &all, status, &all, &times, &rules) {
                    let _ = policy.decide(&all, Timestamp::MAX);
                    let _ = selects(&policy, &all);
                    let _ = head_says(&policy, Some(1), &all, status);
                    prop_assert!(policy.vary().matches(&all));
                }
            }
        }
    }
}
