//! What the demo shows in the terminal: a live view, and a table at the end.

use std::{
    fmt::Write as _,
    io::{IsTerminal, Write as _, stdout},
    time::Duration,
};

use headroom_units::Timestamp;
use headroom_wire::{ContractLive, LiveView, SlotView, Time};

use super::{report::Report, scenario::Scenario, tally::Tally, world::World};

const EVERY: Duration = Duration::from_secs(1);
/// Slots shown before the running one, and in all.
const SLOTS_BEFORE: u64 = 1;
const SLOTS_SHOWN: u64 = 5;

/// The terminal, or a file that the output goes to.
pub(crate) struct View {
    terminal: bool,
}

impl View {
    pub(crate) fn stdout() -> Self {
        Self { terminal: stdout().is_terminal() }
    }

    /// Shows what happens, every second: redrawn in place in a terminal, else a line or two.
    pub(crate) async fn watch(&self, scenario: &Scenario, world: &World, tally: &Tally) {
        let mut ticks = tokio::time::interval(EVERY);
        let mut drawn = 0;
        loop {
            ticks.tick().await;
            let Ok(live) = world.operator.get::<LiveView>("/v1/meters").await else {
                continue;
            };
            let running = scenario.slot.slot_at(headroom_clock::now());
            let from = Time(scenario.slot.start(running.minus(SLOTS_BEFORE)));
            let until = Time(scenario.slot.start(running.plus(SLOTS_SHOWN - 1 - SLOTS_BEFORE)));
            let path = format!("/v1/headroom?from={from}&until={until}");
            let slots = world.operator.get::<Vec<SlotView>>(&path).await.unwrap_or_default();
            if self.terminal {
                let frame = frame(&live, &slots, tally, scenario.slot.start(running));
                if drawn > 0 {
                    say(&format!("\x1b[{drawn}A\x1b[J"));
                }
                drawn = frame.lines().count();
                say(&frame);
            } else {
                say(&line(&live, tally));
            }
        }
    }

    /// The table at the end.
    pub(crate) fn table(&self, report: &Report) {
        let mut text = String::new();
        let _ = writeln!(text, "\nSlots");
        text += &slot_rows(&report.slots, None);
        let _ = writeln!(
            text,
            "\nContracts\n  {:<12} {:<6} {:>9} {:>6} {:>10} {:>8} {:>8} {:>8} {:>9} {:>7} {:>7}",
            "id",
            "region",
            "purchased",
            "slots",
            "price/slot",
            "offered",
            "served",
            "refused",
            "remainder",
            "use",
            "max 10s"
        );
        for contract in &report.contracts {
            let _ = writeln!(
                text,
                "  {:<12} {:<6} {:>9} {:>6} {:>10} {:>8} {:>8} {:>8} {:>9} {:>6.1}% {:>7.3}",
                contract.id,
                contract.region,
                contract.units,
                contract.slots,
                money(contract.price_micro),
                contract.offered,
                contract.served,
                contract.refused,
                contract.remainder,
                contract.use_of_purchase * 100.0,
                contract.max_10s_served_over_purchased,
            );
        }
        let _ = writeln!(text, "\nLedger");
        for account in &report.ledger.accounts {
            let _ = writeln!(text, "  {:<32} {:>14}", account.id, money(account.balance_micro));
        }
        let ledger = &report.ledger;
        let _ = writeln!(
            text,
            "  charged {}, refunded {}, penalties {}; the accounts sum to {}",
            money(ledger.charged_micro),
            money(ledger.refunded_micro),
            money(ledger.penalties_micro),
            money(ledger.sum_micro),
        );
        let (visitors, own) = (&report.visitors, &report.own_visitors);
        let _ = writeln!(
            text,
            "\nVisitors\n  the purchaser's: {} requests, {} by edges, {} by its own servers, {} failed",
            visitors.requests, visitors.by_edges, visitors.by_purchaser, visitors.failed,
        );
        let _ = writeln!(
            text,
            "  the operator's:  {} requests, {} by edges, {} failed",
            own.requests, own.by_edges, own.failed,
        );
        for (reason, count) in visitors.failures.iter().chain(&own.failures) {
            let _ = writeln!(text, "  {count} failed: {reason}");
        }
        say(&text);
    }

