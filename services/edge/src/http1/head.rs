//! Reads the heads of plain requests where they lie, without a copy.
//!
//! Plain is what most visitors send: HTTP/1.1, no content, nothing said about the connection but
//! whether it is kept. All else is left to hyper, together with what is malformed: it stands behind
//! [`crate::guard`], which refuses what it would repair.

use std::{borrow::Cow, mem::MaybeUninit};

use http::{HeaderName, HeaderValue, Method, Request, Uri};
use httparse::{Header, Status};
use memchr::memchr_iter;

use crate::{
    block,
    hit::RequestHead,
    limits::HEADERS_MAX,
    request::{is_plain_in_target, normal_host},
};

/// Room for the fields of a head.
pub(crate) type Fields<'b> = [MaybeUninit<Header<'b>>; HEADERS_MAX];

/// Room for the fields of a head, with nothing in it.
pub(crate) const NO_FIELDS: Fields<'_> = [const { MaybeUninit::uninit() }; HEADERS_MAX];

/// What stands at the beginning of what a visitor sent.
#[derive(Debug)]
pub(crate) enum Read<'h, 'b> {
    /// A plain request.
    Plain(Head<'h, 'b>),
    /// The beginning of a head.
    Partial,
    /// Something else.
    Other,
}

/// The head of a plain request.
#[derive(Debug)]
pub(crate) struct Head<'h, 'b> {
    /// All of it, with the empty line.
    bytes: &'b [u8],
    method: &'b str,
    target: &'b str,
    fields: &'h [Header<'b>],
    /// The one Host.
    host: Option<&'b [u8]>,
    /// Whether no field says how a stored response may be used.
    indifferent: bool,
    /// Whether the visitor wants the connection to end with the response.
    last: bool,
}

/// Reads the head that `bytes` begin with.
pub(crate) fn read<'h, 'b>(bytes: &'b [u8], fields: &'h mut Fields<'b>) -> Read<'h, 'b> {
    let mut request = httparse::Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(bytes, fields) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Read::Partial,
        Err(_) => return Read::Other,
    };
    let bytes = &bytes[..length];
    let (Some(method), Some(target), Some(1)) = (request.method, request.path, request.version)
    else {
        return Read::Other;
    };
    if !ends_lines_well(bytes) {
        return Read::Other;
    }
    let fields: &'h [Header<'b>] = request.headers;
    let mut head =
        Head { bytes, method, target, fields, host: None, indifferent: true, last: false };
    let mut hosts = 0;
    for field in fields {
        match meaning(field.name.as_bytes()) {
            Meaning::None => {}
            Meaning::Host => {
                hosts += 1;
                head.host = Some(field.value);
            }
            Meaning::ForCache => head.indifferent = false,
            Meaning::Connection if field.value.eq_ignore_ascii_case(b"keep-alive") => {}
            Meaning::Connection if field.value.eq_ignore_ascii_case(b"close") => head.last = true,
            Meaning::Connection | Meaning::Odd => return Read::Other,
        }
    }
    head.indifferent &= hosts == 1;
    Read::Plain(head)
}

/// RFC 9112 §2.2: a lone line feed may be taken for a line end, and is not here.
fn ends_lines_well(bytes: &[u8]) -> bool {
    memchr_iter(b'\n', bytes).all(|at| at > 0 && bytes[at - 1] == b'\r')
}

/// Whether a head may have come to its end in the last `new` of `bytes`: a beginning that comes in
/// many pieces is not read anew with each.
pub(crate) fn may_be_whole(bytes: &[u8], new: usize) -> bool {
    let tail = &bytes[bytes.len().saturating_sub(new + 3)..];
    memchr_iter(b'\n', tail).any(|at| matches!(tail[at + 1..], [b'\n', ..] | [b'\r', b'\n', ..]))
}

/// What a field is to the way of a request.
enum Meaning {
    None,
    Host,
    Connection,
    /// It may change how a stored response is used (RFC 9110 §13, §14, RFC 9111 §5.2.1), or tells
    /// that the request was here before.
    ForCache,
    /// Not of a plain request.
    Odd,
}

