//! A whole zone is signed: its key set, each set of records, each answer that steering may give, and
//! the chain of NSEC records that shows what is not there. Pure, but for random numbers.

use std::{sync::Arc, time::Duration};

use domain::{
    base::{Rtype, name::ToLabelIter as _},
    rdata::{Nsec, dnssec::RtypeBitmap},
};
use headroom_units::Timestamp;

use super::{Chain, KeyError, Variant, ZoneKey, key, rrsig::RrsetSigner, variants::Answers};
use crate::{
    Zone, limits,
    message::{Data, Name},
    names::ByName,
    zone::{Node, RecordSet, is_same_but_for_serial, is_steered},
};

/// What a zone is signed with, and when.
pub(super) struct Order<'o> {
    pub(super) keys: &'o [Arc<ZoneKey>],
    pub(super) validity: Duration,
    pub(super) now: Timestamp,
    /// The same zone as it was signed before, whose signatures are taken over.
    pub(super) was: Option<&'o Zone>,
    /// What of it may be kept as it is.
    pub(super) kept: Option<Kept<'o>>,
    /// Whether it has a serial of ours, which need not rise while nothing has changed.
    pub(super) is_ours: bool,
    /// How long a cache may keep what steering answers, in seconds.
    pub(super) steered_ttl: u32,
    /// What the steered names may be answered with.
    pub(super) answers: &'o ByName<Answers>,
}

/// Names of a zone that was signed with the same keys and TTL.
pub(super) struct Kept<'o> {
    /// Whether all that is signed at a name is as before, but for which name comes next.
    pub(super) is_same: &'o dyn Fn(&Name) -> bool,
    /// When the first signature has to be renewed.
    pub(super) due: Timestamp,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Signed {
    /// How many signatures were made, and not taken over.
    pub(super) made: usize,
    /// When the first of all has to be renewed.
    pub(super) due: Timestamp,
}

/// A name that has signed records.
struct Stand<'o> {
    name: Name,
    is_cut: bool,
    answers: Option<&'o Answers>,
}

/// What is put at a name.
struct Put {
    signatures: Vec<Data>,
    nsec: RecordSet,
    variants: Vec<Variant>,
}

/// What comes of a name.
enum Done {
    Kept(Arc<Node>),
    Put(Put),
}

/// Signs a zone.
pub(super) fn sign(zone: &mut Zone, order: &Order<'_>) -> Result<Signed, KeyError> {
    zone.take_in_what_lies_over();
    put_keys(zone, order);
    let stands = stands(zone, order.answers);
    let apex = zone.apex().clone();
    let mut signer = RrsetSigner::new(&apex, order.keys, order.validity, order.now);
    let denial_ttl = zone.denial().ttl().as_secs();
    let mut all = Vec::with_capacity(stands.len());
    for (at, stand) in stands.iter().enumerate() {
        let next = &stands.get(at + 1).unwrap_or(&stands[0]).name;
        if let Some((node, due)) = kept(order, &apex, stand, next, denial_ttl) {
            signer.due = signer.due.min(due);
            all.push((&stand.name, Done::Kept(node)));
            continue;
        }
        let Some(node) = zone.node(&stand.name) else { continue };
        let was = order.was.and_then(|was| was.node(&stand.name));
        let work = Work { stand, node, was, steered_ttl: order.steered_ttl };
        all.push((&stand.name, Done::Put(work.done(next, denial_ttl, &mut signer)?)));
    }
    keep_serial(zone, order, signer.made);
    let soa = sign_soa(zone, order, &mut signer)?;
    for (name, done) in all {
        match done {
            Done::Kept(node) => zone.share_node(name, node),
            Done::Put(put) => {
                let Some(node) = zone.node_mut(name) else { continue };
                let own = if *name == apex { &soa[..] } else { &[] };
                put.at(node, own);
            }
        }
    }
    zone.seal(Chain::Nsec(stands.into_iter().map(|stand| stand.name).collect()));
    Ok(Signed { made: signer.made, due: signer.due })
}

impl Put {
    /// Puts it at a node, with these signatures beside its own.
    fn at(self, node: &mut Node, beside: &[Data]) {
        let data: Vec<Data> = self.signatures.into_iter().chain(beside.iter().cloned()).collect();
        node.put(RecordSet { rtype: Rtype::RRSIG, ttl: self.nsec.ttl, data });
        node.put(self.nsec);
        node.variants = self.variants.into();
    }
}

/// The node as it was signed before, if nothing that is signed there is another, and when its
/// signatures are due at the earliest. Never that of the zone itself, which has keys and a serial.
fn kept(
    order: &Order<'_>,
    apex: &Name,
    stand: &Stand<'_>,
    next: &Name,
    denial_ttl: u32,
) -> Option<(Arc<Node>, Timestamp)> {
    let (was, kept) = (order.was?, order.kept.as_ref()?);
    let node = was.shared_node(&stand.name).filter(|_| stand.name != *apex)?;
    let nsec = node.set(Rtype::NSEC).filter(|set| set.ttl == denial_ttl)?;
    let is_next = matches!(&nsec.data[..], [Data::Nsec(nsec)] if nsec.next_name() == next);
    (is_next && (kept.is_same)(&stand.name)).then(|| (Arc::clone(node), kept.due))
}

