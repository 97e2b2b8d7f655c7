//! Trace context: which trace a request belongs to (W3C Trace Context, level 2).
//!
//! A valid `traceparent` is continued; else a trace begins here. Each request has a span id of its
//! own, which the origin sees as its parent. `tracestate` passes as it came, but not beside a trace
//! that begins here (§4.3). No spans are recorded or sent.

use http::{HeaderMap, HeaderName};

use crate::upstream::UpstreamHead;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// "00-", 32 digits, "-", 16 digits, "-", 2 digits.
const LENGTH: usize = 55;
/// Sampled, and "the trace id is random"; other bits are passed on as 0 (§3.2.2.5).
const KNOWN_FLAGS: u8 = 0b11;
/// Not sampled here; its id is random.
const NEW_FLAGS: u8 = 0b10;
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The trace of a request, and the request's own span in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceContext {
    trace: u128,
    span: u64,
    flags: u8,
    /// The trace came with the request.
    continued: bool,
}

impl TraceContext {
    /// The trace that `headers` name, or a new one. `random` gives any number.
    pub(crate) fn of(headers: &HeaderMap, mut random: impl FnMut() -> u64) -> Self {
        // Ids of only zeros are invalid.
        let span = random().max(1);
        let mut lines = headers.get_all(TRACEPARENT).iter();
        let came = match (lines.next(), lines.next()) {
            (Some(line), None) => parse(line.as_bytes()),
            _ => None,
        };
        match came {
            Some((trace, flags)) => Self { trace, span, flags, continued: true },
            None => {
                let trace = u128::from(random()) << 64 | u128::from(random().max(1));
                Self { trace, span, flags: NEW_FLAGS, continued: false }
            }
        }
    }

    /// The trace id, as 32 digits.
    pub(crate) fn trace_id(&self) -> [u8; 32] {
        digits(self.trace)
    }

    /// The id of this request's span, as 16 digits.
    pub(crate) fn span_id(&self) -> [u8; 16] {
        digits(u128::from(self.span))
    }

    /// The `traceparent` of a request that is made for this one.
    fn child(&self) -> [u8; LENGTH] {
        let mut line = [b'-'; LENGTH];
        line[..2].copy_from_slice(b"00");
        line[3..35].copy_from_slice(&self.trace_id());
        line[36..52].copy_from_slice(&self.span_id());
        line[53..].copy_from_slice(&digits::<2>(u128::from(self.flags)));
        line
    }

    /// Tells an origin the trace of a request that came with `headers`.
    pub(crate) fn pass_on(&self, headers: &HeaderMap, head: &mut UpstreamHead) {
        head.add(TRACEPARENT.as_str(), &self.child());
        if self.continued {
            for state in headers.get_all(TRACESTATE) {
                head.add(TRACESTATE.as_str(), state.as_bytes());
            }
        }
    }
}

/// Trace id and flags of a `traceparent` (§3.2).
fn parse(line: &[u8]) -> Option<(u128, u8)> {
    let version = number(line.get(..2)?)?;
    let later = match line.get(LENGTH) {
        None => true,
        // A higher version may have more fields; this one has not (§4.3).
        Some(b'-') => version > 0,
        Some(_) => false,
    };
    let hyphens = [2, 35, 52].iter().all(|&at| line.get(at) == Some(&b'-'));
    if version == 0xff || !later || !hyphens {
        return None;
    }
    let trace = number(line.get(3..35)?)?;
    let parent = number(line.get(36..52)?)?;
    let flags = u8::try_from(number(line.get(53..LENGTH)?)?).ok()?;
    (trace != 0 && parent != 0).then_some((trace, flags & KNOWN_FLAGS))
}

