//! The terms a stored response may be used on, compiled when it is stored (RFC 9111 §4).
//!
//! A request without `Cache-Control` and `Pragma` costs two look-ups in its header, the comparison
//! of what the response varies on, and the comparison of two moments (three if it is stale). It
//! allocates nothing.

use std::time::Duration;

use headroom_units::Timestamp;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CACHE_CONTROL, PRAGMA},
};

use crate::{
    Exchange, RequestDirectives, ResponseDirectives, VarySelection,
    freshness::{Lifetime, date_of, initial_age},
    http_date, limits,
    validation::{Validators, is_entity_tag},
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
    /// Answer with the stored response although it is stale, and refresh it meanwhile: the response
    /// allows it (RFC 5861 §3).
    StaleWhileRevalidate {
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

/// How an origin failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OriginFailure {
    /// It cannot be reached, or gives no whole and sound response in time.
    Unreachable,
    /// It answers 500, 502, 503 or 504 (RFC 5861 §4).
    ServerError,
}

/// The terms of one stored response. It keeps nothing of the messages it is compiled from alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPolicy {
    received_at: Timestamp,
    initial_age: Nanos,
    fresh_for: Nanos,
    /// `received_at` + `fresh_for` - `initial_age`: the one number a hit compares.
    fresh_until: Timestamp,
    /// When the origin made it, by the origin's clock: which of several is the newest.
    date: Timestamp,
    vary: VarySelection,
    etag: Option<HeaderValue>,
    /// Whole seconds; `NO_DATE` if it is not known.
    last_modified: u64,
    /// Whole seconds.
    stale_while_revalidate: u32,
    /// Whole seconds; `NOT_SAID` if the response does not say it.
    stale_if_error: u32,
    /// `no-cache`: never without validation.
    always_validate: bool,
    /// Stale is never good enough, whatever the request says.
    never_stale: bool,
    heuristic: bool,
}

const NO_DATE: u64 = u64::MAX;
const NOT_SAID: u32 = u32::MAX;
const _: () = assert!(limits::DELTA_SECONDS_MAX < NOT_SAID as u64);
const _: () = assert!(size_of::<StoredPolicy>() <= 120);

/// A [`Duration`] in half its room; it stops at 584 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Nanos(u64);

impl Nanos {
    fn of(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }

    fn duration(self) -> Duration {
        Duration::from_nanos(self.0)
    }
}