/// The longest that a cache may keep anything of a zone.
pub(super) fn ttl_max(zone: &Zone, steered_ttl: u32) -> Duration {
    let sets = zone.nodes().flat_map(|(_, node)| node.sets()).map(|set| set.ttl);
    let longest = sets.chain([steered_ttl, limits::INFRASTRUCTURE_TTL]).max();
    Duration::from_secs(longest.unwrap_or_default().into())
}

/// The key set, and what is asked of the parent.
fn put_keys(zone: &mut Zone, order: &Order<'_>) {
    let ttl = limits::INFRASTRUCTURE_TTL;
    let (keys, now) = (order.keys, order.now);
    let mut sets = vec![(
        Rtype::DNSKEY,
        keys.iter().map(|key| Data::Dnskey(key.dnskey().clone())).collect::<Vec<_>>(),
    )];
    if keys.iter().any(|key| key.times.is_withdrawn(now)) {
        let (cds, cdnskey) = key::withdrawal();
        sets.push((Rtype::CDS, vec![Data::Cds(cds)]));
        sets.push((Rtype::CDNSKEY, vec![Data::Cdnskey(cdnskey)]));
    } else {
        let synced = || keys.iter().filter(|key| key.times.is_synced(now));
        sets.push((Rtype::CDS, synced().map(|key| Data::Cds(key.cds())).collect()));
        sets.push((Rtype::CDNSKEY, synced().map(|key| Data::Cdnskey(key.cdnskey())).collect()));
    }
    let apex = zone.apex().clone();
    let Some(node) = zone.node_mut(&apex) else { return };
    for (rtype, data) in sets.into_iter().filter(|(_, data)| !data.is_empty()) {
        node.put(RecordSet { rtype, ttl, data });
    }
}

/// The names that have signed records, in their order: not those below a cut or a DNAME, and none
/// without records.
fn stands<'o>(zone: &Zone, answers: &'o ByName<Answers>) -> Vec<Stand<'o>> {
    let mut nodes: Vec<(&Name, &Node)> = zone.nodes().collect();
    nodes.sort_by_cached_key(|(name, _)| order_of(name));
    let mut stands = Vec::with_capacity(nodes.len());
    let mut end: Option<&Name> = None;
    for (name, node) in nodes {
        if end.is_some_and(|end| name.ends_with(end)) {
            continue;
        }
        let is_cut = name != zone.apex() && node.set(Rtype::NS).is_some();
        if is_cut || node.set(Rtype::DNAME).is_some() {
            end = Some(name);
        }
        if !node.is_empty() {
            stands.push(Stand { name: name.clone(), is_cut, answers: answers.get(name) });
        }
    }
    stands
}

/// Octets in whose order names stand (RFC 4034 §6.1): labels from the right, each behind a zero. The
/// names themselves are slow to compare.
fn order_of(name: &Name) -> Vec<u8> {
    let mut order = Vec::with_capacity(name.len() + 2);
    for label in name.iter_labels().rev() {
        for octet in label.as_slice().to_ascii_lowercase() {
            match octet {
                0 | 1 => order.extend([1, octet]),
                _ => order.push(octet),
            }
        }
        order.push(0);
    }
    order
}

/// A zone that says what it said before says so under the serial that it had: with thousands of
/// zones, a plan that changes none of them is no work.
fn keep_serial(zone: &mut Zone, order: &Order<'_>, made: usize) {
    let Some(was) = order.was.filter(|_| order.is_ours && made == 0) else { return };
    let set = was.node(was.apex()).and_then(|node| node.set(Rtype::SOA));
    let is_same = is_same_but_for_serial(was.soa(), zone.soa());
    if let Some(set) = set.filter(|_| is_same) {
        zone.put_soa(set.clone());
    }
}

fn sign_soa(
    zone: &Zone,
    order: &Order<'_>,
    signer: &mut RrsetSigner<'_>,
) -> Result<Vec<Data>, KeyError> {
    let apex = zone.apex();
    let was = order.was.and_then(|was| was.node(apex));
    match zone.node(apex).and_then(|node| node.set(Rtype::SOA)) {
        Some(set) => signer.sign(apex, set.rtype, set.ttl, &set.data, &held(was, set)),
        None => Ok(Vec::new()),
    }
}

/// The signatures that the same set had before.
fn held(was: Option<&Node>, set: &RecordSet) -> Vec<Data> {
    let same = was.filter(|was| was.set(set.rtype).is_some_and(|old| old.data == set.data));
    same.map(|was| was.signatures(set.rtype).cloned().collect()).unwrap_or_default()
}

/// What there is to do at one name.
struct Work<'w> {
    stand: &'w Stand<'w>,
    node: &'w Node,
    was: Option<&'w Node>,
    steered_ttl: u32,
}

