//! The responses the edge makes itself, and what it adds to those of others.

use std::{
    collections::VecDeque,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    time::Duration,
};

use bytes::Bytes;
use headroom_cache::{
    ByteRange, Ranges, Scheme, content_range, multipart_end, multipart_head, multipart_length,
    not_modified, ranges, unsatisfied,
};
use headroom_units::Authority;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{
        AGE, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG,
        LAST_MODIFIED, LOCATION, RANGE, RETRY_AFTER, VIA,
    },
    request::Parts,
    uri::PathAndQuery,
};

use crate::{
    body::EdgeBody,
    limits,
    metrics::Outcome,
    object::{Segment, StoredBody, StoredObject},
    origin::FetchError,
};

/// What the cache did for a request (RFC 9211).
pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// What it says of a response that was stored and is fresh.
pub(crate) const HIT: &str = "headroom; hit";
/// The status line, and the fields that hyper adds, roughly.
const HEAD_BYTES_FIXED: usize = 64;

/// Why the edge answers a request by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The request is ambiguous or malformed.
    Bad(&'static str),
    /// The method is not served.
    Method,
    /// The host is not served here.
    UnknownHost,
    /// The request came through this edge before.
    Loop,
    /// The request is over the share, and the site wants no remainder.
    OverShare,
    /// The visitor wants only what is stored.
    NotCached,
    /// There is no response from the origin.
    Fetch(FetchError),
}

impl Refusal {
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::Bad(_) | Self::Method | Self::Loop | Self::Fetch(FetchError::Upload) => {
                Outcome::BadRequest
            }
            Self::UnknownHost => Outcome::Misdirected,
            Self::OverShare => Outcome::Refused,
            Self::NotCached => Outcome::NotCached,
            Self::Fetch(FetchError::Timeout | FetchError::ConnectTimeout) => Outcome::OriginTimeout,
            Self::Fetch(FetchError::Unreachable | FetchError::Unsound) => {
                Outcome::OriginUnreachable
            }
        }
    }

    pub(crate) fn response(self) -> Response<EdgeBody> {
        match self {
            Self::Bad(reason) => closing(text(StatusCode::BAD_REQUEST, reason)),
            Self::Method => {
                closing(text(StatusCode::METHOD_NOT_ALLOWED, "this method is not served"))
            }
            Self::UnknownHost => {
                text(StatusCode::MISDIRECTED_REQUEST, "this host is not served here")
            }
            Self::Loop => text(StatusCode::LOOP_DETECTED, "the site's origin leads back here"),
            Self::OverShare => over_share(),
            Self::NotCached => text(StatusCode::GATEWAY_TIMEOUT, "nothing usable is stored"),
            Self::Fetch(FetchError::Upload) => {
                closing(text(StatusCode::REQUEST_TIMEOUT, "the request's content did not come"))
            }
            Self::Fetch(FetchError::Timeout | FetchError::ConnectTimeout) => {
                text(StatusCode::GATEWAY_TIMEOUT, "the site's origin did not answer in time")
            }
            Self::Fetch(FetchError::Unreachable) => {
                text(StatusCode::BAD_GATEWAY, "the site's origin cannot be reached")
            }
            Self::Fetch(FetchError::Unsound) => {
                text(StatusCode::BAD_GATEWAY, "the site's origin sent a response that is not sound")
            }
        }
    }
}

