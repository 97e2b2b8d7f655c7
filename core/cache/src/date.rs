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
    if let Some(seconds) = parse_imf_fixdate(value.as_bytes()) {
        return Some(Timestamp::from_seconds(seconds));
    }
    let text = value.to_str().ok()?;
    let moment = httpdate::parse_http_date(text).ok().or_else(|| parse_leniently(text))?;
    let since = moment.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp::EPOCH.after(since))
}

/// Seconds since 1970 of the form that is always generated, like `Sun, 06 Nov 1994 08:49:37 GMT`;
/// `None` if it is another form, or before 1970.
fn parse_imf_fixdate(text: &[u8]) -> Option<u64> {
    const DAYS: [&[u8]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];
    const MONTHS: [&[u8]; 12] = [
        b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov",
        b"Dec",
    ];
    let text: &[u8; 29] = text.try_into().ok()?;
    let form = [(3, b", "), (25, b" G"), (27, b"MT")];
    let spaces = [7, 11, 16].iter().all(|&at| text[at] == b' ') && text[19] == b':';
    if !spaces || text[22] != b':' || form.iter().any(|&(at, part)| text[at..at + 2] != *part) {
        return None;
    }
    let number = |from: usize, to: usize| {
        text[from..to].iter().try_fold(0, |number, digit| {
            digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
        })
    };
    let month = MONTHS.iter().position(|month| text[8..11] == **month)?;
    let (day, year) = (number(5, 7)?, number(12, 16)?);
    let (hour, minute, second) = (number(17, 19)?, number(20, 22)?, number(23, 25)?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365];
    let leap_day = u64::from(is_leap);
    let days_in_month = before[month + 1] - before[month] + if month == 1 { leap_day } else { 0 };
    let is_moment = (1..=days_in_month).contains(&day) && hour < 24 && minute < 60 && second < 60;
    if !is_moment || year < 1970 || !DAYS.iter().any(|day| text[..3] == **day) {
        return None;
    }
    let last = year - 1;
    let leap_years = last / 4 - last / 100 + last / 400 - (1969 / 4 - 1969 / 100 + 1969 / 400);
    let in_year = before[month] + if month > 1 { leap_day } else { 0 } + day - 1;
    let days = (year - 1970) * 365 + leap_years + in_year;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
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
    fn the_usual_form_is_read_as_the_library_reads_it() {
        for text in [
            "Thu, 01 Jan 1970 00:00:00 GMT",
            "Tue, 29 Feb 2000 23:59:59 GMT",
            "Sun, 28 Feb 2100 12:00:00 GMT",
            "Fri, 31 Dec 9999 23:59:59 GMT",
        ] {
            let seconds = httpdate::parse_http_date(text).unwrap();
            let seconds = seconds.duration_since(UNIX_EPOCH).unwrap().as_secs();
            assert_eq!(parse_imf_fixdate(text.as_bytes()), Some(seconds), "{text}");
        }
        for text in [
            "Wed, 31 Dec 1969 23:59:59 GMT",
            "Mon, 29 Feb 2100 00:00:00 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:60:37 GMT",
            "Sun, 06 Nov 1994 08:49:60 GMT",
            "Sun, 06 Nov 1994 08:49:+7 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMX",
            "Sun, 06-Nov-1994 08:49:37 GMT",
        ] {
            assert_eq!(parse_imf_fixdate(text.as_bytes()), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read(seconds in 0u64..253_402_300_800) {
            let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
            proptest::prop_assert_eq!(parse_imf_fixdate(text.as_bytes()), Some(seconds));
        }
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
