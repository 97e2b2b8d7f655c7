//! Which responses a shared cache may store (RFC 9111 §3).
//!
//! It decides from the fields as they were received: call it before any are removed. Whether there
//! is room is not its concern.

use http::{
    HeaderMap, Method, StatusCode,
    header::{AUTHORIZATION, SET_COOKIE},
};

use crate::{
    Exchange, RequestDirectives, ResponseDirectives, Rules, StoredPolicy, VaryRefused,
    VarySelection,
    freshness::{Lifetime, is_heuristically_cacheable},
    policy::Terms,
    validation::Validators,
};

/// Why a response is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotStorable {
    /// Only responses to GET are understood (§3).
    #[error("the request method is not GET")]
    Method,
    /// The status is not final, or its response is about a range or a condition of the request.
    #[error("a response with status {0} is not stored")]
    Status(StatusCode),
    /// `must-understand`, and the status is not understood (§5.2.2.3).
    #[error("the response must be understood, and its status {0} is not")]
    NotUnderstood(StatusCode),
    /// `Cache-Control` cannot be read safely.
    #[error("the response's Cache-Control is malformed")]
    Malformed,
    /// The request forbids it (§5.2.1.5).
    #[error("the request has no-store")]
    RequestNoStore,
    /// The response forbids it (§5.2.2.5).
    #[error("the response has no-store")]
    ResponseNoStore,
    /// It is for one visitor (§5.2.2.7).
    #[error("the response is private")]
    Private,
    /// The request was authorised, and the response does not allow sharing (§3.5).
    #[error("the request has Authorization, and the response does not say it may be shared")]
    Authorized,
    /// It sets a cookie and is not marked as public (§7.3).
    #[error("the response sets a cookie and is not public")]
    SetCookie,
    /// What it varies on cannot be kept.
    #[error("the response cannot be selected again: {0}")]
    Vary(#[from] VaryRefused),
    /// It could never be used: it has neither freshness nor a validator.
    #[error("the response has neither freshness nor a validator")]
    NoUse,
}

/// Whether the response to a request may be stored, and the terms it may be used on.
///
/// After a 304, call it again with the updated fields and the status of the stored response. For
/// the parts a large response is fetched in (206), call it with the status 200.
///
/// # Errors
/// The first reason found why it may not.
pub fn storable(
    method: &Method,
    request: &HeaderMap,
    status: StatusCode,
    response: &HeaderMap,
    times: &Exchange,
    rules: &Rules,
) -> Result<StoredPolicy, NotStorable> {
    let directives = ResponseDirectives::of(response);
    check_exchange(method, status, &directives)?;
    check_permission(request, response, &directives)?;
    let vary = VarySelection::of(request, response)?;
    let lifetime = Lifetime::of(status, response, &directives, *times, rules);
    let validators = Validators::of(response);
    let fresh = !lifetime.duration().is_zero() && !directives.no_cache;
    if !fresh && !is_usable_stale(&directives) && validators.is_empty() {
        return Err(NotStorable::NoUse);
    }
    // §3: what is not heuristically cacheable needs to be told, and a validator does not tell.
    let told = matches!(lifetime, Lifetime::Explicit(_)) || directives.public;
    if !told && !is_heuristically_cacheable(status) {
        return Err(NotStorable::Status(status));
    }
    Ok(StoredPolicy::new(Terms {
        headers: response,
        directives: &directives,
        times: *times,
        lifetime,
        validators,
        vary,
    }))
}

/// What method and status allow.
fn check_exchange(
    method: &Method,
    status: StatusCode,
    directives: &ResponseDirectives,
) -> Result<(), NotStorable> {
    if method != Method::GET {
        return Err(NotStorable::Method);
    }
    if status.is_informational() || answers_a_condition(status) {
        return Err(NotStorable::Status(status));
    }
    if directives.must_understand && !is_understood(status) {
        return Err(NotStorable::NotUnderstood(status));
    }
    Ok(())
}

