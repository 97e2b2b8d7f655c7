//! How a site's queries distinguish responses.

use std::str::FromStr;

use crate::ParseError;

/// Which part of a query belongs to the cache key. What is left out must not change what the origin
/// answers: two requests that differ only there are given the same response.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum QueryRule {
    /// All of it, byte for byte.
    #[default]
    Keep,
    /// Nothing of it.
    Ignore,
    /// All parameters, sorted by name. Those of one name keep their order.
    Sort,
    /// The parameters with these names, in their order.
    Only(Vec<String>),
    /// The parameters without these names, in their order.
    Except(Vec<String>),
}

/// As `keep`, `ignore`, `sort`, `only=size,page` or `except=utm_source`.
impl FromStr for QueryRule {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let accepted = "\"keep\", \"ignore\", \"sort\", \"only=NAME,...\" or \"except=NAME,...\"";
        let refuse = |reason: &str| ParseError::new("a query rule", text, reason, accepted);
        let names = |list: &str| {
            let names: Vec<String> = list.split(',').map(str::to_owned).collect();
            let none = names.iter().any(String::is_empty);
            if none { Err(refuse("a name is empty")) } else { Ok(names) }
        };
        match text.split_once('=') {
            None if text == "keep" => Ok(Self::Keep),
            None if text == "ignore" => Ok(Self::Ignore),
            None if text == "sort" => Ok(Self::Sort),
            Some(("only", list)) => names(list).map(Self::Only),
            Some(("except", list)) => names(list).map(Self::Except),
            _ => Err(refuse("there is no such rule")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_a_word_or_names() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let cases = [
            ("keep", QueryRule::Keep),
            ("ignore", QueryRule::Ignore),
            ("sort", QueryRule::Sort),
            ("only=size", QueryRule::Only(names(&["size"]))),
            ("except=utm_source,a=b", QueryRule::Except(names(&["utm_source", "a=b"]))),
        ];
        for (text, rule) in cases {
            assert_eq!(text.parse(), Ok(rule), "{text}");
        }
        for text in ["", "Keep", "only", "only=", "except=a,,b", "drop=a", "keep=a"] {
            assert!(text.parse::<QueryRule>().is_err(), "{text}");
        }
    }
}
