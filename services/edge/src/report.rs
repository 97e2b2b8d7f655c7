//! Reporting: one message per second with what all threads counted, also if it is nothing.
//!
//! In two steps. At the end of a second it notes what must be known as of that moment: the
//! budgets in force, and how much each gate held available. A little later, when every thread has
//! counted, it collects the counts. Pure: it is told the time and the table.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use headroom_units::{ContractId, EdgeId, Timestamp};
use headroom_wire::{ClientMeter, ContractMeterMessage, MeterReport, Text, Time};

use crate::{
    limits,
    meter::{ContractCounts, Counts, ThreadMeter},
    table::{OpenGate, Table},
};

/// Turns counts into reports.
#[derive(Debug)]
pub(crate) struct Reporter {
    edge: EdgeId,
    incarnation: u64,
    /// The second that is reported next.
    second: u64,
    noted: Option<Noted>,
    /// The edge is ending: no gate opens any more.
    closed: bool,
    held: BTreeMap<ContractId, Held>,
}

/// What was so at the end of a second.
#[derive(Debug)]
struct Noted {
    generation: u64,
    budget_sequence: u64,
    available: BTreeMap<ContractId, u64>,
}

/// A gate and how much of what it held available is reported.
#[derive(Debug)]
struct Held {
    open: OpenGate,
    reported: u64,
}

impl Reporter {
    /// A reporter that begins with the running second.
    pub(crate) fn new(edge: EdgeId, incarnation: u64, table: &Table, now: Timestamp) -> Self {
        let (second, held) = (now.seconds(), BTreeMap::new());
        let mut reporter = Self { edge, incarnation, second, noted: None, closed: false, held };
        reporter.table_changed(table, now);
        reporter
    }

    /// Takes over the gates of a new table. A gate that is no longer there holds nothing available
    /// from `now` on; what it held before is still reported.
    pub(crate) fn table_changed(&mut self, table: &Table, now: Timestamp) {
        self.withdraw_gates(now);
        for open in table.open_gates().filter(|_| !self.closed) {
            let reported = match self.held.get(&open.gate.contract()) {
                Some(held) => held.reported,
                None => open.gate.available_millirequests(now),
            };
            self.held.insert(open.gate.contract(), Held { open, reported });
        }
    }

    /// From `now` on nothing is held available: the edge accepts no more connections.
    pub(crate) fn close_gates(&mut self, now: Timestamp) {
        self.closed = true;
        self.withdraw_gates(now);
    }

    fn withdraw_gates(&mut self, now: Timestamp) {
        for held in self.held.values_mut() {
            held.open.until = held.open.until.min(now);
        }
    }

    /// How long there is nothing to do.
    pub(crate) fn wait(&self, now: Timestamp) -> Duration {
        let end = Timestamp::from_seconds(self.second + 1);
        match self.noted {
            None => end.since(now),
            Some(_) => end.after(limits::METER_DELAY).since(now),
        }
    }

    /// Takes the next step if it is due; yields the report of a second that ended.
    pub(crate) fn step(
        &mut self,
        table: &Table,
        threads: &[Arc<ThreadMeter>],
        now: Timestamp,
    ) -> Option<MeterReport> {
        if !self.wait(now).is_zero() {
            return None;
        }
        if now.seconds() - self.second > limits::METER_CATCH_UP_MAX {
            // The machine slept: what was counted before goes into the last whole second.
            self.second = now.seconds() - 1;
        }
        match self.noted.take() {
            None => {
                self.noted = Some(self.note(table));
                None
            }
            Some(noted) => Some(self.report(noted, threads)),
        }
    }

    /// What is not reported yet, when nothing more will be counted.
    pub(crate) fn last(
        &mut self,
        table: &Table,
        threads: &[Arc<ThreadMeter>],
        now: Timestamp,
    ) -> Vec<MeterReport> {
        let mut reports = Vec::new();
        self.close_gates(now);
        while self.second <= now.seconds() {
            let noted = self.noted.take().unwrap_or_else(|| self.note(table));
            reports.push(self.report(noted, threads));
        }
        reports
    }

