//! `auction generate`, `auction clear`, `auction verify`: a call auction on plain files.

use std::{
    fmt::Write as _,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use headroom_auctionfile::{
    BIDS, Book, Cleared, FILLS, OFFERS, PRICES, Plan, SALES, Texts, Verdict, clear, generate,
    limits::GENERATED_MAX, verify,
};
use headroom_market::Because;
use serde_json::{Value, json};

use super::{
    FAILED,
    table::{Table, wide_money},
};
use crate::limits::SHOWN_MAX;

const GENERATE_EXAMPLES: &str = "Examples:
  headroom auction generate --regions 3 --slots 96 --bids 1000 --seed 7 market
  headroom auction generate --regions 100 --slots 288 --bids 1000000 --seed 1 market
  headroom auction generate --regions 3 --slots 96 --bids 1000 --flagged 5 --sellers 2 market

Writes bids.csv and offers.csv. The same options give the same files on every machine.";

const CLEAR_EXAMPLES: &str = "Examples:
  headroom auction clear market
  headroom auction clear market --json

Reads bids.csv and offers.csv, and writes fills.csv, prices.csv and sales.csv whole, or none of
them. The files are described in docs/reference/auction-files.md. Exits with 2 if a file is wrong;
every mistake is told with its line.";

const VERIFY_EXAMPLES: &str = "Examples:
  headroom auction verify market
  headroom auction verify market --json

Goes by the files alone and names every violation. Exits with 1 if there is one, with 2 if bids.csv
or offers.csv is wrong.";

/// What can be done with the files of an auction.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a market of random bids and offers
    #[command(after_help = GENERATE_EXAMPLES)]
    Generate(GenerateArgs),
    /// Clear the bids and offers of a folder
    #[command(after_help = CLEAR_EXAMPLES)]
    Clear {
        /// The folder of bids.csv and offers.csv
        folder: PathBuf,
    },
    /// Check fills, prices and sales against bids and offers
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify {
        /// The folder of all files
        folder: PathBuf,
    },
}

/// What `auction generate` is told.
#[derive(Debug, clap::Args)]
pub struct GenerateArgs {
    /// How many regions
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    regions: u32,
    /// How many slots the day has
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=35_136))]
    slots: u32,
    /// How many bids, in all regions together
    #[arg(long, value_parser = clap::value_parser!(u32).range(..=i64::from(GENERATED_MAX)))]
    bids: u32,
    /// Where chance begins
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many sellers share what is for sale
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    sellers: u32,
    /// So many of 100 bids have a minimum, a group or several regions
    #[arg(long, default_value_t = 0, value_name = "PERCENT",
          value_parser = clap::value_parser!(u32).range(0..=100))]
    flagged: u32,
    /// The folder for the files; it is made if it is not there
    folder: PathBuf,
}

