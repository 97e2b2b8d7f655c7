//! What a site says about how its requests are handled.

use headroom_units::QueryRule;

use crate::limits;

/// How an edge handles the requests of a site.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SiteRules {
    /// What of the query tells responses apart.
    pub query: QueryRule,
    /// Whether WebSocket and other upgrades are tunnelled to the origin.
    pub upgrades: bool,
    /// How long an error that does not say how long it is fresh is remembered; 0 for not at all.
    pub negative_seconds: u64,
}

impl SiteRules {
    /// What is beyond the limits; `None` if nothing is.
    #[must_use]
    pub fn excess(&self) -> Option<String> {
        if let QueryRule::Only(names) | QueryRule::Except(names) = &self.query {
            let (most, longest) = (limits::QUERY_NAMES_MAX, limits::QUERY_NAME_LEN_MAX);
            if names.is_empty() || names.len() > most {
                let count = names.len();
                return Some(format!("its query rule has {count} names; accepted are 1 to {most}"));
            }
            if names.iter().any(|name| name.is_empty() || name.len() > longest) {
                return Some(format!(
                    "a name of its query rule is empty or longer than {longest} bytes"
                ));
            }
        }
        let (seconds, most) = (self.negative_seconds, limits::NEGATIVE_SECONDS_MAX);
        (seconds > most).then(|| {
            format!("errors are to be remembered for {seconds} s; accepted are 0 to {most} s")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_have_limits() {
        let names = |count: usize, len: usize| vec!["n".repeat(len); count];
        let rules = |query, negative_seconds| SiteRules { query, upgrades: true, negative_seconds };
        for (rules, excess) in [
            (SiteRules::default(), None),
            (rules(QueryRule::Only(names(64, 128)), 86_400), None),
            (rules(QueryRule::Keep, 86_401), Some("0 to 86400 s")),
            (rules(QueryRule::Only(Vec::new()), 0), Some("has 0 names")),
            (rules(QueryRule::Except(names(65, 1)), 0), Some("has 65 names")),
            (rules(QueryRule::Except(names(1, 0)), 0), Some("is empty")),
            (rules(QueryRule::Only(names(1, 129)), 0), Some("longer than 128")),
        ] {
            let found = rules.excess().unwrap_or_default();
            assert_eq!(found.is_empty(), excess.is_none(), "{found}");
            assert!(found.contains(excess.unwrap_or_default()), "{found}");
        }
    }
}
