//! What is asked of a request before it is served.

use std::borrow::Cow;

use headroom_cache::{RequestDirectives, Scheme};
use http::{
    HeaderValue, Method, Request, Uri, Version,
    header::{CACHE_CONTROL, HOST, IF_MATCH, IF_UNMODIFIED_SINCE, RANGE, VIA},
    request::Parts,
};

use crate::{limits::HEADERS_MAX, respond::Refusal};

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

/// A character of a target that no reader takes for anything but itself.
pub(crate) fn is_plain_in_target(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:@?".contains(&byte)
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
