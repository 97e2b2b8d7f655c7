//! What shows that something is not there: the NSEC records of a zone in their order (RFC 4035
//! §3.1.3), or the NSEC3 records of one that was transferred (RFC 5155 §7.2). Pure.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use domain::{
    base::{
        Rtype,
        name::{ToLabelIter as _, ToName as _},
    },
    utils::base32,
};

use crate::{
    Zone, limits,
    message::{Data, Name},
    zone::wildcard,
};

/// The octets of a hashed name (RFC 5155 §11).
const HASH_LENGTH: usize = 20;
type Hash = [u8; HASH_LENGTH];
/// SHA-1, the one hash of NSEC3 (RFC 5155 §11).
const SHA1: u8 = 1;

/// The names in the order in which a zone says which comes next.
#[derive(Debug)]
pub(crate) enum Chain {
    /// Those that have NSEC records.
    Nsec(Vec<Name>),
    /// Those that have NSEC3 records.
    Nsec3 {
        /// By the hash in the name.
        owners: Vec<(Hash, Name)>,
        /// How often it is hashed once more.
        iterations: u16,
        /// What goes into the hash.
        salt: Vec<u8>,
    },
}

impl Chain {
    /// The chain of a zone's own records; none if the zone is not signed, or in a way that is not
    /// known here.
    pub(crate) fn of(zone: &Zone) -> Option<Self> {
        let apex = zone.node(zone.apex())?;
        apex.set(Rtype::RRSIG)?;
        if apex.set(Rtype::NSEC).is_some() {
            let has_next = zone.nodes().filter(|(_, node)| node.set(Rtype::NSEC).is_some());
            let mut owners: Vec<Name> = has_next.map(|(name, _)| name.clone()).collect();
            owners.sort();
            return Some(Self::Nsec(owners));
        }
        let Some(Data::Nsec3param(how)) = apex.set(Rtype::NSEC3PARAM)?.data.first() else {
            return None;
        };
        let iterations = how.iterations();
        if how.hash_algorithm().to_int() != SHA1 || iterations > limits::NSEC3_ITERATIONS_MAX {
            tracing::warn!(zone = %zone.apex(), iterations, "denials of the zone are not shown");
            return None;
        }
        let hashed = zone.nodes().filter(|(_, node)| node.set(Rtype::NSEC3).is_some());
        let mut owners: Vec<(Hash, Name)> =
            hashed.filter_map(|(name, _)| Some((hash_in(name)?, name.clone()))).collect();
        owners.sort();
        let salt = how.salt().as_slice().to_vec();
        (!owners.is_empty()).then_some(Self::Nsec3 { owners, iterations, salt })
    }

    /// The type of its records.
    pub(crate) fn rtype(&self) -> Rtype {
        match self {
            Self::Nsec(_) => Rtype::NSEC,
            Self::Nsec3 { .. } => Rtype::NSEC3,
        }
    }

    /// Whose records show that a name does not exist (RFC 4035 §3.1.3.2, RFC 5155 §7.2.2).
    pub(crate) fn no_name(&self, zone: &Zone, name: &Name) -> Vec<&Name> {
        match self {
            Self::Nsec(owners) => {
                let wildcard = wildcard(&zone.encloser(name));
                let asked = [Some(name), wildcard.as_ref()].into_iter().flatten();
                asked.filter_map(|name| before(owners, name)).collect()
            }
            Self::Nsec3 { .. } => {
                let (encloser, mut shown) = self.closest(zone, name);
                shown.extend(wildcard(&encloser).and_then(|name| self.covering(&name)));
                shown
            }
        }
    }

