//! What names of signed zones, and aliases that lead into one, say to those who ask for signatures.
//! Nobody else is told it.

use domain::base::Rtype;

use super::{Maker, Template, question};
use crate::{
    limits, lookup,
    message::Name,
    steered::{Signatures, UNUSED, Wanted},
    zone::{Node, Zone},
};

/// The types that only those who look for mistakes ask for.
const ODD: [Rtype; 3] = [Rtype::RRSIG, Rtype::NSEC, Rtype::NSEC3];

/// What one name says with signatures.
#[derive(Debug)]
pub(super) struct SecureAnswers {
    by_type: Box<[(u16, Option<Template>)]>,
    /// For types it has no records of.
    other: Option<Template>,
    /// That steering gives it no address of type A, and of type AAAA.
    denials: [Option<Template>; 2],
    /// Of what steering gives it; none where the zone is not signed.
    signatures: Option<Signatures>,
}

impl SecureAnswers {
    pub(super) fn template(&self, rtype: u16) -> Option<&Template> {
        match self.by_type.iter().find(|(held, _)| *held == rtype) {
            Some((_, template)) => template.as_ref(),
            None => self.other.as_ref(),
        }
    }

    pub(super) fn denial(&self, wanted: Wanted) -> Option<&Template> {
        match wanted {
            Wanted::A => self.denials[0].as_ref(),
            Wanted::Aaaa => self.denials[1].as_ref(),
            Wanted::Other => None,
        }
    }

    pub(super) fn signatures(&self) -> Option<&Signatures> {
        self.signatures.as_ref()
    }
}

impl Maker<'_> {
    /// What a name that was found at `node` says with signatures; `None` if it says nothing else
    /// than without.
    pub(super) fn secure(
        &self,
        name: &Name,
        zone: &Zone,
        node: &Node,
        by_name: Option<bool>,
    ) -> Option<Box<SecureAnswers>> {
        let (is_signed, is_alias) = (zone.chain().is_some(), node.set(Rtype::CNAME).is_some());
        if !(is_signed || is_alias && self.0.is_any_signed) {
            return None;
        }
        let template = |rtype: Rtype| {
            let question = question(name, rtype);
            let reply = lookup::look_up_unsteered(&self.0.source.table, &question, true)?;
            Template::of_reply(&question, &reply, limits::UDP_ANSWER_MAX)
        };
        let denial = |rtype: Rtype| {
            let reply = self.denial(name, rtype, true)?;
            Template::of_reply(&question(name, rtype), &reply, limits::UDP_ANSWER_MAX)
        };
        let followed: &[Rtype] = if is_alias { &[Rtype::A, Rtype::AAAA] } else { &[] };
        let rtypes = node.rtypes().chain(followed.iter().copied());
        let by_type = rtypes
            .map(|rtype| (rtype.to_int(), if is_odd(rtype) { None } else { template(rtype) }));
        let other = match by_name {
            _ if is_alias => None,
            Some(false) => denial(UNUSED),
            _ => template(UNUSED),
        };
        let may_lack = |rtype: &Rtype| {
            by_name == Some(false)
                && (node.variants.iter().any(|variant| variant.denies(*rtype))
                    || !node.variants.iter().any(|variant| variant.rtype == *rtype))
        };
        let denials =
            [Rtype::A, Rtype::AAAA].map(|rtype| Some(rtype).filter(may_lack).and_then(denial));
        let signatures = is_signed.then(|| self.0.steered.signatures(&node.variants));
        Some(Box::new(SecureAnswers { by_type: by_type.collect(), other, denials, signatures }))
    }
}

/// Whether a type is seldom asked for, so that nothing is made in advance.
pub(super) fn is_odd(rtype: Rtype) -> bool {
    ODD.contains(&rtype)
}
