//! Markets to try the auction with: bids whose worth follows the hour, and less for sale than they
//! want. The same seed gives the same files on every machine: no function of the mathematical
//! library is used, only arithmetic that IEEE 754 defines exactly.

use std::{fmt::Write as _, fs, path::Path};

use crate::{
    book::{BIDS, FileError, OFFERS},
    results::save,
};

/// What a market is like.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How many regions there are.
    pub regions: u32,
    /// How many slots each has; they are one day.
    pub slots: u32,
    /// How many bids there are in all regions together.
    pub bids: u32,
    /// How many sellers share what is for sale.
    pub sellers: u32,
    /// So many bids of a hundred are flagged.
    pub flagged_percent: u32,
    /// Where chance begins.
    pub seed: u64,
}

/// The mean length of a bid in slots.
const MEAN_SLOTS: f64 = 12.0;
/// The mean of what is bid per unit and slot, in micro-units.
const LEVEL_MICRO: f64 = 1_000.0;
/// The median of what is bid for, in units.
const UNITS: f64 = 20.0;
/// What is asked for a quarter of the units each, of what is bid at that hour.
const ASKS: [f64; 4] = [0.1, 0.2, 0.35, 0.6];

/// Writes the files of a market into a folder, which is made if it is not there.
///
/// # Errors
/// If they cannot be written.
pub fn generate(plan: &Plan, folder: &Path) -> Result<(), FileError> {
    fs::create_dir_all(folder).map_err(FileError::io("make", folder))?;
    let mut random = fastrand::Rng::with_seed(plan.seed);
    let mut demand = vec![vec![0_u64; plan.slots as usize]; plan.regions as usize];
    let bids = bids(plan, &mut random, &mut demand);
    let offers = offers(plan, &mut random, &demand);
    save(folder, &[(BIDS, bids), (OFFERS, offers)])
}

fn bids(plan: &Plan, random: &mut fastrand::Rng, demand: &mut [Vec<u64>]) -> String {
    let mut text = "id,region,first_slot,last_slot,units,min_units,limit_price_micro".to_owned();
    text.push_str(if plan.flagged_percent > 0 {
        ",exclusive_group,any_of_regions\n"
    } else {
        "\n"
    });
    let levels: Vec<f64> = (0..plan.slots).map(|slot| level(slot, plan.slots)).collect();
    for id in 1..=plan.bids {
        let region = random.u32(0..plan.regions);
        let first = random.u32(0..plan.slots);
        let mut last = first;
        while last + 1 < plan.slots && random.f64() * MEAN_SLOTS >= 1.0 {
            last += 1;
        }
        let slots = first as usize..=last as usize;
        let count = f64::from(last - first + 1);
        let mean = levels[slots.clone()].iter().sum::<f64>() / count;
        let limit = whole(mean * log_normal(random, 0.4));
        let units = whole(UNITS * log_normal(random, 0.8)).max(1);
        for wanted in &mut demand[region as usize][slots] {
            *wanted += units;
        }
        let _ = write!(text, "{id},{},{first},{last},{units}", name(region));
        if plan.flagged_percent == 0 {
            let _ = writeln!(text, ",0,{limit}");
            continue;
        }
        let kind = if random.u32(0..100) < plan.flagged_percent { random.u32(0..8) } else { 8 };
        let minimum = match kind {
            0..4 => units,
            4..6 => units.div_ceil(2),
            _ => 0,
        };
        let _ = write!(text, ",{minimum},{limit},");
        match kind {
            // Groups of bids that are not far from each other in the file.
            6 => drop(write!(text, "g{},", id / 16)),
            7 => drop(write!(text, ",{}", name((region + 1) % plan.regions))),
            _ => text.push(','),
        }
        text.push('\n');
    }
    text
}

fn offers(plan: &Plan, random: &mut fastrand::Rng, demand: &[Vec<u64>]) -> String {
    let mut text = "region,slot,units,price_micro".to_owned();
    text.push_str(if plan.sellers > 1 { ",seller\n" } else { "\n" });
    for (region, demand) in (0..).zip(demand) {
        let share = 0.2 + 0.4 * random.f64();
        for (slot, &wanted) in (0..).zip(demand) {
            // Some is for sale where nobody has bid, too.
            let wanted = f64::from(u32::try_from(wanted).unwrap_or(u32::MAX));
            let capacity = whole(share * wanted).max(4);
            for ask in ASKS {
                let price = whole(ask * level(slot, plan.slots));
                for seller in 0..plan.sellers {
                    let units = capacity / 4 / u64::from(plan.sellers);
                    let _ = write!(text, "{},{slot},{units},{price}", name(region));
                    match (plan.sellers, seller) {
                        (1, _) => text.push('\n'),
                        (_, 0) => text.push_str(",operator\n"),
                        _ => drop(writeln!(text, ",seller-{seller}")),
                    }
                }
            }
        }
    }
    text
}

fn name(region: u32) -> String {
    format!("r{region}")
}

/// What a unit is worth on average in a slot of the day: two parabolas, from 0.4 in the night to
/// 1.6 in the afternoon.
fn level(slot: u32, slots: u32) -> f64 {
    let phase = 2.0 * f64::from(slot) / f64::from(slots);
    let (half, sign) = if phase < 1.0 { (phase, -1.0) } else { (phase - 1.0, 1.0) };
    LEVEL_MICRO * (1.0 + sign * 0.6 * 4.0 * half * (1.0 - half))
}

/// The exponential of a normal deviate: the sum of twelve uniform ones is nearly normal, and
/// (1 + x/2^20)^(2^20) is nearly the exponential.
fn log_normal(random: &mut fastrand::Rng, deviation: f64) -> f64 {
    let normal = (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
    let mut power = 1.0 + normal * deviation / f64::from(1 << 20);
    for _ in 0..20 {
        power *= power;
    }
    power
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is made here is positive and far below 2^53"
)]
fn whole(number: f64) -> u64 {
    number as u64
}
