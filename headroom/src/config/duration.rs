//! Durations as people write them: "250ms", "20s", "15m", "36h", "14d", "1h30m".

use std::{ops::RangeInclusive, time::Duration};

use super::mistake::Refusal;

/// The units by falling length, in milliseconds.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads a duration within `range`.
pub(super) fn parse(text: &str, range: &RangeInclusive<Duration>) -> Result<Duration, Refusal> {
    let refuse = |reason: &str| {
        Err(Refusal::new(
            reason,
            format!(
                "a duration from {} to {} in ms, s, m, h or d, such as \"20s\" or \"1h30m\"",
                write(*range.start()),
                write(*range.end())
            ),
        ))
    };
    match parse_millis(text.trim()) {
        Err(reason) => refuse(reason),
        Ok(millis) if range.contains(&Duration::from_millis(millis)) => {
            Ok(Duration::from_millis(millis))
        }
        Ok(millis) if Duration::from_millis(millis) < *range.start() => refuse("it is too short"),
        Ok(_) => refuse("it is too long"),
    }
}

fn parse_millis(mut text: &str) -> Result<u64, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    let mut total = 0u64;
    let mut shortest_yet = u64::MAX;
    while !text.is_empty() {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, rest) = text.split_at(digits);
        if number.is_empty() {
            return Err("it does not begin with a whole number");
        }
        let rest = rest.trim_start();
        let unit_end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let (unit, rest) = rest.split_at(unit_end);
        if unit.is_empty() {
            return Err(if rest.is_empty() {
                "the number has no unit"
            } else {
                "it is not a whole number and a unit"
            });
        }
        let Some(&(_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err("the unit is unknown");
        };
        if factor >= shortest_yet {
            return Err("longer units come first, each once");
        }
        shortest_yet = factor;
        let number: u64 = number.parse().map_err(|_| "it is too long")?;
        let part = number.checked_mul(factor).ok_or("it is too long")?;
        total = total.checked_add(part).ok_or("it is too long")?;
        text = rest.trim_start();
    }
    Ok(total)
}

/// Writes a duration in the longest unit that holds it exactly.
pub(crate) fn write(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let exact = UNITS.iter().find(|(_, factor)| millis != 0 && millis.is_multiple_of(*factor));
    let (unit, factor) = exact.copied().unwrap_or(("s", 1_000));
    format!("{}{unit}", millis / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: RangeInclusive<Duration> = Duration::ZERO..=Duration::MAX;

    #[test]
    fn durations_have_a_unit() {
        for (text, millis) in [
            ("250ms", 250),
            ("20s", 20_000),
            ("20 s", 20_000),
            ("15m", 900_000),
            ("36h", 129_600_000),
            ("14d", 1_209_600_000),
            ("1h30m", 5_400_000),
            ("1h 30m 5s", 5_405_000),
            ("0s", 0),
        ] {
            assert_eq!(parse(text, &ANY).unwrap().as_millis(), millis, "{text}");
        }
        for bad in
            ["", "20", "s", "-1s", "1.5s", "20x", "20sec", "1s1s", "1s1m", "9".repeat(20).as_str()]
        {
            assert!(parse(bad, &ANY).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_out_of_range_is_told_the_range() {
        let range = Duration::from_secs(1)..=Duration::from_mins(5);
        let refusal = parse("20m", &range).unwrap_err();
        assert_eq!(refusal.reason, "it is too long");
        assert!(refusal.accepted.unwrap().starts_with("a duration from 1s to 5m"));
        assert_eq!(parse("0s", &range).unwrap_err().reason, "it is too short");
    }

    #[test]
    fn what_is_written_is_read_again() {
        for (millis, text) in [(0, "0s"), (1, "1ms"), (129_600_000, "36h"), (86_400_000, "1d")] {
            let duration = Duration::from_millis(millis);
            assert_eq!(write(duration), text);
            assert_eq!(parse(text, &ANY).unwrap(), duration);
        }
    }
}
