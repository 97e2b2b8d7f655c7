//! The terms a stored response may be used on, compiled when it is stored (RFC 9111 §4).
//!
//! A request without `Cache-Control` and `Pragma` costs two look-ups in its header, the comparison
//! of what the response varies on, and the comparison of two moments.

use std::time::Duration;

use headroom_units::Timestamp;
use http::{
    HeaderMap, HeaderValue,
    header::{CACHE_CONTROL, PRAGMA},
};

use crate::{
    Exchange, RequestDirectives, ResponseDirectives, VarySelection,
    freshness::{Lifetime, initial_age},
    validation::Validators,
};

/// What to do with a request for which there is a stored response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Answer with the stored response and this age (§4.2, §5.1).
    Fresh {
        /// How old the response is; the `Age` field takes its whole seconds.
        age: Duration,
    },
    /// Answer with the stored response although it is stale: the request allows it (§4.2.4).
    Stale {
        /// How old the response is.
        age: Duration,
    },
    /// Ask the origin whether the stored response is still valid (§4.3).
    Validate,
    /// Ask the origin as if nothing were stored.
    Miss,
    /// Answer 504: the request wants no more than what is stored, and that will not do (§5.2.1.7).
    GatewayTimeout,
}

/// The terms of one stored response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPolicy {
    received_at: Timestamp,
    initial_age: Duration,
    fresh_for: Duration,
    /// `received_at` + `fresh_for` - `initial_age`: the one number a hit compares.
    fresh_until: Timestamp,
    /// `no-cache`: never without validation.
    always_validate: bool,
    /// Stale is never good enough, whatever the request says.
    never_stale: bool,
    heuristic: bool,
    validators: Validators,
    vary: VarySelection,
}

/// What a policy is compiled from.
pub(crate) struct Terms<'a> {
    pub(crate) headers: &'a HeaderMap,
    pub(crate) directives: &'a ResponseDirectives,
    pub(crate) times: Exchange,
    pub(crate) lifetime: Lifetime,
    pub(crate) validators: Validators,
    pub(crate) vary: VarySelection,
}

impl StoredPolicy {
    pub(crate) fn new(terms: Terms<'_>) -> Self {
        let Terms { headers, directives, times, lifetime, validators, vary } = terms;
        let initial_age = initial_age(headers, times);
        let fresh_for = lifetime.duration();
        let received_at = times.received_at;
        Self {
            received_at,
            initial_age,
            fresh_for,
            fresh_until: received_at.after(fresh_for).before(initial_age),
            always_validate: directives.no_cache,
            // §5.2.2.2, §5.2.2.8, §5.2.2.10: s-maxage includes proxy-revalidate.
            never_stale: directives.must_revalidate
                || directives.proxy_revalidate
                || directives.s_maxage.is_some(),
            heuristic: matches!(lifetime, Lifetime::Heuristic(_)),
            validators,
            vary,
        }
    }

    /// What to do with a GET or HEAD `request` for the same key at `now`.
    #[must_use]
    pub fn decide(&self, request: &HeaderMap, now: Timestamp) -> Decision {
        if !request.contains_key(CACHE_CONTROL) && !request.contains_key(PRAGMA) {
            return if !self.vary.matches(request) {
                Decision::Miss
            } else if now < self.fresh_until && !self.always_validate {
                Decision::Fresh { age: self.age(now) }
            } else {
                self.refresh()
            };
        }
        self.decide_as_asked(request, now)
    }

    /// The same with the request's own wishes (§5.2.1).
    fn decide_as_asked(&self, request: &HeaderMap, now: Timestamp) -> Decision {
        let wishes = RequestDirectives::of(request);
        let decision = if wishes.no_store || !self.vary.matches(request) {
            Decision::Miss
        } else if wishes.no_cache || self.always_validate {
            self.refresh()
        } else {
            self.decide_by_age(&wishes, now)
        };
        match decision {
            Decision::Validate | Decision::Miss if wishes.only_if_cached => {
                Decision::GatewayTimeout
            }
            decision => decision,
        }
    }