fn meaning(name: &[u8]) -> Meaning {
    let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
    let first = name.first().map(u8::to_ascii_lowercase);
    match (first, name.len()) {
        (Some(b'h'), 4) if is(b"host") => Meaning::Host,
        (Some(b'c'), 10) if is(b"connection") => Meaning::Connection,
        (Some(b'c'), 14) if is(b"content-length") => Meaning::Odd,
        (Some(b't'), 17) if is(b"transfer-encoding") => Meaning::Odd,
        (Some(b'u'), 7) if is(b"upgrade") => Meaning::Odd,
        (Some(b'e'), 6) if is(b"expect") => Meaning::Odd,
        (Some(b'c'), 13) if is(b"cache-control") => Meaning::ForCache,
        (Some(b'p'), 6) if is(b"pragma") => Meaning::ForCache,
        (Some(b'r'), 5) if is(b"range") => Meaning::ForCache,
        (Some(b'v'), 3) if is(b"via") => Meaning::ForCache,
        (Some(b'i'), _)
            if name.get(..3).is_some_and(|start| start.eq_ignore_ascii_case(b"if-")) =>
        {
            Meaning::ForCache
        }
        _ => Meaning::None,
    }
}

impl Head<'_, '_> {
    /// How many bytes it takes.
    pub(crate) fn length(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the visitor wants the connection to end with the response.
    pub(crate) fn is_last(&self) -> bool {
        self.last
    }
}

impl RequestHead for Head<'_, '_> {
    fn asks_plainly(&self) -> Option<bool> {
        let plain = self.indifferent && self.target.starts_with('/');
        match self.method {
            _ if !plain || !self.target.bytes().all(is_plain_in_target) => None,
            "GET" => Some(true),
            "HEAD" => Some(false),
            _ => None,
        }
    }

    fn host(&self) -> Option<Cow<'_, str>> {
        normal_host(str::from_utf8(self.host?).ok()?)
    }

