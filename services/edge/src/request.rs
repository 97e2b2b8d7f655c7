//! What is asked of a request before it is served, and what an origin gets to see of it.

use std::borrow::Cow;

use headroom_cache::{RequestDirectives, Scheme, remove_hop_by_hop};
use headroom_units::HostName;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version,
    header::{
        CACHE_CONTROL, COOKIE, EXPECT, FORWARDED, HOST, IF_MATCH, IF_UNMODIFIED_SINCE, RANGE, VIA,
    },
    request::Parts,
};

use crate::{
    connection::Peer, limits::HEADERS_MAX, origin::UpstreamHead, respond, respond::Refusal,
    text::write_address,
};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Fields the edge adds to a request: room for them is made at once.
const ADDED_FIELDS: usize = 6;

/// The host a request is for: in lower case, without port and final dot. What the guard and hyper
/// let through is checked here; `via` is what this edge writes into `Via`.
pub(crate) fn host_of<'r, B>(
    request: &'r Request<B>,
    scheme: Scheme,
    via: &HeaderValue,
) -> Result<Cow<'r, str>, Refusal> {
    let (method, uri, headers) = (request.method(), request.uri(), request.headers());
    if *method == Method::CONNECT || *method == Method::TRACE {
        return Err(Refusal::Method);
    }
    if headers.len() > HEADERS_MAX {
        return Err(Refusal::Bad("there are too many fields"));
    }
    let mut hosts = headers.get_all(HOST).iter();
    let authority = match (hosts.next(), hosts.next(), uri.authority()) {
        (Some(host), None, _) => {
            host.to_str().map_err(|_| Refusal::Bad("the Host is malformed"))?
        }
        // RFC 9113 §8.3.1: in HTTP/2 the authority stands for Host.
        (None, None, Some(authority)) if request.version() == Version::HTTP_2 => authority.as_str(),
        // RFC 9112 §3.2: exactly one Host, or 400.
        _ => return Err(Refusal::Bad("exactly one Host is needed")),
    };
    let host = normal_host(authority).ok_or(Refusal::Bad("the Host is malformed"))?;
    check_target(uri, scheme, authority)?;
    if headers.get_all(VIA).iter().any(|line| contains(line, via)) {
        return Err(Refusal::Loop);
    }
    Ok(host)
}

/// RFC 9112 §3.2.2: an absolute target has to agree with Host; who does not check it can be made
/// to serve one site's object under another's name.
fn check_target(uri: &Uri, scheme: Scheme, authority: &str) -> Result<(), Refusal> {
    match uri.authority() {
        None if uri.path().starts_with('/') => Ok(()),
        None => Err(Refusal::Bad("the target is not served")),
        Some(_) if uri.scheme_str() != Some(scheme.as_str()) => {
            Err(Refusal::Bad("the target's scheme is not served"))
        }
        Some(target) if target.as_str().eq_ignore_ascii_case(authority) => Ok(()),
        Some(_) => Err(Refusal::Bad("the target and the Host disagree")),
    }
}

/// The host of `host [ ":" port ]` (RFC 9110 §7.2) in lower case without final dot, or `None` if it
/// is not of that form.
pub(crate) fn normal_host(authority: &str) -> Option<Cow<'_, str>> {
    let host = host_without_port(authority)?;
    let host = host.strip_suffix('.').unwrap_or(host);
    Some(if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    })
}

fn host_without_port(authority: &str) -> Option<&str> {
    let literal = if authority.starts_with('[') { authority.find(']') } else { None };
    let end = literal.map(|end| end + 1).or_else(|| authority.find(':'));
    let (host, rest) = authority.split_at(end.unwrap_or(authority.len()));
    let name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let within = |byte: u8| byte.is_ascii_alphanumeric() || b"[]:.".contains(&byte);
    let digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let sound = !host.is_empty()
        && host.bytes().all(|byte| if literal.is_some() { within(byte) } else { name(byte) })
        && (rest.is_empty() || rest.strip_prefix(':').is_some_and(digits));
    sound.then_some(host)
}

fn contains(line: &HeaderValue, member: &HeaderValue) -> bool {
    let members = line.as_bytes().split(|byte| *byte == b',');
    members.map(<[u8]>::trim_ascii).any(|found| found == member.as_bytes())
}

/// True if a request may be answered from the cache; `has_body` says whether content comes with
/// it. Preconditions that a cache cannot judge go to the origin (RFC 9110 §13.1.1).
pub(crate) fn may_use_cache(parts: &Parts, has_body: bool) -> bool {
    (parts.method == Method::GET || parts.method == Method::HEAD)
        && !has_body
        && !parts.headers.contains_key(IF_MATCH)
        && !parts.headers.contains_key(IF_UNMODIFIED_SINCE)
}

