//! The results as files: written whole, or not at all.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::Write as _,
    path::Path,
};

use headroom_market::Seller;

use crate::{book::FileError, clear::Cleared};

/// The file of what was filled.
pub const FILLS: &str = "fills.csv";
/// The file of the prices.
pub const PRICES: &str = "prices.csv";
/// The file of what each seller sold.
pub const SALES: &str = "sales.csv";

impl Cleared<'_, '_> {
    /// Writes the three files of the result into a folder. Each is first written beside and then
    /// takes its place; results of an earlier clearing are replaced.
    ///
    /// # Errors
    /// If a file cannot be written; then none has taken its place, unless moving it failed.
    pub fn save(&self, folder: &Path) -> Result<(), FileError> {
        let files =
            [(FILLS, self.fills_csv()), (PRICES, self.prices_csv()), (SALES, self.sales_csv())];
        save(folder, &files)
    }

    fn fills_csv(&self) -> String {
        let mut text = String::with_capacity(16 * self.fills.len());
        text.push_str(if self.book.any_of { "id,units,region\n" } else { "id,units\n" });
        for &(number, units, region) in &self.fills {
            text.push_str(self.book.bids[number as usize].id);
            push(&mut text, units.into());
            if self.book.any_of {
                text.push(',');
                text.push_str(self.book.regions[region as usize].as_str());
            }
            text.push('\n');
        }
        text
    }

    fn prices_csv(&self) -> String {
        let mut text = "region,slot,price_micro\n".to_owned();
        for &(region, slot, price) in &self.prices {
            text.push_str(self.book.regions[region as usize].as_str());
            push(&mut text, slot.into());
            push(&mut text, price.into());
            text.push('\n');
        }
        text
    }

    fn sales_csv(&self) -> String {
        let mut text = "region,slot,seller,units,receipts_micro\n".to_owned();
        for &(region, slot, ref seller, units, receipts) in &self.sales {
            text.push_str(self.book.regions[region as usize].as_str());
            push(&mut text, slot.into());
            text.push(',');
            text.push_str(seller_name(seller));
            push(&mut text, units.into());
            push(&mut text, receipts);
            text.push('\n');
        }
        text
    }
}

fn push(text: &mut String, number: i128) {
    let _ = write!(text, ",{number}");
}

pub(crate) fn seller_name(seller: &Seller) -> &str {
    match seller {
        Seller::Operator => "operator",
        Seller::Purchaser(purchaser) => purchaser.as_str(),
    }
}

/// Writes files whole: all beside first, then each takes its place.
pub(crate) fn save(folder: &Path, files: &[(&str, String)]) -> Result<(), FileError> {
    let beside = |name: &str| folder.join(format!(".{name}.new"));
    let write = |(name, text): &(&str, String)| {
        let path = beside(name);
        let written = File::create(&path).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        written.map_err(FileError::io("write", &path))
    };
    let place = |(name, _): &(&str, String)| {
        let path = folder.join(name);
        fs::rename(beside(name), &path).map_err(FileError::io("replace", &path))
    };
    let done = files.iter().try_for_each(write).and_then(|()| files.iter().try_for_each(place));
    if done.is_err() {
        for (name, _) in files {
            // What is not there need not be removed.
            let _ = fs::remove_file(beside(name));
        }
    }
    done
}
