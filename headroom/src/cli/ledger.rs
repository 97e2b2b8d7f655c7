//! `ledger`: the books, the log behind them, and whether that is the one that was written.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use headroom_market::{Audit, Event, Market, Rules};
use headroom_units::{Price, SlotLength, Timestamp, UnitSize};
use headroom_wire::{Chain, ChainHash, EventDocument, LedgerView, LogHeader, LogLine, Time};
use serde_json::json;

use super::{
    Context,
    table::{Table, money},
};
use crate::limits::SHOWN_MAX;

const EXPORT_EXAMPLES: &str = "Examples:
  headroom ledger export > books.ndjson
  headroom ledger export --csv > journal.csv

A line of JSON for each event, with its link of the hash chain; or with --csv a line for each movement
of money: sequence,at,event,from,to,amount_micro. It is the operator's call.";

const VERIFY_EXAMPLES: &str = "Examples:
  headroom ledger verify
  headroom ledger verify books.ndjson
  headroom ledger verify books.ndjson --head 5f0c…

Walks the hash chain of the event log, then follows the money with arithmetic of its own: every bid
holds what it could cost, every contract fits its bid, every slot is settled once, and the books sum
to zero. The chain cannot tell whether events are missing at its end: keep the head that is printed,
and give it the next time. Exit code 1 if anything is wrong.";

/// What can be asked of the ledger.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show every account with its balance; for a purchaser, its own
    #[command(after_help = "Examples:\n  headroom ledger show\n  headroom ledger show --json")]
    Show,
    /// Print the event log, or the journal of all movements of money
    #[command(after_help = EXPORT_EXAMPLES)]
    Export {
        /// The journal, as CSV
        #[arg(long)]
        csv: bool,
    },
    /// Check that the event log is the one that was written, and that its money adds up
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify {
        /// What `ledger export` printed; the log of the running exchange if not given
        file: Option<PathBuf>,
        /// A head that was printed before: the log must lead past it
        #[arg(long, value_name = "HASH")]
        head: Option<ChainHash>,
    },
}

pub(super) fn run(command: &Command, context: &mut Context<'_>) -> anyhow::Result<()> {
    match command {
        Command::Show => {
            let answer = context.client.get("/v1/ledger")?;
            context.show(&answer, table)
        }
        Command::Export { csv } => export(*csv, context),
        Command::Verify { file, head } => verify(file.as_deref(), *head, context),
    }
}

fn table(ledger: &LedgerView) -> String {
    let currency = &ledger.currency;
    let mut table = Table::new(&["account", &format!(">balance in {currency}")]);
    for account in &ledger.accounts {
        table.row([account.id.clone(), money(account.balance_micro)]);
    }
    format!(
        "{table}\nsum {}, charged {}, refunded {}, penalties {} {currency}\n{} events, head {}\n",
        money(ledger.sum_micro),
        money(ledger.charged_micro),
        money(ledger.refunded_micro),
        money(ledger.penalties_micro),
        ledger.events,
        ledger.head.0,
    )
}

fn export(csv: bool, context: &mut Context<'_>) -> anyhow::Result<()> {
    let ledger: LedgerView = context.client.get("/v1/ledger")?.decode()?;
    if csv {
        writeln!(context.out, "sequence,at,event,from,to,amount_micro")?;
        let length = slot_length(ledger.slot_seconds)?;
        let mut market = replaying(length);
        return each_of_exchange(context, |line, out| journal(&mut market, line, out));
    }
    let header = LogHeader { currency: ledger.currency, slot_seconds: ledger.slot_seconds };
    writeln!(context.out, "{}", serde_json::to_string(&header)?)?;
    each_of_exchange(context, |line, out| Ok(writeln!(out, "{}", serde_json::to_string(line)?)?))
}

/// Writes the movements of money of one event.
fn journal(market: &mut Market, line: &LogLine, out: &mut dyn Write) -> anyhow::Result<()> {
    let document: EventDocument = serde_json::from_str(line.event.get())?;
    let kind = serde_json::to_value(&document)?;
    let kind = kind["event"].as_str().unwrap_or_default();
    let event = Event::try_from(document)?;
    let at = Time(Timestamp::from_nanos(line.at_nanos));
    for posting in market.postings(&event) {
        let (from, to) = (&posting.from, &posting.to);
        let amount = posting.amount.micro();
        writeln!(out, "{},{at},{kind},{from},{to},{amount}", line.sequence)?;
    }
    market.apply(&event);
    Ok(())
}

/// A market that only replays what others decided: no rule is asked.
fn replaying(slot_length: SlotLength) -> Market {
    Market::new(Rules {
        slot_length,
        unit: UnitSize::default(),
        lead: std::time::Duration::ZERO,
        horizon_slots: 0,
        gate: None,
        reserve: Price::default(),
        penalty: Price::default(),
        notice: std::time::Duration::ZERO,
        regions: std::collections::BTreeSet::new(),
    })
}

