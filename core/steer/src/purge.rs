//! Purges: what edges must no longer serve from their caches.
//!
//! An edge stamps each stored response with the highest purge sequence of its site that was in the
//! plan when the fetch began. A response is purged if a purge with a higher sequence matches it. So
//! no clocks are compared, and as the plan is durable, no restart undoes a purge.

use std::collections::BTreeSet;

use crate::limits;

/// One purge of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purge {
    /// Its place in the order of all purges of all sites.
    pub sequence: u64,
    /// What it purges.
    pub scope: PurgeScope,
}

/// Which responses of a site a purge is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PurgeScope {
    /// All.
    All,
    /// Those of one URL, whatever its scheme: `www.shop.example/a?b`.
    Url(String),
    /// Those whose URL begins so: `www.shop.example/img/`.
    Prefix(String),
    /// Those that carry this tag.
    Tag(String),
}

impl PurgeScope {
    /// What it adds to a plan, in bytes.
    fn bytes(&self) -> usize {
        match self {
            Self::All => 0,
            Self::Url(text) | Self::Prefix(text) | Self::Tag(text) => text.len(),
        }
    }
}

/// The same purges in less room: what a later purge says anyway is left out, and if there are
/// still too many, the oldest become one purge of everything. The result is ascending, purges all
/// that `purges` did, and its highest sequence is the same.
#[must_use]
pub fn fold(mut purges: Vec<Purge>) -> Vec<Purge> {
    purges.sort_by_key(|purge| std::cmp::Reverse(purge.sequence));
    let mut said = BTreeSet::new();
    let mut kept: Vec<Purge> = Vec::new();
    for purge in purges {
        let done = purge.scope == PurgeScope::All;
        if said.insert(purge.scope.clone()) {
            kept.push(purge);
        }
        if done {
            break;
        }
    }
    let most = fitting(&kept, limits::PURGES_PER_SITE_MAX);
    if most < kept.len() {
        kept.truncate(fitting(&kept, limits::PURGES_PER_SITE_MAX - 1) + 1);
        if let Some(oldest) = kept.last_mut() {
            oldest.scope = PurgeScope::All;
        }
    }
    kept.reverse();
    kept
}

/// How many of `purges`, from the first on, are within the limits.
fn fitting(purges: &[Purge], count_max: usize) -> usize {
    let mut bytes = 0;
    let fits = |purge: &&Purge| {
        bytes += purge.scope.bytes();
        bytes <= limits::PURGE_BYTES_PER_SITE_MAX
    };
    purges.iter().take(count_max).take_while(fits).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn purge(sequence: u64, scope: PurgeScope) -> Purge {
        Purge { sequence, scope }
    }

    fn tag(sequence: u64) -> Purge {
        purge(sequence, PurgeScope::Tag(format!("t{sequence}")))
    }

    /// True if a response with this URL and tag, stored under `stamp`, is purged.
    fn purged(purges: &[Purge], stamp: u64, url: &str, tag: &str) -> bool {
        purges.iter().any(|purge| {
            purge.sequence > stamp
                && match &purge.scope {
                    PurgeScope::All => true,
                    PurgeScope::Url(text) => text == url,
                    PurgeScope::Prefix(text) => url.starts_with(text),
                    PurgeScope::Tag(text) => text == tag,
                }
        })
    }

    #[test]
    fn what_a_later_purge_says_is_left_out() {
        let url = |sequence| purge(sequence, PurgeScope::Url("a.example/".to_owned()));
        assert_eq!(fold(vec![url(1), tag(2), url(3)]), [tag(2), url(3)]);
        let all = purge(4, PurgeScope::All);
        assert_eq!(fold(vec![url(1), tag(2), all.clone(), url(5)]), [all, url(5)]);
        assert_eq!(fold(Vec::new()), []);
    }

    #[test]
    fn the_oldest_of_too_many_become_one() {
        let max = limits::PURGES_PER_SITE_MAX as u64;
        let most: Vec<_> = (1..=max).map(tag).collect();
        assert_eq!(fold(most.clone()), most);
        let more: Vec<_> = (1..=max + 2).map(tag).collect();
        let folded = fold(more.clone());
        assert_eq!(folded.len() as u64, max);
        assert_eq!(folded[0], purge(3, PurgeScope::All));
        assert_eq!(folded[1..], more[3..]);
        assert_eq!(fold(folded.clone()), folded, "it is done once");
    }

    #[test]
    fn long_purges_are_folded_earlier() {
        let long = |sequence| {
            let text = format!("{sequence:0>width$}", width = limits::PURGE_TEXT_LEN_MAX);
            purge(sequence, PurgeScope::Url(text))
        };
        let most = (limits::PURGE_BYTES_PER_SITE_MAX / limits::PURGE_TEXT_LEN_MAX) as u64;
        let fit: Vec<_> = (1..=most).map(long).collect();
        assert_eq!(fold(fit.clone()), fit);
        let folded = fold((1..=most + 5).map(long).collect());
        assert_eq!(folded[0], purge(5, PurgeScope::All));
        assert_eq!(folded.len() as u64, most + 1);
    }

    fn any_scope() -> impl Strategy<Value = PurgeScope> {
        prop_oneof![
            1 => Just(PurgeScope::All),
            20 => "[ab]{0,3}".prop_map(PurgeScope::Url),
            20 => "[ab]{0,3}".prop_map(PurgeScope::Prefix),
            20 => "[ab]{0,3}".prop_map(PurgeScope::Tag),
            5 => "[ab]{2000}".prop_map(PurgeScope::Url),
        ]
    }

    proptest! {
        #[test]
        fn folding_never_un_purges(
            scopes in prop::collection::vec(any_scope(), 0..200),
            stamp in 0..210_u64,
            url in "[ab]{0,4}",
            tag in "[ab]{0,3}",
        ) {
            let purges: Vec<_> =
                scopes.into_iter().zip(1..).map(|(scope, sequence)| purge(sequence, scope)).collect();
            let newest = purges.last().map(|purge| purge.sequence);
            let folded = fold(purges.clone());
            prop_assert!(folded.is_sorted_by_key(|purge| purge.sequence));
            prop_assert_eq!(folded.last().map(|purge| purge.sequence), newest);
            prop_assert!(!purged(&purges, stamp, &url, &tag) || purged(&folded, stamp, &url, &tag));
            let bytes: usize = folded.iter().map(|purge| purge.scope.bytes()).sum();
            prop_assert!(bytes <= limits::PURGE_BYTES_PER_SITE_MAX);
        }
    }
}
