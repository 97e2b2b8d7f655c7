//! How a record and the files of the disk tier look, byte by byte. No I/O.
//!
//! ```text
//! log    head of file (32)  record  record  ...          each record begins at a multiple of 16
//! head   magic 8 │ seed 8 │ number 4 │ where the removals of the log before end 4 │ sum 8
//! record hash 8 │ key length 4 │ value length 4 │ sum of key and value 8 │ sum of the head 8
//!        key, value, zeros up to the multiple of 16      a removal has neither, and this length
//! ```
//!
//! Every sum is `XxHash3` with the secret seed of the directory, and that of a head also covers
//! where the record stands: neither what is left of an older file nor a value that imitates a
//! record is taken for one. Numbers are little endian.

use twox_hash::XxHash3_64;

/// What a record takes beside its key and value; also the head of a file.
pub(super) const HEAD_BYTES: usize = 32;
/// Records begin at multiples of this, so that a sum never lies across two pages.
const ALIGNMENT: usize = 16;
/// The length of the value of a removal.
const REMOVED: u32 = u32::MAX;
const LOG_MAGIC: [u8; 8] = *b"HRBLOB01";
const TABLE_MAGIC: [u8; 8] = *b"HRTABL01";
const TABLE_HEAD_BYTES: usize = 32;
const ROW_BYTES: usize = 16;
const SUM_BYTES: usize = 8;

/// Where a record stands: its sums hold there alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) seed: u64,
    pub(super) segment: u32,
    pub(super) offset: u32,
}

/// The head of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) hash: u64,
    /// Of key and value; `None`: what has this hash is removed.
    pub(super) lengths: Option<(u32, u32)>,
    pub(super) sum: u64,
}

impl Head {
    pub(super) const fn removal(hash: u64) -> Self {
        Self { hash, lengths: None, sum: 0 }
    }

    /// Of a record whose key and value stand in `payload`.
    pub(super) fn of(seed: u64, hash: u64, key: u32, value: u32, payload: &[u8]) -> Self {
        Self { hash, lengths: Some((key, value)), sum: sum(seed, payload) }
    }

    pub(super) fn encode(&self, place: Place) -> [u8; HEAD_BYTES] {
        let (key, value) = self.lengths.unwrap_or((0, REMOVED));
        let mut bytes = [0; HEAD_BYTES];
        bytes[..8].copy_from_slice(&self.hash.to_le_bytes());
        bytes[8..12].copy_from_slice(&key.to_le_bytes());
        bytes[12..16].copy_from_slice(&value.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sum.to_le_bytes());
        let check = head_sum(&bytes, place);
        bytes[24..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; HEAD_BYTES], place: Place) -> Option<Self> {
        if u64_at(bytes, 24) != head_sum(bytes, place) {
            return None;
        }
        let (key, value) = (u32_at(bytes, 8), u32_at(bytes, 12));
        let lengths = (value != REMOVED).then_some((key, value));
        Some(Self { hash: u64_at(bytes, 0), lengths, sum: u64_at(bytes, 16) })
    }

    /// How many bytes of key and value follow.
    pub(super) fn payload_bytes(&self) -> usize {
        self.lengths.map_or(0, |(key, value)| to_usize(key).saturating_add(to_usize(value)))
    }

    /// Whether a write ended within this head: pages are written from front to back, and the sum
    /// is the last of the head and never zero. Also true of what was never written.
    pub(super) fn is_cut_short(bytes: &[u8; HEAD_BYTES]) -> bool {
        u64_at(bytes, 24) == 0
    }
}

/// The sum of `bytes` that stand anywhere.
pub(super) fn sum(seed: u64, bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(seed, bytes)
}

fn head_sum(head: &[u8; HEAD_BYTES], place: Place) -> u64 {
    let mut covered = [0; 32];
    covered[..24].copy_from_slice(&head[..24]);
    covered[24..28].copy_from_slice(&place.segment.to_le_bytes());
    covered[28..].copy_from_slice(&place.offset.to_le_bytes());
    sum(place.seed, &covered).max(1)
}

/// `bytes` with the zeros that follow them.
pub(super) const fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT)
}

/// Places at which a record may begin, in `bytes` that begin at such a place.
pub(super) fn starts(bytes: usize) -> impl Iterator<Item = usize> {
    (0..bytes.saturating_sub(HEAD_BYTES - 1)).step_by(ALIGNMENT)
}

/// The head of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogHead {
    pub(super) seed: u64,
    /// Where the last removal in the log before ends: if that log ends earlier, removals are lost.
    pub(super) removals_before: u32,
}

impl LogHead {
    pub(super) fn encode(self, segment: u32) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..8].copy_from_slice(&LOG_MAGIC);
        bytes[8..16].copy_from_slice(&self.seed.to_le_bytes());
        bytes[16..20].copy_from_slice(&segment.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.removals_before.to_le_bytes());
        let check = sum(self.seed, &bytes[..24]);
        bytes[24..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; HEAD_BYTES], segment: u32) -> Option<Self> {
        let head = Self { seed: u64_at(bytes, 8), removals_before: u32_at(bytes, 20) };
        (head.encode(segment) == *bytes).then_some(head)
    }
}

/// What one record of a log is about; `bytes` is zero for a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) hash: u64,
    pub(super) offset: u32,
    /// Head, key and value.
    pub(super) bytes: u32,
}

