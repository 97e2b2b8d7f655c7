//! Knows what a right answer of a signed zone looks like (RFC 4035 §5), and not how it is found: it has
//! the key set, the question and the octets of the answer.

pub(crate) mod nsec3;

use std::cmp::Ordering;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use domain::{
    base::{
        Message, Rtype,
        iana::Rcode,
        name::{FlattenInto as _, ToLabelIter as _},
        rdata::ComposeRecordData as _,
    },
    rdata::{Dnskey, Nsec, Rrsig},
};

use crate::message::{Data, Name, Record};

type Signature = Rrsig<bytes::Bytes, Name>;

/// A validator of one zone.
pub(crate) struct Checker {
    pub(crate) apex: Name,
    pub(crate) keys: Vec<Dnskey<bytes::Bytes>>,
    /// The seconds since the epoch.
    pub(crate) now: u32,
}

/// One set of records with its signatures.
#[derive(Debug)]
struct Set {
    owner: Name,
    rtype: Rtype,
    ttl: u32,
    data: Vec<Data>,
    signatures: Vec<(u32, Signature)>,
    is_answer: bool,
}

/// What a message says, set by set.
struct Said {
    rcode: Rcode,
    authoritative: bool,
    sets: Vec<Set>,
}

impl Checker {
    /// The same where one signature of each set is enough, as a validator may not know all keys.
    pub(crate) fn check_by_any(
        &self,
        name: &Name,
        rtype: Rtype,
        reply: &[u8],
    ) -> Result<(), String> {
        let said = read(reply);
        for set in &said.sets {
            let mut results =
                set.signatures.iter().map(|(_, signature)| self.verify(set, signature));
            if !results.any(|result| result.is_ok()) {
                return Err(format!("nothing that is known signs {} {}", set.owner, set.rtype));
            }
        }
        self.check_way(name, rtype, &said)
    }

    /// Whether who validates has what it needs; why not, if not.
    pub(crate) fn check(&self, name: &Name, rtype: Rtype, reply: &[u8]) -> Result<(), String> {
        self.check_sets(reply)?;
        let said = read(reply);
        if said.rcode == Rcode::NOERROR && said.sets.is_empty() {
            return Err("nothing is said".to_owned());
        }
        self.check_way(name, rtype, &said)
    }

    /// Whether all that is said of this zone is signed.
    pub(crate) fn check_sets(&self, reply: &[u8]) -> Result<(), String> {
        let said = read(reply);
        said.sets.iter().try_for_each(|set| self.check_set(set, &said))
    }

    fn check_set(&self, set: &Set, said: &Said) -> Result<(), String> {
        let is_ours = set.owner.ends_with(&self.apex);
        let is_cut = set.rtype == Rtype::NS && set.owner != self.apex;
        let is_renamed = |other: &Set| {
            other.rtype == Rtype::DNAME
                && set.owner != other.owner
                && set.owner.ends_with(&other.owner)
        };
        let is_synthetic = set.rtype == Rtype::CNAME && said.sets.iter().any(is_renamed);
        if !is_ours {
            return Ok(());
        }
        if is_cut || is_synthetic {
            let what = format!("{} {} is signed", set.owner, set.rtype);
            return if set.signatures.is_empty() { Ok(()) } else { Err(what) };
        }
        if set.signatures.is_empty() {
            return Err(format!("{} {} is not signed", set.owner, set.rtype));
        }
        for (ttl, signature) in &set.signatures {
            if *ttl != set.ttl {
                return Err(format!(
                    "the signature of {} {} has another TTL",
                    set.owner, set.rtype
                ));
            }
            self.verify(set, signature)?;
            if labels(&set.owner) > signature.labels() {
                self.check_expansion(set, signature.labels(), said)?;
            }
        }
        Ok(())
    }

