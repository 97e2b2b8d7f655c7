//! What is wrong with a configuration: every mistake, each with what would be accepted.

use std::{fmt, path::PathBuf};

use headroom_units::ParseError;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The line, counted from one; none if something is missing as a whole.
    pub line: Option<usize>,
    /// The path of the key: "regions\[0\].edges\[1\].capacity".
    pub key: String,
    /// The value as it was written, if there is one; cut to a sane length.
    pub value: Option<String>,
    /// Why it was refused.
    pub reason: String,
    /// What would be accepted.
    pub accepted: Option<String>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        write!(f, ": {}", self.reason)?;
        match &self.accepted {
            Some(accepted) => write!(f, "; accepted is {accepted}"),
            None => Ok(()),
        }
    }
}

/// Every mistake of one configuration, in the order of their lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The file, if it is one.
    pub file: Option<PathBuf>,
    /// The mistakes; at least one.
    pub mistakes: Vec<Mistake>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{}", file.display())?,
            None => f.write_str("the configuration")?,
        }
        match self.mistakes.len() {
            1 => f.write_str(" has a mistake:")?,
            count => write!(f, " has {count} mistakes:")?,
        }
        self.mistakes.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

impl std::error::Error for ConfigErrors {}

/// Why a text is refused, and what would be accepted.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) reason: String,
    pub(super) accepted: Option<String>,
}

impl Refusal {
    pub(super) fn new(reason: impl Into<String>, accepted: impl Into<String>) -> Self {
        Self { reason: reason.into(), accepted: Some(accepted.into()) }
    }
}

impl From<ParseError> for Refusal {
    fn from(error: ParseError) -> Self {
        Self::new(format!("it is not {}: {}", error.what, error.reason), error.accepted)
    }
}
