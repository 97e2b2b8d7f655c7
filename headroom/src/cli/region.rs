//! `region`: the places of the network, and capacity of theirs that is taken back.

use headroom_units::RegionId;
use headroom_wire::{NewRecall, RecallView, RegionView, Time};

use super::{
    Context,
    table::{Table, money},
};

const RECALL_EXAMPLES: &str = "Examples:
  headroom region recall east --slot 2026-11-22T18:00:00Z --units 200

Interruptible contracts that hold the slot are recalled whole, until so many units are free or none is
left: the ones that pay the least there first, of those the ones made last. Each ends after the notice
of the configuration (market.recall_notice) and is refunded to the second. It is the operator's call.";

/// What can be asked of regions.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List regions
    #[command(after_help = "Examples:\n  headroom region list")]
    List,
    /// Take capacity back that was sold as interruptible
    #[command(after_help = RECALL_EXAMPLES)]
    Recall {
        /// Which region
        region: RegionId,
        /// The start of the slot in which it is needed
        #[arg(long, value_name = "TIME")]
        slot: Time,
        /// How many units are needed
        #[arg(long)]
        units: u64,
    },
}

pub(super) fn run(command: &Command, context: &mut Context<'_>) -> anyhow::Result<()> {
    match command {
        Command::List => {
            let answer = context.client.get("/v1/regions")?;
            context.show(&answer, |regions: &Vec<RegionView>| list(regions))
        }
        Command::Recall { region, slot, units } => {
            let recall = NewRecall { slot: *slot, units: *units };
            let answer = context.client.post(&format!("/v1/regions/{region}/recalls"), &recall)?;
            context.show(&answer, recalled)
        }
    }
}

fn list(regions: &[RegionView]) -> String {
    let mut table = Table::new(&["region", ">capacity units", ">edges"]);
    for region in regions {
        table.row([
            region.id.0.to_string(),
            region.capacity_units.to_string(),
            region.edges.to_string(),
        ]);
    }
    table.to_string()
}

fn recalled(view: &RecallView) -> String {
    let mut table = Table::new(&["contract", ">units", "ends at", ">released"]);
    for contract in &view.contracts {
        table.row([
            contract.contract.0.to_string(),
            contract.units.to_string(),
            contract.ends_at.to_string(),
            money(contract.released_micro),
        ]);
    }
    format!("{table}\n{} units are recalled.\n", view.units)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn what_was_recalled_is_a_table() {
        let view: RecallView = serde_json::from_value(serde_json::json!({
            "units": 30,
            "contracts": [
                { "contract": "contract-4", "units": 20, "ends_at": "2026-11-22T18:05:00Z",
                  "released_micro": 4_000 },
                { "contract": "contract-2", "units": 10, "ends_at": "2026-11-22T18:05:00Z",
                  "released_micro": 0 },
            ],
        }))
        .unwrap();
        expect![[r#"
            contract    units  ends at               released
            contract-4     20  2026-11-22T18:05:00Z     0.004
            contract-2     10  2026-11-22T18:05:00Z         0

            30 units are recalled.
        "#]]
        .assert_eq(&recalled(&view));
    }
}
