//! A MaxMind DB, of which one field says the region. The only module that knows `maxminddb`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    net::IpAddr,
    str::FromStr,
};

use headroom_steer::{client_prefix, is_too_fine, limits as steer};
use headroom_units::RegionId;
use ipnet::IpNet;
use maxminddb::{LookupResult, MaxMindDbError, PathElement, Reader, WithinOptions};

use crate::{Entry, Mistakes, limits, shown};

/// Which field of a record says the region: the keys that lead to it, such as `country.iso_code`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field(Vec<String>);

/// A text that names no field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no field: accepted are up to {max} keys with dots between them, such as \
         \"country.iso_code\"", max = limits::FIELD_STEPS_MAX)]
pub struct FieldError;

impl FromStr for Field {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let steps: Vec<String> = text.split('.').map(str::to_owned).collect();
        let is_field = steps.len() <= limits::FIELD_STEPS_MAX
            && steps.iter().all(|step| !step.is_empty() && step.trim() == step);
        is_field.then_some(Self(steps)).ok_or(FieldError)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

impl Field {
    /// The value of the field in a record: a text, or a number as text.
    fn value(&self, found: &LookupResult<'_, &[u8]>) -> Result<Option<String>, MaxMindDbError> {
        let path: Vec<_> = self.0.iter().map(|step| PathElement::Key(step)).collect();
        let text = found.decode_path::<&str>(&path).map(|text| text.map(str::to_owned));
        // Whoever makes a database chooses how wide its numbers are.
        let number = || found.decode_path::<u32>(&path).map(|found| found.map(|n| n.to_string()));
        let wide = || found.decode_path::<u64>(&path).map(|found| found.map(|n| n.to_string()));
        text.or_else(|no_text| number().or_else(|_| wide()).map_err(|_| no_text))
    }
}

/// Prefixes with the numbers of their regions, and what else is to be known.
type Prefixes = (Vec<(IpNet, u16)>, Vec<String>);

/// What the database says of each prefix.
pub(crate) fn read(
    octets: &[u8],
    field: &Field,
    values: &BTreeMap<String, RegionId>,
    regions: &[RegionId],
) -> Result<Prefixes, Mistakes> {
    let reader = open(octets)?;
    let mut reading = Reading::new(values, regions);
    let networks = reader.networks(WithinOptions::default()).map_err(broken)?;
    for (count, found) in networks.enumerate() {
        if count == limits::NETWORKS_MAX {
            return Err(Mistakes::of(format!("it holds more than {count} networks")));
        }
        let found = found.map_err(broken)?;
        let network = found.network().map_err(broken)?;
        let prefix = IpNet::new(network.ip(), network.prefix());
        let prefix = prefix.map_err(|error| Mistakes::of(error.to_string()))?.trunc();
        let known = found.offset().and_then(|offset| reading.known.get(&offset).copied());
        let region = match known {
            Some(known) => known,
            None => reading.learn(found.offset(), field.value(&found).map_err(broken)?),
        };
        if let Some(region) = region {
            reading.add(prefix, region)?;
        }
    }
    reading.finish(field)
}

/// What the database says of one address.
pub(crate) fn entry(
    octets: &[u8],
    field: &Field,
    address: IpAddr,
) -> Result<Option<Entry>, Mistakes> {
    let reader = open(octets)?;
    let is_of_another_family = reader.metadata().ip_version == 4 && address.is_ipv6();
    if is_of_another_family {
        return Ok(None);
    }
    let found = reader.lookup(address).map_err(broken)?;
    let Some(value) = field.value(&found).map_err(broken)? else { return Ok(None) };
    let network = found.network().map_err(broken)?;
    let prefix = IpNet::new(network.ip(), network.prefix());
    let prefix = prefix.map_err(|error| Mistakes::of(error.to_string()))?;
    Ok(Some(Entry { prefix, at: format!("{field} = {value}") }))
}

fn open(octets: &[u8]) -> Result<Reader<&[u8]>, Mistakes> {
    Reader::from_source(octets).map_err(broken)
}

fn broken(error: MaxMindDbError) -> Mistakes {
    Mistakes::of(format!("it is not a MaxMind DB that can be used: {error}"))
}

/// A database that is being read.
struct Reading<'r> {
    values: &'r BTreeMap<String, RegionId>,
    regions: HashMap<&'r str, u16>,
    /// The regions of records, by their places.
    known: HashMap<usize, Option<u16>>,
    /// Values that lead to a region, and some that lead to none.
    met: BTreeSet<String>,
    unknown: BTreeSet<String>,
    prefixes: Vec<(IpNet, u16)>,
    /// How much of a client's addresses is in which region, where that is not all of one record.
    parts: BTreeMap<IpNet, BTreeMap<u16, u128>>,
}

