//! Meters as they arrived, and their sums.

use headroom_units::{ContractId, RegionId, SiteId, Timestamp};
use headroom_wire::{MeterReport, NameServerReport};
use sqlx::Row;

use crate::{Store, StoreError, signed, unsigned};

/// What all edges together delivered of a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delivered {
    /// Requests that came.
    pub offered: u64,
    /// Requests served.
    pub served: u64,
    /// Requests sent back.
    pub refused: u64,
    /// The shares held available, in thousandths of a request.
    pub available_millirequests: u64,
}

/// What all edges together delivered of a contract in one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContractSecond {
    /// The start of the second.
    pub second: Timestamp,
    /// The sum over the edges.
    pub delivered: Delivered,
}

/// Whether a report changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It is in the meters now.
    New,
    /// It was in the meters before.
    Repeated,
}

/// The operator's own load of a region over a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OwnLoad {
    /// Requests served.
    pub requests: u64,
    /// How many reports that sums: edges times seconds if none is missing.
    pub reports: u64,
}

/// The mapping requests of a site in a region over a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MappingSum {
    /// Mapping requests answered.
    pub mapping_requests: u64,
    /// Of these, answered with an edge.
    pub mapped_to_edges: u64,
}

impl Store {
    /// Keeps what one run of an edge counted in one second. Runs that share a second add up; a
    /// repeated report changes nothing.
    ///
    /// # Errors
    /// If it cannot be stored; nothing of it is then.
    pub async fn record_meters(
        &self,
        region: &RegionId,
        report: &MeterReport,
    ) -> Result<Recorded, StoreError> {
        let failed = "storing meters";
        let second = signed(report.second.0.seconds());
        let edge = report.edge.0.as_str();
        let mut transaction = self.pool.begin().await.map_err(StoreError::query(failed))?;
        let told = sqlx::query("INSERT INTO meter_reports VALUES (?, ?, ?) ON CONFLICT DO NOTHING")
            .bind(second)
            .bind(edge)
            .bind(signed(report.incarnation))
            .execute(&mut *transaction)
            .await
            .map_err(StoreError::query(failed))?;
        if told.rows_affected() == 0 {
            return Ok(Recorded::Repeated);
        }
        sqlx::query(
            "INSERT INTO own_meters VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
             requests = requests + excluded.requests, hits = hits + excluded.hits,
             bytes = bytes + excluded.bytes",
        )
        .bind(region.as_str())
        .bind(second)
        .bind(edge)
        .bind(signed(report.own.requests))
        .bind(signed(report.own.hits))
        .bind(signed(report.own.bytes))
        .execute(&mut *transaction)
        .await
        .map_err(StoreError::query(failed))?;
        for meter in &report.contracts {
            sqlx::query(
                "INSERT INTO contract_meters VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
                 ON CONFLICT DO UPDATE SET offered = offered + excluded.offered,
                 served = served + excluded.served, refused = refused + excluded.refused,
                 hits = hits + excluded.hits, bytes = bytes + excluded.bytes,
                 available_millirequests =
                   available_millirequests + excluded.available_millirequests",
            )
            .bind(signed(meter.contract.0.number()))
            .bind(second)
            .bind(edge)
            .bind(signed(meter.offered))
            .bind(signed(meter.served))
            .bind(signed(meter.refused))
            .bind(signed(meter.hits))
            .bind(signed(meter.bytes))
            .bind(signed(meter.available_millirequests))
            .execute(&mut *transaction)
            .await
            .map_err(StoreError::query(failed))?;
        }
        transaction.commit().await.map_err(StoreError::query(failed))?;
        Ok(Recorded::New)
    }

    /// Keeps what a name server did in one second; a repeated report changes nothing.
    ///
    /// # Errors
    /// If it cannot be stored; nothing of it is then.
    pub async fn record_mapping(&self, report: &NameServerReport) -> Result<(), StoreError> {
        let failed = "storing mapping meters";
        let mut transaction = self.pool.begin().await.map_err(StoreError::query(failed))?;
        for place in &report.places {
            sqlx::query(
                "INSERT INTO mapping_meters VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            )
            .bind(place.site.0.as_str())
            .bind(place.region.0.as_str())
            .bind(signed(report.second.0.seconds()))
            .bind(report.name_server.0.as_str())
            .bind(signed(place.mapping_requests))
            .bind(signed(place.mapped_to_edges))
            .execute(&mut *transaction)
            .await
            .map_err(StoreError::query(failed))?;
        }
        transaction.commit().await.map_err(StoreError::query(failed))
    }

    /// What was delivered of a contract from `from` until before `until`, second by second.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn contract_seconds(
        &self,
        contract: ContractId,
        from: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<ContractSecond>, StoreError> {
        let rows = sqlx::query(
            "SELECT second, sum(offered) AS offered, sum(served) AS served,
             sum(refused) AS refused, sum(available_millirequests) AS available
             FROM contract_meters WHERE contract = ? AND second >= ? AND second < ?
             GROUP BY second ORDER BY second",
        )
        .bind(signed(contract.number()))
        .bind(signed(from.seconds()))
        .bind(signed(until.seconds()))
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::query("reading the meters of a contract"))?;
        Ok(rows
            .iter()
            .map(|row| ContractSecond {
                second: Timestamp::from_seconds(unsigned(row.get("second"))),
                delivered: Delivered {
                    offered: unsigned(row.get("offered")),
                    served: unsigned(row.get("served")),
                    refused: unsigned(row.get("refused")),
                    available_millirequests: unsigned(row.get("available")),
                },
            })
            .collect())
    }

