//! `bids.csv` and `offers.csv`: what is asked and what is for sale, as it stands in the files.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use headroom_market::{Seller, limits::AUCTION_SLOTS_MAX};
use headroom_units::{
    RegionId,
    limits::{PRICE_MICRO_MAX, SLOTS_MAX, UNITS_MAX},
};

use crate::{
    limits::{BIDS_MAX, SLOT_NUMBER_MAX},
    table::{Columns, Mistakes, Row, rows},
};

/// The file of the bids.
pub const BIDS: &str = "bids.csv";
/// The file of the offers.
pub const OFFERS: &str = "offers.csv";

pub(crate) const BID_COLUMNS: Columns = Columns {
    file: BIDS,
    needed: &["id", "region", "first_slot", "last_slot", "units", "min_units", "limit_price_micro"],
    optional: &["exclusive_group", "any_of_regions"],
};
pub(crate) const OFFER_COLUMNS: Columns = Columns {
    file: OFFERS,
    needed: &["region", "slot", "units", "price_micro"],
    optional: &["seller"],
};

/// Why files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A file cannot be read or written.
    #[error("cannot {verb} {}: {source}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{0}")]
    Malformed(Mistakes),
}

impl FileError {
    pub(crate) fn io(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { verb, path, source }
    }
}

/// The texts of both files.
#[derive(Debug)]
pub struct Texts {
    pub(crate) bids: String,
    pub(crate) offers: String,
}

impl Texts {
    /// Reads both files of a folder.
    ///
    /// # Errors
    /// If one cannot be read, or is not UTF-8.
    pub fn read(folder: &Path) -> Result<Self, FileError> {
        Ok(Self { bids: read(&folder.join(BIDS))?, offers: read(&folder.join(OFFERS))? })
    }
}

pub(crate) fn read(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(FileError::io("read", path))
}

/// A bid as it stands in the file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bid<'t> {
    pub(crate) id: &'t str,
    /// The number of the region in [`Book::regions`].
    pub(crate) region: u32,
    pub(crate) first: u32,
    pub(crate) last: u32,
    pub(crate) units: u32,
    pub(crate) minimum: u32,
    /// The line in the file.
    pub(crate) line: u32,
    pub(crate) limit: i64,
    /// The number of the extras in [`Book::extras`], if there are any.
    pub(crate) extras: Option<u32>,
}

impl Bid<'_> {
    pub(crate) fn slots(&self) -> std::ops::RangeInclusive<u32> {
        self.first..=self.last
    }

    /// What one unit in all slots is worth: in range, or it would not have been read.
    pub(crate) fn value(&self) -> i64 {
        self.limit * (i64::from(self.last - self.first) + 1)
    }
}

/// What few bids say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Extras<'t> {
    pub(crate) group: Option<&'t str>,
    /// All regions that will do, with the bid's own; empty if that is the only one.
    pub(crate) regions: Vec<u32>,
}

/// Units for sale.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) region: u32,
    pub(crate) slot: u32,
    pub(crate) units: u32,
    pub(crate) price: i64,
    pub(crate) seller: Seller,
}

/// Both files, read.
#[derive(Debug)]
pub struct Book<'t> {
    /// The regions of the offers, sorted.
    pub(crate) regions: Vec<RegionId>,
    pub(crate) bids: Vec<Bid<'t>>,
    /// The numbers of the bids by id: shorter ids first, so that numbers are in their order.
    pub(crate) by_id: Vec<u32>,
    pub(crate) extras: Vec<Extras<'t>>,
    pub(crate) asks: Vec<Ask>,
    /// Whether bids may be filled in one of several regions.
    pub(crate) any_of: bool,
}

impl<'t> Book<'t> {
    /// Reads the texts.
    ///
    /// # Errors
    /// Every mistake of both files, up to [`crate::limits::TOLD_MAX`].
    pub fn parse(texts: &'t Texts) -> Result<Self, FileError> {
        let mut mistakes = Mistakes::default();
        let (regions, asks) = offers(&texts.offers, &mut mistakes);
        let (regions, bids, extras) = bids(&texts.bids, regions, &mut mistakes);
        let by_id = by_id(&bids, &mut mistakes);
        if !mistakes.is_empty() {
            return Err(FileError::Malformed(mistakes));
        }
        let any_of = extras.iter().any(|extras| !extras.regions.is_empty());
        Ok(Self { regions, bids, by_id, extras, asks, any_of })
    }

    /// How many bids there are.
    #[must_use]
    pub const fn bids(&self) -> usize {
        self.bids.len()
    }