/// A [`StoredPolicy`] in plain values, to be written down and read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyParts {
    /// See [`StoredPolicy::received_at`].
    pub received_at: Timestamp,
    /// See [`StoredPolicy::initial_age`].
    pub initial_age: Duration,
    /// See [`StoredPolicy::fresh_for`].
    pub fresh_for: Duration,
    /// See [`StoredPolicy::date`].
    pub date: Timestamp,
    /// How long it may be used stale while it is refreshed, in seconds; zero for not at all.
    pub stale_while_revalidate: u32,
    /// How long it may be used stale if the origin fails, in seconds, if the origin says it.
    pub stale_if_error: Option<u32>,
    /// It must be validated before every use.
    pub no_cache: bool,
    /// It must not be used stale.
    pub must_revalidate: bool,
    /// See [`StoredPolicy::is_heuristic`].
    pub heuristic: bool,
    /// See [`StoredPolicy::etag`].
    pub etag: Option<HeaderValue>,
    /// See [`StoredPolicy::last_modified`]; whole seconds.
    pub last_modified: Option<Timestamp>,
    /// The request fields it varies on, each with the lines it had.
    pub vary: Vec<(HeaderName, Vec<HeaderValue>)>,
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
        let seconds = |seconds: u64| u32::try_from(seconds).unwrap_or(NOT_SAID - 1);
        Self {
            vary,
            ..Self::from_parts(PolicyParts {
                received_at: times.received_at,
                initial_age: initial_age(headers, times),
                fresh_for: lifetime.duration(),
                date: date_of(headers, times),
                stale_while_revalidate: directives.stale_while_revalidate.map_or(0, seconds),
                stale_if_error: directives.stale_if_error.map(seconds),
                no_cache: directives.no_cache,
                must_revalidate: directives.forbids_stale(),
                heuristic: matches!(lifetime, Lifetime::Heuristic(_)),
                etag: validators.etag,
                last_modified: validators.last_modified,
                vary: Vec::new(),
            })
        }
    }

    /// The policy that has these parts. Parts that no policy has are made harmless: an entity tag
    /// that is none is left out, and times stop where they end.
    #[must_use]
    pub fn from_parts(parts: PolicyParts) -> Self {
        let (initial_age, fresh_for) = (Nanos::of(parts.initial_age), Nanos::of(parts.fresh_for));
        let until = parts.received_at.after(fresh_for.duration());
        Self {
            received_at: parts.received_at,
            initial_age,
            fresh_for,
            fresh_until: until.before(initial_age.duration()),
            date: parts.date,
            vary: VarySelection::from_fields(parts.vary),
            etag: parts.etag.filter(|etag| is_entity_tag(etag.as_bytes())),
            last_modified: parts.last_modified.map_or(NO_DATE, Timestamp::seconds),
            stale_while_revalidate: parts.stale_while_revalidate.min(NOT_SAID - 1),
            stale_if_error: parts.stale_if_error.map_or(NOT_SAID, |secs| secs.min(NOT_SAID - 1)),
            always_validate: parts.no_cache,
            never_stale: parts.must_revalidate,
            heuristic: parts.heuristic,
        }
    }

    /// The parts it is made of: [`Self::from_parts`] makes the same policy of them.
    #[must_use]
    pub fn to_parts(&self) -> PolicyParts {
        PolicyParts {
            received_at: self.received_at,
            initial_age: self.initial_age(),
            fresh_for: self.fresh_for(),
            date: self.date,
            stale_while_revalidate: self.stale_while_revalidate,
            stale_if_error: (self.stale_if_error != NOT_SAID).then_some(self.stale_if_error),
            no_cache: self.always_validate,
            must_revalidate: self.never_stale,
            heuristic: self.heuristic,
            etag: self.etag.clone(),
            last_modified: self.modified_at(),
            vary: self.vary.to_fields(),
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
            } else if self.may_serve_while_revalidating(now) {
                Decision::StaleWhileRevalidate { age: self.age(now) }
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
        if exceeds(age, wishes.max_age) {
            return self.refresh();
        }
        if now < self.fresh_until {
            let left = self.fresh_until.since(now);
            let enough = wishes.min_fresh.is_none_or(|least| left >= Duration::from_secs(least));
            return if enough { Decision::Fresh { age } } else { self.refresh() };
        }
        if self.never_stale || wishes.min_fresh.is_some() {
            return self.refresh();
        }
        if wishes.max_stale.is_some() {
            let too_stale = exceeds(self.stale_for(now), wishes.max_stale);
            return if too_stale { self.refresh() } else { Decision::Stale { age } };
        }
        // §5.2.1.1: who gives an age does not want what is stale.
        if wishes.max_age.is_none() && self.may_serve_while_revalidating(now) {
            return Decision::StaleWhileRevalidate { age };
        }
        self.refresh()
    }

    /// RFC 5861 §3, for a response that is stale.
    fn may_serve_while_revalidating(&self, now: Timestamp) -> bool {
        !self.must_revalidate()
            && self.stale_for(now) < Duration::from_secs(self.stale_while_revalidate.into())
    }

    /// Validation if the origin can be asked about what is stored, else a new response.
    fn refresh(&self) -> Decision {
        let known = self.etag.is_some() || self.last_modified != NO_DATE;
        if known { Decision::Validate } else { Decision::Miss }
    }

    /// The age with which the response may answer `request` although the origin failed when it was
    /// asked; `None` if it may not (§4.2.4, RFC 5861 §4).
    ///
    /// What the request says about `stale-if-error` counts first, then what the response says. If
    /// neither says anything, a response may be used up to [`limits::DISCONNECTED_STALE_MAX`] after
    /// it became stale while the origin is unreachable, and not at all if it answers with an error.
    #[must_use]
    pub fn on_error(
        &self,
        request: &HeaderMap,
        failure: OriginFailure,
        now: Timestamp,
    ) -> Option<Duration> {
        let wishes = RequestDirectives::of(request);
        let (age, stale_for) = (self.age(now), self.stale_for(now));
        let is_fresh = now < self.fresh_until;
        if wishes.no_store
            || wishes.no_cache
            || self.always_validate
            || (self.never_stale && !is_fresh)
            || !self.vary.matches(request)
        {
            return None;
        }
        if wishes.stale_if_error.is_some() {
            return (!exceeds(stale_for, wishes.stale_if_error)).then_some(age);
        }
        let most = match failure {
            _ if self.stale_if_error != NOT_SAID => Some(u64::from(self.stale_if_error)),
            OriginFailure::Unreachable => Some(limits::DISCONNECTED_STALE_MAX.as_secs()),
            OriginFailure::ServerError => None,
        };
        let refused = most.is_none()
            || exceeds(stale_for, most)
            || exceeds(stale_for, wishes.max_stale)
            || exceeds(age, wishes.max_age)
            || wishes.min_fresh.is_some();
        (!refused).then_some(age)
    }

    /// `current_age` (§4.2.3) at `now`.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Duration {
        self.initial_age().saturating_add(now.since(self.received_at))
    }

    /// How long it has been stale; zero if it is fresh.
    fn stale_for(&self, now: Timestamp) -> Duration {
        self.age(now).saturating_sub(self.fresh_for())
    }

    /// When the response was received or last validated.
    #[must_use]
    pub fn received_at(&self) -> Timestamp {
        self.received_at
    }

    /// How old the response was then.
    #[must_use]
    pub fn initial_age(&self) -> Duration {
        self.initial_age.duration()
    }

    /// The freshness lifetime, counted from the response's birth at the origin.
    #[must_use]
    pub fn fresh_for(&self) -> Duration {
        self.fresh_for.duration()
    }

    /// From when on the response is stale.
    #[must_use]
    pub fn fresh_until(&self) -> Timestamp {
        self.fresh_until
    }

    /// The `Date` the origin gave it, or when it was received.
    #[must_use]
    pub fn date(&self) -> Timestamp {
        self.date
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
        self.etag.as_ref()
    }

    /// The date of the last modification, if there is a valid one.
    #[must_use]
    pub fn last_modified(&self) -> Option<HeaderValue> {
        self.modified_at().map(http_date)
    }

    /// The same as a moment.
    pub(crate) fn modified_at(&self) -> Option<Timestamp> {
        (self.last_modified != NO_DATE).then(|| Timestamp::from_seconds(self.last_modified))
    }

    /// Which requests the response answers.
    #[must_use]
    pub fn vary(&self) -> &VarySelection {
        &self.vary
    }
}

/// Of several responses stored for one key, the one that answers `request`: the newest, by the
/// origin's clock and then by ours, that was stored for a request with the same fields (§4.1). The
/// number counts from the first of `policies`.
#[must_use]
pub fn select<'a>(
    policies: impl Iterator<Item = &'a StoredPolicy>,
    request: &HeaderMap,
) -> Option<usize> {
    policies
        .enumerate()
        .filter(|(_, policy)| policy.vary.matches(request))
        .max_by_key(|(_, policy)| (policy.date, policy.received_at))
        .map(|(index, _)| index)
}

/// True if a time is longer than the seconds that are allowed, if they are limited.
fn exceeds(time: Duration, most: Option<u64>) -> bool {
    most.is_some_and(|most| time > Duration::from_secs(most))
}

#[cfg(test)]
mod tests;