impl Work<'_> {
    fn done(
        &self,
        next: &Name,
        denial_ttl: u32,
        signer: &mut RrsetSigner<'_>,
    ) -> Result<Put, KeyError> {
        let name = &self.stand.name;
        let mut signatures = Vec::new();
        for set in self.own_sets().filter(|set| set.rtype != Rtype::SOA) {
            // RFC 4035 §2.2: what a cut delegates is not ours to sign.
            if !self.stand.is_cut || set.rtype == Rtype::DS {
                let held = held(self.was, set);
                signatures.extend(signer.sign(name, set.rtype, set.ttl, &set.data, &held)?);
            }
        }
        let types = self.types();
        // RFC 9077: a denial is cached as long as the SOA record beside it.
        let nsec = RecordSet {
            rtype: Rtype::NSEC,
            ttl: denial_ttl,
            data: vec![nsec_data(next, types.iter().copied())],
        };
        let before = held(self.was, &nsec);
        signatures.extend(signer.sign(name, Rtype::NSEC, denial_ttl, &nsec.data, &before)?);
        let variants = self.variants(next, &types, denial_ttl, signer)?;
        Ok(Put { signatures, nsec, variants })
    }

    /// The sets that are answered as they stand in the zone.
    fn own_sets(&self) -> impl Iterator<Item = &RecordSet> {
        let is_steered_name = self.node.site.is_some();
        self.node.sets().filter(move |set| !is_steered_name || !is_steered(set.rtype))
    }

    /// The sets that steering may answer with.
    fn steered_sets(&self) -> &[(Rtype, Vec<Data>)] {
        self.stand.answers.map(|answers| &answers.sets[..]).unwrap_or_default()
    }

    /// The types that the name has, whatever is answered.
    fn types(&self) -> Vec<Rtype> {
        let is_shown =
            |rtype: &Rtype| !self.stand.is_cut || matches!(*rtype, Rtype::NS | Rtype::DS);
        let own = self.own_sets().map(|set| set.rtype).filter(is_shown);
        own.chain(self.steered_sets().iter().map(|(rtype, _)| *rtype)).collect()
    }

    /// What steering may answer, and the denials of a type that only some of these answers have.
    fn variants(
        &self,
        next: &Name,
        types: &[Rtype],
        denial_ttl: u32,
        signer: &mut RrsetSigner<'_>,
    ) -> Result<Vec<Variant>, KeyError> {
        let sets = self.steered_sets();
        let mut variants: Vec<Variant> = Vec::with_capacity(sets.len());
        for (rtype, data) in sets {
            if !variants.iter().any(|made| made.is(*rtype, data)) {
                let made = self.variant(variants.len(), *rtype, self.steered_ttl, data, signer)?;
                variants.push(made);
            }
        }
        let lacking = self.stand.answers.iter().flat_map(|answers| &answers.lacking);
        for denied in lacking.filter(|rtype| types.contains(rtype)) {
            let others = types.iter().copied().filter(|rtype| rtype != denied);
            let data = [nsec_data(next, others)];
            let made = self.variant(variants.len(), Rtype::NSEC, denial_ttl, &data, signer)?;
            variants.push(made);
        }
        Ok(variants)
    }

    /// One of them. It stood `at` the same place before, as a rule.
    fn variant(
        &self,
        at: usize,
        rtype: Rtype,
        ttl: u32,
        data: &[Data],
        signer: &mut RrsetSigner<'_>,
    ) -> Result<Variant, KeyError> {
        let before = self.was.map(|was| &was.variants[..]).unwrap_or_default();
        let same = before.get(at).filter(|held| held.is(rtype, data));
        let same = same.or_else(|| before.iter().find(|held| held.is(rtype, data)));
        let held = same.map(|held| &held.signatures[..]).unwrap_or_default();
        let signatures = signer.sign(&self.stand.name, rtype, ttl, data, held)?;
        Ok(Variant { rtype, ttl, data: data.to_vec(), signatures })
    }
}

/// An NSEC record that says which name comes next, and which types there are beside its own.
fn nsec_data(next: &Name, types: impl Iterator<Item = Rtype>) -> Data {
    let mut bitmap = RtypeBitmap::<bytes::Bytes>::builder();
    for rtype in types.chain([Rtype::RRSIG, Rtype::NSEC]) {
        bitmap.add(rtype).expect("a buffer that grows has room");
    }
    Data::Nsec(Nsec::new(next.clone(), bitmap.finalize()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn octets_are_in_the_order_of_names(
            names in prop::collection::vec(prop::collection::vec(
                prop::collection::vec(prop::sample::select(&b"\x00\x01\x02-aAbz\xff"[..]), 1..4), 0..4,
            ), 2..20),
        ) {
            let name = |labels: &Vec<Vec<u8>>| {
                let label = |label: &Vec<u8>| [&[u8::try_from(label.len()).unwrap()], &label[..]].concat();
                let octets: Vec<u8> = labels.iter().flat_map(label).chain([0]).collect();
                Name::from_octets(octets.into()).unwrap()
            };
            let names: Vec<Name> = names.iter().map(name).collect();
            for (one, other) in names.iter().flat_map(|one| names.iter().map(move |other| (one, other))) {
                prop_assert_eq!(order_of(one).cmp(&order_of(other)), one.cmp(other));
            }
        }
    }
}