    fn note(&mut self, table: &Table) -> Noted {
        let start = Timestamp::from_seconds(self.second);
        let end = Timestamp::from_seconds(self.second + 1);
        let mut available = BTreeMap::new();
        for (contract, held) in &mut self.held {
            if held.open.from < end && held.open.until > start {
                let held_by_now = held.open.gate.available_millirequests(end.min(held.open.until));
                available.insert(*contract, held_by_now.saturating_sub(held.reported));
                held.reported = held.reported.max(held_by_now);
            }
        }
        self.held.retain(|_, held| held.open.until > end);
        Noted {
            generation: table.generation().number(),
            budget_sequence: table.budget_sequence(),
            available,
        }
    }

    fn report(&mut self, noted: Noted, threads: &[Arc<ThreadMeter>]) -> MeterReport {
        let mut counts = Counts::default();
        for thread in threads {
            counts.merge(thread.close(self.second));
        }
        let mut contracts: BTreeMap<ContractId, (ContractCounts, u64)> =
            counts.contracts.into_iter().map(|(id, counts)| (id, (counts, 0))).collect();
        for (contract, available) in noted.available {
            contracts.entry(contract).or_default().1 = available;
        }
        let clients = counts.clients.into_iter().flat_map(|(site, clients)| {
            clients.into_iter().map(move |(client, requests)| ClientMeter {
                site: Text(site.clone()),
                client: Text(client),
                requests,
            })
        });
        let report = MeterReport {
            edge: Text(self.edge.clone()),
            incarnation: self.incarnation,
            second: Time(Timestamp::from_seconds(self.second)),
            generation: noted.generation,
            budget_sequence: noted.budget_sequence,
            own: counts.own,
            contracts: contracts.into_iter().map(contract_meter).collect(),
            clients: clients.collect(),
        };
        self.second += 1;
        report
    }
}

