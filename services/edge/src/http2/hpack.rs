//! How fields are compressed (HPACK, RFC 7541): decodes those of visitors strictly, and writes ours
//! without a dynamic table, so that a connection keeps nothing for them.

mod huffman;
mod table;

use http::StatusCode;
pub(crate) use table::ENTRY_BYTES;
use table::Table;

use super::fields::Fields;
use crate::{limits::H2_NUMBER_OCTETS_MAX, text};

/// A block that cannot be decoded: the connection has no way on (RFC 9113 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unsound;

/// Decodes the blocks of one visitor, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    table: Table,
}

impl Decoder {
    /// Decodes a whole block into `fields`. Of one that is too large only the table is kept.
    ///
    /// # Errors
    /// If it breaks a rule of RFC 7541.
    pub(crate) fn decode(&mut self, block: &[u8], fields: &mut Fields) -> Result<(), Unsound> {
        let mut rest = block;
        let mut begins = true;
        while let Some(first) = rest.first() {
            match first {
                // §6.1: an indexed field.
                0x80.. => {
                    let index = number(&mut rest, 7)?;
                    let (name, value) = self.table.get(index).ok_or(Unsound)?;
                    fields.add(name, value);
                }
                // §6.2.1: a literal that is indexed from now on.
                0x40.. => {
                    self.literal(&mut rest, 6, fields)?;
                    let (name, value) = fields.pending();
                    self.table.insert(name, value);
                    fields.keep();
                }
                // §6.3: the table's new size, which stands only at the beginning (§4.2).
                0x20.. => {
                    let size = number(&mut rest, 5)?;
                    if !begins || !self.table.resize(size) {
                        return Err(Unsound);
                    }
                    continue;
                }
                // §6.2.2, §6.2.3: a literal that is not.
                _ => {
                    self.literal(&mut rest, 4, fields)?;
                    fields.keep();
                }
            }
            begins = false;
        }
        Ok(())
    }

    /// Name and value of a literal, to the end of `fields`.
    fn literal(&self, rest: &mut &[u8], prefix: u32, fields: &mut Fields) -> Result<(), Unsound> {
        match number(rest, prefix)? {
            0 => string(rest, fields.text())?,
            index => {
                let (name, _) = self.table.get(index).ok_or(Unsound)?;
                fields.text().extend_from_slice(name);
            }
        }
        fields.name_ends();
        string(rest, fields.text())
    }

    /// How many bytes of memory it holds.
    #[cfg(test)]
    pub(crate) fn memory(&self) -> usize {
        self.table.memory()
    }
}

/// RFC 7541 §5.1: a number whose first octet has `prefix` bits of it.
fn number(rest: &mut &[u8], prefix: u32) -> Result<usize, Unsound> {
    let mut next = || {
        let (first, others) = rest.split_first().ok_or(Unsound)?;
        *rest = others;
        Ok(usize::from(*first))
    };
    let mask = (1 << prefix) - 1;
    let mut number = next()? & mask;
    if number < mask {
        return Ok(number);
    }
    for octet in 0..H2_NUMBER_OCTETS_MAX {
        let more = next()?;
        number += (more & 0x7f) << (7 * octet);
        if more & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Unsound)
}

/// RFC 7541 §5.2: a string, to the end of `out`.
fn string(rest: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Unsound> {
    let coded = rest.first().ok_or(Unsound)? & 0x80 != 0;
    let length = number(rest, 7)?;
    let (string, others) = rest.split_at_checked(length).ok_or(Unsound)?;
    *rest = others;
    if coded {
        huffman::decode(string, out).then_some(()).ok_or(Unsound)
    } else {
        out.extend_from_slice(string);
        Ok(())
    }
}

/// Tells the visitor that we use no dynamic table. Before the first field of a block.
pub(crate) fn write_no_table(out: &mut Vec<u8>) {
    out.push(0x20);
}

/// Writes the status of a response.
pub(crate) fn write_status(out: &mut Vec<u8>, status: StatusCode) {
    let indexed = match status.as_u16() {
        200 => 8,
        204 => 9,
        206 => 10,
        304 => 11,
        400 => 12,
        404 => 13,
        500 => 14,
        _ => {
            // Its name is that of the entry of 200.
            out.push(8);
            return write_string(out, status.as_str().as_bytes());
        }
    };
    out.push(0x80 | indexed);
}

/// Writes a field; its name is in lower case.
pub(crate) fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    write_name(out, name);
    write_string(out, value);
}

/// Writes a field whose value is a number.
pub(crate) fn write_number_field(out: &mut Vec<u8>, name: &[u8], value: u64) {
    write_name(out, name);
    let length = out.len();
    out.push(0);
    text::write_number(out, value);
    // At most twenty digits.
    out[length] = u8::try_from(out.len() - length - 1).unwrap_or(u8::MAX);
}

fn write_name(out: &mut Vec<u8>, name: &[u8]) {
    match table::index_of(name) {
        Some(index) => write_number(out, 4, index.into()),
        None => {
            out.push(0);
            write_string(out, name);
        }
    }
}

fn write_string(out: &mut Vec<u8>, string: &[u8]) {
    write_number(out, 7, string.len());
    out.extend_from_slice(string);
}

/// RFC 7541 §5.1, with a first octet that is zero but for the number.
fn write_number(out: &mut Vec<u8>, prefix: u32, number: usize) {
    let mask = (1 << prefix) - 1;
    let octet = |bits: usize| u8::try_from(bits & 0xff).unwrap_or(u8::MAX);
    if number < mask {
        return out.push(octet(number));
    }
    out.push(octet(mask));
    let mut rest = number - mask;
    while rest >= 0x80 {
        out.push(octet(rest & 0x7f | 0x80));
        rest >>= 7;
    }
    out.push(octet(rest));
}

#[cfg(test)]
mod tests;
