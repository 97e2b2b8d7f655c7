//! The head of a request as an origin gets it: without fields of one hop, with who asks, for the
//! host in the one form that the cache's key has.
//!
//! It is made of lines at once, as HTTP/1.1 sends them; what goes over HTTP/2 or carries content
//! gets the same as a map. What the visitor says about itself in forwarding fields is not passed
//! on: anyone can claim anything there.

use headroom_cache::{HopByHop, Scheme, is_conditional};
use headroom_units::HostName;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{CONTENT_LENGTH, COOKIE, RANGE},
    request::Parts,
    uri::PathAndQuery,
};

use crate::{connection::Peer, http1::reply::write_field, interim::Interim, text::write_address};

/// Most heads are no longer.
const LINES_BYTES: usize = 768;

/// A request without its body.
#[derive(Debug, Clone)]
pub(crate) struct UpstreamHead {
    pub(crate) method: Method,
    pub(crate) target: PathAndQuery,
    /// Each field but Content-Length with its CRLF, Host first (RFC 9110 §7.2).
    lines: Vec<u8>,
    /// What the visitor said about its content.
    content_length: Option<HeaderValue>,
    /// Where interim responses go, if anybody wants them.
    pub(crate) interim: Option<Interim>,
}

/// What a request to an origin is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The visitor: it may want a part, or only what it does not have.
    Visitor,
    /// The cache: it wants the whole.
    Cache,
}

impl UpstreamHead {
    /// What a visitor asks `host` for; `None` if its target has no path. Who asks comes on top.
    pub(crate) fn of(parts: &Parts, host: &HostName, purpose: Purpose) -> Option<Self> {
        let for_cache = purpose == Purpose::Cache;
        let mut head = Self {
            method: if for_cache { Method::GET } else { parts.method.clone() },
            target: parts.uri.path_and_query()?.clone(),
            lines: Vec::with_capacity(LINES_BYTES),
            content_length: None,
            interim: None,
        };
        head.add("host", host.as_str().as_bytes());
        let one_hop = HopByHop::of(&parts.headers);
        let mut cookies = false;
        for (name, value) in &parts.headers {
            let ends = one_hop.contains(name) || is_replaced(name);
            if !ends && !(for_cache && (name == RANGE || is_conditional(name))) {
                head.add(name.as_str(), value.as_bytes());
            } else if name == COOKIE {
                cookies = true;
            } else if name == CONTENT_LENGTH {
                head.content_length = Some(value.clone());
            }
        }
        if cookies {
            head.add_cookies(&parts.headers);
        }
        Some(head)
    }

    /// HTTP/2 may divide a Cookie into several fields; HTTP/1.1 knows one (RFC 9113 §8.2.3).
    fn add_cookies(&mut self, headers: &HeaderMap) {
        let cookies = headers.get_all(COOKIE).iter();
        for (index, cookie) in cookies.enumerate() {
            self.lines.extend_from_slice(if index == 0 { b"cookie: " } else { b"; " });
            self.lines.extend_from_slice(cookie.as_bytes());
        }
        self.lines.extend_from_slice(b"\r\n");
    }

    /// Says who asks, and for which host (RFC 7239).
    pub(crate) fn add_forwarded(&mut self, host: &HostName, peer: Peer) {
        let (address, scheme) = (peer.address.to_canonical(), peer.scheme);
        self.add("x-forwarded-proto", scheme.as_str().as_bytes());
        let lines = &mut self.lines;
        lines.extend_from_slice(b"x-forwarded-for: ");
        write_address(lines, address);
        lines.extend_from_slice(b"\r\nforwarded: for=");
        if address.is_ipv6() {
            lines.extend_from_slice(b"\"[");
            write_address(lines, address);
            lines.extend_from_slice(b"]\"");
        } else {
            write_address(lines, address);
        }
        for part in [";host=\"", host.as_str(), "\";proto=", Scheme::as_str(scheme), "\r\n"] {
            lines.extend_from_slice(part.as_bytes());
        }
    }

    /// Adds a field.
    pub(crate) fn add(&mut self, name: &str, value: &[u8]) {
        write_field(&mut self.lines, name.as_bytes(), value);
    }

    /// Writes all of it in the form of HTTP/1.1, for a request without content.
    pub(crate) fn write_http1(&self, out: &mut Vec<u8>) {
        let (method, target) = (self.method.as_str(), self.target.as_str());
        for part in [method.as_bytes(), b" ", target.as_bytes(), b" HTTP/1.1\r\n", &self.lines] {
            out.extend_from_slice(part);
        }
        // RFC 9110 §8.6: where content is expected, that there is none is said.
        if self.content_length.is_some()
            || matches!(self.method, Method::POST | Method::PUT | Method::PATCH)
        {
            write_field(out, b"content-length", b"0");
        }
        out.extend_from_slice(b"\r\n");
    }

    /// The fields, with the length of the visitor's content.
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut lines = &self.lines[..];
        while let Some(end) = lines.windows(2).position(|end| end == b"\r\n") {
            let line = &lines[..end];
            lines = &lines[end + 2..];
            let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
            let value = line.get(colon + 2..).unwrap_or_default();
            let name = HeaderName::from_bytes(&line[..colon]);
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
                headers.append(name, value);
            }
        }
        headers.extend(self.content_length.clone().map(|length| (CONTENT_LENGTH, length)));
        headers
    }
}

