//! Problem documents: what an API call that failed answers (RFC 9457).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a call failed, and what would be accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// The kind of problem, stable across calls: `about:blank` or a name below
    /// `https://headroom.example/problems/`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What went wrong this time, and what would be accepted.
    pub detail: String,
}

/// The media type of a problem document.
pub const PROBLEM_MEDIA_TYPE: &str = "application/problem+json";

impl Problem {
    /// A problem of a named kind: "insufficient-funds".
    #[must_use]
    pub fn new(status: u16, name: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("https://headroom.example/problems/{name}"),
            title: name.replace('-', " "),
            status,
            detail: detail.into(),
        }
    }

    /// The last part of the kind.
    #[must_use]
    pub fn name(&self) -> &str {
        self.kind.rsplit('/').next().unwrap_or_default()
    }
}
