//! Purges: what a purchaser asks for, and what stands in a plan.

use headroom_steer::{Purge, PurgeScope};
use headroom_units::SiteId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Text;

/// Asks that stored responses of a site are no longer served: all of them, or some.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NewPurge {
    /// All responses of the site.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// The responses of these URLs, whatever their scheme.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// The responses whose URLs begin so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<String>,
    /// The responses that carry one of these tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// The purges that were taken in, on their way to the edges with the next plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PurgesView {
    /// The site.
    #[schema(value_type = String)]
    pub site: Text<SiteId>,
    /// The purges, each under its sequence number.
    pub purges: Vec<PurgeDocument>,
}

/// A purge in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PurgeDocument {
    /// Its place in the order of all purges of all sites.
    pub sequence: u64,
    /// What it purges.
    pub scope: PurgeScopeDocument,
}

/// Which responses of a site a purge is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PurgeScopeDocument {
    /// All.
    All,
    /// Those of one URL, without its scheme: "www.shop.example/a?b".
    Url(String),
    /// Those whose URL begins so, without its scheme: "www.shop.example/img/".
    Prefix(String),
    /// Those that carry this tag.
    Tag(String),
}

impl From<&PurgeScope> for PurgeScopeDocument {
    fn from(scope: &PurgeScope) -> Self {
        match scope {
            PurgeScope::All => Self::All,
            PurgeScope::Url(text) => Self::Url(text.clone()),
            PurgeScope::Prefix(text) => Self::Prefix(text.clone()),
            PurgeScope::Tag(text) => Self::Tag(text.clone()),
        }
    }
}

impl From<PurgeScopeDocument> for PurgeScope {
    fn from(document: PurgeScopeDocument) -> Self {
        match document {
            PurgeScopeDocument::All => Self::All,
            PurgeScopeDocument::Url(text) => Self::Url(text),
            PurgeScopeDocument::Prefix(text) => Self::Prefix(text),
            PurgeScopeDocument::Tag(text) => Self::Tag(text),
        }
    }
}

impl From<&Purge> for PurgeDocument {
    fn from(purge: &Purge) -> Self {
        Self { sequence: purge.sequence, scope: (&purge.scope).into() }
    }
}

impl From<PurgeDocument> for Purge {
    fn from(document: PurgeDocument) -> Self {
        Self { sequence: document.sequence, scope: document.scope.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purge_keeps_its_scope() {
        for (text, scope) in [
            (r#""all""#, PurgeScope::All),
            (r#"{"url":"www.shop.example/a?b"}"#, PurgeScope::Url("www.shop.example/a?b".into())),
            (r#"{"prefix":"www.shop.example/"}"#, PurgeScope::Prefix("www.shop.example/".into())),
            (r#"{"tag":"sale"}"#, PurgeScope::Tag("sale".into())),
        ] {
            let written = format!(r#"{{"sequence":7,"scope":{text}}}"#);
            let document: PurgeDocument = serde_json::from_str(&written).unwrap();
            let purge = Purge::from(document);
            assert_eq!(purge, Purge { sequence: 7, scope });
            assert_eq!(serde_json::to_string(&PurgeDocument::from(&purge)).unwrap(), written);
        }
    }
}
