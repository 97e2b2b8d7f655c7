//! Signatures of sets of records (RFC 4034 §3): made, or taken over from an earlier table. Pure, but
//! for the random numbers of a signature.

use std::{sync::Arc, time::Duration};

use domain::{
    base::{Rtype, Ttl, iana::Class, name::ToName as _, rdata::ComposeRecordData as _},
    rdata::dnssec::{ProtoRrsig, Timestamp as SignatureTime},
};
use headroom_units::Timestamp;

use super::{KeyError, ZoneKey};
use crate::{
    limits,
    message::{Data, Name},
};

/// Signs what stands in one zone, at one moment, and tells what it did.
#[derive(Debug)]
pub(super) struct RrsetSigner<'s> {
    apex: &'s Name,
    keys: &'s [Arc<ZoneKey>],
    now: Timestamp,
    validity: Duration,
    /// How many signatures were made, and not taken over.
    pub(super) made: usize,
    /// When the first of all has to be renewed.
    pub(super) due: Timestamp,
}

impl<'s> RrsetSigner<'s> {
    pub(super) fn new(
        apex: &'s Name,
        keys: &'s [Arc<ZoneKey>],
        validity: Duration,
        now: Timestamp,
    ) -> Self {
        Self { apex, keys, now, validity, made: 0, due: Timestamp::MAX }
    }

    /// The signatures of a set, one by each key. `held` are those that the same records had before.
    pub(super) fn sign(
        &mut self,
        owner: &Name,
        rtype: Rtype,
        ttl: u32,
        data: &[Data],
        held: &[Data],
    ) -> Result<Vec<Data>, KeyError> {
        let keys = self.keys;
        let mut octets = None;
        let mut signatures = Vec::with_capacity(keys.len());
        for key in keys {
            if let Some((kept, due)) = held.iter().find_map(|data| self.keep(key, rtype, ttl, data))
            {
                signatures.push(kept);
                self.due = self.due.min(due);
                continue;
            }
            let octets = octets.get_or_insert_with(|| canonical(owner, rtype, ttl, data));
            signatures.push(self.make(key, owner, rtype, ttl, octets)?);
        }
        Ok(signatures)
    }

    /// An earlier signature and when it is due, if it is by this key and not due yet.
    fn keep(
        &self,
        key: &ZoneKey,
        rtype: Rtype,
        ttl: u32,
        data: &Data,
    ) -> Option<(Data, Timestamp)> {
        let Data::Rrsig(rrsig) = data else { return None };
        let is_its_own = rrsig.key_tag() == key.tag()
            && rrsig.type_covered() == rtype
            && rrsig.original_ttl().as_secs() == ttl;
        if !is_its_own {
            return None;
        }
        let left = rrsig.expiration().into_int().wrapping_sub(seconds_of(self.now));
        // RFC 4034 §3.1.5: an expiration is at most half the circle of times ahead, or over.
        let left = Duration::from_secs(i32::try_from(left).map_or(0, i32::unsigned_abs).into());
        let due = self.now.after(left).before(self.validity / limits::SIGNATURE_RENEWED_PARTS);
        (due > self.now).then(|| (data.clone(), due))
    }

    fn make(
        &mut self,
        key: &ZoneKey,
        owner: &Name,
        rtype: Rtype,
        ttl: u32,
        octets: &[u8],
    ) -> Result<Data, KeyError> {
        let expiration = self.now.after(self.validity - self.jitter(owner, rtype));
        let rrsig = ProtoRrsig::new(
            rtype,
            key.dnskey().algorithm(),
            owner.rrsig_label_count(),
            Ttl::from_secs(ttl),
            SignatureTime::from(seconds_of(expiration)),
            SignatureTime::from(seconds_of(self.now.before(limits::SIGNATURE_INCEPTION))),
            key.tag(),
            self.apex.to_canonical_name(),
        );
        let mut signed = Vec::with_capacity(octets.len() + 64);
        let Ok(()) = rrsig.compose_canonical(&mut signed);
        signed.extend_from_slice(octets);
        self.made += 1;
        let due = expiration.before(self.validity / limits::SIGNATURE_RENEWED_PARTS);
        self.due = self.due.min(due);
        let rrsig = rrsig.into_rrsig(key.sign(&signed)?).map_err(|_| KeyError::Length)?;
        Ok(Data::Rrsig(rrsig))
    }

    /// How much earlier than others a set's signature expires, so that not all are renewed at once.
    fn jitter(&self, owner: &Name, rtype: Rtype) -> Duration {
        // FNV-1a: it only has to spread.
        let octets = owner.as_slice().iter().map(u8::to_ascii_lowercase);
        let hash =
            octets.chain(rtype.to_int().to_be_bytes()).fold(0x811c_9dc5_u32, |hash, octet| {
                (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193)
            });
        let whole = (self.validity / limits::SIGNATURE_JITTER_PARTS).as_secs();
        Duration::from_secs((whole * u64::from(hash >> 16)) >> 16)
    }
}

