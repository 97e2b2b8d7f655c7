//! `show`: the headroom of the coming slots, which everybody may look at.

use headroom_units::{Currency, RegionId};
use headroom_wire::{LedgerView, SlotView};

use super::{
    Context,
    table::{Table, money},
};

pub(super) const HEADROOM_EXAMPLES: &str = "Examples:
  headroom show
  headroom show --region east
  headroom show --region east --json";

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

/// The currency the exchange keeps its books in.
pub(super) fn currency(context: &Context<'_>) -> anyhow::Result<Currency> {
    let ledger: LedgerView = context.client.get("/v1/ledger")?.decode()?;
    Ok(ledger.currency.parse()?)
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

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn slots_are_a_table() {
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
    }
}
