//! The same of a zone with NSEC3 records (RFC 5155 §8).

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use domain::{
    base::{Rtype, iana::Rcode},
    rdata::{Nsec3, nsec3::Nsec3Salt},
};

use super::{Data, Name, Said, ancestor, labels, lower, read};

type Record3 = Nsec3<bytes::Bytes>;

/// What the NSEC3 records of a message show.
struct Shown<'s> {
    apex: &'s Name,
    records: Vec<(Vec<u8>, &'s Record3)>,
}

/// Whether the records of a reply show what is not there; why not, if not.
pub(crate) fn check(apex: &Name, name: &Name, rtype: Rtype, reply: &[u8]) -> Result<(), String> {
    let said = read(reply);
    let shown = Shown::of(apex, &said);
    for set in &said.sets {
        for (_, signature) in &set.signatures {
            let next_closer = ancestor(&set.owner, signature.labels() + 1);
            if labels(&set.owner) > signature.labels() && shown.covering(&next_closer).is_none() {
                return Err(format!("nothing shows that {next_closer} does not exist"));
            }
        }
    }
    let has =
        |owner: &Name, rtype| said.sets.iter().any(|set| set.owner == *owner && set.rtype == rtype);
    let mut name = name.clone();
    while let Some(Data::Cname(cname)) =
        said.answer(&name, Rtype::CNAME).and_then(|set| set.data.first())
    {
        if rtype == Rtype::CNAME || !cname.cname().ends_with(apex) {
            return Ok(());
        }
        name = cname.cname().clone();
    }
    let cut =
        said.sets.iter().find(|set| !set.is_answer && set.rtype == Rtype::NS && set.owner != *apex);
    if said.answer(&name, rtype).is_some() {
        Ok(())
    } else if let Some(cut) = cut {
        let is_right = has(&cut.owner, Rtype::DS) != shown.is_insecure(&cut.owner);
        if is_right { Ok(()) } else { Err(format!("is {} signed?", cut.owner)) }
    } else if said.rcode == Rcode::NXDOMAIN {
        let (encloser, _) = shown.encloser(&name).ok_or("no closest encloser")?;
        let star = format!("*.{encloser}").parse().unwrap();
        shown.covering(&star).map(|_| ()).ok_or(format!("{star} may exist"))
    } else {
        let is_right = shown.lacks(&name, rtype).unwrap_or_else(|| {
            shown.encloser(&name).is_some_and(|(encloser, covering)| {
                let star = format!("*.{encloser}").parse().unwrap();
                shown.lacks(&star, rtype).unwrap_or(covering.opt_out() && rtype == Rtype::DS)
            })
        });
        if is_right { Ok(()) } else { Err(format!("{name} may have {rtype}")) }
    }
}

impl<'s> Shown<'s> {
    fn of(apex: &'s Name, said: &'s Said) -> Self {
        let of = |set: &'s super::Set| {
            set.data.iter().filter_map(|data| match data {
                Data::Nsec3(nsec3) => Some((base32(&set.owner), nsec3)),
                _ => None,
            })
        };
        Self { apex, records: said.sets.iter().flat_map(of).collect() }
    }

    fn matching(&self, name: &Name) -> Option<&Record3> {
        self.records.iter().find(|(own, nsec3)| *own == hash(name, nsec3)).map(|(_, nsec3)| *nsec3)
    }

    fn covering(&self, name: &Name) -> Option<&Record3> {
        let covers = |(own, nsec3): &&(Vec<u8>, &Record3)| {
            let (hash, next) = (hash(name, nsec3), nsec3.next_owner().as_slice().to_vec());
            let is_last = next <= *own;
            (*own < hash && (hash < next || is_last)) || (is_last && hash < next)
        };
        self.records.iter().find(covers).map(|(_, nsec3)| *nsec3)
    }

    fn encloser(&self, name: &Name) -> Option<(Name, &Record3)> {
        let count = labels(name);
        (labels(self.apex)..count).rev().find_map(|kept| {
            let (encloser, next) = (ancestor(name, kept), ancestor(name, kept + 1));
            self.matching(&encloser)?;
            Some((encloser, self.covering(&next)?))
        })
    }

    fn lacks(&self, name: &Name, rtype: Rtype) -> Option<bool> {
        let types = self.matching(name)?.types();
        let is_cut = types.contains(Rtype::NS) && !types.contains(Rtype::SOA);
        let has = types.contains(rtype) || types.contains(Rtype::CNAME);
        Some(!has && (!is_cut || rtype == Rtype::DS))
    }

    fn is_insecure(&self, cut: &Name) -> bool {
        match self.matching(cut) {
            Some(own) => own.types().contains(Rtype::NS) && !own.types().contains(Rtype::DS),
            None => self.encloser(cut).is_some_and(|(_, covering)| covering.opt_out()),
        }
    }
}

fn hash(name: &Name, how: &Record3) -> Vec<u8> {
    let salt: &Nsec3Salt<_> = how.salt();
    let mut hash = lower(name.as_slice());
    for _ in 0..=how.iterations() {
        hash.extend_from_slice(salt.as_slice());
        hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &hash).as_ref().to_vec();
    }
    hash
}

/// The first label, which is in base32 with extended hexadecimal digits.
fn base32(name: &Name) -> Vec<u8> {
    let text = name.to_string().to_ascii_lowercase();
    let digits = text.split('.').next().unwrap().bytes().map(|digit| match digit {
        b'0'..=b'9' => digit - b'0',
        _ => digit - b'a' + 10,
    });
    let bits: Vec<u8> =
        digits.flat_map(|digit| (0..5).rev().map(move |bit| (digit >> bit) & 1)).collect();
    bits.chunks_exact(8).map(|octet| octet.iter().fold(0, |sum, bit| (sum << 1) | bit)).collect()
}
