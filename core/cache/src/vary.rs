//! `Vary`: which requests a stored response answers (RFC 9111 §4.1).

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{ACCEPT_ENCODING, ACCEPT_LANGUAGE, VARY},
};

use crate::{
    limits,
    list::{members, split},
};

/// Why a response cannot be stored for what it varies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VaryRefused {
    /// `Vary: *` never matches (§4.1).
    #[error("it varies on everything")]
    Any,
    /// A member is not a field name, so what it varies on is not known.
    #[error("its Vary field is malformed")]
    Malformed,
    /// It names too many fields.
    #[error("it varies on more than {max} fields", max = limits::VARY_FIELDS_MAX)]
    TooMany,
}

/// The request fields a response varies on, with the lines they had when it was stored. Without
/// any it takes no memory but its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VarySelection {
    fields: Box<[(HeaderName, Box<[HeaderValue]>)]>,
}

impl VarySelection {
    /// What `response`, given to `request`, varies on.
    ///
    /// # Errors
    /// If it varies on everything, on too much, or on what is not a field name.
    pub fn of(request: &HeaderMap, response: &HeaderMap) -> Result<Self, VaryRefused> {
        let mut names: Vec<HeaderName> = Vec::new();
        for member in members(response, &VARY) {
            if member == b"*" {
                return Err(VaryRefused::Any);
            }
            let name = HeaderName::from_bytes(member).map_err(|_| VaryRefused::Malformed)?;
            if !names.contains(&name) {
                names.push(name);
            }
            if names.len() > limits::VARY_FIELDS_MAX {
                return Err(VaryRefused::TooMany);
            }
        }
        let fields = names.into_iter().map(|name| {
            let lines = request.get_all(&name).iter().map(compact).collect();
            (name, lines)
        });
        Ok(Self::from_fields(fields.collect()))
    }

    /// The selection that has these fields and lines.
    pub(crate) fn from_fields(mut fields: Vec<(HeaderName, Vec<HeaderValue>)>) -> Self {
        fields.sort_unstable_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
        let boxed = |(name, lines): (HeaderName, Vec<_>)| (name, lines.into_boxed_slice());
        Self { fields: fields.into_iter().map(boxed).collect() }
    }

    /// The fields and the lines they had.
    pub(crate) fn to_fields(&self) -> Vec<(HeaderName, Vec<HeaderValue>)> {
        self.fields.iter().map(|(name, lines)| (name.clone(), lines.to_vec())).collect()
    }

    /// True if `request` has the same fields as the request it was stored for. Lines may be joined
    /// and white space around commas may differ; neither changes the meaning of a list (§4.1).
    /// Where a field's members have no case, case does not count. Order always counts.
    #[must_use]
    pub fn matches(&self, request: &HeaderMap) -> bool {
        self.fields.iter().all(|(name, stored)| {
            let given = request.get_all(name);
            given.iter().eq(stored)
                || (given.iter().next().is_some()
                    && !stored.is_empty()
                    && !has_quotes(stored.iter())
                    && !has_quotes(given.iter())
                    && same_members(name, given.iter(), stored.iter()))
        })
    }

    /// True if it answers every request for its key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The fields it varies on, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.fields.iter().map(|(name, _)| name)
    }
}

/// A copy that holds on to nothing else: a received line shares the whole read buffer.
pub(crate) fn compact(line: &HeaderValue) -> HeaderValue {
    HeaderValue::from_bytes(line.as_bytes()).unwrap_or_else(|_| line.clone())
}

fn same_members<'a>(
    name: &HeaderName,
    given: impl Iterator<Item = &'a HeaderValue>,
    stored: impl Iterator<Item = &'a HeaderValue>,
) -> bool {
    let (mut given, mut stored) = (all_members(given), all_members(stored));
    // RFC 9110 §8.4.1, §12.5.4: codings and language tags have no case.
    if *name == ACCEPT_ENCODING || *name == ACCEPT_LANGUAGE {
        given.by_ref().map(Some).chain([None]).all(|one| match (one, stored.next()) {
            (Some(one), Some(other)) => same_weighted(one, other),
            (one, other) => one.is_none() && other.is_none(),
        })
    } else {
        given.eq(stored)
    }
}

/// Compares two members with a weight: `gzip;q=0.5` and `GZIP ; q=0.5` are the same.
fn same_weighted(one: &[u8], other: &[u8]) -> bool {
    let mut parts = [one, other].map(|member| member.split(|byte| *byte == b';'));
    loop {
        let [one, other] = parts.each_mut().map(Iterator::next);
        match (one, other) {
            (None, None) => return true,
            (Some(one), Some(other))
                if one.trim_ascii().eq_ignore_ascii_case(other.trim_ascii()) => {}
            _ => return false,
        }
    }
}

