//! The heads of responses, whatever the protocol is in which they are written.

use headroom_cache::http_date;
use http::{
    HeaderMap, Response, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, DATE},
};
use http_body::Body as _;

use crate::body::EdgeBody;

/// Writes a head in the form of one protocol: the status, then fields.
pub(crate) trait HeadWriter {
    /// Whether a message may say how it goes on with the connection.
    const TELLS_OF_CONNECTION: bool;

    fn status(&mut self, status: StatusCode);

    /// `name` is in lower case.
    fn field(&mut self, name: &[u8], value: &[u8]);

    fn number(&mut self, name: &'static str, value: u64);

    /// Ends the head.
    fn end(&mut self);

    /// How many bytes there are, with those before the head.
    fn length(&self) -> usize;

    /// Takes all back behind the first `length` bytes.
    fn truncate(&mut self, length: usize);
}

/// How long the content of a response is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// There is none, and nothing is said of it.
    None,
    /// So many bytes.
    Known(u64),
    Unknown,
}

/// Writes the head of `response`, which answers HEAD or another method, but for its end.
pub(crate) fn write_head(
    out: &mut impl HeadWriter,
    response: &Response<EdgeBody>,
    to_head: bool,
) -> Length {
    let (status, headers) = (response.status(), response.headers());
    out.status(status);
    let shown = write_fields(out, headers, status);
    if !shown.date {
        out.field(b"date", http_date(headroom_clock::now()).as_bytes());
    }
    write_length(out, response, shown.length, to_head)
}

/// Writes an interim response, which is nothing but a head (RFC 9110 §15.2).
pub(crate) fn write_interim(out: &mut impl HeadWriter, status: StatusCode, headers: &HeaderMap) {
    out.status(status);
    write_fields(out, headers, status);
    out.end();
}

/// What the fields of a head say.
#[derive(Debug, Default)]
struct Shown {
    date: bool,
    length: Option<u64>,
}

fn write_fields<W: HeadWriter>(out: &mut W, headers: &HeaderMap, status: StatusCode) -> Shown {
    let mut shown = Shown::default();
    for (name, value) in headers {
        if name == CONTENT_LENGTH {
            shown.length = value.to_str().ok().and_then(|length| length.parse().ok());
        }
        shown.date |= name == DATE;
        // RFC 9110 §8.6, RFC 9113 §8.2.2.
        let is_out_of_place = status == StatusCode::NO_CONTENT && name == CONTENT_LENGTH
            || !W::TELLS_OF_CONNECTION && name == CONNECTION;
        if !is_out_of_place {
            out.field(name.as_str().as_bytes(), value.as_bytes());
        }
    }
    shown
}

/// RFC 9110 §8.6: what has no content says nothing about it, but for the answer to HEAD, which says
/// what GET would.
fn write_length(
    out: &mut impl HeadWriter,
    response: &Response<EdgeBody>,
    said: Option<u64>,
    to_head: bool,
) -> Length {
    let status = response.status();
    if status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
        return Length::None;
    }
    let known = said.or_else(|| response.body().size_hint().exact());
    if to_head && (said.is_some() || known == Some(0)) {
        return Length::None;
    }
    match known {
        Some(length) if said.is_none() => out.number("content-length", length),
        _ => {}
    }
    known.map_or(Length::Unknown, Length::Known)
}