    /// Where to go from here.
    pub(crate) fn staying(&self, world: &World) {
        say(&format!(
            "\nThe network stays up until Ctrl-C. Try:\n  \
             headroom --api http://{api} --token-file {token} contract list\n  \
             headroom --api http://{api} --token-file {token} ledger show\n  \
             headroom --api http://{api} --token-file {token} live\n",
            api = world.api,
            token = world.token_file.display(),
        ));
    }
}

fn frame(live: &LiveView, slots: &[SlotView], tally: &Tally, running: Timestamp) -> String {
    let mut text = format!("plan {:<6} {}\n\n", live.generation, live.at);
    for region in &live.regions {
        let _ = writeln!(
            text,
            "{:<6} own traffic {:>4} req/s of {} units, edges up: {}",
            region.region.0,
            region.own_requests.unwrap_or(0),
            region.capacity_units,
            region.edges_up.len()
        );
    }
    text.push('\n');
    text += &slot_rows(slots, Some(running));
    let _ = writeln!(
        text,
        "\n  {:<12} {:<6} {:>9} {:>8} {:>8} {:>8} {:>9} {:>9}",
        "contract", "region", "purchased", "offered", "served", "refused", "remainder", "fraction"
    );
    for contract in &live.contracts {
        let remainder = remainder(contract, tally, live.at.0);
        let _ = writeln!(
            text,
            "  {:<12} {:<6} {:>9} {:>8} {:>8} {:>8} {:>9} {:>8.0}%",
            contract.id.0,
            contract.region.0,
            contract.units,
            contract.offered,
            contract.served,
            contract.refused,
            remainder,
            contract.fraction * 100.0
        );
    }
    let visitors = tally.sum(None, Timestamp::EPOCH, Timestamp::MAX);
    let _ = writeln!(
        text,
        "\nvisitors: {} requests, {} by edges, {} by the purchaser, {} failed",
        visitors.requests, visitors.by_edges, visitors.by_purchaser, visitors.failed
    );
    text
}

fn line(live: &LiveView, tally: &Tally) -> String {
    let mut text = format!("{} plan {}", live.at, live.generation);
    for region in &live.regions {
        let _ = write!(
            text,
            " | {} own {}/{}",
            region.region.0,
            region.own_requests.unwrap_or(0),
            region.capacity_units
        );
        for contract in live.contracts.iter().filter(|held| held.region == region.region) {
            let _ = write!(
                text,
                " purchased {} offered {} served {} remainder {} fraction {:.0}%",
                contract.units,
                contract.offered,
                contract.served,
                remainder(contract, tally, live.at.0),
                contract.fraction * 100.0
            );
        }
    }
    text + "\n"
}

/// The purchaser's own share of a second's visitors, as they counted it.
fn remainder(contract: &ContractLive, tally: &Tally, second: Timestamp) -> u64 {
    tally.sum(Some(contract.region.0.as_str()), second, second.after(EVERY)).by_purchaser
}

fn slot_rows(slots: &[SlotView], running: Option<Timestamp>) -> String {
    let mut text = format!(
        "  {:<6} {:<20} {:>8} {:>8} {:>7} {:>6} {:>10}\n",
        "region", "slot", "capacity", "headroom", "offered", "sold", "price"
    );
    for slot in slots {
        let mark = if running == Some(slot.start.0) { '>' } else { ' ' };
        let price = slot.clearing_price_micro.map_or_else(|| "-".to_owned(), money);
        let _ = writeln!(
            text,
            "{mark} {:<6} {:<20} {:>8} {:>8} {:>7} {:>6} {:>10}",
            slot.region.0,
            slot.start.to_string(),
            slot.capacity_units,
            slot.headroom_units,
            slot.offered_units,
            slot.sold_units,
            price
        );
    }
    text
}

fn money(micro: i64) -> String {
    headroom_units::Money::from_micro(micro).to_string()
}

/// Prints. A reader that is gone is no reason to stop.
fn say(text: &str) {
    let mut out = stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
