//! What fields are referred to by: the static table (RFC 7541 Appendix A), and the dynamic one of
//! a connection (RFC 7541 §2.3.2).

use std::collections::VecDeque;

use crate::limits::H2_TABLE_BYTES_MAX;

/// What an entry counts beside its bytes (RFC 7541 §4.1).
pub(crate) const ENTRY_BYTES: usize = 32;

static STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// The index of the static entry that has this name, if it is one that responses have.
pub(super) fn index_of(name: &[u8]) -> Option<u8> {
    Some(match name {
        b"accept-ranges" => 18,
        b"access-control-allow-origin" => 20,
        b"age" => 21,
        b"allow" => 22,
        b"cache-control" => 24,
        b"content-disposition" => 25,
        b"content-encoding" => 26,
        b"content-language" => 27,
        b"content-length" => 28,
        b"content-location" => 29,
        b"content-range" => 30,
        b"content-type" => 31,
        b"date" => 33,
        b"etag" => 34,
        b"expires" => 36,
        b"last-modified" => 44,
        b"link" => 45,
        b"location" => 46,
        b"proxy-authenticate" => 48,
        b"refresh" => 52,
        b"retry-after" => 53,
        b"server" => 54,
        b"set-cookie" => 55,
        b"strict-transport-security" => 56,
        b"vary" => 59,
        b"via" => 60,
        b"www-authenticate" => 61,
        _ => return None,
    })
}

/// The fields that a visitor wants to refer to later. Without entries it holds no memory.
#[derive(Debug)]
pub(super) struct Table {
    /// The lengths of name and value, the oldest first.
    entries: VecDeque<(u16, u16)>,
    /// Names and values one behind the other.
    text: Vec<u8>,
    /// What the entries count in all, and may count.
    size: usize,
    max: usize,
}

impl Default for Table {
    fn default() -> Self {
        let (entries, text) = Default::default();
        Self { entries, text, size: 0, max: H2_TABLE_BYTES_MAX }
    }
}

impl Table {
    /// Name and value of an index of both tables (RFC 7541 §2.3.3).
    pub(super) fn get(&self, index: usize) -> Option<(&[u8], &[u8])> {
        let Some(back) = index.checked_sub(STATIC.len() + 1) else {
            let (name, value) = STATIC.get(index.checked_sub(1)?)?;
            return Some((name.as_bytes(), value.as_bytes()));
        };
        let found = self.entries.len().checked_sub(back + 1)?;
        let length = |&(name, value): &(u16, u16)| usize::from(name) + usize::from(value);
        let newer: usize = self.entries.range(found + 1..).map(length).sum();
        let entry = self.entries.get(found)?;
        let end = self.text.len() - newer;
        Some(self.text[end - length(entry)..end].split_at(entry.0.into()))
    }

    /// Takes in an entry; older ones give way to it (RFC 7541 §4.4).
    pub(super) fn insert(&mut self, name: &[u8], value: &[u8]) {
        let size = name.len() + value.len() + ENTRY_BYTES;
        self.shrink(self.max.saturating_sub(size));
        // What is larger than the table leaves it empty.
        if size <= self.max
            && let (Ok(named), Ok(valued)) = (name.len().try_into(), value.len().try_into())
        {
            self.entries.push_back((named, valued));
            self.text.extend_from_slice(name);
            self.text.extend_from_slice(value);
            self.size += size;
        }
    }

    /// Changes how large it may be (RFC 7541 §4.3). False if that is more than was allowed.
    pub(super) fn resize(&mut self, max: usize) -> bool {
        if max > H2_TABLE_BYTES_MAX {
            return false;
        }
        self.max = max;
        self.shrink(max);
        true
    }

    /// Drops the oldest entries until the rest counts no more than `size`.
    fn shrink(&mut self, size: usize) {
        let mut gone = 0;
        while self.size > size
            && let Some((name, value)) = self.entries.pop_front()
        {
            let length = usize::from(name) + usize::from(value);
            gone += length;
            self.size -= length + ENTRY_BYTES;
        }
        self.text.drain(..gone);
        if self.entries.is_empty() {
            (self.entries, self.text) = Default::default();
        }
    }

    /// How many bytes of memory it holds.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<(u16, u16)>() + self.text.capacity()
    }

    /// What its entries count in all, and the entries, the newest first.
    #[cfg(test)]
    pub(super) fn shown(&self) -> (usize, Vec<String>) {
        let entries = (0..self.entries.len()).map(|back| {
            let (name, value) = self.get(STATIC.len() + 1 + back).unwrap();
            format!("{}: {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
        });
        (self.size, entries.collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_found_in_the_static_table() {
        for (at, (name, _)) in STATIC.iter().enumerate() {
            if let Some(index) = index_of(name.as_bytes()) {
                assert_eq!(usize::from(index), at + 1, "{name}");
            }
        }
        assert_eq!(index_of(b"cache-status"), None);
    }

    #[test]
    fn a_table_without_entries_holds_no_memory() {
        let mut table = Table::default();
        assert_eq!(table.memory(), 0);
        table.insert(b"name", b"value");
        assert!(table.memory() > 0);
        assert!(table.resize(0));
        assert_eq!(table.memory(), 0);
        table.insert(b"name", b"value");
        assert_eq!(table.memory(), 0, "it does not fit");
        assert!(!table.resize(H2_TABLE_BYTES_MAX + 1));
    }

    /// Keeps the newest that fit.
    fn keep(all: &mut Vec<(Vec<u8>, Vec<u8>)>, max: usize) {
        let mut size = 0;
        let fits = all.iter().take_while(|(name, value)| {
            size += name.len() + value.len() + ENTRY_BYTES;
            size <= max
        });
        let fit = fits.count();
        all.truncate(fit);
    }

    proptest! {
        /// Against the simplest table there is.
        #[test]
        fn a_table_holds_the_newest_that_fit(
            steps in prop::collection::vec((0_usize..50, 0_usize..600, prop::option::weighted(0.1, 0_usize..4_097)), 0..80),
        ) {
            let (mut table, mut max) = (Table::default(), H2_TABLE_BYTES_MAX);
            let mut all: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
            for (index, (name, value, resize)) in steps.into_iter().enumerate() {
                let octet = u8::try_from(index).unwrap();
                let entry = (vec![octet; name], vec![octet; value]);
                table.insert(&entry.0, &entry.1);
                all.insert(0, entry);
                keep(&mut all, max);
                if let Some(resize) = resize {
                    max = resize;
                    prop_assert!(table.resize(max));
                    keep(&mut all, max);
                }
                for (back, (name, value)) in all.iter().enumerate() {
                    prop_assert!(table.get(62 + back) == Some((&name[..], &value[..])), "{}", back);
                }
                prop_assert!(table.get(62 + all.len()).is_none());
                prop_assert!(table.text.len() <= H2_TABLE_BYTES_MAX);
            }
        }
    }
}
