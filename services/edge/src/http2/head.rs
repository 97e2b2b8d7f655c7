//! The head of a request, made of decoded fields (RFC 9113 §8.2, §8.3). What is malformed is
//! refused, never repaired.

use std::borrow::Cow;

use bytes::Bytes;
use headroom_cache::Scheme;
use http::{
    HeaderName, HeaderValue, Method, Request, Uri, Version,
    uri::{self, Authority, PathAndQuery},
};

use super::fields::Fields;
use crate::{
    hit::RequestHead,
    limits::HEADERS_MAX,
    request::{is_plain_in_target, normal_host},
};

/// A request that is malformed: its stream is reset (RFC 9113 §8.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The head of a request. Its fields are sound.
#[derive(Debug)]
pub(crate) struct Head<'f> {
    fields: &'f Fields,
    /// The scheme the connection stands for.
    served: Scheme,
    method: &'f str,
    /// Not there in CONNECT.
    scheme: Option<&'f str>,
    path: Option<&'f str>,
    authority: Option<&'f str>,
    /// The first Host.
    host: Option<&'f [u8]>,
    /// How long its content is, if that is said.
    length: Option<u64>,
    /// Whether no field says how a stored response may be used.
    indifferent: bool,
}

/// The pseudo-fields of a request.
#[derive(Default)]
struct Pseudo<'f> {
    method: Option<&'f [u8]>,
    scheme: Option<&'f [u8]>,
    path: Option<&'f [u8]>,
    authority: Option<&'f [u8]>,
}

impl<'f> Pseudo<'f> {
    /// Takes one in; false if it is unknown, or there twice.
    fn take(&mut self, name: &[u8], value: &'f [u8]) -> bool {
        let place = match name {
            b":method" => &mut self.method,
            b":scheme" => &mut self.scheme,
            b":path" => &mut self.path,
            b":authority" => &mut self.authority,
            _ => return false,
        };
        place.replace(value).is_none()
    }
}

/// What a field is to the way of a request.
enum Meaning {
    None,
    Host,
    Length,
    Te,
    /// It may change how a stored response is used (RFC 9110 §13, §14, RFC 9111 §5.2.1), or tells
    /// that the request was here before.
    ForCache,
    /// It is about a connection (RFC 9113 §8.2.2).
    Connection,
}

fn meaning(name: &[u8]) -> Meaning {
    match name {
        b"host" => Meaning::Host,
        b"content-length" => Meaning::Length,
        b"te" => Meaning::Te,
        b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade" => {
            Meaning::Connection
        }
        b"cache-control" | b"pragma" | b"range" | b"via" | b"expect" => Meaning::ForCache,
        [b'i', b'f', b'-', ..] => Meaning::ForCache,
        _ => Meaning::None,
    }
}

