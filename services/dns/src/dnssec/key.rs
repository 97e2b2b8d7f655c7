//! One key of a zone: what it signs with, what the zone says of it, and when.
//!
//! A key is both of a zone's keys in one (a CSK): it signs the records, and the parent's DS record
//! points to it. Algorithm 13 alone: ECDSA on P-256 with SHA-256 (RFC 6605). Pure, but for the random
//! numbers of a new key and of a signature.

use std::fmt;

use aws_lc_rs::{
    digest::{SHA256, digest},
    encoding::AsBigEndian as _,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use bytes::Bytes;
use domain::{
    base::{
        iana::{DigestAlgorithm, SecurityAlgorithm},
        name::ToName as _,
    },
    rdata::{Cdnskey, Cds, Dnskey, Ds},
};
use headroom_units::Timestamp;

use super::KeyError;
use crate::{limits, message::Name};

/// The flags of a key that signs a zone and that a DS record points to (RFC 4034 §2.1.1).
const ZONE_KEY_AND_ENTRY_POINT: u16 = 257;
/// The one protocol (RFC 4034 §2.1.2).
const PROTOCOL: u8 = 3;
/// What stands before the two halves of an uncompressed point (SEC 1 §2.3.3).
const UNCOMPRESSED: u8 = 4;
/// The octets of a public key in its record (RFC 6605 §4).
pub(super) const PUBLIC_LENGTH: usize = 64;
/// The octets of a private key.
pub(super) const PRIVATE_LENGTH: usize = 32;

/// When a key does what, in the words of BIND's key files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyTimes {
    /// When it was made.
    pub created: Timestamp,
    /// From then on it is in the zone and signs.
    pub publish: Timestamp,
    /// From then on the zone asks its parent for a DS record of it (RFC 7344).
    pub sync_publish: Option<Timestamp>,
    /// From then on the zone no longer asks for that.
    pub sync_delete: Option<Timestamp>,
    /// From then on the zone asks its parent to be insecure (RFC 8078 §4).
    pub withdraw: Option<Timestamp>,
    /// From then on it is not in the zone, if another one can stand for it.
    pub delete: Option<Timestamp>,
}

impl KeyTimes {
    /// Those of the first key of a zone.
    pub(super) fn first(now: Timestamp) -> Self {
        Self {
            created: now,
            publish: now,
            sync_publish: Some(now),
            sync_delete: None,
            withdraw: None,
            delete: None,
        }
    }

    /// What keys are ordered by: of two that were published in the same second, the parent is told of
    /// the first before the other.
    pub(super) fn order(&self) -> (Timestamp, Timestamp) {
        (self.publish, self.sync_publish.unwrap_or(self.publish))
    }

    /// Whether the zone asks its parent for a DS record of it.
    pub(super) fn is_synced(&self, now: Timestamp) -> bool {
        is_past(self.sync_publish, now) && !is_past(self.sync_delete, now)
    }

    /// Whether the zone asks its parent to be insecure.
    pub(super) fn is_withdrawn(&self, now: Timestamp) -> bool {
        is_past(self.withdraw, now)
    }

    /// Whether its time is over.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        is_past(self.delete, now)
    }

    /// All the moments at which something changes.
    pub(super) fn moments(&self) -> impl Iterator<Item = Timestamp> {
        let may_be = [self.sync_publish, self.sync_delete, self.withdraw, self.delete];
        may_be.into_iter().flatten().chain([self.publish])
    }
}

fn is_past(moment: Option<Timestamp>, now: Timestamp) -> bool {
    moment.is_some_and(|moment| moment <= now)
}

/// A key of one zone. Its private part is never shown.
pub struct ZoneKey {
    zone: Name,
    dnskey: Dnskey<Bytes>,
    tag: u16,
    pair: EcdsaKeyPair,
    /// When it does what.
    pub times: KeyTimes,
}

impl fmt::Debug for ZoneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ZoneKey({} {} {:?})", self.zone, self.tag, self.times)
    }
}