    /// How many regions there are.
    #[must_use]
    pub const fn regions(&self) -> usize {
        self.regions.len()
    }

    /// How many rows of offers there are.
    #[must_use]
    pub const fn offers(&self) -> usize {
        self.asks.len()
    }

    /// The regions in which a bid may be filled.
    pub(crate) fn regions_of<'s>(&'s self, bid: &'s Bid<'_>) -> &'s [u32] {
        let several = self.extras_of(bid).map_or(&[][..], |extras| &extras.regions);
        if several.is_empty() { std::slice::from_ref(&bid.region) } else { several }
    }

    pub(crate) fn extras_of(&self, bid: &Bid<'_>) -> Option<&Extras<'t>> {
        self.extras.get(usize::try_from(bid.extras?).ok()?)
    }
}

fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn price(row: &mut Row<'_>, column: usize) -> Option<i64> {
    let most = u64::try_from(PRICE_MICRO_MAX).unwrap_or(u64::MAX);
    row.number(column, 0, most).and_then(|price| i64::try_from(price).ok())
}

fn region(row: &mut Row<'_>, column: usize) -> Option<RegionId> {
    let name = row.name(column)?;
    let parsed = name.parse::<RegionId>();
    parsed.map_err(|error| row.refuse(column, format_args!("is not right: {error}"))).ok()
}

fn offers(text: &str, mistakes: &mut Mistakes) -> (Vec<RegionId>, Vec<Ask>) {
    let read = rows(&OFFER_COLUMNS, text, mistakes, |row| {
        let region = region(row, 0);
        let slot = row.number(1, 0, SLOT_NUMBER_MAX).map(small);
        let units = row.number(2, 0, UNITS_MAX).map(small);
        let price = price(row, 3);
        let seller = match row.text(4) {
            "" | "operator" => Some(Seller::Operator),
            name => match name.parse() {
                Ok(purchaser) => Some(Seller::Purchaser(purchaser)),
                Err(error) => {
                    row.refuse(4, format_args!("is not right: {error}"));
                    None
                }
            },
        };
        Some((
            region?,
            Ask { region: 0, slot: slot?, units: units?, price: price?, seller: seller? },
        ))
    });
    let mut regions: Vec<RegionId> = read.iter().map(|(_, (region, _))| region.clone()).collect();
    regions.sort_unstable();
    regions.dedup();
    let mut totals: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    let mut asks = Vec::with_capacity(read.len());
    let mut slots = vec![0; regions.len()];
    for (line, (region, ask)) in read {
        let line = line as usize;
        let number = regions.partition_point(|known| *known < region);
        let ask = Ask { region: small(number as u64), ..ask };
        let total = totals.entry((ask.region, ask.slot)).or_insert_with(|| {
            slots[number] += 1;
            0
        });
        if slots[number] == AUCTION_SLOTS_MAX + 1 {
            slots[number] += 1;
            let reason = format_args!("{region} has more than {AUCTION_SLOTS_MAX} slots");
            mistakes.add(OFFERS, line, reason);
        }
        let before = *total;
        *total += u64::from(ask.units);
        if *total > UNITS_MAX && before <= UNITS_MAX {
            let slot = ask.slot;
            let reason =
                format_args!("{region} slot {slot} has more than {UNITS_MAX} units in all");
            mistakes.add(OFFERS, line, reason);
        }
        asks.push(ask);
    }
    (regions, asks)
}

type ReadBids<'t> = (Vec<RegionId>, Vec<Bid<'t>>, Vec<Extras<'t>>);

fn bids<'t>(text: &'t str, regions: Vec<RegionId>, mistakes: &mut Mistakes) -> ReadBids<'t> {
    // With nothing for sale at all, every region will do.
    let regions = if regions.is_empty() { regions_of(text) } else { regions };
    let read = rows(&BID_COLUMNS, text, mistakes, |row| bid(row, &regions));
    if read.len() > BIDS_MAX {
        mistakes.tell(format!("{BIDS} has {} bids; accepted are {BIDS_MAX}", read.len()));
    }
    let (mut bids, mut extras) = (Vec::with_capacity(read.len()), Vec::new());
    for (line, (bid, more)) in read {
        let number = more.map(|more| {
            extras.push(more);
            small(extras.len() as u64 - 1)
        });
        bids.push(Bid { line, extras: number, ..bid });
    }
    (regions, bids, extras)
}

