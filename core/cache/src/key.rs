//! The cache key: the target URI (RFC 9111 §2), within one site.
//!
//! GET and HEAD share a key: a stored GET response answers both (§4). What a response varies on is
//! not part of it; see [`crate::VarySelection`].

use headroom_units::{HostName, SiteId};
use http::Uri;

/// How the visitor spoke to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

/// What stored responses are looked up by. The same path of two sites is never the same key, even
/// under the same host name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheKey {
    site: SiteId,
    scheme: Scheme,
    host: HostName,
    path_and_query: String,
}

impl CacheKey {
    /// The key of `uri` as it was requested: byte for byte, except that an empty path is `/`
    /// (RFC 9110 §4.2.3). Scheme and authority of `uri` are not looked at.
    #[must_use]
    pub fn of(site: SiteId, scheme: Scheme, host: HostName, uri: &Uri) -> Self {
        let path_and_query = match (uri.path(), uri.query()) {
            ("", None) => "/".to_owned(),
            ("", Some(query)) => format!("/?{query}"),
            (path, None) => path.to_owned(),
            (path, Some(query)) => format!("{path}?{query}"),
        };
        Self { site, scheme, host, path_and_query }
    }

    /// The site it belongs to.
    #[must_use]
    pub fn site(&self) -> &SiteId {
        &self.site
    }

    /// The scheme.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host name.
    #[must_use]
    pub fn host(&self) -> &HostName {
        &self.host
    }

    /// The path with its query, beginning with a slash.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        &self.path_and_query
    }

    /// About how many bytes it takes in memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.path_and_query.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(site: &str, scheme: Scheme, uri: &str) -> CacheKey {
        let host = "www.shop.example".parse().unwrap();
        CacheKey::of(site.parse().unwrap(), scheme, host, &uri.parse().unwrap())
    }

    #[test]
    fn it_is_the_target_uri_within_a_site() {
        let one = key("shop", Scheme::Https, "/a?b=c");
        assert_eq!(one, key("shop", Scheme::Https, "https://WWW.shop.example:443/a?b=c"));
        for other in [
            key("other", Scheme::Https, "/a?b=c"),
            key("shop", Scheme::Http, "/a?b=c"),
            key("shop", Scheme::Https, "/a?b=C"),
            key("shop", Scheme::Https, "/a"),
            key("shop", Scheme::Https, "/a?"),
        ] {
            assert_ne!(one, other);
        }
        assert_eq!(key("shop", Scheme::Http, "http://www.shop.example").path_and_query(), "/");
        assert_eq!(key("shop", Scheme::Http, "http://www.shop.example?q").path_and_query(), "/?q");
    }
}
