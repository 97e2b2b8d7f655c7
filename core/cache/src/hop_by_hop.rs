//! Fields that are meant for one connection only (RFC 9110 §7.6.1).

use http::{
    HeaderMap, HeaderName,
    header::{
        AGE, AUTHORIZATION, CACHE_CONTROL, CONNECTION, DATE, EXPIRES, HOST, PRAGMA, SET_COOKIE,
        VARY,
    },
};

use crate::list::members;

/// Never hop-by-hop, even if `Connection` lists them: they are meant for all recipients
/// (§7.6.1), and without them a cache would share what it must not.
static NEVER: [HeaderName; 9] =
    [AGE, AUTHORIZATION, CACHE_CONTROL, DATE, EXPIRES, HOST, PRAGMA, SET_COOKIE, VARY];

/// Removes the fields that end at this hop, in requests and in responses.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let one_hop = HopByHop::of(headers);
    // One after the other: most messages have one such field, or none.
    while let Some(name) = headers.keys().find(|name| one_hop.contains(name)).cloned() {
        headers.remove(name);
    }
}

/// The fields of a message that end at this hop.
#[derive(Debug)]
pub struct HopByHop {
    /// Those that `Connection` lists.
    listed: Vec<HeaderName>,
}

impl HopByHop {
    /// Those of a message with `headers`.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let listed = members(headers, &CONNECTION)
            .filter_map(|member| HeaderName::from_bytes(member).ok())
            .filter(|name| !NEVER.contains(name))
            .collect();
        Self { listed }
    }

    /// True if `name` ends at this hop.
    #[must_use]
    pub fn contains(&self, name: &HeaderName) -> bool {
        always_ends(name) || self.listed.contains(name)
    }
}

/// Hop-by-hop whether listed in `Connection` or not.
fn always_ends(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    )
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
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["cache-control", "x-public"]);
    }
}