    fn path_and_query(&self) -> (&str, Option<&str>) {
        match self.target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.target, None),
        }
    }

    fn request<B>(&self, body: B) -> Option<Request<B>> {
        let shared = block::copy(self.bytes);
        let start = self.bytes.as_ptr().addr();
        let slice = |part: &[u8]| {
            let from = part.as_ptr().addr() - start;
            shared.slice(from..from + part.len())
        };
        let mut request = Request::new(body);
        *request.method_mut() = Method::from_bytes(self.method.as_bytes()).ok()?;
        *request.uri_mut() = Uri::from_maybe_shared(slice(self.target.as_bytes())).ok()?;
        let headers = request.headers_mut();
        headers.reserve(self.fields.len());
        for field in self.fields {
            let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
            // An empty value may be no part of the buffer.
            let value = match field.value {
                [] => HeaderValue::from_static(""),
                value => HeaderValue::from_maybe_shared(slice(value)).ok()?,
            };
            headers.append(name, value);
        }
        Some(request)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What stands at the beginning of `text`, in short.
    fn kind(text: &str) -> &'static str {
        let mut fields = NO_FIELDS;
        match read(text.as_bytes(), &mut fields) {
            Read::Plain(head) if head.asks_plainly().is_some() => "indifferent",
            Read::Plain(_) => "plain",
            Read::Partial => "partial",
            Read::Other => "other",
        }
    }

    fn get(fields: &str) -> &'static str {
        kind(&format!("GET /a HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n"))
    }

    #[test]
    fn what_is_plain_is_read_here() {
        assert_eq!(get(""), "indifferent");
        assert_eq!(get("Accept: */*\r\nCookie: a=b\r\nconnection: Keep-Alive\r\n"), "indifferent");
        assert_eq!(get("Connection: close\r\n"), "indifferent");
        assert_eq!(kind("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"), "indifferent");
        for field in [
            "Cache-Control: no-cache",
            "pragma: no-cache",
            "Range: bytes=0-1",
            "If-None-Match: \"a\"",
            "If-Range: \"a\"",
            "IF-Unmodified-Since: x",
            "Via: 1.1 x",
            "Host: b.example",
        ] {
            assert_eq!(get(&format!("{field}\r\n")), "plain", "{field}");
        }
        assert_eq!(kind("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n"), "plain");
        assert_eq!(kind("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"), "plain");
        assert_eq!(kind("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"), "plain");
        assert_eq!(kind("GET / HTTP/1.1\r\nAccept: a\r\n\r\n"), "plain", "no Host");
    }

    #[test]
    fn what_is_odd_or_malformed_is_not() {
        for field in [
            "Content-Length: 0",
            "content-length: 5",
            "Transfer-Encoding: chunked",
            "Upgrade: websocket",
            "Expect: 100-continue",
            "Connection: upgrade",
            "Connection: keep-alive, x",
            " folded: 1",
            "a\0: b",
            "a: b\0",
            "a : b",
        ] {
            assert_eq!(get(&format!("{field}\r\n")), "other", "{field}");
        }
        assert_eq!(get("A: b\n"), "other", "a lone line feed");
        assert_eq!(kind("GET / HTTP/1.1\nHost: a\r\n\r\n"), "other");
        assert_eq!(kind("GET / HTTP/1.0\r\nHost: a\r\n\r\n"), "other");
        assert_eq!(kind("GET  / HTTP/1.1\r\nHost: a\r\n\r\n"), "other");
        assert_eq!(get(&"a: b\r\n".repeat(HEADERS_MAX)), "other", "too many fields");
    }

    #[test]
    fn a_head_in_pieces_is_partial_until_its_end() {
        let head = "GET /a HTTP/1.1\r\nHost: a.example\r\nAccept: b\r\n\r\n";
        for end in 1..head.len() {
            assert_eq!(kind(&head[..end]), "partial");
            assert!(!may_be_whole(&head.as_bytes()[..end], end));
        }
        for new in 1..=head.len() {
            assert!(may_be_whole(head.as_bytes(), new));
        }
        assert!(may_be_whole(b"GET / HTTP/1.1\n\n", 1), "for hyper to refuse");
    }

    #[test]
    fn a_request_is_what_was_sent() {
        let text = "GET /a?b=c HTTP/1.1\r\nHost: A.example:80\r\nX-Empty:\r\nAccept: b\r\n\r\nGET";
        let mut fields = NO_FIELDS;
        let Read::Plain(head) = read(text.as_bytes(), &mut fields) else { panic!() };
        assert_eq!(head.length(), text.len() - 3);
        assert_eq!(head.host().unwrap(), "a.example");
        assert_eq!(head.path_and_query(), ("/a", Some("b=c")));
        let request = head.request(()).unwrap();
        assert_eq!(request.method(), Method::GET);
        assert_eq!(request.uri(), "/a?b=c");
        assert_eq!(request.headers()["host"], "A.example:80");
        assert_eq!(request.headers()["x-empty"], "");
        assert_eq!(request.headers()["accept"], "b");
    }

    proptest! {
        /// Whatever the guard refuses is not plain, and what is plain is one head for it.
        #[test]
        fn nothing_is_plain_that_the_guard_refuses(
            lines in prop::collection::vec(prop::sample::select(vec![
                "GET / HTTP/1.1\r\n", "Host: a\r\n", "Content-Length: 5\r\n", "content-length:0\r\n",
                "Transfer-Encoding: chunked\r\n", " folded\r\n", "\tfolded\r\n", "A: b\r\n", "A: b\n",
                "\r\n", "\n", "\0", "Connection: close\r\n", "x",
            ]), 0..8),
        ) {
            let text = lines.concat();
            let mut fields = NO_FIELDS;
            if let Read::Plain(head) = read(text.as_bytes(), &mut fields) {
                let mut bytes = text.as_bytes()[..head.length()].to_vec();
                let mut guard = crate::guard::Guard::default();
                guard.inspect(&mut bytes);
                prop_assert!(!guard.is_refused() && guard.is_between() && guard.heads() == 1);
            }
        }
    }
}
