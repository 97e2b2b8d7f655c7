//! How single values are written: as text in their own grammar, moments as RFC 3339.

use std::{fmt, marker::PhantomData, str::FromStr};

use headroom_units::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A value written in its own text form, such as an id, a host name or a rate with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text<T>(pub T);

impl<T: fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Parse(PhantomData)).map(Self)
    }
}

/// Reads a value from text where it lies: a plan holds a hundred thousand of them.
struct Parse<T>(PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> de::Visitor<'_> for Parse<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// A moment, written as RFC 3339 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Timestamp);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0.nanos())) {
            Ok(moment) => moment.fmt(f),
            Err(_) => f.write_str("9999-12-30T22:00:00.999999999Z"),
        }
    }
}

impl FromStr for Time {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = |reason: String| {
            format!(
                "{text:?} is not a moment: {reason}; accepted is RFC 3339 from 1970 on, \
                 such as \"2026-11-22T18:00:00Z\""
            )
        };
        let moment: jiff::Timestamp = text.parse().map_err(|error| refuse(format!("{error}")))?;
        u64::try_from(moment.as_nanosecond())
            .map(|nanos| Self(Timestamp::from_nanos(nanos)))
            .map_err(|_| refuse("it is out of range".to_owned()))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Parse(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use headroom_units::RegionId;

    use super::*;

    #[test]
    fn values_are_text_and_moments_are_rfc_3339() {
        let region: Text<RegionId> = serde_json::from_str("\"east\"").unwrap();
        assert_eq!(serde_json::to_string(&region).unwrap(), "\"east\"");
        let error = serde_json::from_str::<Text<RegionId>>("\"East\"").unwrap_err().to_string();
        assert!(error.contains("a-z, 0-9"), "{error}");
        let time: Time = serde_json::from_str("\"2026-11-22T18:00:00.5Z\"").unwrap();
        assert_eq!(serde_json::to_string(&time).unwrap(), "\"2026-11-22T18:00:00.5Z\"");
        assert!("1969-12-31T23:59:59Z".parse::<Time>().is_err());
        assert!("yesterday".parse::<Time>().is_err());
    }
}