    /// Whose records show that a name has no records of a type: its own, or of a wildcard that
    /// stands for it (RFC 4035 §3.1.3.1 and §3.1.3.4, RFC 5155 §7.2.3 to §7.2.5).
    pub(crate) fn no_type(&self, zone: &Zone, name: &Name, is_expanded: bool) -> Vec<&Name> {
        match self {
            Self::Nsec(_) if is_expanded => self.no_name(zone, name),
            Self::Nsec(owners) => before(owners, name).into_iter().collect(),
            Self::Nsec3 { .. } if is_expanded => {
                let (encloser, mut shown) = self.closest(zone, name);
                shown.extend(wildcard(&encloser).and_then(|name| self.matching(&name)));
                shown
            }
            Self::Nsec3 { .. } => match self.matching(name) {
                Some(own) => vec![own],
                // An insecure delegation that was left out (RFC 5155 §6).
                None => self.closest(zone, name).1,
            },
        }
    }

    /// Whose records show that a wildcard stands for a name (RFC 4035 §3.1.3.3, RFC 5155 §7.2.6).
    pub(crate) fn expansion(&self, zone: &Zone, name: &Name) -> Vec<&Name> {
        match self {
            Self::Nsec(owners) => before(owners, name).into_iter().collect(),
            Self::Nsec3 { .. } => self.closest(zone, name).1.into_iter().skip(1).collect(),
        }
    }

    /// The nearest name above this one that has a record, and whose records show that it is the
    /// nearest: its own, and the one that covers the next name on the way down (RFC 5155 §7.2.1).
    fn closest(&self, zone: &Zone, name: &Name) -> (Name, Vec<&Name>) {
        let mut next = name.clone();
        while let Some(above) = next.parent().filter(|above| above.len() >= zone.apex().len()) {
            if let Some(own) = self.matching(&above) {
                return (above, [Some(own), self.covering(&next)].into_iter().flatten().collect());
            }
            next = above;
        }
        (zone.apex().clone(), Vec::new())
    }

    fn matching(&self, name: &Name) -> Option<&Name> {
        let (Self::Nsec3 { owners, .. }, hash) = (self, self.hash(name)?) else { return None };
        let at = owners.binary_search_by_key(&hash, |(held, _)| *held).ok()?;
        owners.get(at).map(|(_, owner)| owner)
    }

    fn covering(&self, name: &Name) -> Option<&Name> {
        let (Self::Nsec3 { owners, .. }, hash) = (self, self.hash(name)?) else { return None };
        let at = owners.partition_point(|(held, _)| *held <= hash);
        // The last one's next is the first one.
        owners.get(at.checked_sub(1).unwrap_or(owners.len() - 1)).map(|(_, owner)| owner)
    }

    fn hash(&self, name: &Name) -> Option<Hash> {
        let Self::Nsec3 { iterations, salt, .. } = self else { return None };
        let name: Name = name.to_canonical_name();
        let once = |octets: &[u8]| digest(&SHA1_FOR_LEGACY_USE_ONLY, &[octets, salt].concat());
        let first = once(name.as_slice());
        let hash = (0..*iterations).fold(first, |hash, _| once(hash.as_ref()));
        hash.as_ref().try_into().ok()
    }
}

/// The last of these that is not behind `name`.
fn before<'c>(owners: &'c [Name], name: &Name) -> Option<&'c Name> {
    owners.get(owners.partition_point(|owner| owner <= name).checked_sub(1)?)
}

/// The hash that a name begins with.
fn hash_in(name: &Name) -> Option<Hash> {
    let label = name.iter_labels().next()?.to_string().to_ascii_uppercase();
    base32::decode_hex::<Vec<u8>>(&label).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5155, appendix A: the hashes of names.
    #[test]
    fn names_are_hashed_as_in_the_standard() {
        let chain =
            Chain::Nsec3 { owners: Vec::new(), iterations: 12, salt: vec![0xaa, 0xbb, 0xcc, 0xdd] };
        for (name, hashed) in [
            ("example", "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom"),
            ("a.example", "35mthgpgcu1qg68fab165klnsnk3dpvl"),
            ("*.w.EXAMPLE", "r53bq7cc2uvmubfu5ocmm6pers9tk9en"),
        ] {
            let owner: Name = format!("{hashed}.example").parse().unwrap();
            assert_eq!(chain.hash(&name.parse().unwrap()), hash_in(&owner), "{name}");
        }
        assert_eq!(hash_in(&"www.example".parse().unwrap()), None);
    }
}
