//! `Cache-Control` of requests and responses (RFC 9111 §5.2, RFC 5861).
//!
//! Where a directive is given twice or with a value it cannot have, the most restrictive reading
//! is taken (§4.2.1). Unknown directives are ignored (§5.2.3). It judges nothing.

use http::{
    HeaderMap,
    header::{CACHE_CONTROL, PRAGMA},
};

use crate::{limits, list::members, targeted};

/// What a response says about its storage and reuse. Times are in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResponseDirectives {
    /// §5.2.2.5.
    pub no_store: bool,
    /// §5.2.2.4, also with field names: the whole response is then validated, which is allowed.
    pub no_cache: bool,
    /// §5.2.2.7, also with field names: the whole response is then private, which is allowed.
    pub private: bool,
    /// §5.2.2.9.
    pub public: bool,
    /// §5.2.2.2.
    pub must_revalidate: bool,
    /// §5.2.2.8.
    pub proxy_revalidate: bool,
    /// §5.2.2.3.
    pub must_understand: bool,
    /// §5.2.2.1; zero if its value is invalid.
    pub max_age: Option<u64>,
    /// §5.2.2.10; zero if its value is invalid.
    pub s_maxage: Option<u64>,
    /// RFC 5861 §3; zero if its value is invalid.
    pub stale_while_revalidate: Option<u64>,
    /// RFC 5861 §4; zero if its value is invalid.
    pub stale_if_error: Option<u64>,
    /// A quoted string is not closed, so that a directive may have been swallowed.
    pub malformed: bool,
    /// All this comes from `CDN-Cache-Control`; `Cache-Control` and `Expires` do not count
    /// (RFC 9213 §2.2).
    pub targeted: bool,
}

impl ResponseDirectives {
    /// Reads `CDN-Cache-Control` of a response, or its `Cache-Control` if there is no valid one.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        targeted::directives(headers).unwrap_or_else(|| Self::untargeted(headers))
    }

    /// True if a stale response must not be used, not even when the origin cannot be reached
    /// (§5.2.2.2, §5.2.2.4, §5.2.2.8, §5.2.2.10: `s-maxage` includes `proxy-revalidate`).
    #[must_use]
    pub fn forbids_stale(&self) -> bool {
        self.no_cache || self.must_revalidate || self.proxy_revalidate || self.s_maxage.is_some()
    }

    fn untargeted(headers: &HeaderMap) -> Self {
        let mut all = Self::default();
        for member in members(headers, &CACHE_CONTROL) {
            all.read(Directive::of(member));
        }
        all
    }

    fn read(&mut self, directive: Directive<'_>) {
        self.malformed |= directive.is_open();
        match directive.known_name(&mut [0; limits::DIRECTIVE_NAME_MAX]) {
            b"no-store" => self.no_store = true,
            b"no-cache" => self.no_cache = true,
            b"private" => self.private = true,
            b"public" => self.public = true,
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"must-understand" => self.must_understand = true,
            b"max-age" => self.max_age = least(self.max_age, directive.seconds().unwrap_or(0)),
            b"s-maxage" => self.s_maxage = least(self.s_maxage, directive.seconds().unwrap_or(0)),
            b"stale-while-revalidate" => {
                let seconds = directive.seconds().unwrap_or(0);
                self.stale_while_revalidate = least(self.stale_while_revalidate, seconds);
            }
            b"stale-if-error" => {
                let seconds = directive.seconds().unwrap_or(0);
                self.stale_if_error = least(self.stale_if_error, seconds);
            }
            _ => {}
        }
    }
}

/// What a request asks of caches. Times are in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestDirectives {
    /// §5.2.1.4, or `Pragma: no-cache` without any `Cache-Control` (§5.4).
    pub no_cache: bool,
    /// §5.2.1.5.
    pub no_store: bool,
    /// §5.2.1.7.
    pub only_if_cached: bool,
    /// §5.2.1.1: the most age that is accepted; zero if its value is invalid.
    pub max_age: Option<u64>,
    /// §5.2.1.3: how long it must still be fresh; the most there is if its value is invalid.
    pub min_fresh: Option<u64>,
    /// §5.2.1.2: how long it may have been stale; any time without a value, none if it is invalid.
    pub max_stale: Option<u64>,
    /// RFC 5861 §4: how long it may have been stale if the origin fails; none if it is invalid.
    pub stale_if_error: Option<u64>,
}