impl ZoneKey {
    /// A new key.
    pub(super) fn generate(zone: Name, times: KeyTimes) -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        Self::of(zone, pair.map_err(|_| KeyError::Crypto)?, times)
    }

    /// The key of these octets, which must belong together.
    pub(super) fn of_octets(
        zone: Name,
        private: &[u8],
        public: &[u8],
        times: KeyTimes,
    ) -> Result<Self, KeyError> {
        if private.len() != PRIVATE_LENGTH || public.len() != PUBLIC_LENGTH {
            return Err(KeyError::Length);
        }
        let point = [&[UNCOMPRESSED], public].concat();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = EcdsaKeyPair::from_private_key_and_public_key(algorithm, private, &point);
        Self::of(zone, pair.map_err(|_| KeyError::Mismatch)?, times)
    }

    fn of(zone: Name, pair: EcdsaKeyPair, times: KeyTimes) -> Result<Self, KeyError> {
        let public = pair.public_key().as_ref().get(1..).unwrap_or_default();
        let public = Bytes::copy_from_slice(public);
        let algorithm = SecurityAlgorithm::ECDSAP256SHA256;
        let dnskey = Dnskey::new(ZONE_KEY_AND_ENTRY_POINT, PROTOCOL, algorithm, public);
        let dnskey = dnskey.map_err(|_| KeyError::Length)?;
        let tag = dnskey.key_tag();
        Ok(Self { zone, dnskey, tag, pair, times })
    }

    /// The zone that it signs.
    pub(crate) fn zone(&self) -> &Name {
        &self.zone
    }

    /// The name of the zone that it signs.
    #[must_use]
    pub fn zone_name(&self) -> String {
        self.zone.to_string().to_ascii_lowercase()
    }

    /// By what records refer to it (RFC 4034, appendix B).
    #[must_use]
    pub fn tag(&self) -> u16 {
        self.tag
    }

    /// Its record in the zone.
    pub(crate) fn dnskey(&self) -> &Dnskey<Bytes> {
        &self.dnskey
    }

    /// The octets of its private part, for its file alone.
    pub(super) fn private_octets(&self) -> Result<Vec<u8>, KeyError> {
        let octets = self.pair.private_key().as_be_bytes().map_err(|_| KeyError::Crypto)?;
        Ok(octets.as_ref().to_vec())
    }

    /// Its record in the zone, as a line of a master file.
    #[must_use]
    pub fn dnskey_record(&self) -> String {
        format!("{}. {} IN DNSKEY {}", self.zone, limits::INFRASTRUCTURE_TTL, self.dnskey)
    }

    /// The record that its parent has of it, as a line of a master file.
    #[must_use]
    pub fn ds_record(&self) -> String {
        format!("{}. {} IN DS {}", self.zone, limits::INFRASTRUCTURE_TTL, self.ds())
    }

    /// The record that its parent has of it (RFC 4034 §5.1.4), with SHA-256 (RFC 4509).
    pub(crate) fn ds(&self) -> Ds<Bytes> {
        Ds::new(self.tag, self.dnskey.algorithm(), DigestAlgorithm::SHA256, self.digest())
            .expect("a digest is short")
    }

    /// What it asks its parent to have of it (RFC 7344 §3.1).
    pub(crate) fn cds(&self) -> Cds<Bytes> {
        Cds::new(self.tag, self.dnskey.algorithm(), DigestAlgorithm::SHA256, self.digest())
            .expect("a digest is short")
    }

    /// The same as a key (RFC 7344 §3.2).
    pub(crate) fn cdnskey(&self) -> Cdnskey<Bytes> {
        let (algorithm, public) = (self.dnskey.algorithm(), self.dnskey.public_key().clone());
        Cdnskey::new(self.dnskey.flags(), self.dnskey.protocol(), algorithm, public)
            .expect("a key is short")
    }

    fn digest(&self) -> Bytes {
        let owner: Name = self.zone.to_canonical_name();
        let key = self.dnskey.public_key();
        let mut octets = owner.as_slice().to_vec();
        octets.extend_from_slice(&self.dnskey.flags().to_be_bytes());
        octets.extend_from_slice(&[self.dnskey.protocol(), self.dnskey.algorithm().to_int()]);
        octets.extend_from_slice(key);
        Bytes::copy_from_slice(digest(&SHA256, &octets).as_ref())
    }

    /// The signature of `octets` (RFC 6605 §4).
    pub(super) fn sign(&self, octets: &[u8]) -> Result<Bytes, KeyError> {
        let signature = self.pair.sign(&SystemRandom::new(), octets);
        Ok(Bytes::copy_from_slice(signature.map_err(|_| KeyError::Crypto)?.as_ref()))
    }
}

/// What asks a parent to have no DS record any more (RFC 8078 §4).
pub(super) fn withdrawal() -> (Cds<Bytes>, Cdnskey<Bytes>) {
    let algorithm = SecurityAlgorithm::from_int(0);
    let zero = Bytes::from_static(&[0]);
    let cds = Cds::new(0, algorithm, DigestAlgorithm::from_int(0), zero.clone());
    let cdnskey = Cdnskey::new(0, PROTOCOL, algorithm, zero);
    (cds.expect("one octet is short"), cdnskey.expect("one octet is short"))
}

#[cfg(test)]
mod tests {
    use domain::utils::base64;

    use super::*;

    /// RFC 6605 §6.1.
    const PRIVATE: &str = "GU6SnQ/Ou+xC5RumuIUIuJZteXT2z0O/ok1s38Et6mQ=";
    const PUBLIC: &str = "GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edbkrSqQpF64cYbcB7wNcP+e\
                          +MAnLr+Wi9xMWyQLc8NAA==";

    fn example() -> ZoneKey {
        let octets = |text: &str| base64::decode::<Vec<u8>>(text).unwrap();
        let times = KeyTimes::first(Timestamp::EPOCH);
        let zone = "Example.NET".parse().unwrap();
        ZoneKey::of_octets(zone, &octets(PRIVATE), &octets(PUBLIC), times).unwrap()
    }

    #[test]
    fn the_key_of_the_standard_has_its_tag_and_its_ds_record() {
        let key = example();
        assert_eq!(key.tag(), 55648);
        assert_eq!(
            key.ds().to_string(),
            "55648 13 2 b4c8c1fe2e7477127b27115656ad6256f424625bf5c1e2770ce6d6e37df61d17"
        );
        assert_eq!(key.cds().to_string(), key.ds().to_string());
        assert_eq!(key.cdnskey().to_string(), key.dnskey().to_string());
        assert!(!format!("{key:?}").contains(&PRIVATE[..8]));
    }

    #[test]
    fn parts_that_do_not_belong_together_are_refused() {
        let (key, other) = (example(), ZoneKey::generate(Name::root(), example().times).unwrap());
        let private = key.private_octets().unwrap();
        let times = key.times;
        let build = |private: &[u8], public: &[u8]| {
            ZoneKey::of_octets(Name::root(), private, public, times).unwrap_err().to_string()
        };
        let public = other.dnskey().public_key();
        assert_eq!(
            build(&private, public),
            "its private and its public part do not belong together"
        );
        assert!(build(&private[1..], public).contains("32 octets"));
    }

    #[test]
    fn a_withdrawal_is_written_as_the_standard_says() {
        let (cds, cdnskey) = withdrawal();
        assert_eq!(cds.to_string(), "0 0 0 00");
        assert_eq!(cdnskey.to_string(), "0 3 0 AA==");
    }
}
