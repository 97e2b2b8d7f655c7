//! The heads of responses as HEADERS frames.

use http::StatusCode;

use super::{
    frame::{self, END_STREAM},
    hpack,
};
use crate::reply::HeadWriter;

/// A head that is written as the block of a stream.
#[derive(Debug)]
pub(crate) struct Block<'o> {
    out: &'o mut Vec<u8>,
    stream: u32,
    /// Where its frame begins.
    begin: usize,
    /// Whether it says first that there is no dynamic table.
    says_no_table: bool,
    ends_stream: bool,
}

impl<'o> Block<'o> {
    pub(crate) fn new(out: &'o mut Vec<u8>, stream: u32, says_no_table: bool) -> Self {
        let begin = out.len();
        Self { out, stream, begin, says_no_table, ends_stream: false }
    }

    /// From now on it is known that nothing comes behind it, whether it is ended or not.
    pub(crate) fn ends_stream(&mut self) {
        self.ends_stream = true;
        if let Some(flags) = self.out.get_mut(self.begin + frame::FLAGS_AT) {
            *flags |= END_STREAM;
        }
    }
}

impl HeadWriter for Block<'_> {
    const TELLS_OF_CONNECTION: bool = false;

    fn status(&mut self, status: StatusCode) {
        self.begin = self.out.len();
        frame::begin_headers(self.out, self.stream);
        if self.says_no_table {
            hpack::write_no_table(self.out);
        }
        hpack::write_status(self.out, status);
    }

    fn field(&mut self, name: &[u8], value: &[u8]) {
        hpack::write_field(self.out, name, value);
    }

    fn number(&mut self, name: &'static str, value: u64) {
        hpack::write_number_field(self.out, name.as_bytes(), value);
    }

    fn end(&mut self) {
        frame::end_headers(self.out, self.begin, self.ends_stream);
    }

    fn length(&self) -> usize {
        self.out.len()
    }

    fn truncate(&mut self, length: usize) {
        self.out.truncate(length);
    }
}
