//! Fields that are meant for one connection only (RFC 9110 §7.6.1).

use http::{
    HeaderMap, HeaderName,
    header::{
        AGE, AUTHORIZATION, CACHE_CONTROL, CONNECTION, DATE, EXPIRES, HOST, PRAGMA,
        PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING,
        UPGRADE, VARY,
    },
};

use crate::list::members;

/// Hop-by-hop whether listed in `Connection` or not.
const ALWAYS: [HeaderName; 11] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// Never hop-by-hop, even if `Connection` lists them: they are meant for all recipients
/// (§7.6.1), and without them a cache would share what it must not.
const NEVER: [HeaderName; 9] =
    [AGE, AUTHORIZATION, CACHE_CONTROL, DATE, EXPIRES, HOST, PRAGMA, SET_COOKIE, VARY];

/// Removes the fields that end at this hop, in requests and in responses.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    for name in listed(headers).iter().chain(&ALWAYS) {
        headers.remove(name);
    }
}

/// True if `name` ends at this hop in a message with `headers`.
pub(crate) fn is_hop_by_hop(name: &HeaderName, listed: &[HeaderName]) -> bool {
    ALWAYS.contains(name) || listed.contains(name)
}

/// The fields that `Connection` lists.
pub(crate) fn listed(headers: &HeaderMap) -> Vec<HeaderName> {
    members(headers, &CONNECTION)
        .filter_map(|member| HeaderName::from_bytes(member).ok())
        .filter(|name| !NEVER.contains(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_for_everyone_remains() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "X-Private, close, cache-control"),
            ("connection", "x-other,, bad name"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("proxy-connection", "close"),
            ("proxy-authentication-info", "a=b"),
            ("x-private", "1"),
            ("x-other", "2"),
            ("cache-control", "no-store"),
            ("x-public", "3"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        remove_hop_by_hop(&mut headers);
        let left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["cache-control", "x-public"]);
    }
}
