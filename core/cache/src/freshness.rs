//! How old a response is and how long it stays fresh (RFC 9111 §4.2).

use std::time::Duration;

use headroom_units::Timestamp;
use http::{
    HeaderMap, StatusCode,
    header::{AGE, DATE, EXPIRES, LAST_MODIFIED},
};

use crate::{
    ResponseDirectives,
    date::{Single, date_field},
    directives::delta_seconds,
    limits,
    list::members,
};

/// When an exchange with the origin took place, by our own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// When the request was sent.
    pub requested_at: Timestamp,
    /// When the response's header had arrived.
    pub received_at: Timestamp,
}

/// What a site may say about storing; the origin's own words go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rules {
    /// How long an error (404, 405, 410, 414, 501) is fresh of which the origin does not say it:
    /// negative caching. Zero leaves it to the guess of RFC 9111 §4.2.2.
    pub negative_for: Duration,
}

/// How long a response is fresh, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// The origin said so.
    Explicit(Duration),
    /// Guessed from the time since the last modification (§4.2.2).
    Heuristic(Duration),
    /// Neither said nor to be guessed.
    Unknown,
}

impl Lifetime {
    /// The freshness lifetime of a response (§4.2.1), for a shared cache. An error that may be
    /// reused on a guess is reused for as long as the site says, if it says so.
    pub(crate) fn of(
        status: StatusCode,
        headers: &HeaderMap,
        directives: &ResponseDirectives,
        times: Exchange,
        rules: &Rules,
    ) -> Self {
        if let Some(seconds) = directives.s_maxage.or(directives.max_age) {
            return Self::Explicit(Duration::from_secs(seconds));
        }
        let date = date_of(headers, times);
        let expires = match directives.targeted {
            true => Single::Missing,
            false => date_field(headers, &EXPIRES),
        };
        match expires {
            Single::Value(expires) => return Self::Explicit(expires.since(date)),
            // §5.3: an invalid date, "0" above all, means already expired.
            Single::Invalid => return Self::Explicit(Duration::ZERO),
            Single::Missing => {}
        }
        if !(is_heuristically_cacheable(status) || directives.public) {
            return Self::Unknown;
        }
        let is_error = status.is_client_error() || status.is_server_error();
        if is_error && is_heuristically_cacheable(status) && !rules.negative_for.is_zero() {
            return Self::Heuristic(rules.negative_for);
        }
        match date_field(headers, &LAST_MODIFIED) {
            Single::Value(modified) if modified < date => {
                let guess = date.since(modified) / limits::HEURISTIC_DIVISOR;
                Self::Heuristic(guess.min(limits::HEURISTIC_MAX))
            }
            _ => Self::Unknown,
        }
    }

    /// The lifetime; zero if it is unknown.
    pub(crate) fn duration(self) -> Duration {
        match self {
            Self::Explicit(duration) | Self::Heuristic(duration) => duration,
            Self::Unknown => Duration::ZERO,
        }
    }
}

/// Statuses whose responses may be reused on a guess (RFC 9110 §15.1), without 206, which is not
/// stored here.
pub(crate) fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// `corrected_initial_age` (§4.2.3): how old the response was when it was received.
pub(crate) fn initial_age(headers: &HeaderMap, times: Exchange) -> Duration {
    let apparent_age = times.received_at.since(date_of(headers, times));
    let response_delay = times.received_at.since(times.requested_at);
    let corrected_age_value = age_field(headers).saturating_add(response_delay);
    apparent_age.max(corrected_age_value)
}

/// The `Date` of a response, or when it was received if it has no valid one (RFC 9110 §6.6.1).
pub(crate) fn date_of(headers: &HeaderMap, times: Exchange) -> Timestamp {
    date_field(headers, &DATE).value().unwrap_or(times.received_at)
}

