//! Comma-separated lists in header fields (RFC 9110 §5.6.1).

use http::{HeaderMap, HeaderName};

/// The members of all lines of a field, without surrounding white space and empty members. A
/// comma inside a quoted string does not separate; a quoted string that is not closed reaches to
/// the end of its line.
pub(crate) fn members<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    headers.get_all(name).into_iter().flat_map(|line| split(line.as_bytes()))
}

/// The members of one line.
pub(crate) fn split(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let end = member_end(line);
        rest = line.get(end + 1..);
        Some(line[..end].trim_ascii())
    })
    .filter(|member| !member.is_empty())
}

/// Where the first member ends: at a comma outside quotes, or at the end.
fn member_end(line: &[u8]) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    line.iter()
        .position(|byte| {
            let ends = *byte == b',' && !quoted;
            if escaped {
                escaped = false;
            } else if *byte == b'"' {
                quoted = !quoted;
            } else {
                escaped = quoted && *byte == b'\\';
            }
            ends
        })
        .unwrap_or(line.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_quotes_do_not_separate() {
        let cases: [(&str, &[&str]); 7] = [
            ("", &[]),
            (" , ,, ", &[]),
            ("a, b ,c", &["a", "b", "c"]),
            ("a=\"b, c\", d", &["a=\"b, c\"", "d"]),
            ("a=\"b\\\", c\", d", &["a=\"b\\\", c\"", "d"]),
            ("a=\"b, c", &["a=\"b, c"]),
            ("a\\\", b", &["a\\\", b"]),
        ];
        for (line, expected) in cases {
            let split: Vec<_> = split(line.as_bytes()).collect();
            let expected: Vec<_> = expected.iter().map(|member| member.as_bytes()).collect();
            assert_eq!(split, expected, "{line}");
        }
    }
}
