//! Ranges: which part of a stored response a visitor wants, and how it is labelled (RFC 9110 §14).
//!
//! What is malformed, unknown or abusive is answered with the whole, which is always allowed
//! (§14.2). `Range` is defined for GET only; that the method is GET is the caller's concern.

use http::{
    HeaderMap, HeaderValue,
    header::{IF_RANGE, RANGE},
};

use crate::{
    date::parse_date,
    limits,
    list::split,
    validation::{is_entity_tag, strong_match},
};

/// Bytes from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    /// The first byte; not after `last`.
    pub first: u64,
    /// The last byte.
    pub last: u64,
}

#[expect(clippy::len_without_is_empty, reason = "a range has at least one byte")]
impl ByteRange {
    /// How many bytes it has: one or more.
    #[must_use]
    pub fn len(self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }

    fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// True if nothing lies between the two.
    fn touches(self, other: Self) -> bool {
        self.first <= other.last.saturating_add(1) && other.first <= self.last.saturating_add(1)
    }

    fn joined(self, other: Self) -> Self {
        Self { first: self.first.min(other.first), last: self.last.max(other.last) }
    }
}

/// What a request wants of a stored response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ranges {
    /// All of it: 200.
    Whole,
    /// One part: 206 with `Content-Range`.
    One(ByteRange),
    /// Several parts in the order asked for, none touching another: 206, `multipart/byteranges`.
    Many(Vec<ByteRange>),
    /// Nothing that is there: 416 with [`unsatisfied`].
    Unsatisfiable,
}

/// What `request` wants of a response of `length` bytes with these fields. `If-Range` is judged by
/// strong comparison (§13.1.5); if it does not hold, the visitor needs the whole.
#[must_use]
pub fn ranges(
    request: &HeaderMap,
    length: u64,
    etag: Option<&HeaderValue>,
    last_modified: Option<&HeaderValue>,
    date: Option<&HeaderValue>,
) -> Ranges {
    let mut lines = request.get_all(RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Ranges::Whole;
    };
    if length == 0 || !if_range_holds(request, etag, last_modified, date) {
        return Ranges::Whole;
    }
    match wanted(line.as_bytes(), length) {
        Some(wanted) if wanted.is_empty() => Ranges::Unsatisfiable,
        Some(wanted) if !is_abuse(&wanted) => match coalesced(&wanted).as_slice() {
            [one] => Ranges::One(*one),
            many => Ranges::Many(many.to_vec()),
        },
        _ => Ranges::Whole,
    }
}

/// True without `If-Range`, or if it names exactly what is stored (§13.1.5).
fn if_range_holds(
    request: &HeaderMap,
    etag: Option<&HeaderValue>,
    last_modified: Option<&HeaderValue>,
    date: Option<&HeaderValue>,
) -> bool {
    let mut lines = request.get_all(IF_RANGE).iter();
    let condition = match (lines.next(), lines.next()) {
        (None, _) => return true,
        (Some(condition), None) => condition,
        (Some(_), Some(_)) => return false,
    };
    if is_entity_tag(condition.as_bytes()) {
        return etag.is_some_and(|etag| strong_match(condition.as_bytes(), etag.as_bytes()));
    }
    let [wanted, modified, date] =
        [Some(condition), last_modified, date].map(|value| value.and_then(parse_date));
    match (wanted, modified, date) {
        // §8.8.2.2: a date is a strong validator if it is at least a second before `Date`.
        (Some(wanted), Some(modified), Some(date)) => {
            wanted == modified && modified.seconds() < date.seconds()
        }
        _ => false,
    }
}

/// The satisfiable ranges of a `Range` field; `None` if it is not to be followed.
fn wanted(line: &[u8], length: u64) -> Option<Vec<ByteRange>> {
    let equals = line.iter().position(|byte| *byte == b'=')?;
    if !line[..equals].eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let mut wanted = Vec::new();
    let mut specs = split(&line[equals + 1..]).peekable();
    specs.peek()?;
    for (index, spec) in specs.enumerate() {
        if index >= limits::RANGES_MAX {
            return None;
        }
        wanted.extend(satisfiable(spec, length)?);
    }
    Some(wanted)
}

