//! What happens in a demo: sizes, rates and times. One place to turn the screws.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use headroom_units::{SlotLength, Timestamp};

/// The recorded load that the operator's own traffic follows: requests/s of the 1998 World Cup
/// web site, one point per five minutes (see `headroom/data/README.md`).
const RECORDED: &str = include_str!("../../data/worldcup98-cut.csv");

/// The regions, and the second byte of their visitors' addresses (127.x.0.0/16).
pub(crate) const REGIONS: [Place; 2] = [
    Place { id: "east", visitors: 20, own_visitors: 22, shift: 0 },
    Place { id: "west", visitors: 21, own_visitors: 23, shift: 72 },
];

/// One region of the demo.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) id: &'static str,
    /// The purchaser's visitors live in 127.`visitors`.0.0/16.
    pub(crate) visitors: u8,
    /// The operator's own visitors live in 127.`own_visitors`.0.0/16.
    pub(crate) own_visitors: u8,
    /// Its load is the recorded one, this many points later.
    pub(crate) shift: usize,
}

/// What becomes of mapping requests that the purchase does not cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum RemainderPolicy {
    /// Returned to the purchaser's own name server, by a CNAME to its own name.
    Return,
    /// Assigned to the purchaser's servers, by their weights.
    Assign,
}

/// A demo, or a test of the whole.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// How long it runs.
    pub seconds: u64,
    /// How long a slot is.
    pub slot: SlotLength,
    /// The first of the ports that are used.
    pub port_base: u16,
    /// Where the database is kept.
    pub data_dir: PathBuf,
    /// The seed of the visitors' behaviour.
    pub seed: u64,
    /// What becomes of the remainder.
    pub remainder: RemainderPolicy,
    /// What one edge can serve.
    pub edge_units: u64,
    /// The peak of the operator's own traffic in one region, in requests/s.
    pub own_peak: f64,
    /// The flash crowd in one region, in requests/s.
    pub crowd: f64,
    /// What the purchaser asks for in one region.
    pub bid_units: u64,
    /// What each of the purchaser's two origin servers can serve, in requests/s.
    pub origin_strength: f64,
    /// Client prefixes of the purchaser's visitors in one region.
    pub prefixes: u8,
}

impl Scenario {
    /// The demo as it is without options.
    #[must_use]
    pub fn demo(data_dir: PathBuf) -> Self {
        Self {
            seconds: 90,
            slot: SlotLength::from_seconds(10).expect("10 s divide a day"),
            port_base: 18_000,
            data_dir,
            seed: 1,
            remainder: RemainderPolicy::Return,
            edge_units: 200,
            own_peak: 240.0,
            crowd: 220.0,
            bid_units: 120,
            origin_strength: 150.0,
            prefixes: 120,
        }
    }

    /// How long a steered answer is cached: a fifth of a slot, at least a second.
    pub(crate) fn ttl(&self) -> Duration {
        Duration::from_secs((self.slot.seconds() / 5).max(1))
    }

    /// Slots can be bought until this long before they begin.
    pub(crate) const LEAD: Duration = Duration::from_secs(2);
    /// The crowd arrives this long after the beginning,
    const CROWD_COMES: Duration = Duration::from_secs(5);
    /// takes this long to grow,
    const CROWD_GROWS: Duration = Duration::from_secs(3);
    /// and the purchaser bids this long after it came.
    const BID_AFTER: Duration = Duration::from_secs(4);
    /// It is gone this long before the end.
    const CROWD_GOES: Duration = Duration::from_secs(7);
    /// Visitors outside the crowd, as a part of it.
    const ALWAYS: f64 = 0.1;
    /// Where in the recorded load the demo begins: 15 days in, in the afternoon.
    const RECORDED_START: usize = 15 * 288 + 190;
    /// How much of it before that is history for the forecast.
    pub(crate) const HISTORY: usize = 14 * 288;

    /// A shorter demo has no time to buy one slot, use it and settle it.
    pub(crate) const SECONDS_MIN: u64 = 50;