impl<'r> Reading<'r> {
    fn new(values: &'r BTreeMap<String, RegionId>, regions: &'r [RegionId]) -> Self {
        Self {
            values,
            regions: regions.iter().map(RegionId::as_str).zip(0..).collect(),
            known: HashMap::new(),
            met: BTreeSet::new(),
            unknown: BTreeSet::new(),
            prefixes: Vec::new(),
            parts: BTreeMap::new(),
        }
    }

    /// The region of a record with this value.
    fn learn(&mut self, offset: Option<usize>, value: Option<String>) -> Option<u16> {
        let region = value.and_then(|value| {
            let id = match self.values.is_empty() {
                true => Some(value.as_str()),
                false => self.values.get(&value).map(RegionId::as_str),
            };
            let region = id.and_then(|id| self.regions.get(id)).copied();
            let seen = if region.is_some() { &mut self.met } else { &mut self.unknown };
            if seen.len() < steer::REGIONS_MAX || region.is_some() {
                seen.insert(value);
            }
            region
        });
        if let Some(offset) = offset {
            self.known.insert(offset, region);
        }
        region
    }

    fn add(&mut self, prefix: IpNet, region: u16) -> Result<(), Mistakes> {
        if self.prefixes.len() + self.parts.len() >= steer::PREFIXES_MAX {
            let reason = format!("it holds more than {} prefixes", steer::PREFIXES_MAX);
            return Err(Mistakes::of(reason));
        }
        if is_too_fine(prefix) {
            let parts = self.parts.entry(client_prefix(prefix.addr(), u8::MAX)).or_default();
            *parts.entry(region).or_default() += size(prefix);
        } else {
            self.prefixes.push((prefix, region));
        }
        Ok(())
    }

    /// A client is where most of its addresses are, or nowhere if that is most of them.
    fn finish(mut self, field: &Field) -> Result<Prefixes, Mistakes> {
        if self.prefixes.is_empty() && self.parts.is_empty() {
            let some: Vec<_> = self.unknown.iter().take(5).map(|value| shown(value)).collect();
            return Err(Mistakes::of(match some.as_slice() {
                [] => format!("no record has a text or a number at {field}"),
                some => format!(
                    "no value of {field} belongs to a region; among the values are {}",
                    some.join(", ")
                ),
            }));
        }
        let mut notes = Vec::new();
        let unused: Vec<_> =
            self.values.keys().filter(|value| !self.met.contains(*value)).collect();
        if !unused.is_empty() {
            let unused: Vec<_> = unused.into_iter().map(|value| shown(value)).collect();
            notes.push(format!("{field} is never {}", unused.join(", ")));
        }
        if !self.parts.is_empty() {
            notes.push(format!(
                "{} client prefixes have records for parts of them: each is where most of its \
                 addresses are",
                self.parts.len()
            ));
        }
        for (client, parts) in self.parts {
            let mapped: u128 = parts.values().sum();
            let nowhere = size(client).saturating_sub(mapped);
            // Of equals the first; a BTreeMap has an order, so that all servers agree.
            let most = parts.into_iter().rev().max_by_key(|(_, size)| *size);
            if let Some((region, _)) = most.filter(|(_, size)| *size >= nowhere) {
                self.prefixes.push((client, region));
            }
        }
        Ok((self.prefixes, notes))
    }
}

/// How many addresses a prefix holds that is no shorter than a client's.
fn size(prefix: IpNet) -> u128 {
    1 << (prefix.max_prefix_len() - prefix.prefix_len())
}