    /// RFC 4035 §5.3.
    fn verify(&self, set: &Set, signature: &Signature) -> Result<(), String> {
        let what = format!("{} {}", set.owner, set.rtype);
        let (from, until) = (signature.inception().into_int(), signature.expiration().into_int());
        if !(from <= self.now && self.now <= until) {
            return Err(format!("{what}: {} is not from {from} to {until}", self.now));
        }
        if *signature.signer_name() != self.apex || labels(&set.owner) < signature.labels() {
            return Err(format!("{what}: signed by another, or with too many labels"));
        }
        if set.ttl > signature.original_ttl().as_secs() {
            return Err(format!("{what}: its TTL was raised"));
        }
        let mut octets = Vec::new();
        octets.extend(signature.type_covered().to_int().to_be_bytes());
        octets.extend([signature.algorithm().to_int(), signature.labels()]);
        octets.extend(signature.original_ttl().as_secs().to_be_bytes());
        octets.extend(until.to_be_bytes());
        octets.extend(from.to_be_bytes());
        octets.extend(signature.key_tag().to_be_bytes());
        octets.extend(lower(signature.signer_name().as_slice()));
        let mut data: Vec<Vec<u8>> = set.data.iter().map(canonical_data).collect();
        data.sort();
        let owner = ancestor(&set.owner, signature.labels());
        let is_star = set.owner.iter_labels().count() - 1 > usize::from(signature.labels());
        let star = if is_star { &b"\x01*"[..] } else { b"" };
        for data in data {
            octets.extend(star);
            octets.extend(lower(owner.as_slice()));
            octets.extend(set.rtype.to_int().to_be_bytes());
            octets.extend([0, 1]);
            octets.extend(signature.original_ttl().as_secs().to_be_bytes());
            octets.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            octets.extend(data);
        }
        let mut keys = self.keys.iter().filter(|key| key.key_tag() == signature.key_tag());
        let is_right = keys.any(|key| {
            let point = [&[4], &key.public_key()[..]].concat();
            let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
            key.verify(&octets, signature.signature()).is_ok()
        });
        if is_right { Ok(()) } else { Err(format!("{what}: no key made this signature")) }
    }

    /// RFC 4035 §5.3.4: the name itself does not exist.
    fn check_expansion(&self, set: &Set, kept: u8, said: &Said) -> Result<(), String> {
        if said.sets.iter().any(|set| set.rtype == Rtype::NSEC3) {
            // That is looked over apart.
            return Ok(());
        }
        let next_closer = ancestor(&set.owner, kept + 1);
        let is_shown = said.nsecs().any(|(owner, nsec)| {
            self.covers(owner, nsec, &set.owner) && self.covers(owner, nsec, &next_closer)
        });
        let what = || format!("nothing shows that {next_closer} does not exist");
        if is_shown { Ok(()) } else { Err(what()) }
    }

    /// Goes from the question to the end of the answer.
    fn check_way(&self, name: &Name, rtype: Rtype, said: &Said) -> Result<(), String> {
        let (mut name, mut is_followed) = (name.clone(), false);
        for _ in 0..20 {
            if !name.ends_with(&self.apex) || said.answer(&name, rtype).is_some() {
                return Ok(());
            }
            if rtype == Rtype::ANY && said.sets.iter().any(|set| set.owner == name) {
                return Ok(());
            }
            match said.answer(&name, Rtype::CNAME).and_then(|set| set.data.first()) {
                Some(Data::Cname(cname)) if rtype != Rtype::CNAME => {
                    (name, is_followed) = (cname.cname().clone(), true);
                }
                // What follows an alias may be left to who asks.
                _ if is_followed && !said.ends() => return Ok(()),
                _ => return self.check_end(&name, rtype, said),
            }
        }
        // A chain that is cut off, or loops, is left to who asks.
        Ok(())
    }

