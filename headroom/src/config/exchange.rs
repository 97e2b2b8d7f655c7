//! `[exchange]`, `[forecast]`, `[market]`, `[control]`: what the control plane is told.

use std::{
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use headroom_exchange::ExchangeConfig;
use headroom_forecast::limits as forecast_limits;
use headroom_market::{Gate, OfferPolicy, limits as market_limits};
use headroom_units::{Fraction, SlotLength};

use super::{
    duration, limits,
    mistake::Refusal,
    network::{Basics, Network},
    reader::{Placed, Section},
    resolve, values,
};

/// All that the exchange is told beside the network.
pub(super) struct Exchange {
    listen: SocketAddr,
    pub(super) data_dir: PathBuf,
    resolvers: Vec<SocketAddr>,
    settle_delay: Duration,
    edge_timeout: Duration,
    forecast: headroom_forecast::Config,
    risk: Fraction,
    market: Market,
    budget_lifetime: Duration,
}

/// `[control]`, as far as the edges need it.
pub(super) struct Control {
    budget_lifetime: Duration,
    pub(super) burst: Duration,
}

struct Market {
    offer: OfferPolicy,
    lead: Duration,
    horizon_slots: u64,
    gate: Option<Gate>,
    auction_every: Duration,
    recall_notice: Duration,
}

impl Exchange {
    /// The whole configuration of the exchange of `network`.
    pub(super) fn with(self, network: Network) -> ExchangeConfig {
        ExchangeConfig {
            listen: self.listen,
            data_dir: self.data_dir,
            resolvers: self.resolvers,
            fleet: network.fleet,
            capacities: network.capacities,
            own_sites: network.own_sites,
            currency: network.currency,
            slot_length: network.slot,
            unit: network.unit,
            forecast: self.forecast,
            risk: self.risk,
            offer: self.market.offer,
            lead: self.market.lead,
            horizon_slots: self.market.horizon_slots,
            gate: self.market.gate,
            auction_every: self.market.auction_every,
            recall_notice: self.market.recall_notice,
            settle_delay: self.settle_delay,
            budget_lifetime: self.budget_lifetime,
            edge_timeout: self.edge_timeout,
        }
    }
}

pub(super) fn read(
    root: &Section<'_>,
    basics: &Basics,
    base_dir: &Path,
) -> Option<(Exchange, Control)> {
    let section = root.section("exchange");
    let listen = section.optional("listen", "127.0.0.1:7080", values::socket);
    let data_dir = section.optional("data_dir", "./headroom-data", values::path);
    let resolvers = section.list("resolvers", Some(&[]), values::resolver);
    let settle_delay =
        section.optional("settle_delay", "5s", values::duration(limits::SETTLE_DELAY));
    let edge_timeout =
        section.optional("edge_timeout", "3s", values::duration(limits::EDGE_TIMEOUT));
    section.finish();
    let (forecast, reach) = forecast(root, basics.slot);
    let market = market(root, basics, reach);
    let control = control(root)?;
    let (forecast, risk) = forecast?;
    let exchange = Exchange {
        listen: listen?.value,
        data_dir: resolve(base_dir, &data_dir?.value),
        resolvers: resolvers?.into_iter().map(|resolver| resolver.value).collect(),
        settle_delay: settle_delay?.value,
        edge_timeout: edge_timeout?.value,
        forecast,
        risk,
        market: market?,
        budget_lifetime: control.budget_lifetime,
    };
    Some((exchange, control))
}

/// What the forecast is told, with its risk; and, apart from that, how many slots it reaches.
fn forecast(
    root: &Section<'_>,
    slot: Option<SlotLength>,
) -> (Option<(headroom_forecast::Config, Fraction)>, Option<u64>) {
    use forecast_limits::{
        HISTORY_SLOTS_MAX, HORIZON_SLOTS_MAX, SEASON_SLOTS_MAX, SEASON_SLOTS_MIN,
    };
    let section = root.section("forecast");
    let season = section.optional("season", "24h", values::duration(limits::SEASON));
    let seasons = section.count("history_seasons", 14, limits::HISTORY_SEASONS);
    let horizon = section.optional("horizon", "36h", values::duration(limits::HORIZON));
    let risk = section.optional("risk", "1 %", values::risk);
    let season_slots = slots(&section, season, slot, SEASON_SLOTS_MIN..=SEASON_SLOTS_MAX);
    let horizon_slots = slots(&section, horizon, slot, 1..=HORIZON_SLOTS_MAX);
    let history_seasons = seasons.and_then(|seasons| u64::try_from(seasons).ok());
    if let (Some(season), Some(seasons)) = (season_slots, history_seasons)
        && season.saturating_mul(seasons) > HISTORY_SLOTS_MAX
    {
        let reason = format!("{seasons} seasons of {season} slots are more than can be kept");
        let accepted = format!("at most {} seasons of this length", HISTORY_SLOTS_MAX / season);
        section.refuse(&section.place("history_seasons"), Refusal::new(reason, accepted));
    }
    section.finish();
    let all = season_slots.zip(history_seasons).zip(horizon_slots).zip(risk);
    let forecast = all.map(|(((season_slots, history_seasons), horizon_slots), risk)| {
        let config = headroom_forecast::Config { season_slots, history_seasons, horizon_slots };
        (config, risk.value)
    });
    (forecast, horizon_slots)
}

fn market(root: &Section<'_>, basics: &Basics, forecast_reach: Option<u64>) -> Option<Market> {
    let section = root.section("market");
    let code = basics.currency.map_or_else(|| "EUR".to_owned(), |currency| currency.to_string());
    let price = |key: &str, amount: &str| {
        section.optional(key, &format!("{amount} {code}"), values::price(basics.currency))
    };
    let cost = price("cost", "0.0001");
    let penalty = price("penalty", "0.002");
    let reserve = price("reserve", "0.0002");
    let lead = section.optional("lead", "30s", values::duration(limits::LEAD));
    let horizon = section.optional("horizon", "36h", values::duration(limits::HORIZON));
    let auction_every =
        section.optional("auction_every", "60s", values::duration(limits::AUCTION_EVERY));
    let recall_notice =
        section.optional("recall_notice", "5m", values::duration(limits::RECALL_NOTICE));
    let too_short =
        recall_notice.as_ref().zip(basics.ttl.as_ref()).filter(|(n, ttl)| n.value < ttl.value);
    if let Some((notice, ttl)) = too_short {
        let reason = "leases that were handed out before a recall would outlive the contract";
        let accepted = format!("{} (network.ttl) or more", duration::write(ttl.value));
        section.refuse(&notice.place, Refusal::new(reason, accepted));
    }
    let place = horizon.as_ref().map(|horizon| horizon.place.clone());
    let too_soon = horizon.as_ref().zip(lead.as_ref()).filter(|(h, lead)| h.value <= lead.value);
    if let Some((horizon, lead)) = too_soon {
        let reason = "no slot could be sold: bids reach no further than the lead";
        let accepted = format!("less than {}", duration::write(horizon.value));
        section.refuse(&lead.place, Refusal::new(reason, accepted));
    }
    let most = u64::try_from(market_limits::AUCTION_SLOTS_MAX).unwrap_or(u64::MAX);
    let gate = gate(&section, basics.slot, horizon.as_ref().map(|horizon| horizon.value));
    let horizon_slots = slots(&section, horizon, basics.slot, 1..=most);
    if let (Some(slots), Some(reach), Some(place)) = (horizon_slots, forecast_reach, place)
        && slots > reach
    {
        let reason = format!("bids would reach {slots} slots ahead, the forecast only {reach}");
        section.refuse(&place, Refusal::new(reason, "at most forecast.horizon"));
    }
    section.finish();
    Some(Market {
        offer: OfferPolicy { cost: cost?.value, penalty: penalty?.value, reserve: reserve?.value },
        lead: lead?.value,
        horizon_slots: horizon_slots?,
        gate: gate?,
        auction_every: auction_every?.value,
        recall_notice: recall_notice?.value,
    })
}

/// When the slots of a day are sold ahead; `Some(None)` if they are not, because it is said, or
/// because bids reach no whole day and nothing is said.
fn gate(
    section: &Section<'_>,
    slot: Option<SlotLength>,
    horizon: Option<Duration>,
) -> Option<Option<Gate>> {
    let is_said = section.has("gate");
    let day = section.optional("day", "24h", values::duration(limits::DAY));
    let gate = section.optional("gate", "2h", values::gate(limits::GATE))?;
    let Some(ahead) = gate.value else { return Some(None) };
    let (horizon, needed) = (horizon?, day.as_ref()?.value.saturating_add(ahead));
    if horizon < needed {
        if !is_said {
            return Some(None);
        }
        let (needed, horizon) = (duration::write(needed), duration::write(horizon));
        let reason = format!("the day ends {needed} after its gate, and bids reach only {horizon}");
        let accepted = format!("\"none\", or market.horizon of {needed} or more");
        section.refuse(&gate.place, Refusal::new(reason, accepted));
        return None;
    }
    let day_slots = slots(section, day, slot, 1..=u64::MAX)?;
    Some(Some(Gate { day_slots, ahead }))
}

fn control(root: &Section<'_>) -> Option<Control> {
    let section = root.section("control");
    let budget_lifetime =
        section.optional("budget_lifetime", "3s", values::duration(limits::BUDGET_LIFETIME));
    let burst = section.optional("burst", "250ms", values::duration(limits::BURST));
    section.finish();
    Some(Control { budget_lifetime: budget_lifetime?.value, burst: burst?.value })
}

/// `duration` as a number of slots within `range`.
fn slots(
    section: &Section<'_>,
    duration: Option<Placed<Duration>>,
    slot: Option<SlotLength>,
    range: RangeInclusive<u64>,
) -> Option<u64> {
    let (Placed { value, place }, length) = (duration?, slot?.duration());
    let slots = value.as_secs() / length.as_secs();
    let written = duration::write(length);
    if value != length.saturating_mul(u32::try_from(slots).unwrap_or(u32::MAX)) {
        let reason = format!("it is not a whole number of slots of {written}");
        section.refuse(&place, Refusal::new(reason, format!("a multiple of {written}")));
        return None;
    }
    if !range.contains(&slots) {
        let reason = format!("it is {slots} slots of {written}");
        let accepted = format!("{} to {} slots", range.start(), range.end());
        section.refuse(&place, Refusal::new(reason, accepted));
        return None;
    }
    Some(slots)
}