/// True if the response to a request may be stored. Others go to the origin on their own: for a
/// part of what is not stored at all, above all.
pub(crate) fn may_fill(parts: &Parts, is_stored: bool) -> bool {
    let headers = &parts.headers;
    let part = headers.contains_key(RANGE) && !is_stored;
    let no_store =
        || headers.contains_key(CACHE_CONTROL) && RequestDirectives::of(headers).no_store;
    parts.method == Method::GET && !part && !no_store()
}

/// True for a field in which others name a host, a target or a visitor. Origins act on them, and
/// they are no part of the cache's key: what a visitor claims there would be served to the next.
fn is_claim(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "forwarded"
            | "x-forwarded-for"
            | "x-forwarded-host"
            | "x-forwarded-port"
            | "x-forwarded-proto"
            | "x-forwarded-server"
            | "x-forwarded-prefix"
            | "x-forwarded-scheme"
            | "x-host"
            | "x-real-ip"
            | "x-original-url"
            | "x-original-host"
            | "x-rewrite-url"
            | "x-http-method-override"
    )
}

/// The head as an origin gets it: without fields of one hop, with who asks, for the host in the
/// one form that the cache's key has. What the visitor says about itself in the forwarding fields
/// is not passed on: anyone can claim anything there.
pub(crate) fn upstream_head(
    parts: &Parts,
    host: &HostName,
    peer: Peer,
    via: &HeaderValue,
) -> Result<UpstreamHead, Refusal> {
    let target = parts.uri.path_and_query().cloned();
    let target = target.ok_or(Refusal::Bad("the target is not served"))?;
    let mut headers = HeaderMap::with_capacity(parts.headers.len() + ADDED_FIELDS);
    headers.insert(HOST, text(host.as_str().as_bytes())?);
    for (name, value) in &parts.headers {
        // hyper answers 100-continue itself when the content is asked for.
        if *name != HOST && *name != EXPECT && !is_claim(name) {
            headers.append(name, value.clone());
        }
    }
    remove_hop_by_hop(&mut headers);
    join_cookies(&mut headers);
    let (peer, scheme) = (peer.address.to_canonical(), peer.scheme.as_str());
    let mut shown = Vec::new();
    write_address(&mut shown, peer);
    let (open, close): (&[u8], &[u8]) = if peer.is_ipv6() { (b"\"[", b"]\"") } else { (b"", b"") };
    let host = host.as_str().as_bytes();
    let forwarded: [&[u8]; 8] =
        [b"for=", open, &shown, close, b";host=\"", host, b"\";proto=", scheme.as_bytes()];
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
    headers.insert(FORWARDED, text(&forwarded.concat())?);
    headers.insert(X_FORWARDED_FOR, text(&shown)?);
    respond::add_via(&mut headers, via);
    Ok(UpstreamHead { method: parts.method.clone(), target, headers, interim: None })
}

fn text(value: &[u8]) -> Result<HeaderValue, Refusal> {
    HeaderValue::from_bytes(value).map_err(|_| Refusal::Bad("the Host is malformed"))
}