impl<'f> Head<'f> {
    /// The head of a request over a connection for `served`, which ends with it or not.
    ///
    /// # Errors
    /// If it breaks a rule of RFC 9113 §8.
    pub(crate) fn read(fields: &'f Fields, served: Scheme, ends: bool) -> Result<Self, Malformed> {
        let mut pseudo = Pseudo::default();
        let (mut host, mut hosts, mut length, mut indifferent) = (None, 0, None, true);
        let (mut in_pseudo, mut count) = (true, 0);
        for (name, value) in fields.iter() {
            if !is_value(value) {
                return Err(Malformed);
            }
            if name.first() == Some(&b':') {
                if !in_pseudo || !pseudo.take(name, value) {
                    return Err(Malformed);
                }
                continue;
            }
            in_pseudo = false;
            count += 1;
            if !is_name(name) {
                return Err(Malformed);
            }
            match meaning(name) {
                Meaning::None => {}
                Meaning::ForCache => indifferent = false,
                Meaning::Host => {
                    hosts += 1;
                    host = host.or(Some(value));
                }
                Meaning::Length if length.is_none() => length = Some(number(value)?),
                Meaning::Te if value.eq_ignore_ascii_case(b"trailers") => {}
                Meaning::Length | Meaning::Te | Meaning::Connection => return Err(Malformed),
            }
        }
        // RFC 9113 §8.1.1.
        if ends && length.is_some_and(|length| length > 0) {
            return Err(Malformed);
        }
        let text = |value: Option<&'f [u8]>| {
            value.map(|value| str::from_utf8(value).map_err(|_| Malformed)).transpose()
        };
        let method = text(pseudo.method)?.ok_or(Malformed)?;
        let (scheme, path) = (text(pseudo.scheme)?, text(pseudo.path)?);
        let authority = text(pseudo.authority)?;
        // RFC 9113 §8.3.1, §8.5.
        let sound = if method == "CONNECT" {
            scheme.is_none() && path.is_none() && authority.is_some()
        } else {
            scheme.is_some() && path.is_some_and(|path| is_target(method, path))
        };
        // Content, even none, is for the long way, and so is what may have to be refused.
        indifferent &=
            count <= HEADERS_MAX && hosts == 0 && authority.is_some() && ends && length.is_none();
        let head =
            Self { fields, served, method, scheme, path, authority, host, length, indifferent };
        sound.then_some(head).ok_or(Malformed)
    }

    /// How long the content is, if that is said.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.length
    }

    /// The target of the request. Without an authority, what Host says stands for it, so that the
    /// scheme is not forgotten.
    fn uri(&self, slice: impl Fn(&[u8]) -> Bytes) -> Option<Uri> {
        let mut parts = uri::Parts::default();
        if let Some(path) = self.path {
            parts.path_and_query = PathAndQuery::from_maybe_shared(slice(path.as_bytes())).ok();
            parts.path_and_query.as_ref()?;
        }
        parts.authority = match (self.authority, self.host) {
            (Some(authority), _) => {
                Some(Authority::from_maybe_shared(slice(authority.as_bytes())).ok()?)
            }
            // A Host that is malformed is refused with the reason.
            (None, Some(host)) => Authority::from_maybe_shared(slice(host)).ok(),
            (None, None) => None,
        };
        if let (Some(scheme), Some(_)) = (self.scheme, &parts.authority) {
            parts.scheme = Some(scheme.parse().ok()?);
        }
        Uri::from_parts(parts).ok()
    }
}

impl RequestHead for Head<'_> {
    fn asks_plainly(&self) -> Option<bool> {
        let path = self.path.filter(|path| path.starts_with('/'))?;
        let plain = self.indifferent && self.scheme == Some(self.served.as_str());
        match self.method {
            _ if !plain || !path.bytes().all(is_plain_in_target) => None,
            "GET" => Some(true),
            "HEAD" => Some(false),
            _ => None,
        }
    }

    fn host(&self) -> Option<Cow<'_, str>> {
        normal_host(self.authority?)
    }

    fn path_and_query(&self) -> (&str, Option<&str>) {
        let path = self.path.unwrap_or_default();
        path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)))
    }

    fn request<B>(&self, body: B) -> Option<Request<B>> {
        let all = self.fields.bytes();
        let (shared, start) = (Bytes::copy_from_slice(all), all.as_ptr().addr());
        let slice = |part: &[u8]| {
            let from = part.as_ptr().addr() - start;
            shared.slice(from..from + part.len())
        };
        let mut request = Request::new(body);
        *request.version_mut() = Version::HTTP_2;
        *request.method_mut() = Method::from_bytes(self.method.as_bytes()).ok()?;
        *request.uri_mut() = self.uri(slice)?;
        let headers = request.headers_mut();
        for (name, value) in self.fields.iter() {
            if name.first() != Some(&b':') {
                let value = HeaderValue::from_maybe_shared(slice(value)).ok()?;
                headers.append(HeaderName::from_bytes(name).ok()?, value);
            }
        }
        Some(request)
    }
}

/// RFC 9113 §8.1: trailers are fields, none of them a pseudo-field.
pub(crate) fn are_sound_trailers(fields: &Fields) -> bool {
    let sound = |(name, value): (&[u8], &[u8])| {
        is_name(name) && is_value(value) && !matches!(meaning(name), Meaning::Connection)
    };
    !fields.is_too_large() && fields.iter().all(sound)
}

/// RFC 9113 §8.3.1: a path, or the asterisk of OPTIONS; never with a fragment.
fn is_target(method: &str, path: &str) -> bool {
    (path.starts_with('/') || path == "*" && method == "OPTIONS") && !path.contains('#')
}

/// RFC 9110 §5.1, RFC 9113 §8.2.1: a token without upper case.
fn is_name(name: &[u8]) -> bool {
    let token = |byte: &u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(byte)
    };
    !name.is_empty() && name.iter().all(token)
}

/// RFC 9110 §5.5, RFC 9113 §8.2.1: no control characters, no white space around it.
fn is_value(value: &[u8]) -> bool {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let visible = |byte: &u8| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f;
    !blank(value.first()) && !blank(value.last()) && value.iter().all(visible)
}