/// A moment as signatures tell it: it wraps as RFC 4034 §3.1.5 wants it.
fn seconds_of(moment: Timestamp) -> u32 {
    let wrapped = moment.seconds() & u64::from(u32::MAX);
    u32::try_from(wrapped).expect("cut to 32 bits")
}

/// A set in the form and order that is signed (RFC 4034 §6, RFC 6840 §5.1).
fn canonical(owner: &Name, rtype: Rtype, ttl: u32, data: &[Data]) -> Vec<u8> {
    let mut rdata: Vec<Vec<u8>> = data
        .iter()
        .map(|data| {
            let mut octets = Vec::new();
            let Ok(()) = data.compose_canonical_rdata(&mut octets);
            octets
        })
        .collect();
    rdata.sort();
    rdata.dedup();
    let mut octets = Vec::new();
    for rdata in rdata {
        let Ok(()) = owner.compose_canonical(&mut octets);
        let Ok(()) = rtype.compose(&mut octets);
        let Ok(()) = Class::IN.compose(&mut octets);
        octets.extend_from_slice(&ttl.to_be_bytes());
        let length =
            u16::try_from(rdata.len()).expect("the data of a record are that long at most");
        octets.extend_from_slice(&length.to_be_bytes());
        octets.extend_from_slice(&rdata);
    }
    octets
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    use domain::utils::base64;

    use super::*;
    use crate::{Zone, dnssec::KeyTimes};

    const DAY: u64 = 86_400;

    /// RFC 6605 §6.1: the key, the record and its signature.
    #[test]
    fn the_signature_of_the_standard_is_over_the_same_octets() {
        let decode = |text: &str| base64::decode::<Vec<u8>>(text).unwrap();
        let public = decode(
            "GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edbkrSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQLc8NAA==",
        );
        let signature = decode(
            "qx6wLYqmh+l9oCKTN6qIc+bw6ya+KJ8oMz0YP107epXAyGmt+3SNruPFKG7tZoLBLlUzGGus7ZwmwWep666VCw==",
        );
        let owner: Name = "www.example.net".parse().unwrap();
        let zone =
            "$ORIGIN example.net.\n@ 60 SOA ns a 1 2 3 4 5\n@ 60 NS ns\nWWW 3600 A 192.0.2.1";
        let zone = Zone::parse(zone).unwrap();
        let data = &zone.node(&owner).unwrap().set(Rtype::A).unwrap().data;
        let rrsig = ProtoRrsig::new(
            Rtype::A,
            domain::base::iana::SecurityAlgorithm::ECDSAP256SHA256,
            owner.rrsig_label_count(),
            Ttl::from_secs(3_600),
            "20100909100439".parse().unwrap(),
            "20100812100439".parse().unwrap(),
            55_648,
            "Example.net".parse::<Name>().unwrap(),
        );
        let mut signed = Vec::new();
        let Ok(()) = rrsig.compose_canonical(&mut signed);
        signed.extend(canonical(&owner, Rtype::A, 3_600, data));
        let point = [&[4], &public[..]].concat();
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point);
        key.verify(&signed, &signature).unwrap();
        signed[30] ^= 1;
        assert!(key.verify(&signed, &signature).is_err());
    }

    #[test]
    fn a_signature_is_taken_over_until_it_is_due() {
        let apex: Name = "shop.example".parse().unwrap();
        let begin = Timestamp::from_seconds(1_000_000_000);
        let keys = [Arc::new(ZoneKey::generate(apex.clone(), KeyTimes::first(begin)).unwrap())];
        let data = [Data::A(domain::rdata::A::from_octets(192, 0, 2, 1))];
        let validity = Duration::from_secs(16 * DAY);
        let sign = |rtype, ttl, held: &[Data], day: u64| {
            let now = begin.after(Duration::from_secs(day * DAY));
            let mut signer = RrsetSigner::new(&apex, &keys, validity, now);
            let signatures = signer.sign(&apex, rtype, ttl, &data, held).unwrap();
            (signatures, signer.made, signer.due)
        };
        let (held, made, due) = sign(Rtype::A, 60, &[], 0);
        assert_eq!(made, 1);
        let due = due.since(begin).as_secs();
        assert!((10 * DAY..=12 * DAY).contains(&due), "due after {due} s");
        assert_eq!(sign(Rtype::A, 60, &held, 9).0, held);
        assert_eq!(sign(Rtype::A, 60, &held, 12).1, 1, "it is due");
        assert_eq!(sign(Rtype::A, 61, &held, 1).1, 1, "the TTL is another");
        assert_eq!(sign(Rtype::AAAA, 60, &held, 1).1, 1, "the type is another");
        assert_eq!(sign(Rtype::A, 60, &held, 30).1, 1, "it is over");
        let Data::Rrsig(rrsig) = &held[0] else { panic!("a signature") };
        assert_eq!(rrsig.inception().into_int(), 1_000_000_000 - 3_600);
        assert_eq!(rrsig.labels(), 2);
    }
}
