//! `purchaser`: who buys, and its account.

use headroom_units::{Money, PurchaserId};
use headroom_wire::{NewCredit, NewPurchaser, PurchaserView, Text};

use super::{
    Context, show,
    table::{Table, money},
};

/// What can be asked of purchasers.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Register a purchaser; prints its token, which is shown this once
    #[command(after_help = "Examples:\n  headroom purchaser create shop-inc \\
      --token-file headroom-data/operator.token")]
    Create {
        /// The id it will have
        id: PurchaserId,
    },
    /// List purchasers with their money
    #[command(
        after_help = "Examples:\n  headroom purchaser list\n  headroom purchaser list --json"
    )]
    List,
    /// Pay money into a purchaser's account
    #[command(after_help = "Examples:\n  headroom purchaser credit shop-inc \"100 EUR\"")]
    Credit {
        /// Whose account
        id: PurchaserId,
        /// How much, with its currency
        amount: String,
    },
}

pub(super) fn run(command: &Command, context: &mut Context<'_>) -> anyhow::Result<()> {
    match command {
        Command::Create { id } => {
            let answer =
                context.client.post("/v1/purchasers", &NewPurchaser { id: Text(id.clone()) })?;
            context.show(&answer, created)
        }
        Command::List => {
            let answer = context.client.get("/v1/purchasers")?;
            context.show(&answer, |purchasers: &Vec<PurchaserView>| table(purchasers))
        }
        Command::Credit { id, amount } => {
            let amount = Money::parse(amount, show::currency(context)?)?;
            let credit = NewCredit { amount_micro: amount.micro() };
            let answer = context.client.post(&format!("/v1/purchasers/{id}/credits"), &credit)?;
            context
                .show(&answer, |purchaser: &PurchaserView| table(std::slice::from_ref(purchaser)))
        }
    }
}

fn created(purchaser: &PurchaserView) -> String {
    let id = &purchaser.id.0;
    match &purchaser.token {
        Some(token) => format!("{id} is registered. Its token, shown this once:\n{token}\n"),
        None => format!("{id} is registered.\n"),
    }
}

fn table(purchasers: &[PurchaserView]) -> String {
    let mut table = Table::new(&["purchaser", ">available", ">held"]);
    for purchaser in purchasers {
        table.row([
            purchaser.id.0.to_string(),
            money(purchaser.available_micro),
            money(purchaser.held_micro),
        ]);
    }
    table.to_string()
}