/// The first valid `Age` (§5.1); zero without one.
fn age_field(headers: &HeaderMap) -> Duration {
    Duration::from_secs(members(headers, &AGE).find_map(delta_seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http_date;

    const NOW: u64 = 1_000_000_000;

    fn times() -> Exchange {
        Exchange {
            requested_at: Timestamp::from_seconds(NOW - 2),
            received_at: Timestamp::from_seconds(NOW),
        }
    }

    /// Headers from text, where `@-60` is the date a minute before `NOW`.
    fn headers(text: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in text.split('|').filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(": ").expect("a field has a value");
            let value = match value.strip_prefix('@') {
                Some(offset) => {
                    let offset = offset.parse::<i64>().expect("an offset is a number");
                    http_date(Timestamp::from_seconds(NOW.saturating_add_signed(offset)))
                }
                None => value.parse().expect("a test has valid values"),
            };
            headers.append(http::HeaderName::try_from(name).expect("a field name"), value);
        }
        headers
    }

    #[test]
    fn lifetimes_are_told_before_they_are_guessed() {
        let cases = [
            ("cache-control: s-maxage=5, max-age=9|expires: @99", "Explicit(5s)", "§4.2.1"),
            ("cache-control: max-age=9|expires: @99", "Explicit(9s)", "§5.3"),
            ("expires: @99|date: @-1", "Explicit(100s)", "§4.2.1: Expires - Date"),
            ("expires: @99", "Explicit(99s)", "RFC 9110 §6.6.1"),
            ("expires: @99|date: x", "Explicit(99s)", "RFC 9110 §6.6.1"),
            ("expires: @-99", "Explicit(0ns)", "§5.3"),
            ("expires: 0|last-modified: @-100", "Explicit(0ns)", "§5.3"),
            ("expires: @9|expires: @99", "Explicit(0ns)", "§4.2.1"),
            ("last-modified: @-100|date: @0", "Heuristic(10s)", "§4.2.2"),
            ("last-modified: @-99000000|date: @0", "Heuristic(86400s)", "§4.2.2"),
            ("last-modified: @50|date: @0", "Unknown", "§4.2.2"),
            ("date: @0", "Unknown", "§4.2.2"),
            ("cdn-cache-control: max-age=5|expires: @99", "Explicit(5s)", "RFC 9213 §2.2"),
            ("cdn-cache-control: x|expires: @99", "Unknown", "RFC 9213 §2.2"),
            ("expires: Thu, 18 AUG 2033 02:01:18 gMT", "Explicit(1007943278s)", "§5.3"),
        ];
        for (text, expected, rule) in cases {
            let headers = headers(text);
            let directives = ResponseDirectives::of(&headers);
            let lifetime =
                Lifetime::of(StatusCode::OK, &headers, &directives, times(), &Rules::default());
            assert_eq!(format!("{lifetime:?}"), expected, "{text} ({rule})");
        }
    }

    #[test]
    fn only_some_statuses_are_guessed() {
        let of = |status, text: &str| {
            let headers = headers(text);
            let directives = ResponseDirectives::of(&headers);
            Lifetime::of(status, &headers, &directives, times(), &Rules::default())
        };
        let guess = Lifetime::Heuristic(Duration::from_secs(10));
        assert_eq!(of(StatusCode::GONE, "last-modified: @-100"), guess);
        assert_eq!(of(StatusCode::FOUND, "last-modified: @-100"), Lifetime::Unknown);
        let public = "last-modified: @-100|cache-control: public";
        assert_eq!(of(StatusCode::FOUND, public), guess, "§4.2.2: explicitly cacheable");
    }

    #[test]
    fn a_site_says_how_long_errors_are_fresh() {
        let rules = Rules { negative_for: Duration::from_secs(7) };
        let of = |status: u16, text: &str| {
            let (headers, status) = (headers(text), StatusCode::from_u16(status).unwrap());
            Lifetime::of(status, &headers, &ResponseDirectives::of(&headers), times(), &rules)
        };
        let negative = Lifetime::Heuristic(Duration::from_secs(7));
        for status in [404, 405, 410, 414, 501] {
            assert_eq!(of(status, ""), negative, "{status}");
            assert_eq!(of(status, "last-modified: @-100"), negative, "{status}");
            let told = of(status, "cache-control: max-age=3");
            assert_eq!(told, Lifetime::Explicit(Duration::from_secs(3)), "{status}");
        }
        for status in [200, 204, 301, 400, 403, 500, 503] {
            assert_eq!(of(status, ""), Lifetime::Unknown, "{status}");
        }
        assert_eq!(of(500, "cache-control: public"), Lifetime::Unknown);
    }

    #[test]
    fn age_is_the_larger_of_two_estimates() {
        let cases = [
            ("", 2, "the response delay"),
            ("date: @-30", 30, "apparent age"),
            ("date: @30", 2, "a clock that is ahead"),
            ("age: 40|date: @-30", 42, "corrected age value"),
            ("age: 40, 7", 42, "§5.1: the first"),
            ("age: x|age: 40", 42, "the first valid"),
            ("age: -1", 2, "§5.1: invalid is ignored"),
            ("age: 1.5", 2, "§5.1"),
            ("age: 99999999999999999999", (1 << 31) + 2, "§1.2.2"),
        ];
        for (text, expected, rule) in cases {
            let age = initial_age(&headers(text), times());
            assert_eq!(age, Duration::from_secs(expected), "{text} (§4.2.3, {rule})");
        }
    }
}
