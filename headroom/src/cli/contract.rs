//! `contract`: what was bought and what was delivered.

use std::fmt::Write as _;

use headroom_units::{ContractId, Timestamp};
use headroom_wire::{ContractView, SettlementView, Time};

use super::{
    Context,
    table::{Table, money},
};

/// What can be asked of contracts.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List contracts
    #[command(after_help = "Examples:\n  headroom contract list\n  headroom contract list --json")]
    List,
    /// Show a contract with its settlements
    #[command(after_help = "Examples:\n  headroom contract show contract-3")]
    Show {
        /// Which contract
        id: ContractId,
    },
}

pub(super) fn run(command: &Command, context: &mut Context<'_>) -> anyhow::Result<()> {
    match command {
        Command::List => {
            let answer = context.client.get("/v1/contracts")?;
            context.show(&answer, |contracts: &Vec<ContractView>| table(contracts))
        }
        Command::Show { id } => {
            let answer = context.client.get(&format!("/v1/contracts/{id}"))?;
            context.show(&answer, description)
        }
    }
}

fn table(contracts: &[ContractView]) -> String {
    let mut table = Table::new(&[
        "contract",
        "bid",
        "site",
        "region",
        "first slot",
        "last slot",
        ">units",
        "class",
        "stage",
        ">price",
        ">served",
        ">refused",
        ">charged",
        ">refunded",
    ]);
    for contract in contracts {
        let sum = |part: fn(&SettlementView) -> i64| {
            money(contract.settlements.iter().map(part).fold(0, i64::saturating_add))
        };
        let count = |part: fn(&SettlementView) -> u64| {
            contract.settlements.iter().map(part).fold(0, u64::saturating_add).to_string()
        };
        table.row([
            contract.id.0.to_string(),
            contract.bid.0.to_string(),
            contract.site.0.to_string(),
            contract.region.0.to_string(),
            contract.first_slot.to_string(),
            contract.last_slot.to_string(),
            contract.units.to_string(),
            contract.class.0.to_string(),
            contract.stage.0.to_string(),
            prices(&contract.prices_micro),
            count(|settlement| settlement.served),
            count(|settlement| settlement.refused),
            sum(|settlement| settlement.charge_micro),
            sum(|settlement| settlement.refund_micro),
        ]);
    }
    table.to_string()
}

/// One price, or the lowest and the highest.
fn prices(micro: &[i64]) -> String {
    match (micro.iter().min(), micro.iter().max()) {
        (Some(low), Some(high)) if low == high => money(*low),
        (Some(low), Some(high)) => format!("{} to {}", money(*low), money(*high)),
        _ => "-".to_owned(),
    }
}

fn description(contract: &ContractView) -> String {
    let mut text = table(std::slice::from_ref(contract));
    let mut stages = Table::new(&["stage", "since"]);
    for entered in &contract.stages {
        // To the second: it is noticed once a second.
        let at = Time(Timestamp::from_seconds(entered.at.0.seconds()));
        stages.row([entered.stage.0.to_string(), at.to_string()]);
    }
    let _ = write!(text, "\nends at {}\n\n{stages}", contract.ends_at);
    let _ = write!(text, "\nsettled slots: final\n{}", settlements(&contract.settlements));
    if !contract.indicative.is_empty() {
        let indicative = settlements(&contract.indicative);
        let _ = write!(text, "\nindicative: if no more meters come\n{indicative}");
    }
    text
}

fn settlements(settlements: &[SettlementView]) -> Table {
    let mut slots = Table::new(&[
        "slot",
        ">served",
        ">refused",
        ">undelivered",
        ">charged",
        ">refunded",
        ">penalty",
    ]);
    for settlement in settlements {
        let undelivered = settlement.undelivered_millirequests;
        slots.row([
            settlement.slot.to_string(),
            settlement.served.to_string(),
            settlement.refused.to_string(),
            format!("{}.{:03}", undelivered / 1_000, undelivered % 1_000),
            money(settlement.charge_micro),
            money(settlement.refund_micro),
            money(settlement.penalty_micro),
        ]);
    }
    slots
}

#[cfg(test)]
mod tests;