    fn check_end(&self, name: &Name, rtype: Rtype, said: &Said) -> Result<(), String> {
        let has = |owner: &Name, rtype| {
            said.sets.iter().any(|set| set.owner == *owner && set.rtype == rtype)
        };
        let cut = said.sets.iter().find(|set| set.rtype == Rtype::NS && set.owner != self.apex);
        if let Some(cut) = cut.filter(|cut| name.ends_with(&cut.owner)) {
            let is_insecure = said.nsecs().any(|(owner, nsec)| {
                let has = |rtype| nsec.types().contains(rtype);
                *owner == cut.owner && has(Rtype::NS) && !has(Rtype::DS) && !has(Rtype::SOA)
            });
            let is_known = !said.authoritative && (is_insecure != has(&cut.owner, Rtype::DS));
            return if is_known { Ok(()) } else { Err(format!("is {} signed?", cut.owner)) };
        }
        if !has(&self.apex, Rtype::SOA) {
            return Err(format!("{name} {rtype} is denied without a SOA record"));
        }
        match said.rcode {
            Rcode::NXDOMAIN => self.check_no_name(name, said),
            _ => self.check_no_type(name, rtype, said),
        }
    }

    /// RFC 4035 §5.4, first and third: neither the name nor a wildcard for it.
    fn check_no_name(&self, name: &Name, said: &Said) -> Result<(), String> {
        let encloser = self.encloser(name, said)?;
        let star: Name = format!("*.{encloser}").parse().unwrap();
        match said.nsecs().any(|(owner, nsec)| self.covers(owner, nsec, &star)) {
            true => Ok(()),
            false => Err(format!("nothing shows that {star} does not exist")),
        }
    }

    fn check_no_type(&self, name: &Name, rtype: Rtype, said: &Said) -> Result<(), String> {
        let lacks = |owner: &Name| {
            said.nsecs().find(|(held, _)| *held == owner).map(|(_, nsec)| {
                let has = |rtype| nsec.types().contains(rtype);
                let is_cut = has(Rtype::NS) && !has(Rtype::SOA);
                !has(rtype) && !has(Rtype::CNAME) && (!is_cut || rtype == Rtype::DS)
            })
        };
        // A name without records is there if the next one is below it.
        let is_empty = |name: &Name| {
            said.nsecs().any(|(owner, nsec)| {
                let next = nsec.next_name();
                is_between(owner, name, next, &self.apex) && next != name && next.ends_with(name)
            })
        };
        let is_right = match lacks(name) {
            Some(lacks) => lacks,
            None if is_empty(name) => true,
            None => {
                let star = format!("*.{}", self.encloser(name, said)?).parse().unwrap();
                lacks(&star) == Some(true) || is_empty(&star)
            }
        };
        if is_right { Ok(()) } else { Err(format!("nothing shows that {name} has no {rtype}")) }
    }

    /// The closest name above that exists, by the record that shows that the name does not.
    fn encloser(&self, name: &Name, said: &Said) -> Result<Name, String> {
        let covering = said.nsecs().find(|(owner, nsec)| self.covers(owner, nsec, name));
        let (owner, nsec) = covering.ok_or(format!("nothing shows that {name} does not exist"))?;
        let common = |other: &Name| {
            (0..=labels(name)).rev().find(|n| other.ends_with(&ancestor(name, *n))).unwrap()
        };
        Ok(ancestor(name, common(owner).max(common(nsec.next_name()))))
    }

    /// Whether an NSEC record shows that a name does not exist.
    fn covers(&self, owner: &Name, nsec: &Nsec<bytes::Bytes, Name>, name: &Name) -> bool {
        let has = |rtype| nsec.types().contains(rtype);
        // RFC 6840 §4.1: what stands above a cut or a DNAME knows nothing of what is below.
        let is_end = (has(Rtype::NS) && !has(Rtype::SOA)) || has(Rtype::DNAME);
        let is_above = name.ends_with(owner) && is_end;
        let next = nsec.next_name();
        !is_above && is_between(owner, name, next, &self.apex) && !next.ends_with(name)
    }
}

impl Said {
    fn answer(&self, name: &Name, rtype: Rtype) -> Option<&Set> {
        self.sets.iter().find(|set| set.is_answer && set.owner == *name && set.rtype == rtype)
    }