    fn decide_by_age(&self, wishes: &RequestDirectives, now: Timestamp) -> Decision {
        let age = self.age(now);
        let seconds = |seconds: Option<u64>| seconds.map(Duration::from_secs);
        if seconds(wishes.max_age).is_some_and(|most| age > most) {
            return self.refresh();
        }
        if now < self.fresh_until {
            let left = self.fresh_until.since(now);
            let enough = seconds(wishes.min_fresh).is_none_or(|least| left >= least);
            return if enough { Decision::Fresh { age } } else { self.refresh() };
        }
        let stale_for = age.saturating_sub(self.fresh_for);
        let accepted = seconds(wishes.max_stale).is_some_and(|most| stale_for <= most);
        if accepted && !self.never_stale && wishes.min_fresh.is_none() {
            Decision::Stale { age }
        } else {
            self.refresh()
        }
    }

    /// Validation if the origin can be asked about what is stored, else a new response.
    fn refresh(&self) -> Decision {
        if self.validators.is_empty() { Decision::Miss } else { Decision::Validate }
    }

    /// `current_age` (§4.2.3) at `now`.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Duration {
        self.initial_age.saturating_add(now.since(self.received_at))
    }

    /// When the response was received or last validated.
    #[must_use]
    pub fn received_at(&self) -> Timestamp {
        self.received_at
    }

    /// How old the response was then.
    #[must_use]
    pub fn initial_age(&self) -> Duration {
        self.initial_age
    }

    /// The freshness lifetime, counted from the response's birth at the origin.
    #[must_use]
    pub fn fresh_for(&self) -> Duration {
        self.fresh_for
    }

    /// From when on the response is stale.
    #[must_use]
    pub fn fresh_until(&self) -> Timestamp {
        self.fresh_until
    }

    /// True if the lifetime is a guess, not what the origin said.
    #[must_use]
    pub fn is_heuristic(&self) -> bool {
        self.heuristic
    }

    /// True if a stale response must not be used, not even when the origin cannot be reached.
    #[must_use]
    pub fn must_revalidate(&self) -> bool {
        self.never_stale || self.always_validate
    }

    /// The entity tag, if there is a valid one.
    #[must_use]
    pub fn etag(&self) -> Option<&HeaderValue> {
        self.validators.etag()
    }

    /// The date of the last modification, if there is a valid one.
    #[must_use]
    pub fn last_modified(&self) -> Option<&HeaderValue> {
        self.validators.last_modified()
    }

    /// Which requests the response answers.
    #[must_use]
    pub fn vary(&self) -> &VarySelection {
        &self.vary
    }
}

#[cfg(test)]
mod tests {
    use http::{Method, StatusCode};

    use super::*;
    use crate::{storable, testing::headers};

    const STORED: u64 = 1_000_000_000;

    fn stored(request: &str, response: &str) -> StoredPolicy {
        let at = Timestamp::from_seconds(STORED);
        let times = Exchange { requested_at: at, received_at: at };
        storable(&Method::GET, &headers(request), StatusCode::OK, &headers(response), &times)
            .expect("a test stores it")
    }

    fn decide(response: &str, request: &str, after_seconds: u64) -> String {
        let now = Timestamp::from_seconds(STORED + after_seconds);
        format!("{:?}", stored("", response).decide(&headers(request), now))
    }

    #[test]
    fn a_request_without_wishes_gets_what_is_fresh() {
        let cases = [
            ("cache-control: max-age=10", 9, "Fresh { age: 9s }", "§4.2"),
            ("cache-control: max-age=10", 10, "Miss", "§4.2: fresh while lifetime > age"),
            ("cache-control: max-age=10|etag: \"a\"", 10, "Validate", "§4.3"),
            ("cache-control: max-age=10|age: 4", 5, "Fresh { age: 9s }", "§4.2.3"),
            ("cache-control: max-age=10|age: 4", 6, "Miss", "§4.2.3"),
            ("cache-control: max-age=10|age: 40", 0, "Miss", "§4.2.3"),
            ("cache-control: no-cache, max-age=10|etag: \"a\"", 1, "Validate", "§5.2.2.4"),
            ("etag: \"a\"", 0, "Validate", "§4.2.4"),
        ];
        for (response, after, expected, rule) in cases {
            assert_eq!(decide(response, "", after), expected, "{response} +{after} s ({rule})");
        }
    }

