//! Which stored responses a request makes outdated (RFC 9111 §4.4).

use headroom_units::{HostName, Scheme};
use http::{
    HeaderMap, Method, StatusCode, Uri,
    header::{CONTENT_LOCATION, LOCATION},
};

/// True if the response to a request with `method` makes what is stored for its target outdated:
/// the method is not safe, or not known to be, and the response is not an error.
#[must_use]
pub fn invalidates(method: &Method, status: StatusCode) -> bool {
    !method.is_safe() && (status.is_success() || status.is_redirection())
}

/// What else such a response makes outdated: the paths with their queries that `Location` and
/// `Content-Location` name, if they are of the target's own origin, so that nobody can make another
/// origin's responses outdated. Ports are not looked at, as they are no part of a key.
///
/// `target` is the request's target; `scheme` and `host` are how it was asked for.
#[must_use]
pub fn related_targets(
    headers: &HeaderMap,
    target: &Uri,
    scheme: Scheme,
    host: &HostName,
) -> Vec<String> {
    let mut related = Vec::new();
    for name in [LOCATION, CONTENT_LOCATION] {
        for line in headers.get_all(name) {
            let reference = line.to_str().ok();
            let found = reference.and_then(|reference| resolved(reference, target, scheme, host));
            related.extend(found.filter(|found| !related.contains(found)));
        }
    }
    related
}

/// The path and query of a reference (RFC 3986 §5.2.2); `None` if it is of another origin.
fn resolved(reference: &str, target: &Uri, scheme: Scheme, host: &HostName) -> Option<String> {
    let reference = reference.split('#').next().unwrap_or_default().trim();
    let rest = match scheme_of(reference) {
        Some((named, rest)) if named.eq_ignore_ascii_case(scheme.as_str()) => {
            rest.starts_with("//").then_some(rest)?
        }
        Some(_) => return None,
        None => reference,
    };
    if let Some(rest) = rest.strip_prefix("//") {
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let (path, query) = divided(rest);
        return is_host(authority, host).then(|| joined(&without_dots(path), query));
    }
    let (path, query) = divided(rest);
    if path.is_empty() {
        return Some(joined(target.path(), query.or(target.query())));
    }
    let merged = match path.starts_with('/') {
        true => path.to_owned(),
        // RFC 3986 §5.2.3: the last segment of the base gives way.
        false => {
            let base = target.path();
            format!("{}/{path}", &base[..base.rfind('/').unwrap_or(0)])
        }
    };
    Some(joined(&without_dots(&merged), query))
}

/// The scheme of an absolute reference and what follows its colon (RFC 3986 §3.1).
fn scheme_of(reference: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = reference.split_once(':')?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    (scheme.starts_with(|first: char| first.is_ascii_alphabetic()) && scheme.bytes().all(allowed))
        .then_some((scheme, rest))
}

/// True if an authority is `host`, with any port and without user information.
fn is_host(authority: &str, host: &HostName) -> bool {
    let (name, port) = authority.split_once(':').unwrap_or((authority, ""));
    let name = name.strip_suffix('.').unwrap_or(name);
    name.eq_ignore_ascii_case(host.as_str()) && port.bytes().all(|byte| byte.is_ascii_digit())
}

fn divided(rest: &str) -> (&str, Option<&str>) {
    match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    }
}

fn joined(path: &str, query: Option<&str>) -> String {
    let root = if path.starts_with('/') { "" } else { "/" };
    match query {
        Some(query) => format!("{root}{path}?{query}"),
        None => format!("{root}{path}"),
    }
}

/// A path without `.` and `..` segments (RFC 3986 §5.2.4).
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                // What a last dot names ends with a slash.
                if is_last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::headers;

    #[test]
    fn what_may_have_changed_something_invalidates() {
        let unknown = Method::from_bytes(b"M-SEARCH").unwrap();
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, unknown] {
            for (status, expected) in
                [(200, true), (204, true), (303, true), (404, false), (500, false)]
            {
                let status = StatusCode::from_u16(status).unwrap();
                assert_eq!(invalidates(&method, status), expected, "{method} {status} (§4.4)");
            }
        }
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE] {
            assert!(!invalidates(&method, StatusCode::OK), "{method} (§4.4)");
        }
    }

    fn related(target: &str, lines: &str) -> Vec<String> {
        let host = "www.shop.example".parse().unwrap();
        related_targets(&headers(lines), &target.parse().unwrap(), Scheme::Https, &host)
    }

    #[test]
    fn references_are_resolved() {
        let cases = [
            ("/x", Some("/x"), "absolute path"),
            ("/x?y#z", Some("/x?y"), "a fragment is not sent"),
            ("x", Some("/a/b/x"), "RFC 3986 §5.2.3"),
            ("x/?y=/../z", Some("/a/b/x/?y=/../z"), "dots in a query are none"),
            ("./x", Some("/a/b/x"), "RFC 3986 §5.2.4"),
            ("../x", Some("/a/x"), "§5.2.4"),
            ("../../../../x", Some("/x"), "§5.4.2: above the root"),
            ("..", Some("/a/"), "§5.4.1"),
            (".", Some("/a/b/"), "§5.4.1"),
            ("/./x/../y//z", Some("/y//z"), "§5.2.4"),
            ("...", Some("/a/b/..."), "§5.4.2"),
            ("?y", Some("/a/b/c?y"), "§5.4.1"),
            ("#z", Some("/a/b/c?q"), "§5.4.1"),
            ("//www.shop.example/x", Some("/x"), "network path"),
            ("//WWW.shop.example:8443?x", Some("/?x"), "ports do not count"),
            ("https://www.shop.example", Some("/"), "§5.4"),
            ("HTTPS://www.shop.example./x/../y", Some("/y"), "§6.2.2.1"),
            ("http://www.shop.example/x", None, "§4.4: another scheme"),
            ("https://shop.example/x", None, "§4.4: another host"),
            ("https://www.shop.example@evil.example/x", None, "another host"),
            ("https://evil.example/www.shop.example", None, "another host"),
            ("//www.shop.example.evil.example/x", None, "another host"),
            ("https:/x", None, "no authority"),
            ("https:x", None, "RFC 3986 §5.4.2: strict"),
            ("mailto:a@www.shop.example", None, "another scheme"),
        ];
        for (reference, expected, rule) in cases {
            let found = related("/a/b/c?q", &format!("location: {reference}"));
            let expected: Vec<_> = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(found, expected, "{reference} ({rule})");
        }
        let both = related("/a", "location: /x|content-location: /y|content-location: x");
        assert_eq!(both, ["/x", "/y"]);
        assert_eq!(related("https://www.shop.example", "location: x"), ["/x"]);
    }

    proptest! {
        #[test]
        fn what_is_found_is_a_clean_path(reference in "[a./:?#@]{0,20}") {
            let line = format!("location: {reference}");
            for found in related("/a/b/c", &line) {
                prop_assert!(found.starts_with('/'));
                let path = found.split('?').next().unwrap();
                prop_assert!(path.split('/').all(|segment| segment != "." && segment != ".."));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(value) = http::HeaderValue::from_bytes(&bytes) {
                let headers = HeaderMap::from_iter([(LOCATION, value)]);
                let host = "www.shop.example".parse().unwrap();
                let target = Uri::from_static("/a");
                let _ = related_targets(&headers, &target, Scheme::Http, &host);
            }
        }
    }
}
