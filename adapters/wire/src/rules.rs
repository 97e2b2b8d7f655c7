//! A site's rules as they are registered and stand in a plan.

use headroom_steer::SiteRules;
use headroom_units::QueryRule;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How the requests of a site are handled. What is not said is as it has always been.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SiteRulesDocument {
    /// What of the query tells responses apart.
    pub query: QueryRuleDocument,
    /// Whether WebSocket and other upgrades are tunnelled to the origin.
    pub upgrades: bool,
    /// How long an error without freshness of its own is remembered; 0 for not at all.
    pub negative_seconds: u64,
}

/// What of the query tells responses apart.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum QueryRuleDocument {
    /// All of it, byte for byte.
    #[default]
    Keep,
    /// Nothing of it.
    Ignore,
    /// All parameters, in the order of their names.
    Sort,
    /// The parameters with these names.
    Only(Vec<String>),
    /// The parameters without these names.
    Except(Vec<String>),
}

impl SiteRulesDocument {
    /// True if it says nothing.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl From<&SiteRules> for SiteRulesDocument {
    fn from(rules: &SiteRules) -> Self {
        let query = match &rules.query {
            QueryRule::Keep => QueryRuleDocument::Keep,
            QueryRule::Ignore => QueryRuleDocument::Ignore,
            QueryRule::Sort => QueryRuleDocument::Sort,
            QueryRule::Only(names) => QueryRuleDocument::Only(names.clone()),
            QueryRule::Except(names) => QueryRuleDocument::Except(names.clone()),
        };
        Self { query, upgrades: rules.upgrades, negative_seconds: rules.negative_seconds }
    }
}

impl From<SiteRulesDocument> for SiteRules {
    fn from(document: SiteRulesDocument) -> Self {
        let query = match document.query {
            QueryRuleDocument::Keep => QueryRule::Keep,
            QueryRuleDocument::Ignore => QueryRule::Ignore,
            QueryRuleDocument::Sort => QueryRule::Sort,
            QueryRuleDocument::Only(names) => QueryRule::Only(names),
            QueryRuleDocument::Except(names) => QueryRule::Except(names),
        };
        Self { query, upgrades: document.upgrades, negative_seconds: document.negative_seconds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_written_as_plain_words() {
        let check = |text: &str, rules: SiteRules| {
            let document: SiteRulesDocument = serde_json::from_str(text).unwrap();
            assert_eq!(SiteRules::from(document), rules, "{text}");
            let written = serde_json::to_string(&SiteRulesDocument::from(&rules)).unwrap();
            let again: SiteRulesDocument = serde_json::from_str(&written).unwrap();
            assert_eq!(SiteRules::from(again), rules, "{written}");
        };
        let with = |query| SiteRules { query, ..SiteRules::default() };
        check("{}", SiteRules::default());
        check(r#"{"query":"keep"}"#, SiteRules::default());
        check(r#"{"query":"ignore"}"#, with(QueryRule::Ignore));
        check(r#"{"query":"sort"}"#, with(QueryRule::Sort));
        check(
            r#"{"query":{"only":["a","b"]}}"#,
            with(QueryRule::Only(vec!["a".into(), "b".into()])),
        );
        check(r#"{"query":{"except":["utm"]}}"#, with(QueryRule::Except(vec!["utm".into()])));
        let upgrades = SiteRules { upgrades: true, negative_seconds: 5, ..SiteRules::default() };
        check(r#"{"upgrades":true,"negative_seconds":5}"#, upgrades);
        for bad in [r#"{"querry":"keep"}"#, r#"{"query":"some"}"#, r#"{"negative_seconds":-1}"#] {
            assert!(serde_json::from_str::<SiteRulesDocument>(bad).is_err(), "{bad}");
        }
    }
}