fn regions_of(text: &str) -> Vec<RegionId> {
    let read = rows(&BID_COLUMNS, text, &mut Mistakes::default(), |row| {
        let further = names(row.text(8)).filter_map(|name| name.parse().ok());
        region(row, 1).map(|own| further.chain([own]).collect::<Vec<RegionId>>())
    });
    let mut regions: Vec<RegionId> = read.into_iter().flat_map(|(_, regions)| regions).collect();
    regions.sort_unstable();
    regions.dedup();
    regions
}

fn bid<'t>(row: &mut Row<'t>, regions: &[RegionId]) -> Option<(Bid<'t>, Option<Extras<'t>>)> {
    let id = row.name(0);
    let region = row.name(1).and_then(|name| known_region(row, 1, name, regions));
    let first = row.number(2, 0, SLOT_NUMBER_MAX).map(small);
    let last = row.number(3, 0, SLOT_NUMBER_MAX).map(small);
    let units = row.number(4, 1, UNITS_MAX).map(small);
    let minimum = row.number(5, 0, UNITS_MAX).map(small);
    let limit = price(row, 6);
    let extras = extras(row, region, regions);
    let (first, last) = (first?, last?);
    if last < first {
        row.refuse(3, format_args!("{last} is before first_slot {first}"));
        return None;
    }
    let slots = u64::from(last - first) + 1;
    if slots > SLOTS_MAX {
        row.refuse(3, format_args!("makes {slots} slots; accepted are at most {SLOTS_MAX}"));
        return None;
    }
    let (units, minimum, limit) = (units?, minimum?, limit?);
    if minimum > units {
        row.refuse(5, format_args!("{minimum} is more than the {units} units"));
    }
    if i128::from(limit) * i128::from(slots) > i128::from(PRICE_MICRO_MAX) {
        row.refuse(
            6,
            format_args!("{limit} for {slots} slots is more than {PRICE_MICRO_MAX} in all"),
        );
    }
    let bid =
        Bid { id: id?, region: region?, first, last, units, minimum, line: 0, limit, extras: None };
    Some((bid, extras))
}

fn known_region(row: &mut Row<'_>, column: usize, name: &str, regions: &[RegionId]) -> Option<u32> {
    let found = regions.binary_search_by(|region| region.as_str().cmp(name));
    if let Ok(number) = found {
        return Some(small(number as u64));
    }
    let shown: Vec<&str> = regions.iter().take(5).map(RegionId::as_str).collect();
    let more = if regions.len() > shown.len() { ", ..." } else { "" };
    row.refuse(
        column,
        format_args!("{name:?} has no offers; the regions are {}{more}", shown.join(", ")),
    );
    None
}

fn names(list: &str) -> impl Iterator<Item = &str> {
    list.split([' ', '|']).filter(|name| !name.is_empty())
}

fn extras<'t>(row: &mut Row<'t>, own: Option<u32>, regions: &[RegionId]) -> Option<Extras<'t>> {
    if row.text(7).is_empty() && row.text(8).is_empty() {
        return None;
    }
    let group = if row.text(7).is_empty() { None } else { row.name(7) };
    let mut all: Vec<u32> = own.into_iter().collect();
    for name in names(row.text(8)) {
        all.extend(known_region(row, 8, name, regions));
    }
    all.sort_unstable();
    all.dedup();
    let extras = Extras { group, regions: if all.len() > 1 { all } else { Vec::new() } };
    (extras != Extras::default()).then_some(extras)
}

/// The numbers of the bids in the order of their ids. Tells the ids that come twice.
fn by_id(bids: &[Bid<'_>], mistakes: &mut Mistakes) -> Vec<u32> {
    // Most comparisons are decided by the length and the first bytes.
    let head = |id: &str| {
        let mut head = [0; 8];
        head.iter_mut().zip(id.bytes()).for_each(|(to, from)| *to = from);
        (id.len(), u64::from_be_bytes(head))
    };
    let mut order: Vec<((usize, u64), &str, u32)> =
        bids.iter().zip(0..).map(|(bid, number)| (head(bid.id), bid.id, number)).collect();
    order.sort_unstable();
    let mut again: Vec<_> = order
        .windows(2)
        .filter(|pair| pair[0].1 == pair[1].1)
        .map(|pair| [pair[1].2, pair[0].2].map(|number| &bids[number as usize]))
        .collect();
    again.sort_unstable_by_key(|[bid, _]| bid.line);
    for [bid, first] in again {
        let reason = format_args!("id {} was used in line {}", bid.id, first.line);
        mistakes.add(BIDS, bid.line as usize, reason);
    }
    order.into_iter().map(|(.., number)| number).collect()
}

/// The order of ids: by length, then text, so that numbers are in the order of what they count.
pub(crate) const fn key(id: &str) -> (usize, &str) {
    (id.len(), id)
}