/// RFC 9110 §8.6.
fn number(value: &[u8]) -> Result<u64, Malformed> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Malformed);
    }
    str::from_utf8(value).ok().and_then(|digits| digits.parse().ok()).ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GET: [(&str, &str); 4] = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "A.example:443"),
        (":path", "/a?b=c"),
    ];

    fn fields<'a>(all: impl IntoIterator<Item = &'a (&'a str, &'a str)>) -> Fields {
        let mut fields = Fields::default();
        all.into_iter().for_each(|(name, value)| fields.add(name.as_bytes(), value.as_bytes()));
        fields
    }

    /// What a GET with these fields is: malformed, or for the short way or the long one.
    fn kind(more: &[(&str, &str)]) -> &'static str {
        let fields = fields(GET.iter().chain(more));
        match Head::read(&fields, Scheme::Https, true) {
            Err(Malformed) => "malformed",
            Ok(head) if head.asks_plainly() == Some(true) => "indifferent",
            Ok(_) => "plain",
        }
    }

    #[test]
    fn what_any_fresh_response_answers_goes_the_short_way() {
        assert_eq!(kind(&[]), "indifferent");
        assert_eq!(
            kind(&[("accept", "*/*"), ("cookie", "a=b"), ("te", "trailers")]),
            "indifferent"
        );
        for field in [
            ("host", "a.example"),
            ("cache-control", "no-cache"),
            ("pragma", "no-cache"),
            ("range", "bytes=0-1"),
            ("if-none-match", "\"a\""),
            ("via", "1.1 x"),
            ("expect", "100-continue"),
            ("content-length", "0"),
        ] {
            assert_eq!(kind(&[field]), "plain", "{field:?}");
        }
        assert_eq!(
            kind(&[("x", "1"); HEADERS_MAX + 1]),
            "plain",
            "too many, for the long way to say"
        );
        assert_eq!(kind(&[("connection", "close")]), "malformed");
    }

    #[test]
    fn a_request_is_what_was_sent() {
        let fields = fields(GET.iter().chain(&[("x-empty", ""), ("accept", "b")]));
        let head = Head::read(&fields, Scheme::Https, true).unwrap();
        assert_eq!(head.host().unwrap(), "a.example");
        assert_eq!(head.path_and_query(), ("/a", Some("b=c")));
        let request = head.request(()).unwrap();
        assert_eq!((request.method(), request.version()), (&Method::GET, Version::HTTP_2));
        assert_eq!(request.uri(), "https://A.example:443/a?b=c");
        assert_eq!(request.headers().len(), 2);
        assert_eq!(
            (&request.headers()["x-empty"], &request.headers()["accept"]),
            (&"".parse().unwrap(), &"b".parse().unwrap())
        );
    }

    #[test]
    fn without_an_authority_the_host_stands_for_it() {
        let without = [GET[0], GET[1], GET[3], ("host", "b.example")];
        let fields = fields(&without);
        let head = Head::read(&fields, Scheme::Https, true).unwrap();
        assert_eq!(head.asks_plainly(), None);
        assert_eq!(head.request(()).unwrap().uri(), "https://b.example/a?b=c");
    }

    proptest! {
        /// What is no malformed head is one that the long way can read, or refuses.
        #[test]
        fn any_fields_are_a_request_or_malformed(
            sent in prop::collection::vec(
                (
                    prop_oneof![
                        prop::sample::select(vec![":method", ":scheme", ":path", ":authority", "host", "te"]).prop_map(String::from),
                        "[a-z:]{0,4}",
                    ],
                    prop_oneof![
                        prop::sample::select(vec!["GET", "https", "/a", "a.example", "trailers"]).prop_map(String::from),
                        "\\PC{0,6}",
                    ],
                ),
                0..8,
            ),
        ) {
            let sent: Vec<_> = sent.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            for all in [sent.clone(), [&GET[..], &sent].concat()] {
                let fields = fields(&all);
                if let Ok(head) = Head::read(&fields, Scheme::Https, true)
                    && let Some(request) = head.request(())
                {
                    let regular = all.iter().filter(|(name, _)| !name.starts_with(':')).count();
                    prop_assert_eq!(request.headers().len(), regular);
                    prop_assert!(head.asks_plainly().is_none() || regular <= HEADERS_MAX);
                }
            }
        }
    }
}
