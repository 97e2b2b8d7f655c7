//! One zone: names, their records, and where a name's answer is steered.
//!
//! Static zones are read from master files ([`Zone::parse`]); the network's own zone and those of
//! delegated host names are made from the plan (`names.rs`). A look-up follows RFC 1034 §4.3.2.

mod same;

use std::sync::Arc;

use bytes::Bytes;
use domain::{
    base::{Rtype, Serial, Ttl, iana::Class, name::FlattenInto},
    rdata::Soa,
    zonefile::inplace::{Entry, Zonefile},
};
use headroom_units::SiteId;

use crate::{
    ZoneError,
    dnssec::{Chain, Variant},
    limits,
    message::{self, Data, ExtendedErrorCode, Name, Record},
    names::ByName,
};

pub(crate) use same::is_same_but_for_serial;

/// The records of one name and type; they share a TTL (RFC 2181 §5.2).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RecordSet {
    pub(crate) rtype: Rtype,
    pub(crate) ttl: u32,
    pub(crate) data: Vec<Data>,
}

/// One name of a zone. Without records and site it is an empty non-terminal.
#[derive(Debug, Clone, Default)]
pub(crate) struct Node {
    sets: Vec<RecordSet>,
    /// The site that decides the addresses of this name.
    pub(crate) site: Option<SiteId>,
    /// Whether it stands here for a steered name alone, and not in the zone itself.
    is_laid_over: bool,
    /// What steering may answer here, signed in advance.
    pub(crate) variants: Box<[Variant]>,
}

impl Node {
    pub(crate) fn set(&self, rtype: Rtype) -> Option<&RecordSet> {
        self.sets.iter().find(|set| set.rtype == rtype)
    }

    pub(crate) fn sets(&self) -> impl Iterator<Item = &RecordSet> {
        self.sets.iter()
    }

    /// The signatures of its records of one type.
    pub(crate) fn signatures(&self, covered: Rtype) -> impl Iterator<Item = &Data> {
        let all = self.set(Rtype::RRSIG).into_iter().flat_map(|set| &set.data);
        all.filter(move |data| matches!(data, Data::Rrsig(one) if one.type_covered() == covered))
    }

    /// Puts records beside the others.
    pub(crate) fn put(&mut self, set: RecordSet) {
        self.sets.retain(|held| held.rtype != set.rtype);
        self.sets.push(set);
    }

    /// The types of its records.
    pub(crate) fn rtypes(&self) -> impl Iterator<Item = Rtype> {
        self.sets.iter().map(|set| set.rtype)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sets.is_empty() && self.site.is_none()
    }

    /// Whether it has records that a CNAME must not stand beside, if it is steered: its addresses,
    /// and what speaks of its servers, are hidden then.
    pub(crate) fn has_others(&self) -> bool {
        self.sets.iter().any(|set| !is_steered(set.rtype) && !stands_beside_cname(set.rtype))
    }

    fn add(&mut self, ttl: u32, rtype: Rtype, data: Data) {
        if let Some(set) = self.sets.iter_mut().find(|set| set.rtype == rtype) {
            set.ttl = set.ttl.min(ttl);
            if !set.data.contains(&data) {
                set.data.push(data);
            }
        } else {
            self.sets.push(RecordSet { rtype, ttl, data: vec![data] });
        }
    }
}

/// A zone that is served with authority.
#[derive(Debug, Clone)]
pub struct Zone {
    apex: Name,
    denial: Record,
    /// Zones that were made one from another share what they have in common.
    nodes: ByName<Arc<Node>>,
    is_assumed: bool,
    /// Why its records are not there.
    absent: Option<ExtendedErrorCode>,
    /// How it shows what is not there, if it is signed.
    chain: Option<Arc<Chain>>,
}

