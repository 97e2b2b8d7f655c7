//! `CDN-Cache-Control`: cache control for us alone (RFC 9213).
//!
//! The field is a Dictionary Structured Field (RFC 9651). If it does not parse as one, it is
//! ignored as a whole. Parameters are ignored, and of a directive given twice the last counts.

use std::convert::Infallible;

use http::{HeaderMap, HeaderName};
use sfv::{
    BareItemFromInput, KeyRef, Parser,
    visitor::{
        DictionaryVisitor, EntryVisitor, Ignored, InnerListVisitor, ItemVisitor, ParameterVisitor,
    },
};

use crate::{ResponseDirectives, limits};

const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

/// The directives of a valid, non-empty `CDN-Cache-Control`; they replace `Cache-Control` and
/// `Expires` (§2.2).
pub(crate) fn directives(headers: &HeaderMap) -> Option<ResponseDirectives> {
    if !headers.contains_key(CDN_CACHE_CONTROL) {
        return None;
    }
    let lines: Vec<&[u8]> =
        headers.get_all(CDN_CACHE_CONTROL).iter().map(|line| line.as_bytes()).collect();
    let read = Dictionary { directives: ResponseDirectives::default(), is_empty: true };
    Parser::new(&lines.join(&b","[..])).parse_dictionary_with_visitor(read).ok().flatten()
}

/// What has been read so far.
struct Dictionary {
    directives: ResponseDirectives,
    is_empty: bool,
}

impl<'de> DictionaryVisitor<'de> for Dictionary {
    type Out = Option<ResponseDirectives>;
    type Error = Infallible;

    fn entry(&mut self, key: &'de KeyRef) -> Result<impl EntryVisitor<'de>, Infallible> {
        self.is_empty = false;
        Ok(Member { name: key.as_str(), directives: &mut self.directives })
    }

    fn finish(self) -> Result<Self::Out, Infallible> {
        let directives = ResponseDirectives { targeted: true, ..self.directives };
        Ok((!self.is_empty).then_some(directives))
    }
}

/// One directive, before its value is known.
struct Member<'de, 'a> {
    name: &'de str,
    directives: &'a mut ResponseDirectives,
}

impl<'de> EntryVisitor<'de> for Member<'de, '_> {
    type Error = Infallible;

    fn item(self) -> Result<impl ItemVisitor<'de>, Infallible> {
        Ok(self)
    }

    fn inner_list(self) -> Result<impl InnerListVisitor<'de>, Infallible> {
        set(self.directives, self.name, Value::Other);
        Ok(Ignored)
    }
}

impl<'de> ItemVisitor<'de> for Member<'de, '_> {
    type Out = ();
    type Error = Infallible;

    fn bare_item(
        self,
        item: BareItemFromInput<'de>,
    ) -> Result<impl ParameterVisitor<'de, Out = ()>, Infallible> {
        let value = match item {
            BareItemFromInput::Boolean(set) => Value::Flag(set),
            BareItemFromInput::Integer(seconds) => {
                u64::try_from(i64::from(seconds)).map_or(Value::Other, Value::Seconds)
            }
            _ => Value::Other,
        };
        set(self.directives, self.name, value);
        Ok(Ignored)
    }
}

/// A directive's value, as far as any directive has use for it.
#[derive(Clone, Copy)]
enum Value {
    Flag(bool),
    Seconds(u64),
    /// Field names, or a value of a type that the directive does not have.
    Other,
}

/// Takes one directive over. A value of the wrong type makes a restriction restrict, and keeps a
/// permission from permitting.
fn set(all: &mut ResponseDirectives, name: &str, value: Value) {
    let restricts = !matches!(value, Value::Flag(false));
    let permits = matches!(value, Value::Flag(true));
    let seconds = match value {
        Value::Seconds(seconds) => seconds.min(limits::DELTA_SECONDS_MAX),
        Value::Flag(_) | Value::Other => 0,
    };
    match name {
        "no-store" => all.no_store = restricts,
        "no-cache" => all.no_cache = restricts,
        "private" => all.private = restricts,
        "must-revalidate" => all.must_revalidate = restricts,
        "proxy-revalidate" => all.proxy_revalidate = restricts,
        "public" => all.public = permits,
        "must-understand" => all.must_understand = permits,
        "max-age" => all.max_age = Some(seconds),
        "s-maxage" => all.s_maxage = Some(seconds),
        "stale-while-revalidate" => all.stale_while_revalidate = Some(seconds),
        "stale-if-error" => all.stale_if_error = Some(seconds),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::headers;

    #[test]
    fn it_replaces_cache_control() {
        let cases = [
            ("cdn-cache-control: max-age=9", Some(9), "§2.1"),
            ("cdn-cache-control: max-age=9|cache-control: no-store", Some(9), "§2.2"),
            ("cdn-cache-control: max-age=9|cdn-cache-control: x=(a b);c", Some(9), "two lines"),
            ("cdn-cache-control: max-age=9;max-age=4, x;y=1", Some(9), "parameters are ignored"),
            ("cdn-cache-control: max-age=4, max-age=9", Some(9), "RFC 9651 §4.2.2: the last"),
            ("cdn-cache-control: max-age=99999999999", Some(1 << 31), "RFC 9111 §1.2.2"),
            ("cdn-cache-control: max-age=\"9\"", Some(0), "a wrong type is stale"),
            ("cdn-cache-control: max-age=9.5", Some(0), "a wrong type"),
            ("cdn-cache-control: max-age=-9", Some(0), "a wrong value"),
            ("cdn-cache-control: max-age", Some(0), "a wrong type"),
            ("cdn-cache-control: x|cache-control: max-age=7", None, "valid without max-age"),
            ("cdn-cache-control: |cache-control: max-age=7", Some(7), "§2.2: empty"),
            ("cdn-cache-control: max-age=9, &|cache-control: max-age=7", Some(7), "unparseable"),
            ("cdn-cache-control: MaX-aGe=9|cache-control: max-age=7", Some(7), "keys: lower case"),
            ("cdn-cache-control: max-age =9|cache-control: max-age=7", Some(7), "no space"),
            ("cdn-cache-control: max-age= 9|cache-control: max-age=7", Some(7), "no space"),
        ];
        for (text, expected, rule) in cases {
            let found = ResponseDirectives::of(&headers(text));
            assert_eq!(found.max_age, expected, "{text} ({rule})");
            assert_eq!(found.targeted, expected != Some(7), "{text} ({rule})");
            assert!(!found.no_store, "{text} ({rule})");
        }
    }

    #[test]
    fn restrictions_restrict_whatever_their_value() {
        let of = |text: &str| ResponseDirectives::of(&headers(text));
        for value in ["", "=1", "=\"set-cookie\"", "=(a)", "=?1"] {
            assert!(of(&format!("cdn-cache-control: no-store{value}")).no_store, "{value}");
            assert!(of(&format!("cdn-cache-control: private{value}")).private, "{value}");
        }
        assert!(!of("cdn-cache-control: no-store, no-store=?0").no_store);
        assert!(of("cdn-cache-control: public").public);
        assert!(!of("cdn-cache-control: public=1").public);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(value) = http::HeaderValue::from_bytes(&bytes) {
                let _ = directives(&HeaderMap::from_iter([(CDN_CACHE_CONTROL, value)]));
            }
        }
    }
}