/// HTTP/2 may divide a Cookie into several fields; HTTP/1.1 knows one (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(method: &str, uri: &str, fields: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn host(uri: &str, hosts: &[&str]) -> Result<String, Refusal> {
        host_by(Version::HTTP_11, Scheme::Http, uri, hosts)
    }

    fn host_by(
        version: Version,
        scheme: Scheme,
        uri: &str,
        hosts: &[&str],
    ) -> Result<String, Refusal> {
        let fields: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
        let mut request = Request::from_parts(parts("GET", uri, &fields), ());
        *request.version_mut() = version;
        let via = HeaderValue::from_static("1.1 east-1.headroom");
        host_of(&request, scheme, &via).map(Cow::into_owned)
    }

    #[test]
    fn in_http2_the_authority_stands_for_the_host() {
        let h2 = |uri: &str, hosts: &[&str]| host_by(Version::HTTP_2, Scheme::Https, uri, hosts);
        assert_eq!(h2("https://A.example:443/a", &[]).unwrap(), "a.example");
        assert_eq!(h2("https://a.example/", &["A.example"]).unwrap(), "a.example");
        for (uri, hosts) in [
            ("https://a.example/", &["b.example"][..]),
            ("https://a.example/", &["a.example", "a.example"]),
            ("https://u@a.example/", &[]),
            ("http://a.example/", &[]),
        ] {
            assert!(matches!(h2(uri, hosts), Err(Refusal::Bad(_))), "{uri} {hosts:?}");
        }
        let h1 = host_by(Version::HTTP_11, Scheme::Https, "https://a.example/", &[]);
        assert!(h1.is_err(), "HTTP/1.1 needs a Host");
    }

    #[test]
    fn divided_cookies_are_joined() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1"));
        headers.append(COOKIE, HeaderValue::from_static("b=2"));
        join_cookies(&mut headers);
        let joined: Vec<_> = headers.get_all(COOKIE).iter().collect();
        assert_eq!(joined, ["a=1; b=2"]);
    }

    #[test]
    fn the_host_is_taken_without_port_in_lower_case() {
        assert_eq!(host("/", &["www.shop.example"]).unwrap(), "www.shop.example");
        assert_eq!(host("/", &["WWW.Shop.Example.:8080"]).unwrap(), "www.shop.example");
        assert_eq!(host("/", &["[::1]:80"]).unwrap(), "[::1]");
        assert_eq!(host("http://a.example:80/", &["A.example:80"]).unwrap(), "a.example");
    }

    #[test]
    fn a_host_that_is_not_clear_is_refused() {
        let refused = |uri: &str, hosts: &[&str]| {
            assert!(matches!(host(uri, hosts), Err(Refusal::Bad(_))), "{uri} {hosts:?}");
        };
        refused("/", &[]);
        refused("/", &["a.example", "a.example"]);
        for bad in ["", ":80", "a b", "a.example:x", "u@a.example", "a.example/b", "a]", "[::1]x:1"]
        {
            refused("/", &[bad]);
        }
        refused("http://a.example/", &["b.example"]);
        refused("http://a.example:80/", &["a.example"]);
        refused("https://a.example/", &["a.example"]);
        refused("http://u@a.example/", &["a.example"]);
        refused("*", &["a.example"]);
    }

    #[test]
    fn a_request_that_was_here_before_is_refused() {
        let via = HeaderValue::from_static("1.1 east-1.headroom");
        let ask = |line: &str| {
            let parts = parts("GET", "/", &[("host", "a.example"), ("via", line)]);
            host_of(&Request::from_parts(parts, ()), Scheme::Http, &via).is_err()
        };
        assert!(ask("1.1 proxy, 1.1 east-1.headroom"));
        assert!(!ask("1.1 east-2.headroom"));
    }

    #[test]
    fn an_origin_sees_who_asks_and_no_hop_by_hop_fields() {
        let parts = parts(
            "GET",
            "/a?b",
            &[
                ("host", "WWW.Shop.example.:6666"),
                ("x-forwarded-host", "evil.example"),
                ("x-original-url", "/admin"),
                ("connection", "x-private, close"),
                ("x-private", "1"),
                ("x-forwarded-for", "6.6.6.6"),
                ("forwarded", "for=6.6.6.6"),
                ("expect", "100-continue"),
            ],
        );
        let via = HeaderValue::from_static("1.1 east-1.headroom");
        let shop = "www.shop.example".parse().unwrap();
        let peer = Peer { address: "2001:db8::1".parse().unwrap(), scheme: Scheme::Https };
        let head = upstream_head(&parts, &shop, peer, &via).unwrap();
        assert_eq!(head.target, "/a?b");
        let mut fields: Vec<String> = head
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        fields.sort();
        assert_eq!(
            fields,
            [
                "forwarded: for=\"[2001:db8::1]\";host=\"www.shop.example\";proto=https",
                "host: www.shop.example",
                "via: 1.1 east-1.headroom",
                "x-forwarded-for: 2001:db8::1",
                "x-forwarded-proto: https",
            ]
        );
    }

    #[test]
    fn only_plain_get_requests_fill_the_cache() {
        let fills =
            |method: &str, fields: &[(&str, &str)]| may_fill(&parts(method, "/", fields), false);
        assert!(fills("GET", &[("cache-control", "max-age=0")]));
        assert!(!fills("HEAD", &[]));
        assert!(!fills("GET", &[("range", "bytes=0-1")]));
        assert!(fills("GET", &[("authorization", "Basic x")]), "it may allow sharing");
        assert!(!fills("GET", &[("cache-control", "no-store")]));
        assert!(!may_use_cache(&parts("POST", "/", &[]), false));
        assert!(!may_use_cache(&parts("GET", "/", &[]), true));
    }
}