/// Where a look-up ends.
#[derive(Debug)]
pub(crate) enum Found<'z> {
    /// At a delegation: the zone's own authority ends at this name.
    Cut(Name, &'z RecordSet),
    /// Below a DNAME: all names below this one are those below another (RFC 6672).
    Renamed(Name, &'z RecordSet),
    /// At the name, or at the wildcard that stands for it.
    Node(&'z Node),
    /// Nowhere: the name does not exist.
    Missing,
}

impl Zone {
    /// Reads a master file (RFC 1035 §5) that holds one whole zone. Relative names need an
    /// `$ORIGIN`; the zone is named by its SOA record.
    ///
    /// # Errors
    /// If the text is malformed, too large, or not a whole and consistent zone.
    pub fn parse(text: &str) -> Result<Self, ZoneError> {
        Self::of_records(&scan(text)?, limits::ZONE_NAMES_MAX)
    }

    /// The zone of these records, named by its SOA record, with at most `names_max` names.
    pub(crate) fn of_records(records: &[Record], names_max: usize) -> Result<Self, ZoneError> {
        let soas: Vec<&Record> = records.iter().filter(|r| r.rtype() == Rtype::SOA).collect();
        let [soa] = soas[..] else {
            return Err(ZoneError::NotOneSoa { count: soas.len() });
        };
        let mut zone = Self::new(soa.owner().clone(), soa.ttl().as_secs(), soa.data().clone());
        for record in records {
            if record.rtype() != Rtype::SOA {
                let (owner, ttl) = (record.owner(), record.ttl().as_secs());
                zone.add(owner, ttl, record.rtype(), record.data().clone())?;
            }
            // Each record may bring many empty names with it.
            if zone.nodes.len() > names_max {
                return Err(ZoneError::TooManyNames { max: names_max });
            }
        }
        zone.check()?;
        zone.chain = Chain::of(&zone).map(Arc::new);
        Ok(zone)
    }

    /// A zone whose records are not there. Who asks is told so, and why.
    pub(crate) fn absent(apex: Name, why: ExtendedErrorCode) -> Self {
        let zero = Ttl::from_secs(0);
        let soa = Soa::new(apex.clone(), apex.clone(), Serial(0), zero, zero, zero, zero);
        Self { absent: Some(why), ..Self::new(apex, 0, Data::Soa(soa)) }
    }

    /// Why its records are not there, if they are not.
    pub(crate) fn why_absent(&self) -> Option<ExtendedErrorCode> {
        self.absent
    }

    /// The SOA record's data.
    pub(crate) fn soa(&self) -> &Soa<Name> {
        match self.denial.data() {
            Data::Soa(soa) => soa,
            _ => unreachable!("a zone is made with a SOA record"),
        }
    }

    /// All its records; the SOA record first.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record> {
        let apex = self.node(&self.apex).into_iter().map(|node| (&self.apex, node));
        let others = self.nodes().filter(|(name, _)| **name != self.apex);
        apex.chain(others).flat_map(|(name, node)| {
            node.sets.iter().flat_map(move |set| {
                set.data.iter().map(move |data| message::record(name, set.ttl, data.clone()))
            })
        })
    }

    /// The name of the zone.
    #[must_use]
    pub fn name(&self) -> String {
        self.apex.to_string()
    }

    pub(crate) fn apex(&self) -> &Name {
        &self.apex
    }

    /// The SOA record as it stands in denials: cached no longer than the zone's minimum
    /// (RFC 2308 §3).
    pub(crate) fn denial(&self) -> &Record {
        &self.denial
    }

    /// A zone that holds its SOA record only.
    pub(crate) fn new(apex: Name, ttl: u32, soa: Data) -> Self {
        let minimum = match &soa {
            Data::Soa(soa) => soa.minimum().as_secs(),
            _ => limits::NEGATIVE_TTL,
        };
        let denial = message::record(&apex, ttl.min(minimum), soa.clone());
        let mut node = Node::default();
        node.add(ttl, Rtype::SOA, soa);
        let nodes = [(apex.clone(), Arc::new(node))].into_iter().collect();
        Self { apex, denial, nodes, is_assumed: false, absent: None, chain: None }
    }

    /// The zone of a host name that may be delegated to us, or may only be a CNAME to us.
    pub(crate) fn assumed(self) -> Self {
        Self { is_assumed: true, ..self }
    }

    /// Whether names below the apex may exist elsewhere.
    pub(crate) fn is_assumed(&self) -> bool {
        self.is_assumed
    }

    /// Adds a record, and the empty names above it.
    pub(crate) fn add(
        &mut self,
        owner: &Name,
        ttl: u32,
        rtype: Rtype,
        data: Data,
    ) -> Result<(), ZoneError> {
        self.enter(owner, false)?.add(ttl, rtype, data);
        Ok(())
    }

    /// Lets `site` decide the addresses of a name. All else is as before: records that a wildcard
    /// gave it are still there, and other names are answered as if this one did not stand here.
    pub(crate) fn steer(&mut self, owner: &Name, site: SiteId) -> Result<(), ZoneError> {
        let sets = match self.find(owner, Rtype::A) {
            Found::Node(node) => node.sets.clone(),
            _ => Vec::new(),
        };
        let node = self.enter(owner, true)?;
        (node.site, node.sets) = (Some(site), sets);
        Ok(())
    }

    /// The same for a name that has no records, in a zone without wildcards.
    pub(crate) fn steer_alone(&mut self, owner: &Name, site: SiteId) -> Result<(), ZoneError> {
        self.enter(owner, true)?.site = Some(site);
        Ok(())
    }

    /// Has room for so many names more.
    pub(crate) fn make_room(&mut self, names: usize) {
        self.nodes.reserve(names);
    }

    pub(crate) fn node(&self, name: &Name) -> Option<&Node> {
        self.nodes.get(name).map(|node| &**node)
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&Name, &Node)> {
        self.nodes.iter().map(|(name, node)| (name, &**node))
    }

    pub(crate) fn node_mut(&mut self, name: &Name) -> Option<&mut Node> {
        self.nodes.get_mut(name).map(Arc::make_mut)
    }

    /// Whether a node that was found for a name is not its own.
    pub(crate) fn is_expanded(&self, name: &Name, found: &Node) -> bool {
        !self.nodes.get(name).is_some_and(|node| std::ptr::eq(&**node, found))
    }

    /// The nearest name that exists, at or above this one (RFC 4592 §3.3.1).
    pub(crate) fn encloser(&self, name: &Name) -> Name {
        let above = std::iter::successors(Some(name.clone()), Name::parent);
        let within = above.take_while(|here| here.len() > self.apex.len());
        within.into_iter().find(|here| self.nodes.contains_key(here)).unwrap_or(self.apex.clone())
    }

    /// How it shows what is not there, if it is signed.
    pub(crate) fn chain(&self) -> Option<&Chain> {
        self.chain.as_deref()
    }

    /// Whether its owner has signed it: it has keys of its own.
    pub(crate) fn is_signed_elsewhere(&self) -> bool {
        let apex = self.nodes.get(&self.apex);
        apex.is_some_and(|node| {
            [Rtype::DNSKEY, Rtype::RRSIG].iter().any(|t| node.set(*t).is_some())
        })
    }

    /// Counts names that were laid over it as its own: where all names are signed there is one set
    /// of them.
    pub(crate) fn take_in_what_lies_over(&mut self) {
        for node in self.nodes.values_mut().filter(|node| node.is_laid_over) {
            Arc::make_mut(node).is_laid_over = false;
        }
    }

    /// Has another SOA record.
    pub(crate) fn put_soa(&mut self, set: RecordSet) {
        let Some(Data::Soa(soa)) = set.data.first() else { return };
        let ttl = set.ttl.min(soa.minimum().as_secs());
        self.denial = message::record(&self.apex, ttl, Data::Soa(soa.clone()));
        Arc::make_mut(self.nodes.entry(self.apex.clone()).or_default()).put(set);
    }

    /// Shows by this chain what is not there, from now on.
    pub(crate) fn seal(&mut self, chain: Chain) {
        self.chain = Some(Arc::new(chain));
    }

    /// All names.
    pub(crate) fn owners(&self) -> impl Iterator<Item = &Name> {
        self.nodes.keys()
    }

    /// The node of a name, and those above it, which are there from then on.
    fn enter(&mut self, owner: &Name, is_laid_over: bool) -> Result<&mut Node, ZoneError> {
        if !owner.ends_with(&self.apex) {
            let (owner, apex) = (owner.to_string(), self.apex.to_string());
            return Err(ZoneError::OutOfZone { owner, apex });
        }
        let new = || Arc::new(Node { is_laid_over, ..Node::default() });
        let mut above = owner.parent();
        while let Some(name) = above.filter(|name| name.len() > self.apex.len()) {
            above = name.parent();
            let node = self.nodes.entry(name).or_insert_with(new);
            if node.is_laid_over && !is_laid_over {
                Arc::make_mut(node).is_laid_over = false;
            }
        }
        let node = Arc::make_mut(self.nodes.entry(owner.clone()).or_insert_with(new));
        node.is_laid_over &= is_laid_over;
        Ok(node)
    }

    /// Looks up a name within the zone.
    pub(crate) fn find(&self, name: &Name, rtype: Rtype) -> Found<'_> {
        let mut end = None;
        let mut encloser = None;
        let mut at = Some(name.clone());
        while let Some(here) = at.filter(|here| here.len() >= self.apex.len()) {
            at = here.parent();
            let Some(node) = self.nodes.get(&here) else { continue };
            let is_apex = here.len() == self.apex.len();
            // RFC 4035 §3.1.4.1: the DS records of a cut are on this side of it.
            let is_asked_for_ds = rtype == Rtype::DS && here == *name;
            if let Some(set) = node.set(Rtype::NS).filter(|_| !is_apex && !is_asked_for_ds) {
                end = Some(Found::Cut(here.clone(), set));
            } else if let Some(set) = node.set(Rtype::DNAME).filter(|_| here != *name) {
                end = Some(Found::Renamed(here.clone(), set));
            }
            if !node.is_laid_over {
                encloser = encloser.or(Some(here));
            }
        }
        if let Some(end) = end {
            return end;
        }
        let exact = self.nodes.get(name);
        if let Some(node) = exact.filter(|node| !node.is_laid_over || node.site.is_some()) {
            return Found::Node(node);
        }
        // RFC 4592 §3.3.1: only the wildcard directly below the closest encloser counts.
        let wildcard = wildcard(encloser.as_ref().unwrap_or(&self.apex));
        match wildcard.and_then(|wildcard| self.nodes.get(&wildcard)).or(exact) {
            Some(node) => Found::Node(node),
            None => Found::Missing,
        }
    }

    fn check(&self) -> Result<(), ZoneError> {
        if self.nodes.get(&self.apex).is_none_or(|node| node.set(Rtype::NS).is_none()) {
            return Err(ZoneError::NoNameServer { apex: self.apex.to_string() });
        }
        for (owner, node) in &self.nodes {
            let single = |rtype| node.set(rtype).map_or(0, |set| set.data.len());
            if single(Rtype::DNAME) > 1 {
                return Err(ZoneError::TwoDnames { owner: owner.to_string() });
            }
            let aliases = single(Rtype::CNAME);
            let others = node.sets.iter().filter(|set| !stands_beside_cname(set.rtype)).count();
            if aliases > 1 || (aliases == 1 && others > 1) {
                return Err(ZoneError::CnameAndOther { owner: owner.to_string() });
            }
        }
        Ok(())
    }
}

