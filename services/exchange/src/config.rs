//! What the exchange is told at its start; validated values only.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use headroom_market::{Gate, OfferPolicy};
use headroom_steer::{Fleet, SiteInput};
use headroom_units::{Currency, EdgeId, Fraction, RegionId, SlotLength, UnitSize, Units};

/// The configuration of the exchange.
#[derive(Debug, Clone)]
pub struct ExchangeConfig {
    /// Where the API listens.
    pub listen: SocketAddr,
    /// The folder of the database and of the operator's token.
    pub data_dir: PathBuf,
    /// The DNS servers that are asked for proofs of control; the system's own if empty.
    pub resolvers: Vec<SocketAddr>,
    /// The network.
    pub fleet: Fleet,
    /// What each edge can serve.
    pub capacities: BTreeMap<EdgeId, Units>,
    /// The operator's own sites.
    pub own_sites: Vec<SiteInput>,
    /// The currency of the books.
    pub currency: Currency,
    /// How long a slot is.
    pub slot_length: SlotLength,
    /// What a unit stands for.
    pub unit: UnitSize,
    /// How the forecast is made, in slots.
    pub forecast: headroom_forecast::Config,
    /// The stated risk that less is unused than is offered.
    pub risk: Fraction,
    /// What capacity costs, what not delivering it costs, and the published reserve.
    pub offer: OfferPolicy,
    /// A slot can be bought until this long before it begins.
    pub lead: Duration,
    /// How far ahead bids may reach, in slots.
    pub horizon_slots: u64,
    /// When the slots of a day are sold ahead, if they are.
    pub gate: Option<Gate>,
    /// How often an auction is held.
    pub auction_every: Duration,
    /// How long before its end the holder of an interruptible contract is told of a recall.
    pub recall_notice: Duration,
    /// How long after its end a slot is settled: meters may be this late.
    pub settle_delay: Duration,
    /// How long a budget is in force without renewal.
    pub budget_lifetime: Duration,
    /// An edge that has not reported for this long is down.
    pub edge_timeout: Duration,
}

impl ExchangeConfig {
    /// What all edges of `region` can serve together.
    #[must_use]
    pub fn capacity(&self, region: &RegionId) -> Units {
        self.capacity_without(region, &BTreeSet::new())
    }

    /// What the edges of `region` that are not `down` can serve together.
    #[must_use]
    pub fn capacity_without(&self, region: &RegionId, down: &BTreeSet<EdgeId>) -> Units {
        let edges = self.fleet.regions.get(region).map(|region| region.edges.keys());
        let up = edges.into_iter().flatten().filter(|edge| !down.contains(edge));
        up.filter_map(|edge| self.capacities.get(edge)).copied().sum()
    }
}