fn text(status: StatusCode, message: &'static str) -> Response<EdgeBody> {
    let line = format!("{message}\n");
    let mut response = Response::new(EdgeBody::whole(Bytes::from(line)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Shares are renewed every second, so that it is worth coming back soon (RFC 9110 §15.6.4).
fn over_share() -> Response<EdgeBody> {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, "the site is busy; try again soon");
    response.headers_mut().insert(RETRY_AFTER, limits::RETRY_AFTER_SECONDS.into());
    response
}

fn closing(mut response: Response<EdgeBody>) -> Response<EdgeBody> {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Sends a visitor who is over the share to the purchaser's own name.
pub(crate) fn redirect(
    scheme: Scheme,
    fallback: &Authority,
    target: &PathAndQuery,
) -> Response<EdgeBody> {
    let location = format!("{scheme}://{fallback}{target}");
    // A target that came in a request head can stand in a response head.
    let Ok(location) = HeaderValue::from_bytes(location.as_bytes()) else {
        return Refusal::Bad("the target has characters that are not allowed").response();
    };
    let mut response = Response::new(EdgeBody::empty());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    response.headers_mut().insert(LOCATION, location);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The content of a response from the cache.
#[derive(Debug)]
pub(crate) enum Content {
    None,
    /// At hand in one small piece.
    Whole(Bytes),
    Segments(VecDeque<Segment>),
}

/// A response from the cache: whole, in part, or without content.
pub(crate) fn stored(parts: &Parts, object: &StoredObject, age: Duration) -> Response<Content> {
    let mut response = Response::new(Content::None);
    *response.status_mut() = object.status;
    *response.headers_mut() = object.shown_headers();
    response.headers_mut().insert(AGE, age.as_secs().into());
    if object.status == StatusCode::OK {
        let headers = response.headers();
        let (etag, modified) = (headers.get(ETAG), headers.get(LAST_MODIFIED));
        if not_modified(&parts.headers, etag, modified) {
            return as_not_modified(response).map(|_| Content::None);
        }
        if parts.method == Method::GET && parts.headers.contains_key(RANGE) {
            let date = headers.get(DATE);
            match ranges(&parts.headers, object.length, etag, modified, date) {
                Ranges::Whole => {}
                Ranges::One(range) => return part(response, object, range),
                Ranges::Many(ranges) => return many_parts(response, object, &ranges),
                Ranges::Unsatisfiable => return unsatisfiable(response, object.length),
            }
        }
    }
    if parts.method == Method::HEAD {
        return response;
    }
    response.map(|_| match &object.body {
        StoredBody::Whole(bytes) => Content::Whole(bytes.clone()),
        body => Content::Segments(body.slice(ByteRange { first: 0, last: object.length - 1 })),
    })
}

/// RFC 9110 §15.3.7.1.
fn part(
    mut response: Response<Content>,
    object: &StoredObject,
    range: ByteRange,
) -> Response<Content> {
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, range.len().into());
    headers.insert(CONTENT_RANGE, content_range(range, object.length));
    response.map(|_| Content::Segments(object.body.slice(range)))
}

/// RFC 9110 §15.3.7.2.
fn many_parts(
    mut response: Response<Content>,
    object: &StoredObject,
    ranges: &[ByteRange],
) -> Response<Content> {
    let headers = response.headers_mut();
    let content_type = headers.remove(CONTENT_TYPE);
    let content_type = content_type.as_ref();
    let boundary = boundary();
    let length = multipart_length(&boundary, content_type, ranges, object.length);
    headers.insert(CONTENT_LENGTH, length.into());
    let multipart = format!("multipart/byteranges; boundary={boundary}");
    if let Ok(multipart) = HeaderValue::try_from(multipart) {
        headers.insert(CONTENT_TYPE, multipart);
    }
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let mut pieces = VecDeque::new();
    for range in ranges {
        let head = multipart_head(&boundary, content_type, *range, object.length);
        pieces.push_back(Segment::Bytes(Bytes::from(head)));
        pieces.append(&mut object.body.slice(*range));
    }
    pieces.push_back(Segment::Bytes(Bytes::from(multipart_end(&boundary))));
    response.map(|_| Content::Segments(pieces))
}

/// A text that no content holds by chance, as delimiter of its parts.
fn boundary() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("headroom-{:016x}{:016x}", random(), random())
}

/// RFC 9110 §15.5.17.
fn unsatisfiable(mut response: Response<Content>, length: u64) -> Response<Content> {
    *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
    let headers = response.headers_mut();
    headers.insert(CONTENT_RANGE, unsatisfied(length));
    headers.insert(CONTENT_LENGTH, 0.into());
    response
}

/// `response`, or 304 if the visitor said it has just that (RFC 9110 §13.2.1: only in place of a
/// success).
pub(crate) fn unless_known(parts: &Parts, response: Response<EdgeBody>) -> Response<EdgeBody> {
    let headers = response.headers();
    let known = response.status() == StatusCode::OK
        && not_modified(&parts.headers, headers.get(ETAG), headers.get(LAST_MODIFIED));
    if known { as_not_modified(response) } else { response }
}

/// Turns a response into the 304 that stands for it (RFC 9110 §15.4.5).
pub(crate) fn as_not_modified<B>(response: Response<B>) -> Response<EdgeBody> {
    let (mut parts, _) = response.into_parts();
    parts.status = StatusCode::NOT_MODIFIED;
    parts.headers.remove(CONTENT_LENGTH);
    if parts.headers.contains_key(ETAG) {
        parts.headers.remove(CONTENT_TYPE);
    }
    Response::from_parts(parts, EdgeBody::empty())
}

/// Says in `Via` that a message passed here.
pub(crate) fn add_via(headers: &mut HeaderMap, via: &HeaderValue) {
    headers.append(VIA, via.clone());
}

/// Says in `Cache-Status` what the cache did.
pub(crate) fn add_cache_status(headers: &mut HeaderMap, status: &'static str) {
    headers.append(CACHE_STATUS, HeaderValue::from_static(status));
}

/// About how many bytes a head is on the wire.
pub(crate) fn head_bytes(headers: &HeaderMap) -> usize {
    let fields = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    fields.sum::<usize>() + HEAD_BYTES_FIXED
}

/// How many bytes of a response are there already: the head, and a body that is whole.
pub(crate) fn bytes_at_hand(response: &Response<EdgeBody>) -> usize {
    let body = match response.body() {
        EdgeBody::Whole(Some(bytes)) => bytes.len(),
        EdgeBody::Whole(None) | EdgeBody::Streamed(..) => 0,
    };
    head_bytes(response.headers()) + body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_keeps_path_and_query() {
        let fallback = "origin.shop.example:8080".parse().unwrap();
        let target = PathAndQuery::from_static("//a/b?c=d&e=%20");
        let secure = redirect(Scheme::Https, &fallback, &target);
        assert!(secure.headers()[LOCATION].to_str().unwrap().starts_with("https://origin.shop"));
        let response = redirect(Scheme::Http, &fallback, &target);
        assert_eq!(response.status(), 307);
        assert_eq!(response.headers()[LOCATION], "http://origin.shop.example:8080//a/b?c=d&e=%20");
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
    }

    #[test]
    fn a_304_has_no_content() {
        let mut response = Response::new(EdgeBody::whole(Bytes::from_static(b"abc")));
        response.headers_mut().insert(CONTENT_LENGTH, 3.into());
        response.headers_mut().insert(ETAG, HeaderValue::from_static("\"x\""));
        let response = as_not_modified(response);
        assert_eq!(response.status(), 304);
        assert!(!response.headers().contains_key(CONTENT_LENGTH));
        assert!(http_body::Body::is_end_stream(response.body()));
    }
}