fn contract_meter(
    (contract, (counts, available)): (ContractId, (ContractCounts, u64)),
) -> ContractMeterMessage {
    ContractMeterMessage {
        contract: Text(contract),
        offered: counts.offered,
        served: counts.served,
        refused: counts.refused,
        hits: counts.hits,
        bytes: counts.bytes,
        available_millirequests: available,
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::{
        table::Asked,
        testing::{budgets, entitlement, plan},
    };

    const CONTRACT: ContractId = ContractId::new(1);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn world(from: u64, until: u64) -> (Table, Vec<Arc<ThreadMeter>>) {
        let table = Table::empty("east-1".parse().unwrap(), Duration::from_millis(250))
            .with_plan(&plan(3, vec![entitlement(1, from, until, 80)]), at(0))
            .unwrap();
        (table, vec![Arc::default(), Arc::default()])
    }

    fn run(
        reporter: &mut Reporter,
        table: &Table,
        threads: &[Arc<ThreadMeter>],
        until_millis: u64,
    ) -> Vec<MeterReport> {
        (100_000..until_millis)
            .filter_map(|millis| reporter.step(table, threads, at(millis)))
            .collect()
    }

    fn available(report: &MeterReport) -> Option<u64> {
        report.contracts.first().map(|meter| meter.available_millirequests)
    }

    #[test]
    fn every_second_is_reported_once_also_without_traffic() {
        let (table, threads) = world(101, 103);
        let mut reporter = Reporter::new("east-1".parse().unwrap(), 1, &table, at(100_300));
        assert_eq!(reporter.wait(at(100_300)), Duration::from_millis(700));
        let reports = run(&mut reporter, &table, &threads, 105_000);
        let seconds: Vec<u64> = reports.iter().map(|report| report.second.0.seconds()).collect();
        assert_eq!(seconds, [100, 101, 102, 103]);
        let available: Vec<Option<u64>> = reports.iter().map(available).collect();
        assert_eq!(available, [None, Some(20_000), Some(20_000), None]);
    }

    #[test]
    fn threads_are_added_up_in_the_second_of_admission() {
        let (table, threads) = world(100, 200);
        let mut reporter = Reporter::new("east-1".parse().unwrap(), 1, &table, at(100_000));
        for thread in &threads {
            thread.count(at(100_999), |counts| counts.asked(CONTRACT, Asked::Served));
            thread.count(at(101_000), |counts| counts.asked(CONTRACT, Asked::Refused));
        }
        let reports = run(&mut reporter, &table, &threads, 102_100);
        let counted = |report: &MeterReport| {
            let meter = &report.contracts[0];
            (meter.offered, meter.served, meter.refused)
        };
        assert_eq!(reports.iter().map(counted).collect::<Vec<_>>(), [(2, 2, 0), (2, 0, 2)]);
        assert_eq!(reports[0].generation, 3);
    }

    #[test]
    fn budgets_that_came_after_the_second_are_not_of_it() {
        let (before, threads) = world(100, 200);
        let mut reporter = Reporter::new("east-1".parse().unwrap(), 1, &before, at(100_000));
        assert!(reporter.step(&before, &threads, at(101_000)).is_none());
        let after = before.with_budgets(&budgets(9, &[(1, 60)], 110), at(101_010)).unwrap();
        reporter.table_changed(&after, at(101_010));
        let first = reporter.step(&after, &threads, at(101_050)).unwrap();
        assert_eq!((first.budget_sequence, available(&first)), (0, Some(20_000)));
        let second = run(&mut reporter, &after, &threads, 102_100).remove(0);
        assert_eq!(second.budget_sequence, 9);
        assert_eq!(available(&second), Some(10 * 20 + 990 * 60));
    }

    #[test]
    fn a_gate_that_is_withdrawn_is_reported_up_to_then() {
        let (before, threads) = world(100, 200);
        let mut reporter = Reporter::new("east-1".parse().unwrap(), 1, &before, at(100_000));
        let after = before.with_plan(&plan(4, vec![]), at(100_500)).unwrap();
        reporter.table_changed(&after, at(100_500));
        let reports = run(&mut reporter, &after, &threads, 102_100);
        assert_eq!(reports.iter().map(available).collect::<Vec<_>>(), [Some(10_000), None]);
    }

    #[test]
    fn the_last_report_holds_what_is_left() {
        let (table, threads) = world(100, 200);
        let mut reporter = Reporter::new("east-1".parse().unwrap(), 1, &table, at(100_000));
        threads[0].count(at(101_100), |counts| counts.asked(CONTRACT, Asked::Served));
        let reports = reporter.last(&table, &threads, at(101_500));
        assert_eq!(reports.iter().map(available).collect::<Vec<_>>(), [Some(20_000), Some(10_000)]);
        assert_eq!(reports[1].contracts[0].served, 1);
    }

    #[test]
    fn while_it_ends_an_edge_holds_nothing_available() {
        let (table, threads) = world(100, 200);
        let mut reporter = Reporter::new("east-1".parse().unwrap(), 1, &table, at(100_000));
        reporter.close_gates(at(100_500));
        let later = table.with_budgets(&budgets(9, &[(1, 60)], 110), at(100_600)).unwrap();
        reporter.table_changed(&later, at(100_600));
        let reports = run(&mut reporter, &later, &threads, 102_100);
        assert_eq!(reports.iter().map(available).collect::<Vec<_>>(), [Some(10_000), None]);
    }

    #[test]
    fn a_long_sleep_is_not_caught_up() {
        let (table, threads) = world(100, 200);
        let mut reporter = Reporter::new("east-1".parse().unwrap(), 1, &table, at(100_000));
        reporter.step(&table, &threads, at(190_500));
        let report = reporter.step(&table, &threads, at(190_500)).unwrap();
        assert_eq!(report.second.0.seconds(), 189);
    }
}