    #[test]
    fn a_request_may_ask_for_more_or_less() {
        let plain = "cache-control: max-age=10|etag: \"a\"";
        let cases = [
            (plain, "no-cache", 1, "Validate", "§5.2.1.4"),
            (plain, "no-store", 1, "Miss", "§5.2.1.5"),
            (plain, "max-age=5", 5, "Fresh { age: 5s }", "§5.2.1.1"),
            (plain, "max-age=5", 6, "Validate", "§5.2.1.1"),
            (plain, "max-age=x", 1, "Validate", "§5.2.1.1"),
            (plain, "min-fresh=5", 5, "Fresh { age: 5s }", "§5.2.1.3"),
            (plain, "min-fresh=5", 6, "Validate", "§5.2.1.3"),
            (plain, "max-stale", 99, "Stale { age: 99s }", "§5.2.1.2"),
            (plain, "max-stale=5", 15, "Stale { age: 15s }", "§5.2.1.2"),
            (plain, "max-stale=5", 16, "Validate", "§5.2.1.2"),
            (plain, "max-stale=5, min-fresh=1", 11, "Validate", "§5.2.1.3"),
            (plain, "max-stale, max-age=12", 13, "Validate", "§5.2.1.1"),
            (plain, "max-stale, no-cache", 11, "Validate", "§5.2.1.4"),
            (plain, "only-if-cached", 9, "Fresh { age: 9s }", "§5.2.1.7"),
            (plain, "only-if-cached", 10, "GatewayTimeout", "§5.2.1.7"),
            (plain, "only-if-cached, no-cache", 1, "GatewayTimeout", "§5.2.1.7"),
            (plain, "only-if-cached, max-stale", 11, "Stale { age: 11s }", "§5.2.1.7"),
        ];
        for (response, wish, after, expected, rule) in cases {
            let request = format!("cache-control: {wish}");
            assert_eq!(decide(response, &request, after), expected, "{wish} +{after} s ({rule})");
        }
        assert_eq!(decide(plain, "pragma: no-cache", 1), "Validate", "§5.4");
        assert_eq!(
            decide(plain, "pragma: no-cache|cache-control: max-age=9", 1),
            "Fresh { age: 1s }",
            "§5.4"
        );
    }

    #[test]
    fn no_request_overrules_the_origin() {
        for strict in ["must-revalidate", "proxy-revalidate", "s-maxage=10", "no-cache"] {
            let response = format!("cache-control: max-age=10, {strict}|etag: \"a\"");
            let found = decide(&response, "cache-control: max-stale", 11);
            assert_eq!(found, "Validate", "{strict} (§4.2.4)");
        }
    }

    #[test]
    fn another_variant_is_a_miss() {
        let policy = stored("accept: a", "cache-control: max-age=10|etag: \"a\"|vary: accept");
        let now = Timestamp::from_seconds(STORED + 1);
        let decide = |request: &str| policy.decide(&headers(request), now);
        assert_eq!(decide("accept: a"), Decision::Fresh { age: Duration::from_secs(1) }, "§4.1");
        assert_eq!(decide("accept: b"), Decision::Miss, "§4.1");
        assert_eq!(decide("accept: b|cache-control: max-age=9"), Decision::Miss, "§4.1");
        assert_eq!(decide("cache-control: only-if-cached"), Decision::GatewayTimeout, "§4.1");
    }

    #[test]
    fn a_clock_that_went_back_does_no_harm() {
        let policy = stored("", "cache-control: max-age=10");
        let decision = policy.decide(&HeaderMap::new(), Timestamp::EPOCH);
        assert_eq!(decision, Decision::Fresh { age: Duration::ZERO });
        let policy = stored("", "cache-control: max-age=10|age: 11");
        let decision = policy.decide(&HeaderMap::new(), Timestamp::from_millis(STORED * 1_000 - 1));
        assert_eq!(decision, Decision::Miss, "it was stale when it came");
    }
}