/// One member (§14.1.1): outside `None` if it is malformed, inside if nothing of it is there.
fn satisfiable(spec: &[u8], length: u64) -> Option<Option<ByteRange>> {
    let dash = spec.iter().position(|byte| *byte == b'-')?;
    let (first, last) = (&spec[..dash], &spec[dash + 1..]);
    let end = length.checked_sub(1)?;
    if first.is_empty() {
        let suffix = position(last)?;
        let range = ByteRange { first: length.saturating_sub(suffix), last: end };
        return Some((suffix > 0).then_some(range));
    }
    let first = position(first)?;
    let last = if last.is_empty() { u64::MAX } else { position(last)? };
    if last < first {
        return None;
    }
    Some((first <= end).then_some(ByteRange { first, last: last.min(end) }))
}

/// A position in digits; what is too large is after the end in any case.
fn position(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add =
        |value: u64, digit: &u8| value.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Some(digits.iter().fold(0, add))
}

/// Requests that cost much more than they can be worth (§14.2).
fn is_abuse(wanted: &[ByteRange]) -> bool {
    let overlapping = wanted.iter().enumerate().flat_map(|(index, range)| {
        wanted[..index].iter().filter(|earlier| range.overlaps(**earlier))
    });
    let descending = wanted.windows(2).filter(|pair| pair[1].first < pair[0].first);
    overlapping.count() > limits::RANGES_OVERLAPPING_MAX
        || descending.count() > limits::RANGES_DESCENDING_MAX
}

/// The same bytes with what overlaps or is adjacent joined (§15.3.7.2), each part in the place of
/// the first that went into it.
fn coalesced(wanted: &[ByteRange]) -> Vec<ByteRange> {
    let mut parts: Vec<ByteRange> = Vec::with_capacity(wanted.len());
    for range in wanted {
        let mut joined = *range;
        let mut place = parts.len();
        // Joining may close a gap to a part that was looked at already.
        while let Some(index) = parts.iter().position(|part| part.touches(joined)) {
            joined = joined.joined(parts.remove(index));
            place = place.min(index);
        }
        parts.insert(place.min(parts.len()), joined);
    }
    parts
}

/// `Content-Range` of a part (§14.4).
#[must_use]
pub fn content_range(range: ByteRange, length: u64) -> HeaderValue {
    value(format!("bytes {}-{}/{length}", range.first, range.last))
}

/// `Content-Range` of a 416 (§15.5.17).
#[must_use]
pub fn unsatisfied(length: u64) -> HeaderValue {
    value(format!("bytes */{length}"))
}

fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("it is letters, digits and punctuation")
}

