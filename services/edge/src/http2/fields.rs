//! The fields of a head as they were decoded, in a buffer that is used again and again.

use super::hpack::ENTRY_BYTES;
use crate::limits;

/// Decoded fields, one behind the other.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    text: Vec<u8>,
    /// Where each name and each value ends.
    ends: Vec<(usize, usize)>,
    /// Where the name of the field ends that is being decoded.
    name_end: usize,
    /// How large all fields are, as RFC 9113 §6.5.2 counts; also those that were not kept.
    size: usize,
}

impl Fields {
    /// Nothing, with the buffers kept for what comes next.
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        (self.name_end, self.size) = (0, 0);
    }

    /// True if there was more than a head may have: then not all fields are here.
    pub(crate) fn is_too_large(&self) -> bool {
        self.size > limits::HEAD_BYTES_MAX
    }

    /// Names and values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.ends.iter().scan(0, |begin, &(name, value)| {
            let field = (&self.text[*begin..name], &self.text[name..value]);
            *begin = value;
            Some(field)
        })
    }

    /// All names and values in one piece.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.text
    }

    /// Adds a field.
    pub(super) fn add(&mut self, name: &[u8], value: &[u8]) {
        self.size += name.len() + value.len() + ENTRY_BYTES;
        if !self.is_too_large() {
            self.text.extend_from_slice(name);
            let name_end = self.text.len();
            self.text.extend_from_slice(value);
            self.ends.push((name_end, self.text.len()));
        }
    }

    /// Where the name of a field is written, and behind [`Self::name_ends`] its value, until
    /// [`Self::keep`].
    pub(super) fn text(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    pub(super) fn name_ends(&mut self) {
        self.name_end = self.text.len();
    }

    /// The field that was written and not kept yet.
    pub(super) fn pending(&self) -> (&[u8], &[u8]) {
        (&self.text[self.begin()..self.name_end], &self.text[self.name_end..])
    }

    /// Keeps the field that was written, if there is room for it.
    pub(super) fn keep(&mut self) {
        let begin = self.begin();
        self.size += self.text.len() - begin + ENTRY_BYTES;
        if self.is_too_large() {
            self.text.truncate(begin);
        } else {
            self.ends.push((self.name_end, self.text.len()));
        }
    }

    fn begin(&self) -> usize {
        self.ends.last().map_or(0, |(_, end)| *end)
    }
}