impl RequestDirectives {
    /// Reads all `Cache-Control` lines of a request, or its `Pragma` if there are none.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let mut all = Self::default();
        if headers.contains_key(CACHE_CONTROL) {
            for member in members(headers, &CACHE_CONTROL) {
                all.read(Directive::of(member));
            }
        } else {
            all.no_cache =
                members(headers, &PRAGMA).any(|member| member.eq_ignore_ascii_case(b"no-cache"));
        }
        all
    }

    fn read(&mut self, directive: Directive<'_>) {
        // What an open quoted string has swallowed may have been a wish for a fresh response.
        self.no_cache |= directive.is_open();
        match directive.known_name(&mut [0; limits::DIRECTIVE_NAME_MAX]) {
            b"no-cache" => self.no_cache = true,
            b"no-store" => self.no_store = true,
            b"only-if-cached" => self.only_if_cached = true,
            b"max-age" => self.max_age = least(self.max_age, directive.seconds().unwrap_or(0)),
            b"min-fresh" => {
                let seconds = directive.seconds().unwrap_or(limits::DELTA_SECONDS_MAX);
                self.min_fresh = self.min_fresh.max(Some(seconds));
            }
            b"max-stale" => {
                let any = directive.value.is_none().then_some(limits::DELTA_SECONDS_MAX);
                let seconds = any.or_else(|| directive.seconds()).unwrap_or(0);
                self.max_stale = least(self.max_stale, seconds);
            }
            b"stale-if-error" => {
                let seconds = directive.seconds().unwrap_or(0);
                self.stale_if_error = least(self.stale_if_error, seconds);
            }
            _ => {}
        }
    }
}

/// Reads seconds: digits only, and too many of them are the most there is (RFC 9111 §1.2.2).
pub(crate) fn delta_seconds(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0_u64, |value, digit| {
        value.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
    });
    Some(value.min(limits::DELTA_SECONDS_MAX))
}

/// One member: a name, and what follows its equals sign. Space before the sign is not in the
/// grammar; it stays with the name, where it makes the value invalid but hides no directive.
#[derive(Clone, Copy)]
struct Directive<'a> {
    name: &'a [u8],
    value: Option<&'a [u8]>,
}

impl<'a> Directive<'a> {
    fn of(member: &'a [u8]) -> Self {
        match member.iter().position(|byte| *byte == b'=') {
            Some(at) => Self { name: &member[..at], value: Some(&member[at + 1..]) },
            None => Self { name: member, value: None },
        }
    }

    /// The name in lower case, written to `room`; empty if no known name is so long.
    fn known_name<'r>(&self, room: &'r mut [u8; limits::DIRECTIVE_NAME_MAX]) -> &'r [u8] {
        let name = self.name.trim_ascii_end();
        let Some(room) = room.get_mut(..name.len()) else { return &[] };
        room.copy_from_slice(name);
        room.make_ascii_lowercase();
        room
    }

    /// The value as seconds, as a token or as a quoted string (§5.2: both are to be accepted).
    fn seconds(self) -> Option<u64> {
        let value =
            self.value.filter(|_| !self.name.ends_with(b" ") && !self.name.ends_with(b"\t"))?;
        let inner = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
        delta_seconds(inner.unwrap_or(value))
    }

    /// True if there is a quote other than around the whole value, so that the member may have
    /// swallowed others.
    fn is_open(self) -> bool {
        if self.name.contains(&b'"') {
            return true;
        }
        let Some(rest) = self.value.and_then(|value| value.strip_prefix(b"\"")) else {
            return self.value.is_some_and(|value| value.contains(&b'"'));
        };
        let mut escaped = false;
        let closed_at = rest.iter().position(|byte| {
            let closes = *byte == b'"' && !escaped;
            escaped = *byte == b'\\' && !escaped;
            closes
        });
        closed_at.is_none_or(|at| at + 1 != rest.len())
    }
}

