//! Dates in header fields (RFC 9110 §5.6.7), and fields that may be there once only.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use headroom_units::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue};

/// A field that is defined to have one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Single<T> {
    /// The field is not there.
    Missing,
    /// It is there more than once, or does not parse.
    Invalid,
    /// Its value.
    Value(T),
}

impl<T> Single<T> {
    /// The value, if there is a valid one.
    pub(crate) fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Missing | Self::Invalid => None,
        }
    }
}

/// Reads a field that holds one date.
pub(crate) fn date_field(headers: &HeaderMap, name: &HeaderName) -> Single<Timestamp> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Single::Missing,
        (Some(line), None) => parse_date(line).map_or(Single::Invalid, Single::Value),
        (Some(_), Some(_)) => Single::Invalid,
    }
}

/// Reads a date in any of the three forms; `None` also for moments before 1970. Letters may have
/// the wrong case and the day of the week may be a wrong one: RFC 9110 §5.6.7 asks recipients to be
/// robust, and neither changes the moment.
pub(crate) fn parse_date(value: &HeaderValue) -> Option<Timestamp> {
    let text = value.to_str().ok()?;
    let moment = httpdate::parse_http_date(text).ok().or_else(|| parse_leniently(text))?;
    let since = moment.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp::EPOCH.after(since))
}

fn parse_leniently(text: &str) -> Option<SystemTime> {
    const DAYS: [&str; 7] =
        ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    let usual = with_usual_case(text);
    let (day, rest) = usual.split_at(usual.find([',', ' '])?);
    let named = |name: &'static str| if day.len() == 3 { &name[..3] } else { name };
    if !DAYS.iter().any(|name| named(name) == day) {
        return None;
    }
    DAYS.iter().find_map(|name| httpdate::parse_http_date(&format!("{}{rest}", named(name))).ok())
}

/// Names of days and months begin with a capital, and GMT is all capitals.
fn with_usual_case(text: &str) -> String {
    let mut usual = text.to_ascii_lowercase();
    if usual.ends_with(" gmt") {
        let zone = usual.len() - "gmt".len();
        usual[zone..].make_ascii_uppercase();
    }
    let mut begins = true;
    let capital = |letter: char| {
        let first = std::mem::replace(&mut begins, !letter.is_ascii_alphabetic());
        if first { letter.to_ascii_uppercase() } else { letter }
    };
    usual.chars().map(capital).collect()
}

/// `at` as it is written in a `Date` field, cut to whole seconds. A response that came without a
/// `Date` is given one when it is stored (RFC 9110 §6.6.1).
#[must_use]
pub fn http_date(at: Timestamp) -> HeaderValue {
    let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_nanos(at.nanos()));
    HeaderValue::from_str(&text).expect("a date is letters, digits and punctuation")
}

#[cfg(test)]
mod tests {
    use http::header::EXPIRES;

    use super::*;

    #[test]
    fn all_three_forms_are_read() {
        let expected = Some(Timestamp::from_seconds(784_111_777));
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "SUN, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 NOV 1994 08:49:37 GMT",
            "sun, 06 nov 1994 08:49:37 gMT",
            "SUNDAY, 06-nov-94 08:49:37 gmt",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Friday, 06-Nov-94 08:49:37 GMT",
            "Tue Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse_date(&HeaderValue::from_static(text)), expected, "{text}");
        }
        for text in [
            "0",
            "-1",
            "",
            "yesterday",
            "Xyz, 06 Nov 1994 08:49:37 GMT",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Sun 06 Nov 1994 08:49:37 GMT",
            "Sun, 06  Nov  1994 08:49:37 GMT",
            "Sun, 06-Nov-1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08.49.37 GMT",
            "Sun, 06 Nov 1994 8:49:37 GMT",
        ] {
            assert_eq!(parse_date(&HeaderValue::from_static(text)), None, "{text}");
        }
        assert_eq!(
            http_date(Timestamp::from_millis(784_111_777_900)),
            "Sun, 06 Nov 1994 08:49:37 GMT"
        );
        assert_eq!(http_date(Timestamp::MAX), "Sun, 21 Jul 2554 23:34:33 GMT");
    }

    #[test]
    fn two_dates_are_none() {
        let mut headers = HeaderMap::new();
        assert_eq!(date_field(&headers, &EXPIRES), Single::Missing);
        headers.append(EXPIRES, http_date(Timestamp::EPOCH));
        assert_eq!(date_field(&headers, &EXPIRES), Single::Value(Timestamp::EPOCH));
        headers.append(EXPIRES, http_date(Timestamp::EPOCH));
        assert_eq!(date_field(&headers, &EXPIRES), Single::Invalid);
    }
}