/// Calls `each` for every event of the running exchange, page by page.
fn each_of_exchange(
    context: &mut Context<'_>,
    mut each: impl FnMut(&LogLine, &mut dyn Write) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut after = 0;
    loop {
        let answer = context.client.get(&format!("/v1/ledger/events?after={after}"))?;
        let mut more = false;
        for text in answer.text().lines() {
            let line: LogLine = serde_json::from_str(text).context("the exchange's answer")?;
            (after, more) = (line.sequence, true);
            each(&line, context.out)?;
        }
        if !more {
            return Ok(());
        }
    }
}

/// Walks a log: its chain, and its money.
struct Walk {
    chain: Chain,
    audit: Audit,
    /// A head that has to come by, until it does.
    expected: Option<ChainHash>,
    findings: Vec<String>,
}

impl Walk {
    fn new(slot_length: SlotLength, expected: Option<ChainHash>) -> Self {
        let audit = Audit::new(slot_length);
        Self { chain: Chain::default(), audit, expected, findings: Vec::new() }
    }

    /// Goes on to the next event. What is wrong with its money is noted.
    ///
    /// # Errors
    /// If the chain breaks here: nothing behind it can be trusted.
    fn go_on(&mut self, line: &LogLine) -> anyhow::Result<()> {
        self.chain.go_on(line)?;
        let sequence = line.sequence;
        let what = || format!("event {sequence}");
        let document: EventDocument = serde_json::from_str(line.event.get()).with_context(what)?;
        let event = Event::try_from(document).with_context(what)?;
        let findings = self.audit.go_on(&event);
        self.findings
            .extend(findings.into_iter().map(|found| format!("event {sequence}: {found}")));
        if self.expected == Some(self.chain.head) {
            self.expected = None;
        }
        Ok(())
    }

    fn end(mut self) -> Self {
        let missing = self.audit.missing_micro();
        if missing != 0 {
            self.findings.push(format!("the books do not sum to zero, but to {missing}"));
        }
        if let Some(expected) = self.expected {
            self.findings.push(format!(
                "the log never had the head {expected}: it is not the log that was seen before, or \
                 its end is missing"
            ));
        }
        self
    }
}

fn verify(
    file: Option<&Path>,
    head: Option<ChainHash>,
    context: &mut Context<'_>,
) -> anyhow::Result<()> {
    let walk = match file {
        Some(path) => {
            let doing = || format!("cannot verify {}", path.display());
            let lines = BufReader::new(File::open(path).with_context(doing)?);
            walk_file(lines, head).with_context(doing)?
        }
        None => {
            let ledger: LedgerView = context.client.get("/v1/ledger")?.decode()?;
            let mut walk = Walk::new(slot_length(ledger.slot_seconds)?, head);
            each_of_exchange(context, |line, _| walk.go_on(line))?;
            walk.end()
        }
    };
    let Walk { chain, audit, findings, .. } = &walk;
    if context.json {
        let (revenue, penalties) = audit.operator_micro();
        let result = json!({
            "events": chain.events,
            "head": chain.head.to_string(),
            "held_micro": text(audit.held_micro()),
            "revenue_micro": text(revenue),
            "penalties_micro": text(penalties),
            "missing_micro": text(audit.missing_micro()),
            "findings": findings,
        });
        writeln!(context.out, "{result:#}")?;
    } else if findings.is_empty() {
        writeln!(
            context.out,
            "{} events, unbroken; the money adds up\nhead {}",
            chain.events, chain.head
        )?;
    }
    anyhow::ensure!(findings.is_empty(), "{}", told(findings));
    Ok(())
}

/// Sums are larger than what every reader of JSON takes for a number.
fn text(sum: i128) -> String {
    sum.to_string()
}

fn told(findings: &[String]) -> String {
    let more = findings.len().saturating_sub(SHOWN_MAX);
    let mut text = findings[..findings.len() - more].join("\n");
    if more > 0 {
        text.push_str(&format!("\nand {more} more"));
    }
    text
}

/// Walks an exported log.
fn walk_file(lines: impl BufRead, head: Option<ChainHash>) -> anyhow::Result<Walk> {
    let mut lines = (1_usize..).zip(lines.lines());
    let first = lines.next().map_or(Ok(String::new()), |(_, line)| line)?;
    let header: LogHeader = serde_json::from_str(&first).context(
        "line 1 is not the header that `headroom ledger export` prints, such as \
         {\"currency\":\"EUR\",\"slot_seconds\":900}",
    )?;
    let mut walk = Walk::new(slot_length(header.slot_seconds)?, head);
    for (number, line) in lines {
        let line: LogLine =
            serde_json::from_str(&line?).with_context(|| format!("line {number}"))?;
        walk.go_on(&line)?;
    }
    Ok(walk.end())
}

fn slot_length(seconds: u64) -> anyhow::Result<SlotLength> {
    SlotLength::from_seconds(seconds)
        .with_context(|| format!("slots of {seconds} s are none; a slot divides a day"))
}

#[cfg(test)]
mod tests;