fn all_members<'a>(lines: impl Iterator<Item = &'a HeaderValue>) -> impl Iterator<Item = &'a [u8]> {
    lines.flat_map(|line| split(line.as_bytes()))
}

/// White space inside quotes has a meaning; such fields are compared as they are.
fn has_quotes<'a>(mut lines: impl Iterator<Item = &'a HeaderValue>) -> bool {
    lines.any(|line| line.as_bytes().contains(&b'"'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn what_cannot_be_matched_is_refused() {
        let of =
            |vary: &[(&'static str, &str)]| VarySelection::of(&HeaderMap::new(), &headers(vary));
        for any in ["*", " * ", "accept, *", "*, *", ",*"] {
            assert_eq!(of(&[("vary", any)]), Err(VaryRefused::Any), "{any} (§4.1)");
        }
        assert_eq!(of(&[("vary", "accept"), ("vary", "*")]), Err(VaryRefused::Any));
        assert_eq!(of(&[("vary", "a b")]), Err(VaryRefused::Malformed));
        let many: Vec<_> = (0..17).map(|n| format!("x-{n}")).collect();
        assert_eq!(of(&[("vary", &many.join(","))]), Err(VaryRefused::TooMany));
        let twice = of(&[("vary", "B, a"), ("vary", "b,,A")]).unwrap();
        assert_eq!(twice.names().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_request_matches_if_its_fields_are_the_same() {
        let cases: [(&'static str, &[&str], &[&str], bool); 17] = [
            ("accept", &[], &[], true),
            ("accept", &["de"], &["de"], true),
            ("accept", &["de"], &["en"], false),
            ("accept", &["de"], &["DE"], false),
            ("accept", &["de"], &[], false),
            ("accept", &[], &["de"], false),
            ("accept", &[], &[""], false),
            ("accept", &["de,en"], &["de ,  en"], true),
            ("accept", &["de,en"], &["de", "en"], true),
            ("accept", &["\"a,b\""], &["\"a, b\""], false),
            ("accept", &["en, de"], &["de, en"], false),
            ("accept-language", &["en, de"], &["eN , De"], true),
            ("accept-language", &["en, de"], &["en", "DE"], true),
            ("accept-language", &["en, de"], &["de, en"], false),
            ("accept-language", &["en, de"], &["en"], false),
            ("accept-encoding", &["gzip;q=0.5, br"], &["GZIP ; q=0.5,br"], true),
            ("accept-encoding", &["gzip;q=0.5"], &["gzip;q=0.6"], false),
        ];
        for (name, stored, given, expected) in cases {
            let request = |values: &[&str]| {
                let lines: Vec<_> = values.iter().map(|value| (name, *value)).collect();
                headers(&lines)
            };
            let selection =
                VarySelection::of(&request(stored), &headers(&[("vary", name)])).unwrap();
            assert_eq!(selection.matches(&request(given)), expected, "{stored:?} {given:?} (§4.1)");
        }
    }

    /// What may differ without a difference in meaning: white space at commas and semicolons, how
    /// members are put into lines, and case.
    fn meaning(lines: &[String]) -> Vec<String> {
        let all = lines.join(",").to_ascii_lowercase();
        let parts = |member: &str| member.split(';').map(str::trim).collect::<Vec<_>>().join(";");
        all.split(',').map(parts).filter(|member| !member.is_empty()).collect()
    }

    proptest! {
        #[test]
        fn different_fields_never_select_the_same(
            stored in prop::collection::vec("[abA;, ]{0,6}", 0..3),
            given in prop::collection::vec("[abA;, ]{0,6}", 0..3),
        ) {
            for name in ["x-any", "accept-language"] {
                let lines = |values: &[String]| {
                    let lines: Vec<_> =
                        values.iter().map(|value| (name, value.as_str())).collect();
                    headers(&lines)
                };
                let vary = headers(&[("vary", name)]);
                let selection = VarySelection::of(&lines(&stored), &vary).unwrap();
                prop_assert!(selection.matches(&lines(&stored)));
                if selection.matches(&lines(&given)) {
                    prop_assert_eq!(meaning(&stored), meaning(&given));
                    prop_assert_eq!(stored.is_empty(), given.is_empty());
                }
            }
        }
    }
}
