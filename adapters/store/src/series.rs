//! The operator's own load per slot, and what was found unused and offered.

use headroom_units::{Fraction, RegionId, Slot, SlotRange, Units};
use sqlx::Row;

use crate::{Store, StoreError, signed, unsigned};

/// What was decided about one region and slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotRecord {
    /// Where.
    pub region: RegionId,
    /// When.
    pub slot: Slot,
    /// What the region's edges can serve.
    pub capacity: Units,
    /// What is safe to sell.
    pub headroom: Units,
    /// At this risk.
    pub risk: Fraction,
    /// What is offered in all, sold units included.
    pub offered: Units,
}

impl Store {
    /// Keeps points of a region's load; a point that is there already is replaced.
    ///
    /// # Errors
    /// If they cannot be stored; none is then.
    pub async fn record_series(
        &self,
        region: &RegionId,
        points: &[(Slot, f64)],
    ) -> Result<(), StoreError> {
        let failed = "storing a series";
        let mut transaction = self.pool.begin().await.map_err(StoreError::query(failed))?;
        for (slot, requests_per_second) in points {
            sqlx::query(
                "INSERT INTO series (region, slot, requests_per_second) VALUES (?, ?, ?)
                 ON CONFLICT DO UPDATE SET requests_per_second = excluded.requests_per_second",
            )
            .bind(region.as_str())
            .bind(signed(slot.number()))
            .bind(requests_per_second)
            .execute(&mut *transaction)
            .await
            .map_err(StoreError::query(failed))?;
        }
        transaction.commit().await.map_err(StoreError::query(failed))
    }

    /// A region's load from slot `from` on, in order.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn series(
        &self,
        region: &RegionId,
        from: Slot,
    ) -> Result<Vec<(Slot, f64)>, StoreError> {
        let rows = sqlx::query(
            "SELECT slot, requests_per_second FROM series
             WHERE region = ? AND slot >= ? ORDER BY slot",
        )
        .bind(region.as_str())
        .bind(signed(from.number()))
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::query("reading a series"))?;
        Ok(rows
            .iter()
            .map(|row| (Slot::new(unsigned(row.get("slot"))), row.get("requests_per_second")))
            .collect())
    }

    /// Keeps what was decided about slots; later decisions replace earlier ones.
    ///
    /// # Errors
    /// If they cannot be stored; none is then.
    pub async fn record_slots(&self, records: &[SlotRecord]) -> Result<(), StoreError> {
        let failed = "storing the headroom of slots";
        let mut transaction = self.pool.begin().await.map_err(StoreError::query(failed))?;
        for record in records {
            sqlx::query(
                "INSERT INTO slots (region, slot, capacity_units, headroom_units, risk_millionths,
                 offered_units) VALUES (?, ?, ?, ?, ?, ?)
                 ON CONFLICT DO UPDATE SET capacity_units = excluded.capacity_units,
                 headroom_units = excluded.headroom_units,
                 risk_millionths = excluded.risk_millionths, offered_units = excluded.offered_units",
            )
            .bind(record.region.as_str())
            .bind(signed(record.slot.number()))
            .bind(signed(record.capacity.count()))
            .bind(signed(record.headroom.count()))
            .bind(i64::from(record.risk.millionths()))
            .bind(signed(record.offered.count()))
            .execute(&mut *transaction)
            .await
            .map_err(StoreError::query(failed))?;
        }
        transaction.commit().await.map_err(StoreError::query(failed))
    }

    /// What was decided about the slots of all regions in `range`, by region and slot.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn slots(&self, range: SlotRange) -> Result<Vec<SlotRecord>, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM slots WHERE slot BETWEEN ? AND ? ORDER BY region, slot")
                .bind(signed(range.first().number()))
                .bind(signed(range.last().number()))
                .fetch_all(&self.pool)
                .await
                .map_err(StoreError::query("reading the headroom of slots"))?;
        rows.iter()
            .map(|row| {
                let region: String = row.get("region");
                let risk = u32::try_from(row.get::<i64, _>("risk_millionths")).ok();
                Ok(SlotRecord {
                    region: region.parse().map_err(StoreError::corrupt("region"))?,
                    slot: Slot::new(unsigned(row.get("slot"))),
                    capacity: Units::saturating(unsigned(row.get("capacity_units"))),
                    headroom: Units::saturating(unsigned(row.get("headroom_units"))),
                    risk: risk.and_then(Fraction::from_millionths).unwrap_or(Fraction::ONE),
                    offered: Units::saturating(unsigned(row.get("offered_units"))),
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[tokio::test]
    async fn a_series_is_kept_by_region_and_slot() {
        let (store, _folder) = testing::store().await;
        let (east, west) = ("east".parse().unwrap(), "west".parse().unwrap());
        store.record_series(&east, &[(Slot::new(2), 5.5), (Slot::new(1), 4.0)]).await.unwrap();
        store.record_series(&east, &[(Slot::new(2), 6.0)]).await.unwrap();
        store.record_series(&west, &[(Slot::new(1), 9.0)]).await.unwrap();
        let series = store.series(&east, Slot::new(1)).await.unwrap();
        assert_eq!(series, [(Slot::new(1), 4.0), (Slot::new(2), 6.0)]);
        assert_eq!(store.series(&east, Slot::new(2)).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn the_last_decision_about_a_slot_counts() {
        let (store, _folder) = testing::store().await;
        let mut record = SlotRecord {
            region: "east".parse().unwrap(),
            slot: Slot::new(7),
            capacity: Units::saturating(100),
            headroom: Units::saturating(60),
            risk: "1 %".parse().unwrap(),
            offered: Units::saturating(60),
        };
        store.record_slots(std::slice::from_ref(&record)).await.unwrap();
        record.headroom = Units::saturating(50);
        store.record_slots(std::slice::from_ref(&record)).await.unwrap();
        let range = SlotRange::one(Slot::new(7));
        assert_eq!(store.slots(range).await.unwrap(), [record]);
    }
}