/// The number of lower case hexadecimal digits; upper case is invalid (§3.2.2).
fn number(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

/// The last `N` hexadecimal digits of a number.
fn digits<const N: usize>(mut number: u128) -> [u8; N] {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[usize::from(number.to_le_bytes()[0] & 0xf)];
        number >>= 4;
    }
    digits
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};

    use super::*;
    use crate::upstream::Purpose;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    fn headers(lines: &[&str]) -> HeaderMap {
        let lines = lines.iter().map(|line| (TRACEPARENT, HeaderValue::from_str(line).unwrap()));
        lines.chain([(TRACESTATE, HeaderValue::from_static("congo=t61rcWkgMzE"))]).collect()
    }

    /// What is passed on, with a span of 7 and, if the trace is new, an id of 7s.
    fn passed(lines: &[&str]) -> (String, bool) {
        let mut request = Request::new(());
        *request.headers_mut() = headers(lines);
        let (parts, ()) = request.into_parts();
        let host = "a.example".parse().unwrap();
        let mut head = UpstreamHead::of(&parts, &host, Purpose::Visitor).unwrap();
        TraceContext::of(&parts.headers, || 7).pass_on(&parts.headers, &mut head);
        let headers = head.headers();
        let parents: Vec<_> = headers.get_all(TRACEPARENT).iter().collect();
        assert_eq!(parents.len(), 1);
        (parents[0].to_str().unwrap().to_owned(), headers.contains_key(TRACESTATE))
    }

    fn is_new(line: &str) -> bool {
        let (parent, state) = passed(&[line]);
        assert_eq!(parent.contains(TRACE), state, "{line}");
        parent == "00-00000000000000070000000000000007-0000000000000007-02"
    }

    #[test]
    fn a_valid_trace_is_continued_with_a_span_of_our_own() {
        let came = format!("00-{TRACE}-{PARENT}-01");
        assert_eq!(passed(&[&came]), (format!("00-{TRACE}-0000000000000007-01"), true));
        let context = TraceContext::of(&headers(&[&came]), || 7);
        assert_eq!(context.trace_id(), TRACE.as_bytes());
        assert_eq!(&context.span_id(), b"0000000000000007");
    }

    #[test]
    fn unknown_flags_are_not_passed_on() {
        for (came, goes) in [("00", "00"), ("03", "03"), ("ff", "03"), ("fc", "00")] {
            let (parent, _) = passed(&[&format!("00-{TRACE}-{PARENT}-{came}")]);
            assert_eq!(parent, format!("00-{TRACE}-0000000000000007-{goes}"));
        }
    }

    #[test]
    fn of_a_higher_version_the_first_four_fields_count() {
        let (parent, _) = passed(&[&format!("cc-{TRACE}-{PARENT}-01-what-the-future-will-be")]);
        assert_eq!(parent, format!("00-{TRACE}-0000000000000007-01"));
        assert!(!is_new(&format!("01-{TRACE}-{PARENT}-01")));
        assert!(!is_new(&format!("01-{TRACE}-{PARENT}-01-")));
        assert!(is_new(&format!("01-{TRACE}-{PARENT}-01.")));
        assert!(is_new(&format!("00-{TRACE}-{PARENT}-01-more")));
    }

    #[test]
    fn what_is_invalid_begins_a_trace_without_its_state() {
        assert!(is_new(""));
        assert!(is_new(&format!("ff-{TRACE}-{PARENT}-01")));
        assert!(is_new(&format!("00-{}-{PARENT}-01", "0".repeat(32))));
        assert!(is_new(&format!("00-{TRACE}-{}-01", "0".repeat(16))));
        assert!(is_new(&format!("00-{}-{PARENT}-01", TRACE.to_uppercase())));
        assert!(is_new(&format!("0-{TRACE}-{PARENT}-01")));
        assert!(is_new(&format!("00-{TRACE}-{PARENT}")));
        assert!(is_new(&format!("00-{TRACE}-{PARENT}-1")));
        assert!(is_new(&format!("00-{TRACE}-{PARENT}-0g")));
        assert!(is_new(&format!("00_{TRACE}-{PARENT}-01")));
        let twice = format!("00-{TRACE}-{PARENT}-01");
        let (parent, state) = passed(&[&twice, &twice]);
        assert!(!parent.contains(TRACE) && !state, "two are none");
    }

    #[test]
    fn no_id_is_zero() {
        let context = TraceContext::of(&HeaderMap::new(), || 0);
        assert_ne!(context.trace_id(), [b'0'; 32]);
        assert_ne!(context.span_id(), [b'0'; 16]);
    }
}
