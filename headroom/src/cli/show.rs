//! `region list`, `show`, `ledger show`: what everybody may look at.

use headroom_units::{Currency, RegionId};
use headroom_wire::{LedgerView, RegionView, SlotView};

use super::{
    Context,
    table::{Table, money},
};

pub(super) const HEADROOM_EXAMPLES: &str = "Examples:
  headroom show
  headroom show --region east
  headroom show --region east --json";

/// What can be asked of regions.
#[derive(Debug, clap::Subcommand)]
pub enum RegionCommand {
    /// List regions
    #[command(after_help = "Examples:\n  headroom region list")]
    List,
}

/// What can be asked of headroom.
#[derive(Debug, clap::Subcommand)]
pub enum HeadroomCommand {
    /// Capacity, headroom, offers and prices of the coming slots
    #[command(after_help = HEADROOM_EXAMPLES)]
    Show(HeadroomArgs),
}

/// What `show` is told.
#[derive(Debug, clap::Args)]
pub struct HeadroomArgs {
    /// One region; all if not given
    #[arg(long)]
    region: Option<RegionId>,
}

/// What can be asked of the ledger.
#[derive(Debug, clap::Subcommand)]
pub enum LedgerCommand {
    /// Show every account with its balance; for a purchaser, its own
    #[command(after_help = "Examples:\n  headroom ledger show\n  headroom ledger show --json")]
    Show,
}

/// The currency the exchange keeps its books in.
pub(super) fn currency(context: &Context<'_>) -> anyhow::Result<Currency> {
    let ledger: LedgerView = context.client.get("/v1/ledger")?.decode()?;
    Ok(ledger.currency.parse()?)
}

pub(super) fn regions(context: &mut Context<'_>) -> anyhow::Result<()> {
    let answer = context.client.get("/v1/regions")?;
    context.show(&answer, |regions: &Vec<RegionView>| {
        let mut table = Table::new(&["region", ">capacity units", ">edges"]);
        for region in regions {
            table.row([
                region.id.0.to_string(),
                region.capacity_units.to_string(),
                region.edges.to_string(),
            ]);
        }
        table.to_string()
    })
}

pub(super) fn headroom(args: &HeadroomArgs, context: &mut Context<'_>) -> anyhow::Result<()> {
    let path = match &args.region {
        Some(region) => format!("/v1/headroom?region={region}"),
        None => "/v1/headroom".to_owned(),
    };
    let answer = context.client.get(&path)?;
    context.show(&answer, |slots: &Vec<SlotView>| slot_table(slots))
}

fn slot_table(slots: &[SlotView]) -> String {
    let mut table = Table::new(&[
        "region",
        "slot",
        ">capacity",
        ">headroom",
        ">risk",
        ">offered",
        ">sold",
        ">price",
    ]);
    for slot in slots {
        table.row([
            slot.region.0.to_string(),
            slot.start.to_string(),
            slot.capacity_units.to_string(),
            slot.headroom_units.to_string(),
            format!("{:.2} %", slot.risk * 100.0),
            slot.offered_units.to_string(),
            slot.sold_units.to_string(),
            slot.clearing_price_micro.map_or_else(|| "-".to_owned(), money),
        ]);
    }
    table.to_string()
}

pub(super) fn ledger(context: &mut Context<'_>) -> anyhow::Result<()> {
    let answer = context.client.get("/v1/ledger")?;
    context.show(&answer, ledger_table)
}

fn ledger_table(ledger: &LedgerView) -> String {
    let currency = &ledger.currency;
    let mut table = Table::new(&["account", &format!(">balance in {currency}")]);
    for account in &ledger.accounts {
        table.row([account.id.clone(), money(account.balance_micro)]);
    }
    format!(
        "{table}\nsum {}, charged {}, refunded {}, penalties {} {currency}\n",
        money(ledger.sum_micro),
        money(ledger.charged_micro),
        money(ledger.refunded_micro),
        money(ledger.penalties_micro),
    )
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn slots_and_books_are_tables() {
        let slots: Vec<SlotView> = serde_json::from_value(serde_json::json!([
            { "region": "east", "start": "2026-11-22T18:00:00Z", "capacity_units": 1000,
              "headroom_units": 412, "risk": 0.01, "offered_units": 400, "sold_units": 300,
              "clearing_price_micro": 350 },
            { "region": "west", "start": "2026-11-22T18:00:00Z", "capacity_units": 1000,
              "headroom_units": 0, "risk": 0.01, "offered_units": 0, "sold_units": 0,
              "clearing_price_micro": null },
        ]))
        .unwrap();
        expect![[r#"
            region  slot                  capacity  headroom    risk  offered  sold    price
            east    2026-11-22T18:00:00Z      1000       412  1.00 %      400   300  0.00035
            west    2026-11-22T18:00:00Z      1000         0  1.00 %        0     0        -
        "#]]
        .assert_eq(&slot_table(&slots));
        let ledger: LedgerView = serde_json::from_value(serde_json::json!({
            "currency": "EUR", "sum_micro": 0, "charged_micro": 1_500_000,
            "refunded_micro": 20, "penalties_micro": 0,
            "accounts": [{ "id": "cash", "balance_micro": -100_000_000 },
                         { "id": "purchaser shop-inc", "balance_micro": 98_500_020 }],
        }))
        .unwrap();
        expect![[r#"
            account             balance in EUR
            cash                          -100
            purchaser shop-inc        98.50002

            sum 0, charged 1.5, refunded 0.00002, penalties 0 EUR
        "#]]
        .assert_eq(&ledger_table(&ledger));
    }
}
