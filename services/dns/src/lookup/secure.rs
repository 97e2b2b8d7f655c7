//! What stands beside the records of signed zones for who asks for it: signatures, and what shows that
//! something is not there (RFC 4035 §3.1). Who does not ask for it gets none of it.

use domain::base::Rtype;

use super::{Place, Walk};
use crate::{
    Zone,
    message::{self, Data, ExtendedErrorCode, Name, Record},
    zone::{Node, RecordSet, stands_beside_cname},
};

impl Walk<'_> {
    /// The signatures of a set that was answered.
    pub(super) fn sign_set(&mut self, name: &Name, node: Option<&Node>, set: &RecordSet) {
        if let Some(node) = node.filter(|_| self.dnssec_ok) {
            let ttl = set.ttl.min(self.ttl_max);
            self.reply.answer.extend(records(name, ttl, node.signatures(set.rtype)));
        }
    }

    /// The signatures of what steering chose. Something that was not known when the zone was signed
    /// has none, which is told.
    pub(super) fn sign_said(&mut self, at: Place<'_>, set: &RecordSet) {
        if !self.is_shown(at.zone) {
            return;
        }
        match at.node.variants.iter().find(|variant| variant.is(set.rtype, &set.data)) {
            Some(variant) => {
                let ttl = set.ttl.min(self.ttl_max);
                self.reply.answer.extend(records(at.name, ttl, variant.signatures.iter()));
            }
            None => self.reply.extended_error = Some(ExtendedErrorCode::RRSIGS_MISSING),
        }
    }

    /// A set of the name that has signatures, if they are asked for.
    pub(super) fn signed_set<'p>(&self, at: Place<'p>) -> Option<&'p RecordSet> {
        let is_signed = |set: &&RecordSet| at.node.signatures(set.rtype).next().is_some();
        let mut sets = at.node.sets().filter(is_signed).filter(|_| self.is_shown(at.zone));
        sets.find(|set| !stands_beside_cname(set.rtype))
            .or(at.node.set(Rtype::NSEC).filter(|_| self.is_shown(at.zone)))
    }

    /// That a name does not exist, nor a wildcard that would stand for it.
    pub(super) fn show_no_name(&mut self, zone: &Zone, name: &Name) {
        self.show(zone, |walk, chain| {
            walk.sign_denial(zone);
            chain.no_name(zone, name)
        });
    }

    /// That a name has no records of the type that is asked for.
    pub(super) fn show_no_type(&mut self, at: Place<'_>) {
        let Place { name, zone, node } = at;
        let rtype = self.rtype;
        self.show(zone, |walk, chain| {
            walk.sign_denial(zone);
            // Steering may give it this type another time: there is a record for that.
            if let Some(denial) = node.variants.iter().find(|variant| variant.denies(rtype))
                && node.set(Rtype::NSEC).is_some_and(|set| !denies(set, rtype))
            {
                let signatures = denial.signatures.iter();
                let all = denial.data.iter().chain(signatures);
                walk.reply.authority.extend(records(name, denial.ttl, all));
                return Vec::new();
            }
            chain.no_type(zone, name, zone.is_expanded(name, node))
        });
    }

    /// That a wildcard stands for a name, if one does.
    pub(super) fn show_expansion(&mut self, at: Place<'_>) {
        let Place { name, zone, node } = at;
        if zone.is_expanded(name, node) {
            self.show(zone, |_, chain| chain.expansion(zone, name));
        }
    }

    /// What the parent of a delegated zone has of its keys, or that it has nothing.
    pub(super) fn show_delegation(&mut self, zone: &Zone, cut: &Name) {
        let node = zone.node(cut);
        let set = node.and_then(|node| node.set(Rtype::DS));
        self.show(zone, |walk, chain| match (node, set) {
            (Some(node), Some(set)) => {
                let authority = &mut walk.reply.authority;
                authority.extend(records(cut, set.ttl, set.data.iter()));
                authority.extend(records(cut, set.ttl, node.signatures(Rtype::DS)));
                Vec::new()
            }
            _ => chain.no_type(zone, cut, false),
        });
    }

    /// Whether signatures of this zone are asked for, and there are some.
    fn is_shown(&self, zone: &Zone) -> bool {
        self.dnssec_ok && zone.chain().is_some()
    }

    /// Puts the records of these names that show what is not there into the authority section, each
    /// once.
    fn show<'z>(
        &mut self,
        zone: &'z Zone,
        owners: impl FnOnce(&mut Self, &'z crate::dnssec::Chain) -> Vec<&'z Name>,
    ) {
        let Some(chain) = zone.chain().filter(|_| self.dnssec_ok) else { return };
        for owner in owners(self, chain) {
            let held = zone.node(owner).and_then(|node| Some((node, node.set(chain.rtype())?)));
            let is_there =
                |record: &Record| record.rtype() == chain.rtype() && record.owner() == owner;
            let Some((node, set)) = held.filter(|_| !self.reply.authority.iter().any(is_there))
            else {
                continue;
            };
            let all = set.data.iter().chain(node.signatures(set.rtype));
            self.reply.authority.extend(records(owner, set.ttl, all));
        }
    }

    /// The signatures of the SOA record that a denial has.
    fn sign_denial(&mut self, zone: &Zone) {
        let Some(node) = zone.node(zone.apex()) else { return };
        let ttl = zone.denial().ttl().as_secs();
        let signatures = records(zone.apex(), ttl, node.signatures(Rtype::SOA));
        self.reply.authority.extend(signatures);
    }
}

/// Whether an NSEC record says that there are no records of a type.
fn denies(set: &RecordSet, rtype: Rtype) -> bool {
    let denies = |data: &Data| matches!(data, Data::Nsec(nsec) if !nsec.types().contains(rtype));
    set.data.iter().any(denies)
}

fn records<'d>(
    owner: &Name,
    ttl: u32,
    data: impl Iterator<Item = &'d Data>,
) -> impl Iterator<Item = Record> {
    data.map(move |data| message::record(owner, ttl, data.clone()))
}
