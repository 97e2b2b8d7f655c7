//! What was measured in the last seconds, for live views and for health.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use headroom_steer::SiteRegion;
use headroom_units::{ContractId, EdgeId, Timestamp};
use headroom_wire::{ContractMeterMessage, MeterReport, NameServerReport};

use crate::limits::LIVE_SECONDS;

/// The meters of the last few seconds.
#[derive(Debug, Default)]
pub(crate) struct Live {
    recent: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    edges: BTreeMap<Timestamp, BTreeMap<EdgeId, MeterReport>>,
    mapping: BTreeMap<Timestamp, BTreeMap<SiteRegion, Mapping>>,
    heard: BTreeMap<EdgeId, Timestamp>,
}

/// The mapping requests of a site in a region in one second, over all name servers.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Mapping {
    pub(crate) asked: u64,
    pub(crate) mapped: u64,
    pub(crate) leased: f64,
}

/// A contract's traffic in one second, over all edges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) offered: u64,
    pub(crate) served: u64,
    pub(crate) refused: u64,
}

impl Live {
    /// Takes in an edge's report.
    pub(crate) fn edge(&self, report: &MeterReport, now: Timestamp) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.heard.insert(report.edge.0.clone(), now);
        let edges = recent.edges.entry(report.second.0).or_default();
        edges.insert(report.edge.0.clone(), report.clone());
        forget(&mut recent.edges);
    }

    /// Takes in a name server's report.
    pub(crate) fn name_server(&self, report: &NameServerReport) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let places = recent.mapping.entry(report.second.0).or_default();
        for meter in &report.places {
            let place = places.entry((meter.site.0.clone(), meter.region.0.clone())).or_default();
            place.asked += meter.mapping_requests;
            place.mapped += meter.mapped_to_edges;
            place.leased += meter.leased.0.as_f64();
        }
        forget(&mut recent.mapping);
    }

    /// The edges that were not heard of for `timeout`, of those in `edges`. Before the exchange
    /// has run that long (`since`), nobody is missed.
    pub(crate) fn down<'e>(
        &self,
        edges: impl Iterator<Item = &'e EdgeId>,
        since: Timestamp,
        timeout: Duration,
        now: Timestamp,
    ) -> BTreeSet<EdgeId> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = |edge: &&EdgeId| {
            let heard = recent.heard.get(*edge).copied().unwrap_or(since);
            now.since(heard) > timeout
        };
        edges.filter(silent).cloned().collect()
    }

    /// The newest second that is whole: all edges heard of lately have reported it.
    pub(crate) fn whole_second(&self) -> Option<Timestamp> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let most = recent.edges.values().map(BTreeMap::len).max()?;
        recent.edges.iter().rev().find(|(_, edges)| edges.len() == most).map(|(second, _)| *second)
    }

    /// What the edges reported of `second`.
    pub(crate) fn reports(&self, second: Timestamp) -> Vec<MeterReport> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.edges.get(&second).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    /// The mapping requests of a place over the last `LIVE_SECONDS`, with the newest leased load.
    pub(crate) fn mapping(&self, place: &SiteRegion) -> Mapping {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.mapping.values().filter_map(|places| places.get(place)).fold(
            Mapping::default(),
            |sum, second| Mapping {
                asked: sum.asked + second.asked,
                mapped: sum.mapped + second.mapped,
                leased: second.leased,
            },
        )
    }
}

/// A contract's traffic, summed over the edges' reports of a second.
pub(crate) fn traffic(reports: &[MeterReport], contract: ContractId) -> Traffic {
    let mine = |meter: &&ContractMeterMessage| meter.contract.0 == contract;
    reports.iter().flat_map(|report| &report.contracts).filter(mine).fold(
        Traffic::default(),
        |sum, meter| Traffic {
            offered: sum.offered + meter.offered,
            served: sum.served + meter.served,
            refused: sum.refused + meter.refused,
        },
    )
}

fn forget<T>(seconds: &mut BTreeMap<Timestamp, T>) {
    if let Some((newest, _)) = seconds.last_key_value() {
        let oldest = newest.before(Duration::from_secs(LIVE_SECONDS));
        seconds.retain(|second, _| *second > oldest);
    }
}

#[cfg(test)]
mod tests {
    use headroom_wire::{OwnMeter, Text, Time};

    use super::*;

    fn report(edge: &str, second: u64) -> MeterReport {
        MeterReport {
            edge: Text(edge.parse().unwrap()),
            incarnation: 1,
            second: Time(Timestamp::from_seconds(second)),
            generation: 1,
            budget_sequence: 0,
            own: OwnMeter::default(),
            contracts: Vec::new(),
            clients: Vec::new(),
        }
    }

    #[test]
    fn a_second_is_whole_when_all_have_reported_it() {
        let live = Live::default();
        assert_eq!(live.whole_second(), None);
        let now = Timestamp::from_seconds(12);
        for report in [report("a", 10), report("b", 10), report("a", 11)] {
            live.edge(&report, now);
        }
        assert_eq!(live.whole_second(), Some(Timestamp::from_seconds(10)));
    }

    #[test]
    fn who_is_silent_for_long_is_down() {
        let live = Live::default();
        let ids: Vec<EdgeId> = ["a", "b"].map(|id| id.parse().unwrap()).into();
        let since = Timestamp::from_seconds(0);
        let timeout = Duration::from_secs(3);
        let down =
            |second| live.down(ids.iter(), since, timeout, Timestamp::from_seconds(second)).len();
        assert_eq!(down(3), 0, "nobody is missed at the start");
        live.edge(&report("a", 3), Timestamp::from_seconds(4));
        assert_eq!(down(5), 1);
        assert_eq!(down(9), 2);
    }
}
