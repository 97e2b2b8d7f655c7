//! `Vary`: which requests a stored response answers (RFC 9111 §4.1).

use http::{HeaderMap, HeaderName, HeaderValue, header::VARY};

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

/// The request fields a response varies on, with the lines they had when it was stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VarySelection {
    fields: Vec<(HeaderName, Vec<HeaderValue>)>,
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
        names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        let lines = |name: &HeaderName| request.get_all(name).iter().cloned().collect();
        let fields = names.into_iter().map(|name| (lines(&name), name));
        Ok(Self { fields: fields.map(|(lines, name)| (name, lines)).collect() })
    }

    /// True if `request` has the same fields as the request it was stored for. Lines may be joined
    /// and white space around commas may differ; neither changes the meaning of a list (§4.1).
    #[must_use]
    pub fn matches(&self, request: &HeaderMap) -> bool {
        self.fields.iter().all(|(name, stored)| {
            let given = request.get_all(name);
            given.iter().eq(stored)
                || (given.iter().next().is_some()
                    && !stored.is_empty()
                    && !has_quotes(stored.iter())
                    && !has_quotes(given.iter())
                    && all_members(given.iter()).eq(all_members(stored.iter())))
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

fn all_members<'a>(lines: impl Iterator<Item = &'a HeaderValue>) -> impl Iterator<Item = &'a [u8]> {
    lines.flat_map(|line| split(line.as_bytes()))
}

/// White space inside quotes has a meaning; such fields are compared as they are.
fn has_quotes<'a>(mut lines: impl Iterator<Item = &'a HeaderValue>) -> bool {
    lines.any(|line| line.as_bytes().contains(&b'"'))
}

#[cfg(test)]
mod tests {
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
        let vary = headers(&[("vary", "accept-language")]);
        let cases: [(&[&str], &[&str], bool); 10] = [
            (&[], &[], true),
            (&["de"], &["de"], true),
            (&["de"], &["en"], false),
            (&["de"], &["DE"], false),
            (&["de"], &[], false),
            (&[], &["de"], false),
            (&[], &[""], false),
            (&["de,en"], &["de ,  en"], true),
            (&["de,en"], &["de", "en"], true),
            (&["\"a,b\""], &["\"a, b\""], false),
        ];
        for (stored, given, expected) in cases {
            let request = |values: &[&str]| {
                let lines: Vec<_> =
                    values.iter().map(|value| ("accept-language", *value)).collect();
                headers(&lines)
            };
            let selection = VarySelection::of(&request(stored), &vary).unwrap();
            assert_eq!(selection.matches(&request(given)), expected, "{stored:?} {given:?} (§4.1)");
        }
    }
}