    /// The operator's own load of a region from `from` until before `until`.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn own_load(
        &self,
        region: &RegionId,
        from: Timestamp,
        until: Timestamp,
    ) -> Result<OwnLoad, StoreError> {
        let row = sqlx::query(
            "SELECT coalesce(sum(requests), 0) AS requests, count(*) AS reports FROM own_meters
             WHERE region = ? AND second >= ? AND second < ?",
        )
        .bind(region.as_str())
        .bind(signed(from.seconds()))
        .bind(signed(until.seconds()))
        .fetch_one(&self.pool)
        .await
        .map_err(StoreError::query("reading the own load of a region"))?;
        Ok(OwnLoad {
            requests: unsigned(row.get("requests")),
            reports: unsigned(row.get("reports")),
        })
    }

    /// The mapping requests of a site in a region from `from` until before `until`.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn mapping(
        &self,
        (site, region): (&SiteId, &RegionId),
        from: Timestamp,
        until: Timestamp,
    ) -> Result<MappingSum, StoreError> {
        let row = sqlx::query(
            "SELECT coalesce(sum(mapping_requests), 0) AS asked,
             coalesce(sum(mapped_to_edges), 0) AS mapped FROM mapping_meters
             WHERE site = ? AND region = ? AND second >= ? AND second < ?",
        )
        .bind(site.as_str())
        .bind(region.as_str())
        .bind(signed(from.seconds()))
        .bind(signed(until.seconds()))
        .fetch_one(&self.pool)
        .await
        .map_err(StoreError::query("reading the mapping requests of a site"))?;
        Ok(MappingSum {
            mapping_requests: unsigned(row.get("asked")),
            mapped_to_edges: unsigned(row.get("mapped")),
        })
    }

    /// Forgets meters from before `before`.
    ///
    /// # Errors
    /// If they cannot be deleted.
    pub async fn forget_meters(&self, before: Timestamp) -> Result<(), StoreError> {
        for statement in [
            "DELETE FROM contract_meters WHERE second < ?",
            "DELETE FROM own_meters WHERE second < ?",
            "DELETE FROM meter_reports WHERE second < ?",
            "DELETE FROM mapping_meters WHERE second < ?",
        ] {
            sqlx::query(statement)
                .bind(signed(before.seconds()))
                .execute(&self.pool)
                .await
                .map_err(StoreError::query("forgetting old meters"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use headroom_wire::{ContractMeterMessage, OwnMeter, Text, Time};

    use super::*;
    use crate::testing;

    fn report(edge: &str, second: u64, served: u64) -> MeterReport {
        MeterReport {
            edge: Text(edge.parse().unwrap()),
            incarnation: 1,
            second: Time(Timestamp::from_seconds(second)),
            generation: 1,
            budget_sequence: 1,
            own: OwnMeter { requests: 10, hits: 5, bytes: 100 },
            contracts: vec![ContractMeterMessage {
                contract: Text(ContractId::new(1)),
                offered: served + 1,
                served,
                refused: 1,
                hits: 0,
                bytes: 0,
                available_millirequests: 1_000,
            }],
            clients: Vec::new(),
        }
    }

    #[tokio::test]
    async fn a_repeated_report_changes_nothing() {
        let (store, _folder) = testing::store().await;
        let east = "east".parse().unwrap();
        for (report, recorded) in [
            (report("east-1", 10, 5), Recorded::New),
            (report("east-2", 10, 6), Recorded::New),
            (report("east-1", 10, 500), Recorded::Repeated),
            (report("east-1", 11, 7), Recorded::New),
        ] {
            assert_eq!(store.record_meters(&east, &report).await.unwrap(), recorded);
        }
        let (from, until) = (Timestamp::from_seconds(10), Timestamp::from_seconds(12));
        let seconds = store.contract_seconds(ContractId::new(1), from, until).await.unwrap();
        let served: Vec<_> = seconds.iter().map(|second| second.delivered.served).collect();
        assert_eq!(served, [11, 7]);
        assert_eq!(seconds[0].delivered.available_millirequests, 2_000);
        let own = store.own_load(&east, from, until).await.unwrap();
        assert_eq!(own, OwnLoad { requests: 30, reports: 3 });
        store.forget_meters(until).await.unwrap();
        assert_eq!(store.own_load(&east, from, until).await.unwrap(), OwnLoad::default());
    }

    #[tokio::test]
    async fn two_runs_of_an_edge_that_share_a_second_add_up() {
        let (store, _folder) = testing::store().await;
        let east = "east".parse().unwrap();
        let second_run = MeterReport { incarnation: 2, ..report("east-1", 10, 6) };
        for report in [report("east-1", 10, 5), second_run.clone(), second_run] {
            store.record_meters(&east, &report).await.unwrap();
        }
        let (from, until) = (Timestamp::from_seconds(10), Timestamp::from_seconds(11));
        let seconds = store.contract_seconds(ContractId::new(1), from, until).await.unwrap();
        let expected =
            Delivered { offered: 13, served: 11, refused: 2, available_millirequests: 2_000 };
        assert_eq!(seconds[0].delivered, expected);
        let own = store.own_load(&east, from, until).await.unwrap();
        assert_eq!(own, OwnLoad { requests: 20, reports: 1 }, "an edge and second count once");
    }
}
