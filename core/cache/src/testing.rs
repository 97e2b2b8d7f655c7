//! Header fields as tests write them. It is not part of the crate outside its tests.

use http::{HeaderMap, HeaderName};

/// Fields from `name: value` lines with `|` between them.
pub(crate) fn headers(text: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in text.split('|').filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").expect("a field has a value");
        let name = HeaderName::try_from(name).expect("a field name");
        headers.append(name, value.parse().expect("a test has valid values"));
    }
    headers
}