    /// When the purchaser bids.
    pub(crate) fn bids_at(&self, began: Timestamp) -> Timestamp {
        began.after(Self::CROWD_COMES).after(Self::BID_AFTER)
    }

    /// How many slots the purchaser bids for: what fits before the end, with time to settle.
    pub(crate) fn bid_slots(&self) -> u64 {
        let before = (Self::CROWD_COMES + Self::BID_AFTER + Self::LEAD).as_secs() + 3;
        let slot = self.slot.seconds();
        (self.seconds.saturating_sub(before + 2 * slot + 2) / slot).max(1)
    }

    /// The rate of the purchaser's visitors in one region: few, then a crowd, few in the end.
    pub(crate) fn crowd_rate(&self, began: Timestamp, now: Timestamp) -> f64 {
        let goes = began.after(Duration::from_secs(self.seconds)).before(Self::CROWD_GOES);
        let since = now.since(began.after(Self::CROWD_COMES)).as_secs_f64();
        let grown =
            if now < goes { (since / Self::CROWD_GROWS.as_secs_f64()).min(1.0) } else { 0.0 };
        self.crowd * (Self::ALWAYS + (1.0 - Self::ALWAYS) * grown)
    }

    /// The operator's own load of a region, one point per slot; the demo begins after the first
    /// [`Self::HISTORY`] points.
    pub(crate) fn own_load(&self, place: Place) -> Vec<f64> {
        let recorded: Vec<f64> = RECORDED
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(',')?.1.parse().ok())
            .collect();
        let first = Self::RECORDED_START - Self::HISTORY;
        let used = &recorded[first..];
        let peak = used.iter().copied().fold(1.0, f64::max);
        used[place.shift..].iter().map(|load| load / peak * self.own_peak).collect()
    }

    pub(crate) fn http_port(&self) -> u16 {
        self.port_base
    }

    pub(crate) fn api_port(&self) -> u16 {
        self.port_base + 1
    }

    pub(crate) fn dns_port(&self) -> u16 {
        self.port_base + 53
    }
}

/// Addresses of the network.
pub(crate) fn edge_address(region: usize, edge: usize) -> IpAddr {
    let last = u8::try_from(region * 2 + edge + 1).unwrap_or(u8::MAX);
    IpAddr::from([127, 0, 1, last])
}

/// The network's name server.
pub(crate) const NAME_SERVER: [u8; 4] = [127, 0, 1, 53];
/// The purchaser's origin servers.
pub(crate) const ORIGINS: [[u8; 4]; 2] = [[127, 0, 2, 1], [127, 0, 2, 2]];
/// The purchaser's name server.
pub(crate) const PURCHASER_NAME_SERVER: [u8; 4] = [127, 0, 2, 53];
/// The operator's origin server.
pub(crate) const OPERATOR_ORIGIN: [u8; 4] = [127, 0, 2, 10];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_purchase_fits_into_the_time() {
        let mut scenario = Scenario::demo(PathBuf::new());
        assert_eq!(scenario.bid_slots(), 5);
        scenario.seconds = 10;
        assert_eq!(scenario.bid_slots(), 1);
    }

    #[test]
    fn the_recorded_load_covers_history_and_demo() {
        let scenario = Scenario::demo(PathBuf::new());
        for place in REGIONS {
            let load = scenario.own_load(place);
            assert!(load.len() > Scenario::HISTORY + 1_000);
            assert!(load.iter().all(|load| (0.0..=scenario.own_peak).contains(load)));
        }
    }

    #[test]
    fn the_crowd_comes_and_stays() {
        let scenario = Scenario::demo(PathBuf::new());
        let at = |seconds| {
            scenario.crowd_rate(Timestamp::from_seconds(100), Timestamp::from_seconds(seconds))
        };
        assert!((at(100) - 22.0).abs() < 1e-9);
        assert!((at(150) - 220.0).abs() < 1e-9);
        assert!((at(189) - 22.0).abs() < 1e-9);
    }
}