/// What stands before one part of a `multipart/byteranges` body (§14.6). `boundary` must be one
/// that does not occur in the body.
#[must_use]
pub fn multipart_head(
    boundary: &str,
    content_type: Option<&HeaderValue>,
    range: ByteRange,
    length: u64,
) -> Vec<u8> {
    let mut head = format!("\r\n--{boundary}\r\n").into_bytes();
    if let Some(content_type) = content_type {
        head.extend_from_slice(b"Content-Type: ");
        head.extend_from_slice(content_type.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"Content-Range: ");
    head.extend_from_slice(content_range(range, length).as_bytes());
    head.extend_from_slice(b"\r\n\r\n");
    head
}

/// What stands after the last part.
#[must_use]
pub fn multipart_end(boundary: &str) -> Vec<u8> {
    format!("\r\n--{boundary}--\r\n").into_bytes()
}

/// How long the whole `multipart/byteranges` body is.
#[must_use]
pub fn multipart_length(
    boundary: &str,
    content_type: Option<&HeaderValue>,
    ranges: &[ByteRange],
    length: u64,
) -> u64 {
    let bytes = |bytes: Vec<u8>| u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let parts = ranges.iter().map(|range| {
        bytes(multipart_head(boundary, content_type, *range, length)).saturating_add(range.len())
    });
    parts.fold(bytes(multipart_end(boundary)), u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::headers;

    const OLD: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const NEW: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn asked(range: &str, length: u64) -> String {
        match ranges(&headers(&format!("range: {range}")), length, None, None, None) {
            Ranges::One(one) => format!("{}-{}", one.first, one.last),
            Ranges::Many(many) => {
                let many: Vec<_> =
                    many.iter().map(|one| format!("{}-{}", one.first, one.last)).collect();
                many.join(" ")
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn ranges_are_read_as_they_are_meant() {
        let cases = [
            ("bytes=0-1", "0-1", "§14.1.2"),
            ("Bytes=0-1", "0-1", "§14.1: units have no case"),
            ("bytes=1-", "1-9", "§14.1.2"),
            ("bytes=-1", "9-9", "§14.1.2: suffix"),
            ("bytes=-99", "0-9", "§14.1.2: longer than all"),
            ("bytes=5-99", "5-9", "§14.1.2: cut at the end"),
            ("bytes=5-99999999999999999999999", "5-9", "§14.1.2: no overflow"),
            ("bytes=0-0, 4-5 ,,9-", "0-0 4-5 9-9", "§14.1.1: a list"),
            ("bytes=4-5,0-0", "4-5 0-0", "§15.3.7.2: in the order asked"),
            ("bytes=0-3,4-5", "0-5", "§15.3.7.2: adjacent"),
            ("bytes=0-3,2-5,8-8", "0-5 8-8", "§15.3.7.2: overlapping"),
            ("bytes=0-1,4-5,2-3", "0-5", "§15.3.7.2: the gap is closed"),
            ("bytes=0-1,50-60", "0-1", "§14.1.2: what is there"),
            ("bytes=50-60,-0", "Unsatisfiable", "§14.1.2"),
            ("bytes=10-", "Unsatisfiable", "§14.1.2"),
            ("bytes=99999999999999999999999-", "Unsatisfiable", "§14.1.2"),
            ("bytes=-0", "Unsatisfiable", "§14.1.2"),
            ("lines=0-1", "Whole", "§14.2: unknown unit"),
            ("bytes", "Whole", "§14.2: malformed"),
            ("bytes=", "Whole", "§14.1.1"),
            ("bytes=-", "Whole", "§14.1.1"),
            ("bytes=2-1", "Whole", "§14.1.1: invalid"),
            ("bytes=0-1,x", "Whole", "§14.1.1"),
            ("bytes=0 - 1", "Whole", "§14.1.1"),
            ("bytes=+0-1", "Whole", "§14.1.1"),
            ("bytes =0-1", "Whole", "§14.2"),
            ("bytes=0-,0-,0-", "Whole", "§14.2: three pairs overlap"),
            ("bytes=8-8,6-6,4-4,2-2", "Whole", "§14.2: descending"),
        ];
        for (range, expected, rule) in cases {
            assert_eq!(asked(range, 10), expected, "{range} ({rule})");
        }
        let many = |count: usize| {
            let all: Vec<_> = (0..count).map(|n| format!("{}-{}", 3 * n, 3 * n)).collect();
            asked(&format!("bytes={}", all.join(",")), 1_000)
        };
        assert_eq!(many(limits::RANGES_MAX).split(' ').count(), limits::RANGES_MAX);
        assert_eq!(many(limits::RANGES_MAX + 1), "Whole");
        assert_eq!(asked("bytes=0-1|range: bytes=2-3", 10), "Whole", "two lines");
        assert_eq!(asked("bytes=0-", 0), "Whole", "there are no bytes");
        assert_eq!(ranges(&headers(""), 10, None, None, None), Ranges::Whole);
    }

    #[test]
    fn if_range_must_name_exactly_what_is_stored() {
        let cases = [
            ("\"a\"", "\"a\"", OLD, NEW, true, "§13.1.5"),
            ("\"b\"", "\"a\"", OLD, NEW, false, "§13.1.5"),
            ("W/\"a\"", "W/\"a\"", OLD, NEW, false, "§8.8.3.2: weak never is"),
            ("\"a\"", "W/\"a\"", OLD, NEW, false, "§8.8.3.2"),
            (OLD, "\"a\"", OLD, NEW, true, "§13.1.5: a date"),
            (OLD, "\"a\"", OLD, OLD, false, "§8.8.2.2: not strong"),
            (NEW, "\"a\"", OLD, NEW, false, "§13.1.5: exactly"),
            ("x", "\"a\"", OLD, NEW, false, "malformed"),
            ("\"a\"|if-range: \"a\"", "\"a\"", OLD, NEW, false, "two lines"),
        ];
        for (condition, etag, modified, date, expected, rule) in cases {
            let request = headers(&format!("range: bytes=0-1|if-range: {condition}"));
            let [etag, modified, date] = [etag, modified, date].map(HeaderValue::from_static);
            let found = ranges(&request, 9, Some(&etag), Some(&modified), Some(&date));
            assert_eq!(found != Ranges::Whole, expected, "{condition} ({rule})");
        }
        let request = headers(&format!("range: bytes=0-1|if-range: {OLD}"));
        let modified = HeaderValue::from_static(OLD);
        assert_eq!(ranges(&request, 9, None, Some(&modified), None), Ranges::Whole);
    }

    #[test]
    fn parts_are_labelled() {
        let range = ByteRange { first: 2, last: 5 };
        assert_eq!(content_range(range, 10), "bytes 2-5/10");
        assert_eq!(unsatisfied(10), "bytes */10");
        let plain = HeaderValue::from_static("text/plain");
        let head = multipart_head("xx", Some(&plain), range, 10);
        let expected =
            "\r\n--xx\r\nContent-Type: text/plain\r\nContent-Range: bytes 2-5/10\r\n\r\n";
        assert_eq!(String::from_utf8(head).unwrap(), expected);
        let ranges = [range, ByteRange { first: 9, last: 9 }];
        let mut body = Vec::new();
        for range in ranges {
            body.extend(multipart_head("xx", None, range, 10));
            body.extend(vec![0; usize::try_from(range.len()).unwrap()]);
        }
        body.extend(multipart_end("xx"));
        assert!(body.ends_with(b"\r\n--xx--\r\n"));
        assert_eq!(multipart_length("xx", None, &ranges, 10), body.len() as u64);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let all = HeaderMap::from_iter(
                    [RANGE, IF_RANGE].map(|name| (name, value.clone())),
                );
                let _ = ranges(&all, 9, Some(&value), Some(&value), Some(&value));
            }
        }

        #[test]
        fn parts_are_what_was_asked_for_and_there(
            length in prop_oneof![0..30_u64, Just(u64::MAX)],
            specs in prop::collection::vec((0..40_u64, prop::option::of(0..40_u64)), 1..6),
        ) {
            let spec = |(first, len): &(u64, Option<u64>)| match len {
                Some(len) => format!("{first}-{}", first + len),
                None => format!("{first}-"),
            };
            let list = specs.iter().map(spec).collect::<Vec<_>>().join(",");
            let parts = match ranges(&headers(&format!("range: bytes={list}")), length, None, None, None) {
                Ranges::Whole => return Ok(()),
                Ranges::Unsatisfiable => Vec::new(),
                Ranges::One(one) => vec![one],
                Ranges::Many(many) => many,
            };
            for (index, part) in parts.iter().enumerate() {
                prop_assert!(part.first <= part.last && part.last < length);
                prop_assert!(parts[..index].iter().all(|other| !other.touches(*part)));
            }
            for byte in 0..length.min(90) {
                let asked = specs.iter().any(|(first, len)| {
                    *first <= byte && len.is_none_or(|len| byte <= first + len)
                });
                let given = parts.iter().any(|part| part.first <= byte && byte <= part.last);
                prop_assert_eq!(asked, given, "byte {}", byte);
            }
        }
    }
}
