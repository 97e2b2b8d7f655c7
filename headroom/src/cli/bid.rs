//! `bid`: orders for capacity.

use std::fmt::Write as _;

use headroom_units::{BidId, BitRate, Class, Price, RegionId, RequestRate, SiteId};
use headroom_wire::{BidView, NewBid, Text, Time};

use super::{
    Context, show,
    table::{Table, joined, money},
};

const PLACE_EXAMPLES: &str = "Examples:
  headroom bid place --site shop --region east --first-slot 2026-11-22T18:00:00Z --slots 4 \\
      --units 300 --limit-price \"0.0005 EUR\"
  headroom bid place --site shop --region east --first-slot 2026-11-22T18:00:00Z --slots 4 \\
      --requests \"300 req/s\" --egress \"100 Mbit/s\" --limit-price \"0.0005 EUR\" \\
      --class interruptible

The starts of slots: headroom show --region east.";

/// What can be asked of bids.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Place a bid; money for it is held until it is over
    #[command(after_help = PLACE_EXAMPLES)]
    Place(Box<PlaceArgs>),
    /// List bids
    #[command(after_help = "Examples:\n  headroom bid list\n  headroom bid list --json")]
    List,
    /// Show a bid
    #[command(after_help = "Examples:\n  headroom bid show bid-7")]
    Show {
        /// Which bid
        id: BidId,
    },
    /// Cancel a bid: what it has not bought yet, it will not
    #[command(after_help = "Examples:\n  headroom bid cancel bid-7")]
    Cancel {
        /// Which bid
        id: BidId,
    },
}

/// What is bid for.
#[derive(Debug, clap::Args)]
pub struct PlaceArgs {
    /// The site the capacity is for
    #[arg(long)]
    site: SiteId,
    /// Where
    #[arg(long)]
    region: RegionId,
    /// The start of the first slot, RFC 3339
    #[arg(long, value_name = "TIME")]
    first_slot: Time,
    /// How many slots in a row
    #[arg(long, value_name = "COUNT")]
    slots: u64,
    /// How many units; or say --requests and --egress
    #[arg(
        long,
        value_name = "COUNT",
        required_unless_present = "requests",
        conflicts_with_all = ["requests", "egress"]
    )]
    units: Option<u64>,
    /// The sustained request rate that is needed, such as "300 req/s"
    #[arg(long, value_name = "RATE", requires = "egress")]
    requests: Option<RequestRate>,
    /// The sustained egress that is needed, such as "100 Mbit/s"
    #[arg(long, value_name = "RATE", requires = "requests")]
    egress: Option<BitRate>,
    /// The most that is paid per unit and slot, with its currency
    #[arg(long, value_name = "PRICE")]
    limit_price: String,
    /// firm or interruptible
    #[arg(long, default_value = "firm")]
    class: Class,
}

pub(super) fn run(command: Command, context: &mut Context<'_>) -> anyhow::Result<()> {
    let answer = match command {
        Command::Place(args) => {
            let limit_price = Price::parse(&args.limit_price, show::currency(context)?)?;
            context.client.post("/v1/bids", &new_bid(*args, limit_price))?
        }
        Command::List => {
            let answer = context.client.get("/v1/bids")?;
            return context.show(&answer, |bids: &Vec<BidView>| table(bids));
        }
        Command::Show { id } => context.client.get(&format!("/v1/bids/{id}"))?,
        Command::Cancel { id } => {
            let answer = context.client.delete(&format!("/v1/bids/{id}"))?;
            // An exchange may answer a cancellation with nothing.
            if answer.text().trim().is_empty() {
                if !context.json {
                    writeln!(context.out, "{id} is cancelled.")?;
                }
                return Ok(());
            }
            answer
        }
    };
    context.show(&answer, description)
}

fn description(bid: &BidView) -> String {
    let mut text = table(std::slice::from_ref(bid));
    if !bid.outcome.is_empty() {
        let price = bid.clearing_price_micro.map(|price| {
            format!("; the clearing price is {} per unit and slot on average", money(price))
        });
        let _ = writeln!(text, "\n{}{}", bid.outcome, price.unwrap_or_default());
    }
    text
}

fn new_bid(args: PlaceArgs, limit_price: Price) -> NewBid {
    NewBid {
        site: Text(args.site),
        region: Text(args.region),
        first_slot: args.first_slot,
        slots: args.slots,
        units: args.units,
        requests: args.requests.map(Text),
        egress: args.egress.map(Text),
        limit_price_micro: limit_price.micro(),
        class: Some(Text(args.class)),
    }
}

fn table(bids: &[BidView]) -> String {
    let mut table = Table::new(&[
        "bid",
        "site",
        "region",
        "first slot",
        "last slot",
        ">units",
        ">filled",
        ">limit",
        ">held",
        "class",
        "status",
        "contracts",
    ]);
    for bid in bids {
        table.row([
            bid.id.0.to_string(),
            bid.site.0.to_string(),
            bid.region.0.to_string(),
            bid.first_slot.to_string(),
            bid.last_slot.to_string(),
            bid.units.to_string(),
            bid.filled_units.to_string(),
            money(bid.limit_price_micro),
            money(bid.held_micro),
            bid.class.0.to_string(),
            bid.status.clone(),
            joined(bid.contracts.iter().map(|contract| contract.0)),
        ]);
    }
    table.to_string()
}
