//! The purges of one site, compiled so that a look-up compares a number in most cases.
//!
//! A stored response carries a stamp: [`PurgeTable::newest`] when its fetch began. It is purged if a
//! purge with a higher sequence matches it. What is asked for is the host, and path and query, of
//! the cache key; the URLs of purges are brought into the same form.

use std::collections::HashMap;

use headroom_cache::CacheKey;
use headroom_steer::{Purge, PurgeScope};
use headroom_units::{HostName, QueryRule, Scheme, SiteId};
use http::Uri;

/// The purges of a site.
#[derive(Debug, Default)]
pub(crate) struct PurgeTable {
    newest: u64,
    /// The newest purge of everything.
    all: u64,
    hosts: HashMap<Box<str>, HostPurges>,
    tags: HashMap<Box<str>, u64>,
}

/// The purges of one host.
#[derive(Debug, Default)]
struct HostPurges {
    urls: HashMap<Box<str>, u64>,
    /// In the order of their text.
    prefixes: Vec<Prefix>,
}

#[derive(Debug)]
struct Prefix {
    text: Box<str>,
    /// The newest purge of this prefix or of one that it begins with.
    newest: u64,
    /// The longest other prefix that it begins with.
    within: Option<usize>,
}

impl PurgeTable {
    /// The table of `purges`, in any order.
    pub(crate) fn new(site: &SiteId, purges: &[Purge], rule: &QueryRule) -> Self {
        let mut table = Self::default();
        let mut prefixes: HashMap<&str, Vec<(&str, u64)>> = HashMap::new();
        for Purge { sequence, scope } in purges {
            table.newest = table.newest.max(*sequence);
            match scope {
                PurgeScope::All => table.all = table.all.max(*sequence),
                PurgeScope::Url(url) => {
                    let (host, rest) = split(url);
                    let host = table.hosts.entry(host.into()).or_default();
                    raise(&mut host.urls, keyed(site, url, rest, rule), *sequence);
                }
                PurgeScope::Prefix(url) => {
                    let (host, rest) = split(url);
                    prefixes.entry(host).or_default().push((rest, *sequence));
                }
                PurgeScope::Tag(tag) => raise(&mut table.tags, tag.as_str().into(), *sequence),
            }
        }
        for (host, prefixes) in prefixes {
            table.hosts.entry(host.into()).or_default().prefixes = sorted(prefixes);
        }
        table
    }

    /// The highest sequence of a purge of this site; 0 if there is none.
    pub(crate) fn newest(&self) -> u64 {
        self.newest
    }

    /// Whether what was stored under `stamp` is purged since.
    pub(crate) fn is_purged(
        &self,
        stamp: u64,
        host: &str,
        path_and_query: &str,
        tags: &[impl AsRef<str>],
    ) -> bool {
        if stamp >= self.newest {
            return false;
        }
        stamp < self.all
            || self.hosts.get(host).is_some_and(|host| stamp < host.newest_of(path_and_query))
            || tags.iter().any(|tag| self.tags.get(tag.as_ref()).is_some_and(|&at| stamp < at))
    }
}

impl HostPurges {
    /// The newest purge that matches.
    fn newest_of(&self, path_and_query: &str) -> u64 {
        let url = self.urls.get(path_and_query).copied().unwrap_or_default();
        // All prefixes of a text stand before it, and each one that follows another of them begins
        // with it: the nearest entry before the text leads to all.
        let after = self.prefixes.partition_point(|prefix| *prefix.text <= *path_and_query);
        let mut at = after.checked_sub(1);
        while let Some(prefix) = at.and_then(|index| self.prefixes.get(index)) {
            if path_and_query.starts_with(&*prefix.text) {
                return url.max(prefix.newest);
            }
            at = prefix.within;
        }
        url
    }
}

fn raise(purges: &mut HashMap<Box<str>, u64>, key: Box<str>, sequence: u64) {
    let newest = purges.entry(key).or_default();
    *newest = sequence.max(*newest);
}

/// Host, and path and query, of a URL without a scheme.
fn split(url: &str) -> (&str, &str) {
    url.split_at(url.find('/').unwrap_or(url.len()))
}

/// Path and query as they stand in a cache key; as they are if they cannot be one.
fn keyed(site: &SiteId, url: &str, rest: &str, rule: &QueryRule) -> Box<str> {
    let host = url[..url.len() - rest.len()].parse::<HostName>();
    match (host, rest.parse::<Uri>()) {
        (Ok(host), Ok(uri)) => {
            CacheKey::of(site, Scheme::Http, &host, &uri, rule).path_and_query().into()
        }
        _ => rest.into(),
    }
}