/// Where the last removal among `rows` ends; zero without one.
pub(super) fn removals_end(rows: &[Row]) -> u32 {
    let last = rows.iter().rev().find(|row| row.bytes == 0);
    let head = u32::try_from(HEAD_BYTES).unwrap_or(u32::MAX);
    last.map_or(0, |row| row.offset.saturating_add(head))
}

/// The table of contents of a finished log, so that a start need not read the log.
pub(super) fn table(seed: u64, segment: u32, rows: &[Row]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(TABLE_HEAD_BYTES + rows.len() * ROW_BYTES + SUM_BYTES);
    bytes.extend_from_slice(&TABLE_MAGIC);
    bytes.extend_from_slice(&seed.to_le_bytes());
    bytes.extend_from_slice(&u64::from(segment).to_le_bytes());
    bytes.extend_from_slice(&u64::try_from(rows.len()).unwrap_or(u64::MAX).to_le_bytes());
    for row in rows {
        bytes.extend_from_slice(&row.hash.to_le_bytes());
        bytes.extend_from_slice(&row.offset.to_le_bytes());
        bytes.extend_from_slice(&row.bytes.to_le_bytes());
    }
    let check = sum(seed, &bytes);
    bytes.extend_from_slice(&check.to_le_bytes());
    bytes
}

/// The seed and the rows of a table of contents, if it is whole.
pub(super) fn read_table(bytes: &[u8], segment: u32) -> Option<(u64, Vec<Row>)> {
    let (covered, check) = bytes.split_at_checked(bytes.len().checked_sub(SUM_BYTES)?)?;
    let (head, rows) = covered.split_at_checked(TABLE_HEAD_BYTES)?;
    let seed = u64_at(head, 8);
    let whole = head[..8] == TABLE_MAGIC
        && u64_at(check, 0) == sum(seed, covered)
        && u64_at(head, 16) == u64::from(segment)
        && u64_at(head, 24) == u64::try_from(rows.len() / ROW_BYTES).ok()?
        && rows.len().is_multiple_of(ROW_BYTES);
    let row =
        |row: &[u8]| Row { hash: u64_at(row, 0), offset: u32_at(row, 8), bytes: u32_at(row, 12) };
    whole.then(|| (seed, rows.chunks_exact(ROW_BYTES).map(row).collect()))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("the range has eight bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("the range has four bytes"))
}

/// A length of the format as one of memory.
pub(super) fn to_usize(length: u32) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { seed: 7, segment: 3, offset: 48 };

    #[test]
    fn a_head_holds_where_it_was_written_and_whole() {
        for head in [Head::of(7, 1, 2, 3, b"kkvvv"), Head::removal(9)] {
            let bytes = head.encode(PLACE);
            assert_eq!(Head::decode(&bytes, PLACE), Some(head));
            assert!(!Head::is_cut_short(&bytes));
            for place in [
                Place { seed: 8, ..PLACE },
                Place { segment: 4, ..PLACE },
                Place { offset: 64, ..PLACE },
            ] {
                assert_eq!(Head::decode(&bytes, place), None, "{place:?}");
            }
            for bit in 0..HEAD_BYTES * 8 {
                let mut flipped = bytes;
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Head::decode(&flipped, PLACE), None, "bit {bit}");
            }
            // A write that ends at a page ends at a multiple of 16.
            let mut cut = bytes;
            cut[16..].fill(0);
            assert!(Head::is_cut_short(&cut));
        }
        assert_eq!(Head::decode(&[0; HEAD_BYTES], PLACE), None);
    }

    #[test]
    fn a_table_is_read_only_if_it_is_whole() {
        let rows = [Row { hash: 1, offset: 32, bytes: 40 }, Row { hash: 2, offset: 80, bytes: 0 }];
        for rows in [&rows[..], &rows[..1], &[]] {
            let bytes = table(7, 3, rows);
            assert_eq!(read_table(&bytes, 3), Some((7, rows.to_vec())));
            assert_eq!(read_table(&bytes, 4), None);
            for length in 0..bytes.len() {
                assert_eq!(read_table(&bytes[..length], 3), None);
            }
            for byte in 0..bytes.len() {
                let mut flipped = bytes.clone();
                flipped[byte] ^= 0x10;
                assert_eq!(read_table(&flipped, 3), None, "byte {byte}");
            }
        }
    }

    #[test]
    fn the_head_of_a_log_is_read_only_if_it_is_whole() {
        let head = LogHead { seed: 7, removals_before: 48 };
        let bytes = head.encode(3);
        assert_eq!(LogHead::decode(&bytes, 3), Some(head));
        assert_eq!(LogHead::decode(&bytes, 4), None);
        assert_eq!(LogHead::decode(&[0; HEAD_BYTES], 3), None);
        for byte in 0..HEAD_BYTES {
            let mut flipped = bytes;
            flipped[byte] ^= 0x10;
            assert_eq!(LogHead::decode(&flipped, 3), None, "byte {byte}");
        }
    }

    #[test]
    fn the_last_removal_is_known() {
        let (put, removal) =
            (Row { hash: 1, offset: 32, bytes: 40 }, |offset| Row { hash: 1, offset, bytes: 0 });
        assert_eq!(removals_end(&[]), 0);
        assert_eq!(removals_end(&[put]), 0);
        assert_eq!(removals_end(&[put, removal(80), removal(112)]), 144);
        assert_eq!(removals_end(&[removal(80), Row { offset: 112, ..put }]), 112);
    }
}
