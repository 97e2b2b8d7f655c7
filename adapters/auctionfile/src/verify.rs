//! The check of results, from the files alone. It knows what a right result is, not how one is
//! found, and shares nothing with the auction but the reading of bids and offers.
//!
//! ```text
//!   read: fills, prices, sales ──► each fill ──► each region: slots, bids, ties, price rule, sales
//! ```

mod read;
mod region;
mod ties;

use std::{collections::BTreeMap, path::Path};

use crate::{
    book::{Book, FileError},
    cores,
    table::Mistakes,
};
use read::Results;
use region::Region;

/// What the check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Everything that is wrong.
    pub violations: Mistakes,
    /// What the fills are worth less what the sold units ask, in micro-units.
    pub welfare: i128,
    /// What the prices show that no fills can exceed, in micro-units.
    pub bound: i128,
    /// What the buyers pay together, in micro-units.
    pub payments: i128,
    /// What the sellers receive together, in micro-units.
    pub receipts: i128,
    /// The bids that were filled at least in part.
    pub filled: usize,
    /// The flagged bids that are worth more than the prices and are not filled, nor another of
    /// their group.
    pub passed_over: usize,
    /// Whether the files say what each seller sold.
    pub has_sales: bool,
}

/// A filled bid: its number, units and region.
#[derive(Debug, Clone, Copy)]
struct Fill {
    bid: u32,
    units: u64,
    region: u32,
}

/// Checks the results in `folder` against the bids and offers of `book`.
///
/// # Errors
/// If `fills.csv` or `prices.csv` cannot be read. What is wrong in them is a violation.
pub fn verify(book: &Book<'_>, folder: &Path) -> Result<Verdict, FileError> {
    let mut verdict = Verdict::default();
    let texts = read::texts(folder)?;
    let results = Results::read(book, &texts, &mut verdict.violations);
    verdict.has_sales = results.sales.is_some();
    verdict.filled = results.fills.len();
    check_fills(book, &results.fills, &mut verdict.violations);
    let mut regions = Region::all(book, &results);
    for found in cores::each(regions.iter_mut().collect(), Region::check) {
        verdict.welfare += found.welfare;
        verdict.bound += found.gain;
        verdict.payments += found.payments;
        verdict.receipts += found.receipts;
        found.violations.into_iter().for_each(|violation| verdict.violations.tell(violation));
    }
    let (gain, passed_over) = grouped(book, &results, &regions);
    verdict.bound += gain;
    verdict.passed_over = passed_over;
    if verdict.payments != verdict.receipts {
        let Verdict { payments, receipts, .. } = verdict;
        verdict
            .violations
            .tell(format!("buyers pay {payments} micro-units and sellers receive {receipts}"));
    }
    Ok(verdict)
}

/// What can be seen of each fill without prices.
fn check_fills(book: &Book<'_>, fills: &[Fill], violations: &mut Mistakes) {
    let mut groups: BTreeMap<&str, &str> = BTreeMap::new();
    for fill in fills {
        let bid = &book.bids[fill.bid as usize];
        let id = bid.id;
        if fill.units > bid.units.into() {
            violations
                .tell(format!("bid {id} asked for {} units and got {}", bid.units, fill.units));
        }
        if fill.units < bid.minimum.into() {
            violations.tell(format!(
                "bid {id} got {} units, below its minimum {}",
                fill.units, bid.minimum
            ));
        }
        let group = book.extras_of(bid).and_then(|extras| extras.group);
        if let Some(group) = group
            && let Some(other) = groups.insert(group, id)
        {
            violations.tell(format!("bids {other} and {id} of group {group} are both filled"));
        }
    }
}

/// What the flagged bids could gain at the prices, one of each group, and how many that are worth
/// more than the prices are filled nowhere, nor another of their group.
fn grouped(book: &Book<'_>, results: &Results, regions: &[Region<'_, '_>]) -> (i128, usize) {
    let mut gains: BTreeMap<Result<&str, u32>, i128> = BTreeMap::new();
    let mut filled = std::collections::BTreeSet::new();
    let flagged = |bid| {
        let extras = book.extras_of(bid);
        extras.is_some() || bid.minimum > 1
    };
    // What makes bids exclude each other, or the bid alone.
    let key = |number: u32| {
        let bid = &book.bids[number as usize];
        book.extras_of(bid).and_then(|extras| extras.group).ok_or(number)
    };
    filled.extend(results.fills.iter().map(|fill| key(fill.bid)));
    let mut passed_over = 0;
    for (bid, number) in book.bids.iter().zip(0..).filter(|(bid, _)| flagged(bid)) {
        let surplus = book.regions_of(bid).iter();
        let surplus = surplus.filter_map(|&region| regions[region as usize].surplus(bid)).max();
        let surplus = surplus.unwrap_or(0).max(0);
        let gain = gains.entry(key(number)).or_insert(0);
        *gain = (i128::from(surplus) * i128::from(bid.units)).max(*gain);
        passed_over += usize::from(surplus > 0 && !filled.contains(&key(number)));
    }
    (gains.values().sum(), passed_over)
}
