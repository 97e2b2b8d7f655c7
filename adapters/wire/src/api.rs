//! The bodies of API calls under `/v1`.

use headroom_market::Stage;
use headroom_units::{
    Authority, BidId, BitRate, Class, ContractId, EdgeId, HostName, Origin, PurchaserId, RegionId,
    RequestRate, SiteId,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{OverShareDocument, RemainderDocument, SiteRulesDocument, Text, Time};

/// Registers a purchaser and opens its account.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPurchaser {
    /// The id it will have.
    #[schema(value_type = String)]
    pub id: Text<PurchaserId>,
}

/// A purchaser; with its token once, when it is made.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PurchaserView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: Text<PurchaserId>,
    /// Money it may spend.
    pub available_micro: i64,
    /// Money held for bids and contracts.
    pub held_micro: i64,
    /// The secret to call the API with. Shown once; only its hash is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// Pays money into a purchaser's account.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCredit {
    /// How much, in millionths of the currency.
    pub amount_micro: i64,
}

/// Registers a site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSite {
    /// The id it will have; also its label in the network's DNS zone.
    #[schema(value_type = String)]
    pub id: Text<SiteId>,
    /// Its host names. Each is served only after control of it was proved.
    #[schema(value_type = Vec<String>)]
    pub hosts: Vec<Text<HostName>>,
    /// Where the edges fetch from.
    #[schema(value_type = Vec<String>)]
    pub origins: Vec<Text<Origin>>,
    /// Where mapping requests go that the edges do not take.
    pub remainder: RemainderDocument,
    /// What happens to a request over the share.
    #[serde(default)]
    pub over_share: OverShareDocument,
    /// The purchaser's own name for the site, reached without us.
    #[schema(value_type = String)]
    pub fallback: Text<Authority>,
    /// How its requests are handled.
    #[serde(default)]
    pub rules: SiteRulesDocument,
}

/// A site as registered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SiteView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: Text<SiteId>,
    /// Whose it is.
    #[schema(value_type = String)]
    pub purchaser: Text<PurchaserId>,
    /// Its host names, and how far the proof of control is.
    pub hosts: Vec<HostView>,
    /// What a host name is made a CNAME to.
    #[schema(value_type = String)]
    pub cname: Text<HostName>,
    /// Where the edges fetch from.
    #[schema(value_type = Vec<String>)]
    pub origins: Vec<Text<Origin>>,
    /// Where mapping requests go that the edges do not take.
    pub remainder: RemainderDocument,
    /// What happens to a request over the share.
    pub over_share: OverShareDocument,
    /// The purchaser's own name for the site.
    #[schema(value_type = String)]
    pub fallback: Text<Authority>,
    /// How its requests are handled.
    #[serde(default)]
    pub rules: SiteRulesDocument,
}

/// A host name of a site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostView {
    /// The name.
    #[schema(value_type = String)]
    pub host: Text<HostName>,
    /// Whether control of it was proved.
    pub proved: bool,
    /// The name of the TXT record that proves it.
    pub challenge_name: String,
    /// What that TXT record must say.
    pub challenge_value: String,
}

/// Places a bid.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBid {
    /// The site the capacity is for.
    #[schema(value_type = String)]
    pub site: Text<SiteId>,
    /// Where.
    #[schema(value_type = String)]
    pub region: Text<RegionId>,
    /// The start of the first slot.
    #[schema(value_type = String)]
    pub first_slot: Time,
    /// How many slots in a row.
    pub slots: u64,
    /// How many units; or say `requests` and `egress`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<u64>,
    /// The sustained request rate that is needed, "300 req/s".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub requests: Option<Text<RequestRate>>,
    /// The sustained egress that is needed, "100 Mbit/s".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub egress: Option<Text<BitRate>>,
    /// The most that is paid per unit and slot, in millionths of the currency.
    pub limit_price_micro: i64,
    /// "firm" (the default) or "interruptible".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub class: Option<Text<Class>>,
}

/// A bid and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BidView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: Text<BidId>,
    /// Whose it is.
    #[schema(value_type = String)]
    pub purchaser: Text<PurchaserId>,
    /// For which site.
    #[schema(value_type = String)]
    pub site: Text<SiteId>,
    /// Where.
    #[schema(value_type = String)]
    pub region: Text<RegionId>,
    /// The start of the first slot.
    #[schema(value_type = String)]
    pub first_slot: Time,
    /// The start of the last slot.
    #[schema(value_type = String)]
    pub last_slot: Time,
    /// Units asked for.
    pub units: u64,
    /// Units bought so far.
    pub filled_units: u64,
    /// The most that is paid per unit and slot.
    pub limit_price_micro: i64,
    /// Its class.
    #[schema(value_type = String)]
    pub class: Text<Class>,
    /// "open", "filled", "cancelled" or "expired".
    pub status: String,
    /// Money held for it now.
    pub held_micro: i64,
    /// The contracts it became.
    #[schema(value_type = Vec<String>)]
    pub contracts: Vec<Text<ContractId>>,
    /// Why it has won or lost so far, in the last auction of its slots.
    #[serde(default)]
    pub outcome: String,
    /// The average clearing price of its slots, rounded up, if all of them were sold: of what it
    /// bought if it is filled, else of what others bought.
    #[serde(default)]
    pub clearing_price_micro: Option<i64>,
}