fn least(known: Option<u64>, seconds: u64) -> Option<u64> {
    Some(known.map_or(seconds, |known| known.min(seconds)))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn response(text: &str) -> ResponseDirectives {
        ResponseDirectives::of(&HeaderMap::from_iter([(CACHE_CONTROL, text.parse().unwrap())]))
    }

    fn request(text: &str) -> RequestDirectives {
        RequestDirectives::of(&HeaderMap::from_iter([(CACHE_CONTROL, text.parse().unwrap())]))
    }

    #[test]
    fn seconds_are_read_strictly() {
        let cases = [
            ("max-age=60", Some(60), "§5.2.2.1"),
            ("MaX-aGe=60", Some(60), "§5.2: names have no case"),
            ("max-age=\"60\"", Some(60), "§5.2: token and quoted string are the same"),
            ("max-age=0060", Some(60), "§1.2.2"),
            ("max-age=99999999999999999999999", Some(1 << 31), "§1.2.2: overflow"),
            ("max-age=60, max-age=5", Some(5), "§4.2.1: duplicates"),
            ("max-age=5, max-age=60", Some(5), "§4.2.1: duplicates"),
            ("max-age", Some(0), "§4.2.1: invalid is stale"),
            ("max-age=", Some(0), "§4.2.1"),
            ("max-age=-1", Some(0), "§4.2.1"),
            ("max-age=+1", Some(0), "§4.2.1"),
            ("max-age=1.5", Some(0), "§4.2.1"),
            ("max-age='60'", Some(0), "§4.2.1"),
            ("max-age =60", Some(0), "§5.2: no space"),
            ("max-age= 60", Some(0), "§5.2: no space"),
            ("max-age=60; private", Some(0), "§5.2: commas separate"),
            ("xmax-age=60", None, "§5.2.3: unknown"),
            ("a=\"max-age=60\"", None, "§5.2.3: unknown"),
        ];
        for (text, expected, rule) in cases {
            assert_eq!(response(text).max_age, expected, "{text} ({rule})");
        }
    }

    #[test]
    fn an_open_quote_is_told() {
        for text in ["max-age=\"60, no-store", "a=\"b\\\"", "a=\"b\"c", "a=b\"c", "\"a\"=b\""] {
            assert!(response(text).malformed, "{text}");
            assert!(request(text).no_cache, "{text}");
        }
        for text in ["a=\"b, c\"", "a=\"b\\\"c\"", "private=\"set-cookie\""] {
            assert!(!response(text).malformed, "{text}");
        }
    }

    #[test]
    fn a_request_is_read_to_the_strictest() {
        assert_eq!(request("max-stale").max_stale, Some(1 << 31));
        assert_eq!(request("max-stale=x").max_stale, Some(0));
        assert_eq!(request("min-fresh=5, min-fresh=9").min_fresh, Some(9));
        assert_eq!(request("min-fresh=x").min_fresh, Some(1 << 31));
        assert_eq!(request("max-age=x").max_age, Some(0));
    }

    #[test]
    fn pragma_counts_without_cache_control_only() {
        let mut headers = HeaderMap::from_iter([(PRAGMA, HeaderValue::from_static("No-Cache"))]);
        assert!(RequestDirectives::of(&headers).no_cache, "§5.4");
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=9"));
        assert!(!RequestDirectives::of(&headers).no_cache, "§5.4");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let headers = HeaderMap::from_iter([(CACHE_CONTROL, value)]);
                let _ = ResponseDirectives::of(&headers);
                let _ = RequestDirectives::of(&headers);
            }
        }

        #[test]
        fn no_store_is_never_overlooked(before in "[a-z=\", ]{0,20}", after in "[a-z=, ]{0,20}") {
            let found = response(&format!("{before},no-store,{after}"));
            prop_assert!(found.no_store || found.malformed, "{:?}", found);
        }
    }
}
