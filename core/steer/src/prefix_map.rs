//! Which region a client belongs to: longest-prefix match over prefixes that an operator supplies.
//!
//! ```text
//!   10.0.0.0/8 east, 10.1.0.0/16 west        from the prefixes, each within or beside the others
//!   ┌────── east ──────┬─ west ─┬── east ───┬─ no region ──
//!   10.0               10.1     10.2        11.0            to ranges that lie side by side
//! ```
//!
//! A look-up is one binary search. The ranges say how far an answer holds: a prefix of addresses
//! that all belong to one region is what a name server may tell a resolver (RFC 7871 §7.2.1).

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use headroom_units::RegionId;
use ipnet::IpNet;

use crate::{
    Plan, limits,
    prefix::{finest, is_too_fine},
};

/// The number of no region.
const NONE: u16 = u16::MAX;

/// Longest-prefix match from clients to regions. It does not change.
///
/// It takes at most 12 bytes for an IPv4 prefix and 20 for an IPv6 prefix; half of that where
/// prefixes lie side by side, and nothing where neighbours have one region.
#[derive(Debug, Clone, Default)]
pub struct PrefixMap {
    regions: Vec<RegionId>,
    v4: Ranges<u32>,
    v6: Ranges<u64>,
}

/// The ranges of one family, in order and without gaps. An address is the number that its leading
/// bits are, as many as tell clients apart.
#[derive(Debug, Clone, Default)]
struct Ranges<N> {
    /// Where each begins; the first begins at zero.
    starts: Vec<N>,
    regions: Vec<u16>,
}

/// Why prefixes are no map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrefixMapError {
    /// A prefix tells clients apart that are one client here.
    TooFine(IpNet),
    /// A prefix stands there twice.
    Duplicate(IpNet),
    /// A prefix has a region that is not listed.
    UnknownRegion(IpNet),
    /// There are more than [`limits::PREFIXES_MAX`] prefixes, or [`limits::REGIONS_MAX`] regions.
    TooMany,
}

/// Where a client belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match<'m> {
    /// Its region; none if no prefix has it.
    pub region: Option<&'m RegionId>,
    /// The least number of leading bits for which all addresses that share them with the client's
    /// first address belong there.
    pub length: u8,
}

impl PrefixMap {
    /// The map of these prefixes, each with the number of its region in `regions`. The longest
    /// prefix that holds an address decides.
    ///
    /// # Errors
    /// If a prefix stands there twice, is too fine, or has no region, or there are too many.
    pub fn new(
        regions: Vec<RegionId>,
        mut prefixes: Vec<(IpNet, u16)>,
    ) -> Result<Self, PrefixMapError> {
        if prefixes.len() > limits::PREFIXES_MAX || regions.len() > limits::REGIONS_MAX {
            return Err(PrefixMapError::TooMany);
        }
        for (prefix, region) in &mut prefixes {
            *prefix = prefix.trunc();
            if is_too_fine(*prefix) {
                return Err(PrefixMapError::TooFine(*prefix));
            }
            if usize::from(*region) >= regions.len() {
                return Err(PrefixMapError::UnknownRegion(*prefix));
            }
        }
        // By family, address and length: what holds another stands before it.
        prefixes.sort_unstable();
        if let Some(twice) = prefixes.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(PrefixMapError::Duplicate(twice[0].0));
        }
        let begin_v6 = prefixes.partition_point(|(prefix, _)| matches!(prefix, IpNet::V4(_)));
        let (v4, v6) = prefixes.split_at(begin_v6);
        Ok(Self { regions, v4: Ranges::of(v4), v6: Ranges::of(v6) })
    }

    /// The map of a plan's client prefixes. Where two regions claim the same prefix, the first by
    /// name has it; a prefix that is too fine for any client has none.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let regions: Vec<RegionId> =
            plan.regions.keys().take(limits::REGIONS_MAX).cloned().collect();
        let numbered = (0..NONE).zip(plan.regions.values().take(limits::REGIONS_MAX));
        let prefixes = numbered.flat_map(|(number, region)| {
            region.client_prefixes.iter().map(move |prefix| (prefix.trunc(), number))
        });
        let mut prefixes: Vec<_> = prefixes.filter(|(prefix, _)| !is_too_fine(*prefix)).collect();
        prefixes.sort_unstable();
        prefixes.dedup_by_key(|(prefix, _)| *prefix);
        prefixes.truncate(limits::PREFIXES_MAX);
        Self::new(regions, prefixes).expect("each stands there once and has its region")
    }

    /// Where the first address of a client prefix belongs.
    #[must_use]
    pub fn find(&self, client: IpNet) -> Match<'_> {
        let (number, length) = match client {
            IpNet::V4(_) => self.v4.find(client),
            IpNet::V6(_) => self.v6.find(client),
        };
        Match { region: self.regions.get(usize::from(number)), length }
    }

    /// The first address of each range, in order, and the region of the range: IPv4 first, then IPv6.
    pub fn ranges(&self) -> impl Iterator<Item = (IpAddr, Option<&RegionId>)> {
        let v4 = self.v4.all().map(|(start, region)| {
            let bits = u32::try_from(start).unwrap_or_default();
            (Ipv4Addr::from_bits(bits << (32 - limits::CLIENT_PREFIX_V4)).into(), region)
        });
        let v6 = self.v6.all().map(|(start, region)| {
            let bits = u128::from(start) << (128 - u32::from(limits::CLIENT_PREFIX_V6));
            (Ipv6Addr::from_bits(bits).into(), region)
        });
        v4.chain(v6).map(|(start, region)| (start, self.regions.get(usize::from(region))))
    }
}