/// A contract and what was delivered of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ContractView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: Text<ContractId>,
    /// The bid it came from.
    #[schema(value_type = String)]
    pub bid: Text<BidId>,
    /// Whose it is.
    #[schema(value_type = String)]
    pub purchaser: Text<PurchaserId>,
    /// For which site.
    #[schema(value_type = String)]
    pub site: Text<SiteId>,
    /// Where.
    #[schema(value_type = String)]
    pub region: Text<RegionId>,
    /// The start of the first slot.
    #[schema(value_type = String)]
    pub first_slot: Time,
    /// The start of the last slot.
    #[schema(value_type = String)]
    pub last_slot: Time,
    /// Units bought.
    pub units: u64,
    /// Its class.
    #[schema(value_type = String)]
    pub class: Text<Class>,
    /// The clearing price of each slot, per unit.
    pub prices_micro: Vec<i64>,
    /// How far it is.
    #[schema(value_type = String)]
    pub stage: Text<Stage>,
    /// The stages it has entered, oldest first.
    pub stages: Vec<StageView>,
    /// When it ends: with its last slot, or before if it was recalled.
    #[schema(value_type = String)]
    pub ends_at: Time,
    /// What was settled so far, slot by slot: final.
    pub settlements: Vec<SettlementView>,
    /// Slots that are over and will be settled so, if no more meters come. A list leaves them out.
    pub indicative: Vec<SettlementView>,
}

/// A stage that a contract has entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StageView {
    /// Which.
    #[schema(value_type = String)]
    pub stage: Text<Stage>,
    /// When it was noticed.
    #[schema(value_type = String)]
    pub at: Time,
}

/// The settlement of one slot of a contract.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SettlementView {
    /// The start of the slot.
    #[schema(value_type = String)]
    pub slot: Time,
    /// Requests served.
    pub served: u64,
    /// Requests refused although the purchase was not used up, second by second.
    pub refused: u64,
    /// What was bought and not delivered, in thousandths of a request.
    pub undelivered_millirequests: u64,
    /// Charged.
    pub charge_micro: i64,
    /// Refunded.
    pub refund_micro: i64,
    /// Paid by the operator as a penalty.
    pub penalty_micro: i64,
}

/// What was counted of a contract.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ContractMetersView {
    /// Mapping requests of its site in its region during its slots.
    pub mapping_requests: u64,
    /// Of these, answered with an edge.
    pub mapped_to_edges: u64,
    /// What the edges counted, from one slot before its first to one after its last.
    pub seconds: Vec<ContractSecondView>,
}

/// One second of a contract, over all edges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ContractSecondView {
    /// The start of the second.
    #[schema(value_type = String)]
    pub second: Time,
    /// Requests that came.
    pub offered: u64,
    /// Requests served.
    pub served: u64,
    /// Requests sent back to the purchaser.
    pub refused: u64,
    /// The shares held available, in thousandths of a request.
    pub available_millirequests: u64,
}

/// What is unused, offered and sold of one region in one slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SlotView {
    /// The region.
    #[schema(value_type = String)]
    pub region: Text<RegionId>,
    /// The start of the slot.
    #[schema(value_type = String)]
    pub start: Time,
    /// What the region's edges can serve.
    pub capacity_units: u64,
    /// What is safe to sell at `risk`.
    pub headroom_units: u64,
    /// The stated risk that less than that will be unused, from 0 to 1.
    pub risk: f64,
    /// What was last offered.
    pub offered_units: u64,
    /// What was sold.
    pub sold_units: u64,
    /// The price of the last sale; none if nothing was sold.
    pub clearing_price_micro: Option<i64>,
}

/// What is measured now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LiveView {
    /// The moment.
    #[schema(value_type = String)]
    pub at: Time,
    /// The plan in force.
    pub generation: u64,
    /// Every region.
    pub regions: Vec<RegionLive>,
    /// Every contract that is active.
    pub contracts: Vec<ContractLive>,
}

/// A region in the last whole second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RegionLive {
    /// Its id.
    #[schema(value_type = String)]
    pub region: Text<RegionId>,
    /// What its edges can serve.
    pub capacity_units: u64,
    /// The operator's own requests in that second; told to the operator alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_requests: Option<u64>,
    /// Its edges that reported.
    #[schema(value_type = Vec<String>)]
    pub edges_up: Vec<Text<EdgeId>>,
}

/// A contract in the last whole second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ContractLive {
    /// Its id.
    #[schema(value_type = String)]
    pub id: Text<ContractId>,
    /// For which site.
    #[schema(value_type = String)]
    pub site: Text<SiteId>,
    /// Where.
    #[schema(value_type = String)]
    pub region: Text<RegionId>,
    /// What was bought.
    pub units: u64,
    /// Requests that came to the edges for it.
    pub offered: u64,
    /// Requests served.
    pub served: u64,
    /// Requests sent back.
    pub refused: u64,
    /// Mapping requests of its site in its region.
    pub mapping_requests: u64,
    /// The part of the mapping requests that was sent to the edges, from 0 to 1.
    pub fraction: f64,
    /// The load leased out, in requests per second.
    pub leased: f64,
}

/// A region of the network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RegionView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: Text<RegionId>,
    /// What its edges can serve.
    pub capacity_units: u64,
    /// How many edges it has.
    pub edges: usize,
}

/// Which slots a list is of: the query of `/v1/headroom`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotsQuery {
    /// Those of one region; of all if not given.
    pub region: Option<String>,
    /// From the slot of this time on; from the running one if not given.
    pub from: Option<Time>,
    /// Up to the slot of this time.
    pub until: Option<Time>,
}

/// Imported load: one point per slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSeries {
    /// The points, in order of time.
    pub points: Vec<SeriesPoint>,
}

/// The mean load of one slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SeriesPoint {
    /// The start of the slot.
    #[schema(value_type = String)]
    pub slot: Time,
    /// The mean request rate in it.
    pub requests_per_second: f64,
}

/// How many points an import kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SeriesImported {
    /// Points kept.
    pub points: usize,
}
