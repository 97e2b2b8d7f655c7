//! The cache key: the target URI (RFC 9111 §2), within one site.
//!
//! GET and HEAD share a key: a stored GET response answers both (§4). What a response varies on is
//! not part of it; see [`crate::VarySelection`].

use std::{borrow::Borrow, fmt, sync::Arc};

use headroom_units::{HostName, QueryRule, Scheme, SiteId};
use http::Uri;

use crate::query::keyed;

/// What stored responses are looked up by. The same path of two sites is never the same key, even
/// under the same host name.
///
/// It is one text, `site scheme://host/path?query`, in one allocation: hashing and comparing it is
/// one pass, and the order of keys puts what begins alike side by side. No site id has a space in
/// it, and no host name a slash, so that no two keys have the same text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheKey(Arc<str>);

impl CacheKey {
    /// The key of `uri` as it was requested: byte for byte, except that an empty path is `/`
    /// (RFC 9110 §4.2.3), and that of the query counts what `rule` says. Scheme and authority of
    /// `uri` are not looked at.
    #[must_use]
    pub fn of(site: &SiteId, scheme: Scheme, host: &HostName, uri: &Uri, rule: &QueryRule) -> Self {
        let query = uri.query().and_then(|query| keyed(query, rule));
        Self::joined(Self::parts(site, scheme, host, uri.path(), query.as_deref()))
    }

    /// Writes the key of `path` and `query`, which are those of a request's target, into `text`.
    pub fn write<'t>(
        text: &'t mut String,
        site: &SiteId,
        scheme: Scheme,
        host: &HostName,
        (path, query): (&str, Option<&str>),
        rule: &QueryRule,
    ) -> WrittenKey<'t> {
        let query = query.and_then(|query| keyed(query, rule));
        text.clear();
        text.extend(Self::parts(site, scheme, host, path, query.as_deref()));
        WrittenKey(text)
    }

    /// The key of a path with its query, to which no rule is applied.
    #[must_use]
    pub fn of_parts(site: &SiteId, scheme: Scheme, host: &HostName, path_and_query: &str) -> Self {
        Self::joined(Self::parts(site, scheme, host, path_and_query, None))
    }

    /// The key whose [`Self::as_str`] is `text`; `None` if no key has that text.
    #[must_use]
    pub fn of_text(text: &str) -> Option<Self> {
        let (site, url) = text.split_once(' ')?;
        let (scheme, rest) = url.split_once("://")?;
        let slash = rest.find('/')?;
        let known = scheme == Scheme::Http.as_str() || scheme == Scheme::Https.as_str();
        let host: HostName = rest[..slash].parse().ok()?;
        (known && site.parse::<SiteId>().is_ok() && host.as_str() == &rest[..slash])
            .then(|| Self(text.into()))
    }

    fn joined(parts: [&str; 9]) -> Self {
        Self(parts.concat().into())
    }

    fn parts<'p>(
        site: &'p SiteId,
        scheme: Scheme,
        host: &'p HostName,
        path: &'p str,
        query: Option<&'p str>,
    ) -> [&'p str; 9] {
        let root = if path.starts_with('/') { "" } else { "/" };
        let (mark, query) = query.map_or(("", ""), |query| ("?", query));
        [site.as_str(), " ", scheme.as_str(), "://", host.as_str(), root, path, mark, query]
    }

    /// The whole key as one text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The site it belongs to.
    #[must_use]
    pub fn site(&self) -> &str {
        self.0.split(' ').next().unwrap_or_default()
    }

    /// The URL without the site, such as a purge names it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.0[self.site().len() + 1..]
    }

    /// The scheme.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        if self.url().starts_with("https:") { Scheme::Https } else { Scheme::Http }
    }

    /// The host name.
    #[must_use]
    pub fn host(&self) -> &str {
        let rest = self.after_scheme();
        &rest[..rest.len() - self.path_and_query().len()]
    }

    /// The path with its query, beginning with a slash.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        let rest = self.after_scheme();
        rest.find('/').map_or("", |slash| &rest[slash..])
    }

    fn after_scheme(&self) -> &str {
        &self.url()[self.scheme().as_str().len() + "://".len()..]
    }

    /// How many bytes it takes in memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.0.len()
    }
}

/// A key that lies in somebody's buffer: enough to look something up.
#[derive(Debug, Clone, Copy)]
pub struct WrittenKey<'t>(&'t str);

impl WrittenKey<'_> {
    /// Its text, which is that of the key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0
    }

    /// The key.
    #[must_use]
    pub fn to_key(self) -> CacheKey {
        CacheKey(self.0.into())
    }
}

/// A key is looked up by its text, too.
impl Borrow<str> for CacheKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(site: &str, scheme: Scheme, uri: &str) -> CacheKey {
        ruled(site, scheme, uri, &QueryRule::Keep)
    }

    fn ruled(site: &str, scheme: Scheme, uri: &str, rule: &QueryRule) -> CacheKey {
        let host = "www.shop.example".parse().unwrap();
        CacheKey::of(&site.parse().unwrap(), scheme, &host, &uri.parse().unwrap(), rule)
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

    #[test]
    fn it_is_small() {
        assert!(size_of::<CacheKey>() <= 16);
        let key = key("shop", Scheme::Http, "/a");
        assert_eq!(key.weight(), 16 + "shop http://www.shop.example/a".len());
    }

    #[test]
    fn a_site_may_leave_parameters_out() {
        let of = |uri, rule: &QueryRule| ruled("shop", Scheme::Http, uri, rule);
        let plain = key("shop", Scheme::Http, "/a");
        assert_eq!(of("/a?b=c", &QueryRule::Ignore), plain);
        assert_eq!(of("/a?b=c", &QueryRule::Except(vec!["b".to_owned()])), plain);
        assert_eq!(of("/a?c&b", &QueryRule::Sort), key("shop", Scheme::Http, "/a?b&c"));
    }

    #[test]
    fn only_the_text_of_a_key_is_one() {
        for text in [
            "",
            "shop",
            "shop http://a.example",
            "shop ftp://a.example/",
            "s p http://a.example/",
            "shop http://A.example/",
            "shop http://a.example./",
            "shop http:///a",
            " http://a.b/",
        ] {
            assert_eq!(CacheKey::of_text(text), None, "{text}");
        }
    }

    prop_compose! {
        fn parts()(
            site in "[a-c](-[a-c]){0,1}",
            https in any::<bool>(),
            host in "[a-c]\\.(com|http|a\\.b)",
            path in "/?[a-c /:?. ]{0,12}",
        ) -> (SiteId, Scheme, HostName, String) {
            let scheme = if https { Scheme::Https } else { Scheme::Http };
            let root = if path.starts_with('/') { "" } else { "/" };
            (site.parse().unwrap(), scheme, host.parse().unwrap(), format!("{root}{path}"))
        }
    }

    proptest! {
        #[test]
        fn different_parts_are_different_keys(one in parts(), other in parts()) {
            let of = |(site, scheme, host, path): &(SiteId, Scheme, HostName, String)| {
                CacheKey::of_parts(site, *scheme, host, path)
            };
            prop_assert_eq!(of(&one) == of(&other), one == other);
            let key = of(&one);
            prop_assert_eq!(key.site(), one.0.as_str());
            prop_assert_eq!(key.scheme(), one.1);
            prop_assert_eq!(key.host(), one.2.as_str());
            prop_assert_eq!(key.path_and_query(), &one.3);
            prop_assert_eq!(CacheKey::of_text(key.as_str()), Some(key));
        }
    }
}