impl<N: Copy + Ord + Into<u64> + TryFrom<u64>> Ranges<N> {
    /// From prefixes of one family, in order.
    fn of(prefixes: &[(IpNet, u16)]) -> Self {
        let mut ranges = Self { starts: Vec::new(), regions: Vec::new() };
        let Some((first, _)) = prefixes.first() else { return ranges };
        let bits = finest(*first);
        ranges.begin(0, NONE);
        // The prefixes that hold the present place, each with its end.
        let mut around: Vec<(u64, u16)> = Vec::new();
        for (prefix, region) in prefixes {
            let start = number(*prefix);
            ranges.leave(&mut around, start);
            ranges.begin(start, *region);
            around.push((start + (1 << (bits - prefix.prefix_len())), *region));
        }
        ranges.leave(&mut around, 1 << bits);
        // What begins behind the last address is nowhere.
        if ranges.last() == Some(1 << bits) {
            ranges.starts.pop();
            ranges.regions.pop();
        }
        ranges.starts.shrink_to_fit();
        ranges.regions.shrink_to_fit();
        ranges
    }

    /// Ends the prefixes that end before `at` or there.
    fn leave(&mut self, around: &mut Vec<(u64, u16)>, at: u64) {
        while let Some((end, _)) = around.pop_if(|(end, _)| *end <= at) {
            self.begin(end, around.last().map_or(NONE, |(_, region)| *region));
        }
    }

    /// From here on addresses belong to another region.
    fn begin(&mut self, at: u64, region: u16) {
        if self.last() == Some(at) {
            self.starts.pop();
            self.regions.pop();
        }
        if self.regions.last() != Some(&region) {
            let Ok(start) = N::try_from(at) else { return };
            self.starts.push(start);
            self.regions.push(region);
        }
    }

    /// Where the last range begins.
    fn last(&self) -> Option<u64> {
        self.starts.last().map(|start| (*start).into())
    }

    /// Where each range begins, and its region.
    fn all(&self) -> impl Iterator<Item = (u64, u16)> {
        self.starts.iter().map(|start| (*start).into()).zip(self.regions.iter().copied())
    }

    /// The region of the first address of `client`, and how many of its bits say so.
    fn find(&self, client: IpNet) -> (u16, u8) {
        let at = number(client);
        let start = |index: usize| self.starts.get(index).map(|start| (*start).into());
        let next = self.starts.partition_point(|start| {
            let start: u64 = (*start).into();
            start <= at
        });
        let Some(here) = next.checked_sub(1) else { return (NONE, 0) };
        // Neither what lies before the range nor what follows it shares so many bits.
        let before = start(here).and_then(|start: u64| start.checked_sub(1));
        let shared = |other: u64| {
            let same = (at ^ other).leading_zeros() + u32::from(finest(client)) - u64::BITS;
            u8::try_from(same).unwrap_or_default() + 1
        };
        (self.regions[here], before.map_or(0, shared).max(start(next).map_or(0, shared)))
    }
}

/// The leading bits of the first address of a prefix, as many as tell clients apart.
fn number(prefix: IpNet) -> u64 {
    match prefix {
        IpNet::V4(prefix) => {
            u64::from(prefix.network().to_bits() >> (32 - limits::CLIENT_PREFIX_V4))
        }
        IpNet::V6(prefix) => {
            let bits = prefix.network().to_bits() >> (128 - u32::from(limits::CLIENT_PREFIX_V6));
            u64::try_from(bits).unwrap_or(u64::MAX)
        }
    }
}

/// The regions of clients by a plan, and by prefixes that the operator supplies beside it.
#[derive(Debug, Clone)]
pub struct ClientRegions {
    planned: PrefixMap,
    supplied: Arc<PrefixMap>,
}

/// The region of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientRegion<'m> {
    /// The region.
    pub region: &'m RegionId,
    /// As [`Match::length`].
    pub length: u8,
}

impl ClientRegions {
    /// Those of a plan alone.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        Self { planned: PrefixMap::of(plan), supplied: Arc::default() }
    }

    /// The same under another plan.
    pub fn replan(&mut self, plan: &Plan) {
        self.planned = PrefixMap::of(plan);
    }

    /// Takes the prefixes that the operator supplies from `supplied` from now on.
    pub fn supply(&mut self, supplied: Arc<PrefixMap>) {
        self.supplied = supplied;
    }

    /// The region of a client under `plan`: by its client prefixes, else by those beside it, else its
    /// default. A region that the plan does not have is as good as none.
    #[must_use]
    pub fn find<'m>(&'m self, plan: &'m Plan, client: IpNet) -> ClientRegion<'m> {
        let planned = self.planned.find(client);
        if let Some(region) = planned.region {
            return ClientRegion { region, length: planned.length };
        }
        let supplied = self.supplied.find(client);
        let region = self.supplied(plan, client).unwrap_or(&plan.default_region);
        ClientRegion { region, length: planned.length.max(supplied.length) }
    }

    /// What the prefixes beside the plan say of a client, if the plan has that region.
    #[must_use]
    pub fn supplied(&self, plan: &Plan, client: IpNet) -> Option<&RegionId> {
        let region = self.supplied.find(client).region;
        region.filter(|region| plan.regions.contains_key(*region))
    }
}

#[cfg(test)]
mod tests;
