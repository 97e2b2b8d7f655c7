//! What a decision is answered with where zones are signed: the records that a name gives by itself,
//! their signatures, and what is behind an alias. The signatures are of one name alone; all else is
//! the same for all names of a site. Pure.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use domain::base::{Rtype, iana::Class, rdata::ComposeRecordData as _};
use foldhash::quality::RandomState;

use super::{QUESTION, Template, write_record};
use crate::{
    dnssec::Variant,
    message::{Data, Name, Record, Reply},
};

/// Numbers for the sets of records that steered names may give; one is given when a set is first met.
#[derive(Debug, Default)]
pub(crate) struct SetNumbers(Mutex<HashMap<Box<[u8]>, u32, RandomState>>);

/// An answer without the signatures that its name has for it.
#[derive(Debug, Clone)]
pub(crate) struct Secure {
    /// The number of the set that the name gives by itself.
    set: u32,
    /// ANCOUNT and NSCOUNT.
    counts: [u16; 2],
    own: Template,
    behind: Template,
}

/// The signatures that one name has for the sets that it may give.
#[derive(Debug, Default)]
pub(crate) struct Signatures(Box<[(u32, Signed)]>);

/// The records with the signatures of one set.
#[derive(Debug)]
struct Signed {
    count: u16,
    records: Box<[u8]>,
}

/// Where the TTL stands in a record whose name is a pointer, and its length behind it.
const TTL_AT: usize = 6;
const LENGTH_AT: usize = 10;

impl SetNumbers {
    fn number<'d>(&self, rtype: Rtype, data: impl Iterator<Item = &'d Data>) -> Option<u32> {
        let octets = octets_of(rtype, data)?;
        let mut numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = u32::try_from(numbers.len()).ok()?;
        Some(*numbers.entry(octets).or_insert(next))
    }
}

/// What tells sets apart.
fn octets_of<'d>(rtype: Rtype, data: impl Iterator<Item = &'d Data>) -> Option<Box<[u8]>> {
    let mut octets = rtype.to_int().to_be_bytes().to_vec();
    for data in data {
        data.compose_len_rdata(&mut octets).ok()?;
    }
    Some(octets.into())
}

impl Secure {
    /// `reply`, which has signatures, as it is said to any name that is asked about.
    pub(super) fn of(question: &Name, reply: &Reply, numbers: &SetNumbers) -> Option<Self> {
        let rtype = reply.answer.first()?.rtype();
        let is_own = |record: &&Record| record.owner() == question && record.rtype() == rtype;
        let own: Vec<&Record> = reply.answer.iter().take_while(is_own).collect();
        let is_signature =
            |record: &&Record| record.owner() == question && record.rtype() == Rtype::RRSIG;
        let behind = reply.answer[own.len()..].iter().skip_while(is_signature);
        let behind: Vec<&Record> = behind.collect();
        let count = |length: usize| u16::try_from(length).ok();
        Some(Self {
            set: numbers.number(rtype, own.iter().map(|record| record.data()))?,
            counts: [count(own.len() + behind.len())?, count(reply.authority.len())?],
            own: records(question, &own, &[])?,
            behind: records(question, &behind, &reply.authority)?,
        })
    }

    /// Writes the records, those of the name beside their signatures, none of which may be cached
    /// longer than `ttl`. `begin` writes what stands before them, as soon as they are counted. `None`
    /// if the name has to have signatures, and has none for these.
    pub(crate) fn write(
        &self,
        signatures: Option<&Signatures>,
        ttl: u32,
        begin: impl FnOnce([u8; 4], &mut Vec<u8>),
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let signed = match signatures {
            Some(signatures) => Some(signatures.of_set(self.set)?),
            None => None,
        };
        let [answers, authorities] = self.counts;
        let answers = answers + signed.map_or(0, |signed| signed.count);
        let ([a, b], [c, d]) = (answers.to_be_bytes(), authorities.to_be_bytes());
        begin([a, b, c, d], out);
        self.own.write(ttl, out);
        if let Some(signed) = signed {
            signed.write(ttl, out);
        }
        self.behind.write(ttl, out);
        Some(())
    }
}

/// These records without counts; the TTLs of those of an authority section stay.
fn records(question: &Name, answer: &[&Record], authority: &[Record]) -> Option<Template> {
    let (mut records, mut ttls) = (Vec::new(), Vec::new());
    for record in answer {
        write_record(question, record, &mut records, &mut ttls)?;
    }
    for record in authority {
        write_record(question, record, &mut records, &mut Vec::new())?;
    }
    let (records, ttls) = (records.into(), ttls.into());
    Some(Template { counts: [0; 4], records, ttls, secure: None })
}

impl Signatures {
    /// Those of the variants that are given, and do not deny.
    pub(crate) fn of(variants: &[Variant], numbers: &SetNumbers) -> Self {
        let given = variants.iter().filter(|variant| variant.rtype != Rtype::NSEC);
        let number = |variant: &Variant| numbers.number(variant.rtype, variant.data.iter());
        let signed = |variant: &Variant| Some((number(variant)?, Signed::of(variant)?));
        let mut all: Vec<(u32, Signed)> = given.filter_map(signed).collect();
        all.sort_unstable_by_key(|(set, _)| *set);
        Self(all.into())
    }

    fn of_set(&self, set: u32) -> Option<&Signed> {
        let at = self.0.binary_search_by_key(&set, |(held, _)| *held).ok()?;
        self.0.get(at).map(|(_, signed)| signed)
    }
}

impl Signed {
    fn of(variant: &Variant) -> Option<Self> {
        let mut records = Vec::new();
        for data in &variant.signatures {
            records.extend_from_slice(&QUESTION);
            records.extend_from_slice(&Rtype::RRSIG.to_int().to_be_bytes());
            records.extend_from_slice(&Class::IN.to_int().to_be_bytes());
            records.extend_from_slice(&[0; 4]);
            data.compose_len_rdata(&mut records).ok()?;
        }
        let count = u16::try_from(variant.signatures.len()).ok()?;
        Some(Self { count, records: records.into() })
    }

    fn write(&self, ttl: u32, out: &mut Vec<u8>) {
        let mut at = out.len();
        out.extend_from_slice(&self.records);
        while let Some([high, low]) = out.get(at + LENGTH_AT..at + LENGTH_AT + 2) {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            out[at + TTL_AT..at + LENGTH_AT].copy_from_slice(&ttl.to_be_bytes());
            at += LENGTH_AT + 2 + length;
        }
    }
}
