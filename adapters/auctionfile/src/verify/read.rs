//! The files of the results. What is wrong with a row is a violation, and the row is left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::ErrorKind,
    path::Path,
};

use headroom_units::limits::PRICE_MICRO_MAX;

use super::Fill;
use crate::{
    book::{Book, FileError, key, read},
    limits::{RECEIPTS_MICRO_MAX, SLOT_NUMBER_MAX},
    results::{FILLS, PRICES, SALES},
    table::{Columns, Mistakes, rows},
};

const FILL_COLUMNS: Columns =
    Columns { file: FILLS, needed: &["id", "units"], optional: &["region"] };
const PRICE_COLUMNS: Columns =
    Columns { file: PRICES, needed: &["region", "slot", "price_micro"], optional: &[] };
const SALE_COLUMNS: Columns = Columns {
    file: SALES,
    needed: &["region", "slot", "seller", "units", "receipts_micro"],
    optional: &[],
};

/// The texts of the results; sales need not be there.
pub(super) struct Texts {
    fills: String,
    prices: String,
    sales: Option<String>,
}

pub(super) fn texts(folder: &Path) -> Result<Texts, FileError> {
    let sales = match read(&folder.join(SALES)) {
        Ok(text) => Some(text),
        Err(FileError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    Ok(Texts { fills: read(&folder.join(FILLS))?, prices: read(&folder.join(PRICES))?, sales })
}

/// Units and receipts of a seller, by slot and seller.
pub(super) type Sales = BTreeMap<(u32, String), (u64, i128)>;

/// The results, as they stand in the files.
pub(super) struct Results {
    pub(super) fills: Vec<Fill>,
    /// By region.
    pub(super) prices: Vec<BTreeMap<u32, i64>>,
    /// By region.
    pub(super) sales: Option<Vec<Sales>>,
}

impl Results {
    pub(super) fn read(book: &Book<'_>, texts: &Texts, violations: &mut Mistakes) -> Self {
        Self {
            fills: fills(book, &texts.fills, violations),
            prices: prices(book, &texts.prices, violations),
            sales: texts.sales.as_ref().map(|text| sales(book, text, violations)),
        }
    }
}

fn number_of(book: &Book<'_>, id: &str) -> Option<u32> {
    let of = |number: &u32| key(book.bids[*number as usize].id);
    let found = book.by_id.binary_search_by(|number| of(number).cmp(&key(id))).ok()?;
    Some(book.by_id[found])
}

fn region_of(book: &Book<'_>, name: &str) -> Option<u32> {
    let found = book.regions.binary_search_by(|region| region.as_str().cmp(name)).ok()?;
    u32::try_from(found).ok()
}

fn fills(book: &Book<'_>, text: &str, violations: &mut Mistakes) -> Vec<Fill> {
    let read = rows(&FILL_COLUMNS, text, violations, |row| {
        let bid = row.name(0).and_then(|id| {
            let bid = number_of(book, id);
            if bid.is_none() {
                row.refuse(0, format_args!("{id} is no bid"));
            }
            bid
        });
        let units = row.number(1, 0, u64::MAX >> 1);
        let (bid, units) = (bid?, units?);
        let regions = book.regions_of(&book.bids[bid as usize]);
        let region = match (regions, row.text(2)) {
            ([region], "") => *region,
            (_, name) => {
                let region = region_of(book, name).filter(|region| regions.contains(region));
                if region.is_none() {
                    row.refuse(2, format_args!("{name:?} is no region that the bid is for"));
                }
                region?
            }
        };
        Some(Fill { bid, units, region })
    });
    let mut seen = BTreeSet::new();
    let mut fills = Vec::with_capacity(read.len());
    for (line, fill) in read {
        if !seen.insert(fill.bid) {
            let id = book.bids[fill.bid as usize].id;
            violations.add(FILLS, line as usize, format_args!("bid {id} has a fill already"));
        } else if fill.units > 0 {
            fills.push(fill);
        }
    }
    fills
}

fn prices(book: &Book<'_>, text: &str, violations: &mut Mistakes) -> Vec<BTreeMap<u32, i64>> {
    let most = u64::try_from(PRICE_MICRO_MAX).unwrap_or(u64::MAX);
    let read = rows(&PRICE_COLUMNS, text, violations, |row| {
        let region = row.name(0).and_then(|name| {
            let region = region_of(book, name);
            if region.is_none() {
                row.refuse(0, format_args!("{name} is no region of the market"));
            }
            region
        });
        let slot = row.number(1, 0, SLOT_NUMBER_MAX).and_then(|slot| u32::try_from(slot).ok());
        let price = row.number(2, 0, most).and_then(|price| i64::try_from(price).ok());
        Some((region?, slot?, price?))
    });
    let mut prices = vec![BTreeMap::new(); book.regions.len()];
    for (line, (region, slot, price)) in read {
        if prices[region as usize].insert(slot, price).is_some() {
            let name = &book.regions[region as usize];
            let reason = format_args!("{name} slot {slot} has a price already");
            violations.add(PRICES, line as usize, reason);
        }
    }
    prices
}

fn sales(book: &Book<'_>, text: &str, violations: &mut Mistakes) -> Vec<Sales> {
    let read = rows(&SALE_COLUMNS, text, violations, |row| {
        let region = row.name(0).and_then(|name| region_of(book, name));
        if region.is_none() {
            row.refuse(0, "is no region of the market");
        }
        let slot = row.number(1, 0, SLOT_NUMBER_MAX).and_then(|slot| u32::try_from(slot).ok());
        let seller = row.name(2).map(str::to_owned);
        let units = row.number(3, 0, u64::MAX >> 1);
        // A billion units at a million million micro-units each need more than 64 bits.
        let receipts = row.text(4).parse().ok().filter(|receipts| *receipts <= RECEIPTS_MICRO_MAX);
        let receipts = receipts.and_then(|receipts: u128| i128::try_from(receipts).ok());
        if receipts.is_none() {
            row.refuse(4, format_args!("is no amount from 0 to {RECEIPTS_MICRO_MAX} micro-units"));
        }
        Some((region?, (slot?, seller?), (units?, receipts?)))
    });
    let mut sales = vec![Sales::new(); book.regions.len()];
    for (line, (region, key, sold)) in read {
        if sales[region as usize].insert(key, sold).is_some() {
            violations.add(SALES, line as usize, "the seller has a row for the slot already");
        }
    }
    sales
}