/// Whether a steered name is asked for records of this type in vain, but for those that steering
/// gives it. What HTTPS and SVCB records say of the purchaser's servers (RFC 9460) is not true of
/// the edges; without them the addresses count alone.
pub(crate) fn is_steered(rtype: Rtype) -> bool {
    matches!(rtype, Rtype::A | Rtype::AAAA | Rtype::CNAME | Rtype::HTTPS | Rtype::SVCB)
}

/// Whether records of a type say something about those beside them (RFC 4034 §2.5, RFC 4035 §2.5).
pub(crate) fn stands_beside_cname(rtype: Rtype) -> bool {
    matches!(rtype, Rtype::RRSIG | Rtype::NSEC | Rtype::KEY)
}

/// The wildcard directly below a name; none if that would be too long.
pub(crate) fn wildcard(encloser: &Name) -> Option<Name> {
    let octets = [b"\x01*", encloser.as_slice()].concat();
    Name::from_octets(Bytes::from(octets)).ok()
}

fn scan(text: &str) -> Result<Vec<Record>, ZoneError> {
    if text.len() > limits::ZONE_BYTES_MAX {
        return Err(ZoneError::TooLarge { max: limits::ZONE_BYTES_MAX });
    }
    let mut file = Zonefile::with_capacity(text.len() + 1);
    file.set_default_class(Class::IN);
    file.extend_from_slice(text.as_bytes());
    file.extend_from_slice(b"\n");
    let mut records = Vec::new();
    loop {
        let entry = file.next_entry().map_err(|error| ZoneError::Malformed(error.to_string()))?;
        match entry {
            None => return Ok(records),
            Some(Entry::Include { .. }) => return Err(ZoneError::Include),
            Some(Entry::Record(record)) => {
                let record: Record = record.flatten_into();
                if record.class() != Class::IN {
                    let (owner, class) = (record.owner().to_string(), record.class().to_string());
                    return Err(ZoneError::NotInternet { owner, class });
                }
                if records.len() >= limits::ZONE_RECORDS_MAX {
                    return Err(ZoneError::TooManyRecords { max: limits::ZONE_RECORDS_MAX });
                }
                records.push(record);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    const HEAD: &str = "$ORIGIN shop.example.\n$TTL 600\n@ SOA ns1 admin 1 2 3 4 300\n@ NS ns1\n";

    fn refused(text: &str, expected: Expect) {
        expected.assert_eq(&Zone::parse(text).unwrap_err().to_string());
    }

    #[test]
    fn what_is_not_a_zone_is_told() {
        refused(
            "",
            expect![
                "the master file holds 0 SOA records; accepted is one, at the name of the zone"
            ],
        );
        refused(
            "$ORIGIN a.example.\n@ SOA",
            expect!["the master file is malformed at line:column 3:1: unexpected end of entry"],
        );
        refused(
            &format!("{HEAD}www A 1.2.3"),
            expect!["the master file is malformed at line:column 6:1: expected IPv4 address"],
        );
        refused(
            &format!("{HEAD}www CH A 1.2.3.4"),
            expect!["the master file is malformed at line:column 5:10: different class: CH != IN"],
        );
        refused(
            &format!("{HEAD}www.other.example. A 192.0.2.1"),
            expect!["www.other.example is not within the zone shop.example"],
        );
        refused(
            &format!("{HEAD}www CNAME a\nwww A 192.0.2.1"),
            expect!["www.shop.example has a CNAME beside other records, or two of them"],
        );
        refused(
            &format!("{HEAD}www CNAME a\nwww CNAME b"),
            expect!["www.shop.example has a CNAME beside other records, or two of them"],
        );
        refused(
            &format!("{HEAD}www DNAME a\nwww DNAME b"),
            expect!["www.shop.example has two DNAME records"],
        );
        refused(
            &format!("{HEAD}$INCLUDE /etc/passwd"),
            expect![
                "the master file includes another; accepted is a file that holds the whole zone"
            ],
        );
        refused(
            &format!("{HEAD}@ SOA ns1 admin 2 2 3 4 300"),
            expect![
                "the master file holds 2 SOA records; accepted is one, at the name of the zone"
            ],
        );
        refused(
            "$ORIGIN a.example.\n@ 60 SOA ns1 admin 1 2 3 4 300",
            expect!["a.example has no NS record; accepted is a zone that names its name servers"],
        );
    }

    #[test]
    fn signatures_may_stand_beside_a_cname() {
        let text = format!("{HEAD}www CNAME a\nwww NSEC a CNAME\nwww KEY \\# 5 0000030d00");
        Zone::parse(&text).unwrap();
    }

    #[test]
    fn the_empty_names_above_a_record_are_counted() {
        let records = scan(&format!("{HEAD}a.b.c.d A 192.0.2.1")).unwrap();
        assert!(Zone::of_records(&records, 5).is_ok());
        let refused = Zone::of_records(&records, 4).unwrap_err();
        assert_eq!(refused.to_string(), "the zone holds more than 4 names");
    }

    #[test]
    fn a_zone_is_the_same_from_its_own_records() {
        let zone = Zone::parse(&format!("{HEAD}a.b A 192.0.2.1\na.b A 192.0.2.2")).unwrap();
        let records: Vec<_> = zone.records().collect();
        assert_eq!(records.len(), 4);
        assert_eq!(records[0].rtype(), Rtype::SOA);
        let again = Zone::of_records(&records, 10).unwrap();
        assert_eq!(again.soa(), zone.soa());
        assert_eq!(again.nodes.len(), zone.nodes.len());
    }

    #[test]
    fn a_steered_name_changes_no_other_name() {
        let text = format!("{HEAD}* MX 10 mail\n* A 192.0.2.1\nhere A 192.0.2.2");
        let plain = Zone::parse(&text).unwrap();
        let mut zone = plain.clone();
        for host in ["a.b.shop.example", "here.shop.example", "shop.example"] {
            zone.steer(&host.parse().unwrap(), "shop".parse().unwrap()).unwrap();
        }
        let sets = |zone: &Zone, name: &str| match zone.find(&name.parse().unwrap(), Rtype::A) {
            Found::Node(node) => node.sets.len(),
            _ => 0,
        };
        for name in ["b", "c.b", "x.a.b", "x.here", "here", "a.b", "x.y"] {
            let name = format!("{name}.shop.example");
            assert_eq!(sets(&zone, &name), sets(&plain, &name), "{name}");
        }
        // RFC 8020: a name above one that exists is not denied.
        let mut alone = Zone::parse(HEAD).unwrap();
        alone.steer(&"a.b.shop.example".parse().unwrap(), "shop".parse().unwrap()).unwrap();
        let above = alone.find(&"b.shop.example".parse().unwrap(), Rtype::A);
        assert!(matches!(above, Found::Node(node) if node.is_empty()));
    }

    #[test]
    fn a_look_up_ends_at_the_name_a_cut_a_wildcard_or_nowhere() {
        let zone = Zone::parse(&format!(
            "{HEAD}a.b A 192.0.2.1\n*.w A 192.0.2.2\nx.w A 192.0.2.3\n\
             sub NS ns.sub\nns.sub A 192.0.2.4\nsub DS 1 13 2 00\n\
             old DNAME new.example.\na.old A 192.0.2.5\nsub.old NS ns1"
        ))
        .unwrap();
        let find = |name: &str, rtype| match zone.find(&name.parse().unwrap(), rtype) {
            Found::Cut(owner, _) => format!("cut at {owner}"),
            Found::Renamed(owner, _) => format!("renamed at {owner}"),
            Found::Node(node) if node.is_empty() => "empty".to_owned(),
            Found::Node(node) => format!("{} sets", node.sets.len()),
            Found::Missing => "missing".to_owned(),
        };
        for (name, rtype, expected) in [
            ("shop.example", Rtype::SOA, "2 sets"),
            ("A.B.Shop.Example", Rtype::A, "1 sets"),
            ("b.shop.example", Rtype::A, "empty"),
            ("c.shop.example", Rtype::A, "missing"),
            ("y.w.shop.example", Rtype::A, "1 sets"),
            ("z.y.w.shop.example", Rtype::A, "1 sets"),
            ("y.x.w.shop.example", Rtype::A, "missing"),
            ("sub.shop.example", Rtype::A, "cut at sub.shop.example"),
            ("sub.shop.example", Rtype::DS, "2 sets"),
            ("ns.sub.shop.example", Rtype::A, "cut at sub.shop.example"),
            ("ns.sub.shop.example", Rtype::DS, "cut at sub.shop.example"),
            ("old.shop.example", Rtype::A, "1 sets"),
            ("a.old.shop.example", Rtype::A, "renamed at old.shop.example"),
            ("x.sub.old.shop.example", Rtype::A, "renamed at old.shop.example"),
        ] {
            assert_eq!(find(name, rtype), expected, "{name} {rtype}");
        }
    }
}
