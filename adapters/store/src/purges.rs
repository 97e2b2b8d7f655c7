//! Purges, in the one order of all of them.

use std::collections::BTreeMap;

use headroom_units::SiteId;
use headroom_wire::{PurgeDocument, PurgeScopeDocument};
use sqlx::Row;

use crate::{Store, StoreError, signed, unsigned};

impl Store {
    /// Keeps purges of a site, all or none, and numbers them. Numbers only rise, over all sites,
    /// and a plan that has one has all below it: they are given out by the transaction that
    /// commits them, and only one writes at a time.
    ///
    /// # Errors
    /// If they cannot be stored; none is then.
    pub async fn add_purges(
        &self,
        site: &SiteId,
        scopes: Vec<PurgeScopeDocument>,
    ) -> Result<Vec<PurgeDocument>, StoreError> {
        let failed = "storing purges";
        let mut transaction = self.pool.begin().await.map_err(StoreError::query(failed))?;
        let mut purges = Vec::with_capacity(scopes.len());
        for scope in scopes {
            let text = serde_json::to_string(&scope).map_err(StoreError::corrupt("purge"))?;
            let inserted = sqlx::query("INSERT INTO purges (site, scope) VALUES (?, ?)")
                .bind(site.as_str())
                .bind(text)
                .execute(&mut *transaction)
                .await
                .map_err(StoreError::query(failed))?;
            purges.push(PurgeDocument { sequence: unsigned(inserted.last_insert_rowid()), scope });
        }
        transaction.commit().await.map_err(StoreError::query(failed))?;
        Ok(purges)
    }

    /// All purges by site, ascending.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn purges(&self) -> Result<BTreeMap<SiteId, Vec<PurgeDocument>>, StoreError> {
        let rows = sqlx::query("SELECT sequence, site, scope FROM purges ORDER BY sequence")
            .fetch_all(&self.pool)
            .await
            .map_err(StoreError::query("reading the purges"))?;
        let mut purges: BTreeMap<SiteId, Vec<PurgeDocument>> = BTreeMap::new();
        for row in rows {
            let (site, scope): (String, String) = (row.get("site"), row.get("scope"));
            let site = site.parse().map_err(StoreError::corrupt("site"))?;
            let scope = serde_json::from_str(&scope).map_err(StoreError::corrupt("purge"))?;
            let sequence = unsigned(row.get("sequence"));
            purges.entry(site).or_default().push(PurgeDocument { sequence, scope });
        }
        Ok(purges)
    }

    /// Replaces the rows of purges: `widened` get a new scope, `dropped` go. All or nothing; a row
    /// that is gone already is passed over.
    ///
    /// # Errors
    /// If it cannot be stored.
    pub async fn fold_purges(
        &self,
        widened: &[PurgeDocument],
        dropped: &[u64],
    ) -> Result<(), StoreError> {
        let failed = "folding purges";
        let mut transaction = self.pool.begin().await.map_err(StoreError::query(failed))?;
        for PurgeDocument { sequence, scope } in widened {
            let text = serde_json::to_string(scope).map_err(StoreError::corrupt("purge"))?;
            sqlx::query("UPDATE purges SET scope = ? WHERE sequence = ?")
                .bind(text)
                .bind(signed(*sequence))
                .execute(&mut *transaction)
                .await
                .map_err(StoreError::query(failed))?;
        }
        for sequence in dropped {
            sqlx::query("DELETE FROM purges WHERE sequence = ?")
                .bind(signed(*sequence))
                .execute(&mut *transaction)
                .await
                .map_err(StoreError::query(failed))?;
        }
        transaction.commit().await.map_err(StoreError::query(failed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn tag(text: &str) -> PurgeScopeDocument {
        PurgeScopeDocument::Tag(text.to_owned())
    }

    #[tokio::test]
    async fn numbers_rise_over_all_sites_and_are_never_used_again() {
        let (store, folder) = testing::store().await;
        let (shop, own): (SiteId, SiteId) = ("shop".parse().unwrap(), "own".parse().unwrap());
        let add = async |store: &Store, site: &SiteId, scopes: &[PurgeScopeDocument]| {
            let purges = store.add_purges(site, scopes.to_vec()).await.unwrap();
            purges.into_iter().map(|purge| purge.sequence).collect::<Vec<_>>()
        };
        assert_eq!(add(&store, &shop, &[tag("a"), tag("b")]).await, [1, 2]);
        assert_eq!(add(&store, &own, &[tag("c")]).await, [3]);
        let all = PurgeDocument { sequence: 2, scope: PurgeScopeDocument::All };
        store.fold_purges(std::slice::from_ref(&all), &[1, 3, 99]).await.unwrap();
        assert_eq!(store.purges().await.unwrap(), BTreeMap::from([(shop.clone(), vec![all])]));
        store.close().await;
        let again = Store::open(&folder.path().join("headroom.db")).await.unwrap();
        assert_eq!(add(&again, &shop, &[tag("d")]).await, [4]);
    }
}
