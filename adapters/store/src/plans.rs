//! Published plans.

use headroom_wire::PlanDocument;

use crate::{Store, StoreError, limits, signed};

impl Store {
    /// Keeps a plan, and forgets those far behind it.
    ///
    /// # Errors
    /// If it cannot be stored, or its generation is taken.
    pub async fn save_plan(&self, plan: &PlanDocument) -> Result<(), StoreError> {
        let body = serde_json::to_string(plan).map_err(StoreError::corrupt("plan"))?;
        let failed = "storing a plan";
        let mut transaction = self.pool.begin().await.map_err(StoreError::query(failed))?;
        sqlx::query("INSERT INTO plans (generation, body) VALUES (?, ?)")
            .bind(signed(plan.generation))
            .bind(body)
            .execute(&mut *transaction)
            .await
            .map_err(StoreError::query(failed))?;
        sqlx::query("DELETE FROM plans WHERE generation <= ?")
            .bind(signed(plan.generation.saturating_sub(limits::PLANS_KEPT)))
            .execute(&mut *transaction)
            .await
            .map_err(StoreError::query(failed))?;
        transaction.commit().await.map_err(StoreError::query(failed))
    }

    /// The plan with the highest generation.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn latest_plan(&self) -> Result<Option<PlanDocument>, StoreError> {
        let body: Option<String> =
            sqlx::query_scalar("SELECT body FROM plans ORDER BY generation DESC LIMIT 1")
                .fetch_optional(&self.pool)
                .await
                .map_err(StoreError::query("reading the latest plan"))?;
        body.map(|body| serde_json::from_str(&body).map_err(StoreError::corrupt("plan")))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use headroom_units::Timestamp;
    use headroom_wire::{Text, Time};

    use super::*;
    use crate::testing;

    fn plan(generation: u64) -> PlanDocument {
        PlanDocument {
            generation,
            made_at: Time(Timestamp::EPOCH),
            zone: Text("cdn.example".parse().unwrap()),
            name_servers: Vec::new(),
            ttl_seconds: 20,
            default_region: Text("east".parse().unwrap()),
            regions: Vec::new(),
            sites: Vec::new(),
        }
    }

    #[tokio::test]
    async fn the_latest_plan_is_the_one_with_the_highest_generation() {
        let (store, _folder) = testing::store().await;
        assert_eq!(store.latest_plan().await.unwrap(), None);
        store.save_plan(&plan(1)).await.unwrap();
        store.save_plan(&plan(2)).await.unwrap();
        assert_eq!(store.latest_plan().await.unwrap(), Some(plan(2)));
        assert!(store.save_plan(&plan(2)).await.is_err(), "a generation is used once");
    }
}
