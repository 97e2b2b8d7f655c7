//! One zone: names, their records, and where a name's answer is steered.
//!
//! Static zones are read from master files ([`Zone::parse`]); the network's own zone and those of
//! delegated host names are made from the plan (`names.rs`). A look-up follows RFC 1034 §4.3.2.

use std::collections::HashMap;

use bytes::Bytes;
use domain::{
    base::{Rtype, iana::Class, name::FlattenInto},
    zonefile::inplace::{Entry, Zonefile},
};
use headroom_units::SiteId;

use crate::{
    ZoneError, limits,
    message::{self, Data, Name, Record},
};

/// The records of one name and type; they share a TTL (RFC 2181 §5.2).
#[derive(Debug, Clone)]
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
}

impl Node {
    pub(crate) fn set(&self, rtype: Rtype) -> Option<&RecordSet> {
        self.sets.iter().find(|set| set.rtype == rtype)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sets.is_empty() && self.site.is_none()
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
    nodes: HashMap<Name, Node>,
    is_assumed: bool,
}

/// Where a look-up ends.
#[derive(Debug)]
pub(crate) enum Found<'z> {
    /// At a delegation: the zone's own authority ends at this name.
    Cut(Name, &'z RecordSet),
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
        let records = scan(text)?;
        let soas: Vec<&Record> = records.iter().filter(|r| r.rtype() == Rtype::SOA).collect();
        let [soa] = soas[..] else {
            return Err(ZoneError::NotOneSoa { count: soas.len() });
        };
        let mut zone = Self::new(soa.owner().clone(), soa.ttl().as_secs(), soa.data().clone());
        for record in &records {
            if record.rtype() != Rtype::SOA {
                let (owner, ttl) = (record.owner(), record.ttl().as_secs());
                zone.add(owner, ttl, record.rtype(), record.data().clone())?;
            }
        }
        zone.check()?;
        Ok(zone)
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
        let nodes = HashMap::from([(apex.clone(), node)]);
        Self { apex, denial, nodes, is_assumed: false }
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
        self.node_mut(owner)?.add(ttl, rtype, data);
        Ok(())
    }

    /// Lets `site` decide the addresses of a name.
    pub(crate) fn steer(&mut self, owner: &Name, site: SiteId) -> Result<(), ZoneError> {
        self.node_mut(owner)?.site = Some(site);
        Ok(())
    }

    pub(crate) fn node(&self, name: &Name) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// All names with the types of their records.
    pub(crate) fn owners(&self) -> impl Iterator<Item = (&Name, Vec<Rtype>)> {
        let rtypes = |node: &Node| node.sets.iter().map(|set| set.rtype).collect();
        self.nodes.iter().map(move |(name, node)| (name, rtypes(node)))
    }

    fn node_mut(&mut self, owner: &Name) -> Result<&mut Node, ZoneError> {
        if !owner.ends_with(&self.apex) {
            let (owner, apex) = (owner.to_string(), self.apex.to_string());
            return Err(ZoneError::OutOfZone { owner, apex });
        }
        let mut above = owner.parent();
        while let Some(name) = above.filter(|name| name.len() > self.apex.len()) {
            above = name.parent();
            self.nodes.entry(name).or_default();
        }
        Ok(self.nodes.entry(owner.clone()).or_default())
    }

    /// Looks up a name within the zone.
    pub(crate) fn find(&self, name: &Name, rtype: Rtype) -> Found<'_> {
        let mut cut = None;
        let mut encloser = None;
        let mut at = Some(name.clone());
        while let Some(here) = at.filter(|here| here.len() > self.apex.len()) {
            at = here.parent();
            let Some(node) = self.nodes.get(&here) else { continue };
            // RFC 4035 §3.1.4.1: the DS records of a cut are on this side of it.
            let is_asked_for_ds = rtype == Rtype::DS && here == *name;
            if let Some(set) = node.set(Rtype::NS).filter(|_| !is_asked_for_ds) {
                cut = Some((here.clone(), set));
            }
            encloser = encloser.or(Some(here));
        }
        if let Some((owner, set)) = cut {
            return Found::Cut(owner, set);
        }
        if let Some(node) = self.nodes.get(name) {
            return Found::Node(node);
        }
        // RFC 4592 §3.3.1: only the wildcard directly below the closest encloser counts.
        let wildcard = wildcard(encloser.as_ref().unwrap_or(&self.apex));
        match wildcard.and_then(|wildcard| self.nodes.get(&wildcard)) {
            Some(node) => Found::Node(node),
            None => Found::Missing,
        }
    }

    fn check(&self) -> Result<(), ZoneError> {
        if self.nodes.get(&self.apex).is_none_or(|node| node.set(Rtype::NS).is_none()) {
            return Err(ZoneError::NoNameServer { apex: self.apex.to_string() });
        }
        for (owner, node) in &self.nodes {
            let aliases = node.set(Rtype::CNAME).map_or(0, |set| set.data.len());
            if aliases > 1 || (aliases == 1 && node.sets.len() > 1) {
                return Err(ZoneError::CnameAndOther { owner: owner.to_string() });
            }
        }
        Ok(())
    }
}

fn wildcard(encloser: &Name) -> Option<Name> {
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
    fn a_look_up_ends_at_the_name_a_cut_a_wildcard_or_nowhere() {
        let zone = Zone::parse(&format!(
            "{HEAD}a.b A 192.0.2.1\n*.w A 192.0.2.2\nx.w A 192.0.2.3\n\
             sub NS ns.sub\nns.sub A 192.0.2.4\nsub DS 1 13 2 00"
        ))
        .unwrap();
        let find = |name: &str, rtype| match zone.find(&name.parse().unwrap(), rtype) {
            Found::Cut(owner, _) => format!("cut at {owner}"),
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
        ] {
            assert_eq!(find(name, rtype), expected, "{name} {rtype}");
        }
    }
}
