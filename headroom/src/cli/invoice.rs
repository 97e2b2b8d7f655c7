//! `invoice`: what a purchaser owes for the slots of one month.

use headroom_units::PurchaserId;
use headroom_wire::{InvoiceView, Month};

use super::{
    Context,
    table::{Table, money},
};

const EXAMPLES: &str = "Examples:
  headroom invoice show shop-inc 2026-11
  headroom invoice show shop-inc 2026-11 --csv > lines.csv
  headroom invoice show shop-inc 2026-11 --html > invoice.html

The slots that began in the month, in UTC, as they were finally settled. A purchaser sees its own
invoices, the operator all. The page is complete in itself and prints on A4.";

/// What can be asked of invoices.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show the invoice of a month
    #[command(after_help = EXAMPLES)]
    Show {
        /// Whose
        purchaser: PurchaserId,
        /// Which month, such as 2026-11
        month: Month,
        /// A line of CSV for each contract
        #[arg(long, conflicts_with = "html")]
        csv: bool,
        /// A page to read and to print
        #[arg(long)]
        html: bool,
    },
}

pub(super) fn run(command: &Command, context: &mut Context<'_>) -> anyhow::Result<()> {
    let Command::Show { purchaser, month, csv, html } = command;
    anyhow::ensure!(!context.json || !(*csv || *html), "--json does not go with --csv or --html");
    let path = format!("/v1/invoices/{purchaser}/{month}");
    let format = match (csv, html) {
        (true, _) => "csv",
        (_, true) => "html",
        _ => return context.show(&context.client.get(&path)?, description),
    };
    let answer = context.client.get(&format!("{path}?format={format}"))?;
    Ok(write!(context.out, "{}", answer.text())?)
}

fn description(invoice: &InvoiceView) -> String {
    let currency = &invoice.currency;
    let mut table = Table::new(&[
        "contract",
        "site",
        "region",
        "class",
        "first slot",
        "last slot",
        ">slots",
        ">units",
        ">served",
        ">charged",
        ">refunded",
        ">penalty",
    ]);
    for line in &invoice.lines {
        table.row([
            line.contract.0.to_string(),
            line.site.0.to_string(),
            line.region.0.to_string(),
            line.class.0.to_string(),
            line.first_slot.to_string(),
            line.last_slot.to_string(),
            line.slots.to_string(),
            line.units.to_string(),
            line.served.to_string(),
            money(line.charge_micro),
            money(line.refund_micro),
            money(line.penalty_micro),
        ]);
    }
    let state = match (invoice.is_final, invoice.unsettled_slots) {
        (true, _) => "final".to_owned(),
        (false, 0) => "provisional: the month is not over".to_owned(),
        (false, slots) => format!("provisional: {slots} slots are not settled yet"),
    };
    format!(
        "invoice {}, {state}\n\n{table}\ncharged {}, refunded {}, penalties {}, total {} {currency}\n",
        invoice.number,
        money(invoice.charge_micro),
        money(invoice.refund_micro),
        money(invoice.penalty_micro),
        money(invoice.total_micro),
    )
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn an_invoice_is_a_table_with_its_sums() {
        let invoice: InvoiceView = serde_json::from_value(serde_json::json!({
            "number": "shop-2026-11", "purchaser": "shop", "month": "2026-11",
            "currency": "EUR", "final": false, "unsettled_slots": 3,
            "charge_micro": 1_500_000, "refund_micro": 20, "penalty_micro": 0,
            "total_micro": 1_499_980,
            "lines": [{
                "contract": "contract-1", "site": "shop", "region": "east", "class": "firm",
                "first_slot": "2026-11-22T18:00:00Z", "last_slot": "2026-11-22T18:45:00Z",
                "slots": 4, "units": 300, "served": 1_079_990, "charge_micro": 1_500_000,
                "refund_micro": 20, "penalty_micro": 0,
            }],
        }))
        .unwrap();
        expect![[r#"
            invoice shop-2026-11, provisional: 3 slots are not settled yet

            contract    site  region  class  first slot            last slot             slots  units   served  charged  refunded  penalty
            contract-1  shop  east    firm   2026-11-22T18:00:00Z  2026-11-22T18:45:00Z      4    300  1079990      1.5   0.00002        0

            charged 1.5, refunded 0.00002, penalties 0, total 1.49998 EUR
        "#]].assert_eq(&description(&invoice));
    }
}
