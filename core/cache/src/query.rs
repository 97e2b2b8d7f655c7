//! The part of a query that belongs to the cache key, as the site's [`QueryRule`] says.
//!
//! Parameters are what stands between ampersands. Names are compared decoded, because the origin
//! decodes them too: `%61=1` must not pass for a parameter other than `a`. A parameter with a
//! semicolon inside is never left out, because some origins see two parameters in it: leaving it
//! out would let one visitor choose what others get.

use std::borrow::Cow;

use headroom_units::QueryRule;

/// What of `query` tells responses apart; `None` if nothing does.
pub(crate) fn keyed<'q>(query: &'q str, rule: &QueryRule) -> Option<Cow<'q, str>> {
    let kept: Vec<&str> = match rule {
        QueryRule::Keep => return Some(Cow::Borrowed(query)),
        QueryRule::Ignore => return None,
        QueryRule::Sort => {
            let mut all: Vec<&str> = parameters(query).collect();
            all.sort_by_cached_key(|parameter| name(parameter));
            all
        }
        QueryRule::Only(names) => {
            parameters(query).filter(|one| is_ambiguous(one) || is_named(one, names)).collect()
        }
        QueryRule::Except(names) => {
            parameters(query).filter(|one| is_ambiguous(one) || !is_named(one, names)).collect()
        }
    };
    (!kept.is_empty()).then(|| Cow::Owned(kept.join("&")))
}

fn parameters(query: &str) -> impl Iterator<Item = &str> {
    query.split('&').filter(|parameter| !parameter.is_empty())
}

fn is_ambiguous(parameter: &str) -> bool {
    parameter.contains(';')
}

fn is_named(parameter: &str, names: &[String]) -> bool {
    let name = name(parameter);
    names.iter().any(|other| other.as_bytes() == name)
}

/// The decoded name of a parameter, as forms encode it: `+` is a space.
fn name(parameter: &str) -> Vec<u8> {
    let name = parameter.split('=').next().unwrap_or_default();
    let mut rest = name.as_bytes();
    let mut decoded = Vec::with_capacity(rest.len());
    while let [first, after @ ..] = rest {
        rest = after;
        let byte = match (first, after) {
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    high << 4 | low
                }
                _ => b'%',
            },
            (b'+', _) => b' ',
            (byte, _) => *byte,
        };
        decoded.push(byte);
    }
    decoded
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_says_what_counts() {
        let names = || vec!["b".to_owned(), "x y".to_owned()];
        let (only, except) = (QueryRule::Only(names()), QueryRule::Except(names()));
        let cases = [
            (&QueryRule::Keep, "", Some("")),
            (&QueryRule::Keep, "b=1&&a", Some("b=1&&a")),
            (&QueryRule::Ignore, "b=1&a", None),
            (&QueryRule::Sort, "", None),
            (&QueryRule::Sort, "b=2&a&b=1&&%61=0", Some("a&%61=0&b=2&b=1")),
            (&QueryRule::Sort, "%61=0&b=2&a&b=1", Some("%61=0&a&b=2&b=1")),
            (&only, "a=1&b=2&c&b", Some("b=2&b")),
            (&only, "a=1&%62=2&x+y=3&x%20y", Some("%62=2&x+y=3&x%20y")),
            (&only, "a=1&a=2;b=3", Some("a=2;b=3")),
            (&only, "B=1&bb=1&%6", None),
            (&except, "b=1&x+y=3&%62", None),
            (&except, "b=1&a=2&c&b=3", Some("a=2&c")),
            (&except, "b=1;a=2", Some("b=1;a=2")),
        ];
        for (rule, query, expected) in cases {
            assert_eq!(keyed(query, rule).as_deref(), expected, "{rule:?} {query}");
        }
    }
}