    /// Whether it says how the way ends: with a denial or a referral.
    fn ends(&self) -> bool {
        let says = |set: &Set| !set.is_answer && matches!(set.rtype, Rtype::SOA | Rtype::NS);
        self.rcode != Rcode::NOERROR || self.sets.iter().any(says)
    }

    fn nsecs(&self) -> impl Iterator<Item = (&Name, &Nsec<bytes::Bytes, Name>)> {
        self.sets.iter().flat_map(|set| {
            set.data.iter().filter_map(|data| match data {
                Data::Nsec(nsec) => Some((&set.owner, nsec)),
                _ => None,
            })
        })
    }
}

fn is_between(owner: &Name, name: &Name, next: &Name, apex: &Name) -> bool {
    compare(owner, name) == Ordering::Less
        && (compare(name, next) == Ordering::Less || next == apex)
}

/// RFC 4034 §6.1, from the last label to the first.
fn compare(one: &Name, other: &Name) -> Ordering {
    let reversed = |name: &Name| {
        let labels = name.iter_labels().map(|label| label.as_slice().to_ascii_lowercase());
        let mut labels: Vec<Vec<u8>> = labels.collect();
        labels.reverse();
        labels
    };
    reversed(one).cmp(&reversed(other))
}

/// RFC 4034 §3.1.3: without the root and an asterisk.
fn labels(name: &Name) -> u8 {
    let all = name.iter_labels().filter(|label| !label.is_root());
    let stars = usize::from(name.as_slice().starts_with(b"\x01*"));
    u8::try_from(all.count() - stars).unwrap()
}

/// The last `count` labels of a name.
fn ancestor(name: &Name, count: u8) -> Name {
    let mut name = name.clone();
    while name.iter_labels().count() - 1 > usize::from(count) {
        name = name.parent().unwrap();
    }
    name
}

fn lower(octets: &[u8]) -> Vec<u8> {
    octets.to_ascii_lowercase()
}

fn canonical_data(data: &Data) -> Vec<u8> {
    let mut octets = Vec::new();
    let Ok(()) = data.compose_canonical_rdata(&mut octets);
    octets
}

fn read(reply: &[u8]) -> Said {
    let message = Message::from_octets(bytes::Bytes::copy_from_slice(reply)).unwrap();
    let mut said = Said {
        rcode: message.header().rcode(),
        authoritative: message.header().aa(),
        sets: Vec::new(),
    };
    assert!(!message.header().tc(), "cut off");
    let sections = [(true, message.answer().unwrap()), (false, message.authority().unwrap())];
    let mut signatures = Vec::new();
    for (is_answer, section) in sections {
        for record in section.map(Result::unwrap) {
            let record = record.into_record::<Data0>().unwrap().unwrap();
            let record: Record = record.flatten_into();
            let (owner, rtype, ttl) =
                (record.owner().clone(), record.rtype(), record.ttl().as_secs());
            if let Data::Rrsig(signature) = record.data() {
                signatures.push((owner, ttl, signature.clone(), is_answer));
                continue;
            }
            let data = record.data().clone();
            let held = said
                .sets
                .iter_mut()
                .find(|set| set.owner == owner && set.rtype == rtype && set.is_answer == is_answer);
            match held {
                Some(set) => set.data.push(data),
                None => said.sets.push(Set {
                    owner,
                    rtype,
                    ttl,
                    data: vec![data],
                    signatures: Vec::new(),
                    is_answer,
                }),
            }
        }
    }
    for (owner, ttl, signature, is_answer) in signatures {
        let covered = signature.type_covered();
        let set = said
            .sets
            .iter_mut()
            .find(|set| set.owner == owner && set.rtype == covered && set.is_answer == is_answer);
        set.expect("a signature of something that is there").signatures.push((ttl, signature));
    }
    said
}

type Data0 = domain::rdata::ZoneRecordData<bytes::Bytes, domain::base::ParsedName<bytes::Bytes>>;
