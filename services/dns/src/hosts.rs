//! The host names of sites that stand in no zone held here. Each is a little zone of its own, as it
//! was delegated to us; there may be a million. So they are kept as octets one behind another with
//! a table of where each begins, and a zone is made of one when it is needed.

use std::{fmt, hash::BuildHasher as _, sync::Arc};

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use headroom_units::SiteId;

use crate::{Zone, message::Name, names::ApexRecords};

/// The little zones of a plan's hosts.
#[derive(Debug, Clone)]
pub(crate) struct Hosts {
    names: Arc<HostNames>,
    /// The sites in the order of their numbers, which is that of the plan.
    sites: Arc<[SiteId]>,
    records: ApexRecords,
}

/// Host names, each of the site with this number.
#[derive(Default)]
pub(crate) struct HostNames {
    /// The names in lower case, as they stand on the wire.
    octets: Vec<u8>,
    places: HashTable<Place>,
    hasher: RandomState,
}

#[derive(Clone, Copy)]
struct Place {
    at: u32,
    site: u32,
}

impl Hosts {
    /// The little zones of these names, which have `records` each.
    pub(crate) fn new(
        names: Arc<HostNames>,
        sites: impl Iterator<Item = SiteId>,
        records: ApexRecords,
    ) -> Self {
        Self { names, sites: sites.collect(), records }
    }

    /// The names alone.
    pub(crate) fn names(&self) -> &Arc<HostNames> {
        &self.names
    }

    /// The sites in the order of their numbers.
    pub(crate) fn sites(&self) -> &Arc<[SiteId]> {
        &self.sites
    }

    /// The zone of this name, if it is a host of a site.
    pub(crate) fn zone(&self, name: &Name) -> Option<Arc<Zone>> {
        if self.names.places.is_empty() {
            return None;
        }
        let site = self.names.site(&name.as_slice().to_ascii_lowercase())?;
        let site = self.sites.get(usize::try_from(site).ok()?)?;
        let mut zone = self.records.zone(name).assumed();
        zone.steer(name, site.clone()).ok()?;
        Some(Arc::new(zone))
    }
}

impl HostNames {
    /// Lets a site decide the addresses of a name. False if there is no room for it.
    pub(crate) fn insert(&mut self, name: &Name, site: u32) -> bool {
        let name = name.as_slice().to_ascii_lowercase();
        let hash = self.hasher.hash_one(&name[..]);
        let (octets, hasher) = (&self.octets, &self.hasher);
        if let Some(held) = self.places.find_mut(hash, |place| is_at(octets, *place, &name)) {
            held.site = site;
            return true;
        }
        let Ok(at) = u32::try_from(octets.len()) else { return false };
        let rehash = |place: &Place| hasher.hash_one(name_at(octets, *place));
        self.places.insert_unique(hash, Place { at, site }, rehash);
        self.octets.extend_from_slice(&name);
        true
    }

    /// Gives back what was taken in advance.
    pub(crate) fn shrink(&mut self) {
        let (octets, hasher) = (&self.octets, &self.hasher);
        self.places.shrink_to_fit(|place| hasher.hash_one(name_at(octets, *place)));
        self.octets.shrink_to_fit();
    }

    /// The number of the site that a name belongs to; the name in lower case, as on the wire.
    pub(crate) fn site(&self, name: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(name);
        self.places.find(hash, |place| is_at(&self.octets, *place, name)).map(|place| place.site)
    }

    /// The names, with the numbers of their sites.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Name, u32)> {
        self.places.iter().filter_map(|place| {
            let name = name_at(&self.octets, *place).to_vec();
            Some((Name::from_octets(name.into()).ok()?, place.site))
        })
    }
}

impl fmt::Debug for HostNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostNames").field("names", &self.places.len()).finish_non_exhaustive()
    }
}

/// Whether this name stands there: a name ends with the root's label, so that none is the beginning
/// of another.
fn is_at(octets: &[u8], place: Place, name: &[u8]) -> bool {
    from(octets, place).starts_with(name)
}

fn name_at(octets: &[u8], place: Place) -> &[u8] {
    let rest = from(octets, place);
    let mut end = 0;
    while let Some(label) = rest.get(end) {
        end += 1 + usize::from(*label);
        if *label == 0 {
            break;
        }
    }
    &rest[..end.min(rest.len())]
}

fn from(octets: &[u8], place: Place) -> &[u8] {
    usize::try_from(place.at).ok().and_then(|at| octets.get(at..)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        Name::bytes_from_str(text).unwrap()
    }

    fn of_names(names: &[(String, u32)]) -> HostNames {
        let mut hosts = HostNames::default();
        for (text, site) in names {
            assert!(hosts.insert(&name(text), *site));
        }
        hosts.shrink();
        hosts
    }

    #[test]
    fn a_name_is_found_in_any_case_and_its_neighbours_are_not() {
        let hosts = of_names(&[("Www.Shop.example".to_owned(), 3), ("shop.example".to_owned(), 4)]);
        let site = |text: &str| hosts.site(&name(text).as_slice().to_ascii_lowercase());
        assert_eq!(site("wWw.shop.example"), Some(3));
        assert_eq!(site("shop.example"), Some(4));
        for absent in ["example", "ww.shop.example", "a.www.shop.example", "www.shop.exampl"] {
            assert_eq!(site(absent), None, "{absent}");
        }
        assert_eq!(hosts.site(b""), None);
    }

    proptest! {
        #[test]
        fn it_holds_what_a_map_would(
            names in prop::collection::vec(("[a-c]{1,3}(\\.[a-c]{1,2}){0,2}", 0u32..9), 0..200),
        ) {
            let hosts = of_names(&names);
            let map: HashMap<_, _> = names.iter().cloned().collect();
            let held: HashMap<_, _> =
                hosts.iter().map(|(name, site)| (name.to_string(), site)).collect();
            prop_assert_eq!(&held, &map);
            for (text, site) in &map {
                prop_assert_eq!(hosts.site(name(text).as_slice()), Some(*site));
            }
        }
    }
}