pub(super) fn run(command: &Command, json: bool, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    match command {
        Command::Generate(args) => {
            let plan = Plan {
                regions: args.regions,
                slots: args.slots,
                bids: args.bids,
                sellers: args.sellers,
                flagged_percent: args.flagged,
                seed: args.seed,
            };
            generate(&plan, &args.folder)?;
            let folder = args.folder.display();
            if json {
                let files = [args.folder.join(BIDS), args.folder.join(OFFERS)];
                let files = files.map(|file| file.display().to_string());
                writeln!(out, "{:#}", json!({ "files": files, "bids": args.bids }))?;
            } else {
                writeln!(
                    out,
                    "{} bids in {folder}/{BIDS}, offers in {folder}/{OFFERS}",
                    args.bids
                )?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Clear { folder } => {
            let texts = Texts::read(folder)?;
            let book = Book::parse(&texts)?;
            let cleared = clear(&book);
            cleared.save(folder)?;
            let told = if json {
                format!("{:#}\n", clear_json(&book, &cleared))
            } else {
                describe(folder, &book, &cleared)
            };
            write!(out, "{told}")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Verify { folder } => {
            let texts = Texts::read(folder)?;
            let verdict = verify(&Book::parse(&texts)?, folder)?;
            let told = if json {
                format!("{:#}\n", verdict_json(&verdict))
            } else {
                describe_verdict(&verdict)
            };
            write!(out, "{told}")?;
            let right = verdict.violations.is_empty();
            Ok(if right { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
        }
    }
}

/// How far the welfare is from the bound, in millionths of the bound, rounded up.
fn gap_millionths(welfare: i128, bound: i128) -> i128 {
    if bound <= 0 { 0 } else { ((bound - welfare) * 1_000_000 + bound - 1) / bound }
}

/// Millionths as percent: "0.0012 %".
fn percent(millionths: i128) -> String {
    let (whole, part) = (millionths / 10_000, millionths % 10_000);
    format!("{whole}.{part:04} %")
}

/// A number that JSON readers take, or else its digits as text.
fn wide(number: i128) -> Value {
    i64::try_from(number).map_or_else(|_| Value::from(number.to_string()), Value::from)
}

const fn reason(because: Because) -> &'static str {
    match because {
        Because::Minimum => "minimum",
        Because::Exclusive => "exclusive",
    }
}

/// How many flagged bids worth more than the prices were passed over for want of units, and for
/// another of their group.
fn passed_over(cleared: &Cleared<'_, '_>) -> (usize, usize) {
    let all = cleared.passed_over.len();
    let minimum = cleared.passed_over.iter();
    let minimum = minimum.filter(|bid| bid.because == Because::Minimum).count();
    (minimum, all - minimum)
}

fn describe(folder: &Path, book: &Book<'_>, cleared: &Cleared<'_, '_>) -> String {
    let (minimum, exclusive) = passed_over(cleared);
    let gap = percent(gap_millionths(cleared.welfare, cleared.bound));
    let folder = folder.display();
    let mut text = format!(
        "{} bids, {} offers, {} regions\n\
         filled               {} bids, {} of them in part\n\
         sold                 {} of {} unit-slots\n\
         welfare              {}\n\
         upper bound          {}, certified by the prices\n\
         gap                  {gap}\n\
         relaxed welfare      {}\n\
         payments             {}\n\
         receipts             {}\n\
         passed over          {minimum} for their minimum, {exclusive} for another of their group\n",
        book.bids(),
        book.offers(),
        book.regions(),
        cleared.filled(),
        cleared.partly,
        cleared.sold,
        cleared.offered,
        wide_money(cleared.welfare),
        wide_money(cleared.bound),
        wide_money(cleared.relaxed),
        wide_money(cleared.payments),
        wide_money(cleared.receipts),
    );
    if !cleared.passed_over.is_empty() {
        let mut table = Table::new(&["passed over", ">worth more by", "because"]);
        for bid in cleared.passed_over.iter().take(SHOWN_MAX) {
            let surplus = super::table::money(bid.surplus_micro);
            table.row([bid.id.to_owned(), surplus, reason(bid.because).to_owned()]);
        }
        let _ = write!(text, "\n{table}");
        let more = cleared.passed_over.len().saturating_sub(SHOWN_MAX);
        if more > 0 {
            let _ = writeln!(text, "and {more} more; all are in the answer to --json");
        }
    }
    let _ = writeln!(text, "\n{folder}/{FILLS}, {PRICES} and {SALES} are written.");
    text
}

fn clear_json(book: &Book<'_>, cleared: &Cleared<'_, '_>) -> Value {
    let passed_over: Vec<_> = cleared
        .passed_over
        .iter()
        .map(|bid| {
            json!({
                "id": bid.id,
                "surplus_micro": bid.surplus_micro,
                "because": reason(bid.because),
            })
        })
        .collect();
    json!({
        "bids": book.bids(),
        "offers": book.offers(),
        "regions": book.regions(),
        "filled": cleared.filled(),
        "partly_filled": cleared.partly,
        "unit_slots_offered": cleared.offered,
        "unit_slots_sold": cleared.sold,
        "welfare_micro": wide(cleared.welfare),
        "bound_micro": wide(cleared.bound),
        "gap_millionths": wide(gap_millionths(cleared.welfare, cleared.bound)),
        "relaxed_welfare_micro": wide(cleared.relaxed),
        "payments_micro": wide(cleared.payments),
        "receipts_micro": wide(cleared.receipts),
        "passed_over": passed_over,
    })
}

fn describe_verdict(verdict: &Verdict) -> String {
    let violations = &verdict.violations;
    let mut text = String::new();
    if !violations.is_empty() {
        let _ = writeln!(text, "{violations}\n");
    }
    let found = match violations.count() {
        0 => "nothing is wrong".to_owned(),
        1 => "1 violation".to_owned(),
        count => format!("{count} violations"),
    };
    let of_sales = if verdict.has_sales { "" } else { ", as the offers say; there are no sales" };
    let _ = write!(
        text,
        "result               {found}\n\
         filled               {} bids\n\
         welfare              {}\n\
         upper bound          {}, by the prices\n\
         gap                  {}\n\
         payments             {}\n\
         receipts             {}{of_sales}\n\
         passed over          {} bids that ask for more than any part\n",
        verdict.filled,
        wide_money(verdict.welfare),
        wide_money(verdict.bound),
        percent(gap_millionths(verdict.welfare, verdict.bound)),
        wide_money(verdict.payments),
        wide_money(verdict.receipts),
        verdict.passed_over,
    );
    text
}

fn verdict_json(verdict: &Verdict) -> Value {
    json!({
        "valid": verdict.violations.is_empty(),
        "violations": verdict.violations.count(),
        "told": verdict.violations.told(),
        "filled": verdict.filled,
        "welfare_micro": wide(verdict.welfare),
        "bound_micro": wide(verdict.bound),
        "gap_millionths": wide(gap_millionths(verdict.welfare, verdict.bound)),
        "payments_micro": wide(verdict.payments),
        "receipts_micro": wide(verdict.receipts),
        "passed_over": verdict.passed_over,
    })
}

#[cfg(test)]
mod tests;