fn sorted(mut purges: Vec<(&str, u64)>) -> Vec<Prefix> {
    purges.sort_unstable();
    let mut prefixes: Vec<Prefix> = Vec::with_capacity(purges.len());
    for (text, sequence) in purges {
        let mut within = prefixes.len().checked_sub(1);
        while let Some(index) = within.filter(|&index| !text.starts_with(&*prefixes[index].text)) {
            within = prefixes[index].within;
        }
        let newest = within.map_or(0, |index| prefixes[index].newest).max(sequence);
        prefixes.push(Prefix { text: text.into(), newest, within });
    }
    prefixes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NO_TAGS: &[&str] = &[];

    fn table(purges: &[(u64, PurgeScope)], rule: &QueryRule) -> PurgeTable {
        let purges: Vec<_> = purges
            .iter()
            .map(|(sequence, scope)| Purge { sequence: *sequence, scope: scope.clone() })
            .collect();
        PurgeTable::new(&"shop".parse().unwrap(), &purges, rule)
    }

    fn url(text: &str) -> PurgeScope {
        PurgeScope::Url(text.to_owned())
    }

    fn prefix(text: &str) -> PurgeScope {
        PurgeScope::Prefix(text.to_owned())
    }

    #[test]
    fn without_a_purge_nothing_is_purged() {
        let table = table(&[], &QueryRule::Keep);
        assert_eq!(table.newest(), 0);
        assert!(!table.is_purged(0, "a.example", "/", NO_TAGS));
    }

    #[test]
    fn what_was_stored_before_is_purged_and_what_was_stored_after_is_not() {
        let tag = PurgeScope::Tag("sale".to_owned());
        let purges = [
            (3, url("a.example/x?y")),
            (5, prefix("a.example/img/")),
            (6, prefix("a.example/img/2026/")),
            (7, tag),
        ];
        let table = table(&purges, &QueryRule::Keep);
        assert_eq!(table.newest(), 7);
        for (host, path, tags, sequence) in [
            ("a.example", "/x?y", NO_TAGS, 3),
            ("a.example", "/x", NO_TAGS, 0),
            ("b.example", "/x?y", NO_TAGS, 0),
            ("a.example", "/img/", NO_TAGS, 5),
            ("a.example", "/img/2025/a", NO_TAGS, 5),
            ("a.example", "/img/2026/a", NO_TAGS, 6),
            ("a.example", "/img", NO_TAGS, 0),
            ("a.example", "/other", &["new", "sale"], 7),
            ("a.example", "/other", &["sales"], 0),
        ] {
            for stamp in 0..9 {
                let purged = table.is_purged(stamp, host, path, tags);
                assert_eq!(purged, stamp < sequence, "{host}{path} {tags:?} at {stamp}");
            }
        }
    }

    #[test]
    fn a_url_is_purged_under_the_key_that_the_query_rule_gives_it() {
        let only = QueryRule::Only(vec!["size".to_owned()]);
        let table = table(&[(1, url("a.example/x?utm=1&size=2")), (2, url("a.example/"))], &only);
        assert!(table.is_purged(0, "a.example", "/x?size=2", NO_TAGS));
        assert!(!table.is_purged(0, "a.example", "/x?utm=1&size=2", NO_TAGS));
        assert!(table.is_purged(0, "a.example", "/", NO_TAGS));
    }

    fn matches(scope: &PurgeScope, host: &str, path: &str, tags: &[String]) -> bool {
        let whole = format!("{host}{path}");
        match scope {
            PurgeScope::All => true,
            PurgeScope::Url(text) => *text == whole,
            PurgeScope::Prefix(text) => whole.starts_with(text),
            PurgeScope::Tag(text) => tags.contains(text),
        }
    }

    fn any_scope() -> impl Strategy<Value = PurgeScope> {
        prop_oneof![
            1 => Just(PurgeScope::All),
            10 => "[ab]\\.example/[ab/]{0,3}".prop_map(PurgeScope::Url),
            20 => "[ab]\\.example/[ab/]{0,4}".prop_map(PurgeScope::Prefix),
            5 => "[ab]{1,2}".prop_map(PurgeScope::Tag),
        ]
    }

    proptest! {
        #[test]
        fn the_table_says_what_a_loop_over_all_purges_says(
            scopes in prop::collection::vec(any_scope(), 0..40),
            stamp in 0..42_u64,
            host in "[ab]\\.example",
            path in "/[ab/]{0,5}",
            tags in prop::collection::vec("[ab]{1,2}", 0..3),
        ) {
            let purges: Vec<_> = (1..).zip(scopes).collect();
            let naive = purges.iter().any(|(sequence, scope)| {
                *sequence > stamp && matches(scope, &host, &path, &tags)
            });
            let table = table(&purges, &QueryRule::Keep);
            prop_assert_eq!(table.is_purged(stamp, &host, &path, &tags), naive);
        }
    }
}
