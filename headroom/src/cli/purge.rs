//! `purge`: stored responses of a site are no longer served.

use headroom_units::SiteId;
use headroom_wire::{NewPurge, PurgeScopeDocument, PurgesView};

use super::{Context, table::Table};

pub(super) const EXAMPLES: &str = "Examples:
  headroom purge shop --url https://www.shop.example/price.json
  headroom purge shop --prefix https://www.shop.example/img/ --tag sale
  headroom purge shop --all

A URL is purged for both schemes. An edge has it in force as soon as it has the next plan: then it
fetches again what was stored before.";

/// What is purged.
#[derive(Debug, clap::Args)]
#[group(id = "what", required = true, multiple = true)]
struct What {
    /// The responses of this URL (repeat for more)
    #[arg(long = "url", value_name = "URL")]
    urls: Vec<String>,
    /// The responses whose URL begins so (repeat for more)
    #[arg(long = "prefix", value_name = "URL")]
    prefixes: Vec<String>,
    /// The responses that carry this tag (repeat for more)
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// All responses of the site
    #[arg(long, conflicts_with_all = ["urls", "prefixes", "tags"])]
    all: bool,
}

/// What `purge` is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which site
    site: SiteId,
    #[command(flatten)]
    what: What,
}

pub(super) fn run(args: Args, context: &mut Context<'_>) -> anyhow::Result<()> {
    let What { urls, prefixes, tags, all } = args.what;
    let purge = NewPurge { all, urls, prefixes, tags };
    let answer = context.client.post(&format!("/v1/sites/{}/purges", args.site), &purge)?;
    context.show(&answer, |view: &PurgesView| table(view).to_string())
}

fn table(view: &PurgesView) -> Table {
    let mut table = Table::new(&[">sequence", "site", "purged"]);
    for purge in &view.purges {
        let what = match &purge.scope {
            PurgeScopeDocument::All => "everything".to_owned(),
            PurgeScopeDocument::Url(url) => format!("URL {url}"),
            PurgeScopeDocument::Prefix(prefix) => format!("prefix {prefix}"),
            PurgeScopeDocument::Tag(tag) => format!("tag {tag}"),
        };
        table.row([purge.sequence.to_string(), view.site.0.to_string(), what]);
    }
    table
}