/// Statuses that are about a range or a condition of one request, not about its target.
fn answers_a_condition(status: StatusCode) -> bool {
    [
        StatusCode::PARTIAL_CONTENT,
        StatusCode::NOT_MODIFIED,
        StatusCode::PRECONDITION_FAILED,
        StatusCode::RANGE_NOT_SATISFIABLE,
    ]
    .contains(&status)
}

/// Statuses of which all is known that matters to a cache: those that RFC 9110 §15 defines.
fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200..=205 | 300..=303 | 305 | 307 | 308 | 400..=417 | 421 | 422 | 426 | 500..=505
    )
}

/// True if the response may be used although it is stale from the beginning (RFC 5861).
fn is_usable_stale(directives: &ResponseDirectives) -> bool {
    let times = [directives.stale_while_revalidate, directives.stale_if_error];
    times.into_iter().flatten().any(|seconds| seconds > 0) && !directives.forbids_stale()
}

/// What the two sides allow.
fn check_permission(
    request: &HeaderMap,
    response: &HeaderMap,
    directives: &ResponseDirectives,
) -> Result<(), NotStorable> {
    if directives.malformed {
        return Err(NotStorable::Malformed);
    }
    // §5.2.2.3: who understands the status ignores the no-store beside must-understand.
    if directives.no_store && !directives.must_understand {
        return Err(NotStorable::ResponseNoStore);
    }
    if directives.private {
        return Err(NotStorable::Private);
    }
    if RequestDirectives::of(request).no_store {
        return Err(NotStorable::RequestNoStore);
    }
    let shared = directives.public || directives.must_revalidate || directives.s_maxage.is_some();
    if request.contains_key(AUTHORIZATION) && !shared {
        return Err(NotStorable::Authorized);
    }
    if response.contains_key(SET_COOKIE) && !directives.public {
        return Err(NotStorable::SetCookie);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use headroom_units::Timestamp;

    use super::*;
    use crate::testing::headers;

    fn outcome(method: &Method, request: &str, status: u16, response: &str) -> String {
        let at = Timestamp::from_seconds(1_000_000_000);
        let times = Exchange { requested_at: at, received_at: at };
        let status = StatusCode::from_u16(status).expect("a status");
        let (request, response) = (headers(request), headers(response));
        match storable(method, &request, status, &response, &times, &Rules::default()) {
            Ok(_) => "stored".to_owned(),
            Err(reason) => format!("{reason:?}"),
        }
    }

    #[test]
    fn both_sides_must_allow_it() {
        let cases = [
            ("", "cache-control: max-age=9", "stored", "§3"),
            ("cache-control: no-store", "cache-control: max-age=9", "RequestNoStore", "§5.2.1.5"),
            ("", "cache-control: max-age=9, no-store", "ResponseNoStore", "§5.2.2.5"),
            ("", "cache-control: max-age=9|cache-control: No-Store", "ResponseNoStore", "§5.2"),
            ("", "cache-control: max-age=9, private", "Private", "§5.2.2.7"),
            ("", "cache-control: max-age=9, private=\"x\"", "Private", "§5.2.2.7"),
            ("", "cache-control: max-age=\"9, no-store", "Malformed", "§5.2"),
            ("", "cache-control: no-store, must-understand, max-age=9", "stored", "§5.2.2.3"),
            ("authorization: a", "cache-control: max-age=9", "Authorized", "§3.5"),
            (
                "authorization: a",
                "cache-control: max-age=9, proxy-revalidate",
                "Authorized",
                "§3.5",
            ),
            ("authorization: a", "cache-control: max-age=9, public", "stored", "§3.5"),
            ("authorization: a", "cache-control: max-age=9, must-revalidate", "stored", "§3.5"),
            ("authorization: a", "cache-control: s-maxage=9", "stored", "§3.5"),
            ("", "cache-control: max-age=9|set-cookie: a=b", "SetCookie", "§7.3"),
            ("", "cache-control: s-maxage=9|set-cookie: a=b", "SetCookie", "§7.3"),
            ("", "cache-control: max-age=9, public|set-cookie: a=b", "stored", "§7.3"),
            ("cookie: a=b", "cache-control: max-age=9", "stored", "§7.3"),
            ("", "cache-control: max-age=9|vary: *", "Vary(Any)", "§4.1"),
            ("", "cache-control: max-age=9|vary: accept", "stored", "§4.1"),
            ("", "cdn-cache-control: max-age=9|cache-control: no-store", "stored", "RFC 9213 §2.2"),
            ("", "cdn-cache-control: private|cache-control: max-age=9", "Private", "RFC 9213 §2.2"),
            (
                "authorization: a",
                "cdn-cache-control: max-age=9|cache-control: public",
                "Authorized",
                "RFC 9213 §2.2",
            ),
            (
                "",
                "cdn-cache-control: max-age=9, &|cache-control: no-store",
                "ResponseNoStore",
                "RFC 9213 §2.1",
            ),
        ];
        for (request, response, expected, rule) in cases {
            let found = outcome(&Method::GET, request, 200, response);
            assert_eq!(found, expected, "{request} / {response} ({rule})");
        }
    }

    #[test]
    fn it_must_be_of_use() {
        let cases = [
            ("", "NoUse"),
            ("cache-control: max-age=0", "NoUse"),
            ("cache-control: max-age=0|etag: \"a\"", "stored"),
            ("cache-control: no-cache, max-age=9", "NoUse"),
            ("cache-control: no-cache|etag: \"a\"", "stored"),
            ("etag: W/\"a\"", "stored"),
            ("etag: a", "NoUse"),
            ("expires: 0", "NoUse"),
            ("cache-control: max-age=0, stale-while-revalidate=9", "stored"),
            ("cache-control: max-age=0, stale-if-error=9", "stored"),
            ("cache-control: max-age=0, stale-if-error=9, no-cache", "NoUse"),
            ("cache-control: max-age=0, stale-if-error=9, must-revalidate", "NoUse"),
            ("cache-control: max-age=0, stale-while-revalidate=0", "NoUse"),
            ("last-modified: Sun, 06 Nov 1994 08:49:37 GMT", "stored"),
        ];
        for (response, expected) in cases {
            assert_eq!(outcome(&Method::GET, "", 200, response), expected, "{response} (§3)");
        }
    }

    #[test]
    fn method_and_status_are_understood() {
        let fresh = "cache-control: max-age=9";
        for method in [Method::HEAD, Method::POST, Method::PUT, Method::OPTIONS] {
            assert_eq!(outcome(&method, "", 200, fresh), "Method", "{method} (§3)");
        }
        for status in [100, 103, 206, 304, 412, 416] {
            assert_eq!(outcome(&Method::GET, "", status, fresh), format!("Status({status})"));
        }
        for status in [200, 203, 204, 299, 302, 303, 307, 308, 400, 404, 418, 499, 500, 503, 599] {
            assert_eq!(outcome(&Method::GET, "", status, fresh), "stored", "{status} (§3)");
        }
        assert_eq!(outcome(&Method::GET, "", 404, "etag: \"a\""), "stored");
        assert_eq!(outcome(&Method::GET, "", 302, "etag: \"a\""), "Status(302)");
        for status in [201, 202, 403, 502, 503, 504, 599] {
            let modified = "last-modified: Sun, 06 Nov 1994 08:49:37 GMT";
            let found = outcome(&Method::GET, "", status, modified);
            assert_eq!(found, format!("Status({status})"), "§4.2.2");
            let public = format!("cache-control: public|{modified}");
            assert_eq!(outcome(&Method::GET, "", status, &public), "stored", "{status} (§4.2.2)");
        }
        let understood = "cache-control: max-age=9, no-store, must-understand";
        for status in [200, 302, 404, 503] {
            assert_eq!(outcome(&Method::GET, "", status, understood), "stored", "§5.2.2.3");
        }
        let understood = "cache-control: max-age=9, must-understand";
        assert_eq!(outcome(&Method::GET, "", 599, understood), "NotUnderstood(599)", "§5.2.2.3");
    }
}