/// True for a field that is written anew, or that hyper answers itself (`Expect`), and for one in
/// which others name a host, a target or a visitor. Origins act on these, and they are no part of
/// the cache's key: what a visitor claims there would be served to the next.
fn is_replaced(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "content-length"
            | "cookie"
            | "expect"
            | "forwarded"
            | "host"
            | "traceparent"
            | "tracestate"
            | "x-forwarded-for"
            | "x-forwarded-host"
            | "x-forwarded-port"
            | "x-forwarded-prefix"
            | "x-forwarded-proto"
            | "x-forwarded-scheme"
            | "x-forwarded-server"
            | "x-host"
            | "x-http-method-override"
            | "x-original-host"
            | "x-original-url"
            | "x-real-ip"
            | "x-rewrite-url"
    )
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn head(method: &str, fields: &[(&str, &str)], purpose: Purpose) -> UpstreamHead {
        let mut request = Request::builder().method(method).uri("/a?b");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        UpstreamHead::of(&parts, &"a.example".parse().unwrap(), purpose).unwrap()
    }

    fn written(head: &UpstreamHead) -> String {
        let mut bytes = Vec::new();
        head.write_http1(&mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    fn sent(method: &str, fields: &[(&str, &str)]) -> String {
        written(&head(method, fields, Purpose::Visitor))
    }

    #[test]
    fn a_request_is_sent_with_its_host_first_and_no_body() {
        let fields = [
            ("Via", "1.1 edge"),
            ("content-length", "5"),
            ("host", "A.example:80"),
            ("via", "1.0 b"),
            ("transfer-encoding", "chunked"),
        ];
        assert_eq!(
            sent("GET", &fields),
            "GET /a?b HTTP/1.1\r\nhost: a.example\r\nvia: 1.1 edge\r\nvia: 1.0 b\r\n\
             content-length: 0\r\n\r\n"
        );
        for (method, expected) in [
            ("HEAD", "HEAD /a?b HTTP/1.1\r\nhost: a.example\r\n\r\n"),
            ("POST", "POST /a?b HTTP/1.1\r\nhost: a.example\r\ncontent-length: 0\r\n\r\n"),
        ] {
            assert_eq!(sent(method, &[]), expected);
        }
    }

    #[test]
    fn divided_cookies_are_joined() {
        let fields = [("cookie", "a=1"), ("x-a", "b"), ("cookie", "b=2")];
        let sent = sent("GET", &fields);
        assert!(sent.ends_with("\r\nx-a: b\r\ncookie: a=1; b=2\r\n\r\n"), "{sent}");
    }

    #[test]
    fn an_origin_sees_who_asks_and_no_hop_by_hop_fields() {
        let fields = [
            ("host", "A.example.:6666"),
            ("x-forwarded-host", "evil.example"),
            ("x-original-url", "/admin"),
            ("connection", "x-private, close"),
            ("x-private", "1"),
            ("x-forwarded-for", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6"),
            ("tracestate", "a=b"),
            ("expect", "100-continue"),
        ];
        for (address, forwarded) in
            [("2001:db8::1", "\"[2001:db8::1]\""), ("::ffff:192.0.2.1", "192.0.2.1")]
        {
            let peer = Peer { address: address.parse().unwrap(), scheme: Scheme::Https };
            let mut head = head("GET", &fields, Purpose::Visitor);
            head.add_forwarded(&"a.example".parse().unwrap(), peer);
            let shown = address.trim_start_matches("::ffff:");
            assert_eq!(
                written(&head),
                format!(
                    "GET /a?b HTTP/1.1\r\nhost: a.example\r\nx-forwarded-proto: https\r\n\
                     x-forwarded-for: {shown}\r\n\
                     forwarded: for={forwarded};host=\"a.example\";proto=https\r\n\r\n"
                )
            );
        }
    }

    #[test]
    fn the_cache_asks_for_the_whole_without_conditions() {
        let fields = [
            ("range", "bytes=0-1"),
            ("if-none-match", "\"a\""),
            ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("accept", "*/*"),
        ];
        let sent = |purpose| written(&head("HEAD", &fields, purpose));
        let whole = "GET /a?b HTTP/1.1\r\nhost: a.example\r\naccept: */*\r\n\r\n";
        assert_eq!(sent(Purpose::Cache), whole);
        assert!(
            sent(Purpose::Visitor).contains("\r\nrange: bytes=0-1\r\nif-none-match: \"a\"\r\n")
        );
    }

    #[test]
    fn as_a_map_it_says_the_same() {
        let fields = [("content-length", "5"), ("x-a", ""), ("x-b", "c: d"), ("x-b", "e")];
        let mut expected = HeaderMap::new();
        for (name, value) in [("host", "a.example")].iter().chain(&fields) {
            expected.append(*name, HeaderValue::from_static(value));
        }
        assert_eq!(head("POST", &fields, Purpose::Visitor).headers(), expected);
    }
}
