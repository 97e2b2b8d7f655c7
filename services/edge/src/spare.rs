//! Maps of fields that are done with, kept by the thread for the next: a map of a dozen fields is
//! larger than what an allocator keeps at hand.

use std::cell::RefCell;

use http::HeaderMap;

use crate::limits;

thread_local! {
    static MAPS: RefCell<Vec<HeaderMap>> = const { RefCell::new(Vec::new()) };
}

/// An empty map with room for so many fields.
pub(crate) fn map(fields: usize) -> HeaderMap {
    match MAPS.with_borrow_mut(Vec::pop) {
        Some(mut map) => {
            map.reserve(fields);
            map
        }
        None => HeaderMap::with_capacity(fields),
    }
}

/// Takes a map back that nobody needs any more.
pub(crate) fn give_back(mut map: HeaderMap) {
    MAPS.with_borrow_mut(|maps| {
        let is_worth_it = (1..=limits::SPARE_MAP_FIELDS_MAX).contains(&map.capacity());
        if is_worth_it && maps.len() < limits::SPARE_MAPS_MAX {
            map.clear();
            maps.push(map);
        }
    });
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header::VARY};

    use super::*;

    #[test]
    fn a_map_comes_back_empty() {
        let mut used = map(9);
        let capacity = used.capacity();
        used.append(VARY, HeaderValue::from_static("a"));
        used.append(VARY, HeaderValue::from_static("b"));
        give_back(used);
        let again = map(3);
        assert!(again.is_empty() && again.get(VARY).is_none());
        assert_eq!(again.capacity(), capacity);
    }

    #[test]
    fn no_more_is_kept_than_is_worth_it() {
        give_back(HeaderMap::new());
        give_back(HeaderMap::with_capacity(limits::HEADERS_MAX));
        assert_eq!(MAPS.with_borrow(Vec::len), 0);
        (0..=limits::SPARE_MAPS_MAX).for_each(|_| give_back(HeaderMap::with_capacity(9)));
        assert_eq!(MAPS.with_borrow(Vec::len), limits::SPARE_MAPS_MAX);
    }
}
