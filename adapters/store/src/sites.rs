//! Sites, their host names and the proofs of control.

use headroom_units::{HostName, PurchaserId, SiteId, Timestamp};
use headroom_wire::NewSite;
use sqlx::Row;

use crate::{Store, StoreError, signed};

/// A site as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredSite {
    /// Whose it is.
    pub purchaser: PurchaserId,
    /// As it was registered.
    pub site: NewSite,
    /// Its host names.
    pub hosts: Vec<StoredHost>,
}

/// A host name of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredHost {
    /// The name.
    pub host: HostName,
    /// What its TXT record must say.
    pub challenge: String,
    /// Whether control was proved.
    pub proved: bool,
}

/// What became of a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProofOutcome {
    /// The name is the site's now.
    Proved,
    /// Another site has proved it before.
    TakenByAnother,
}

impl Store {
    /// Keeps a new site with a challenge for each of its host names; false if the id is taken.
    ///
    /// # Errors
    /// If it cannot be stored; nothing is then.
    pub async fn add_site(&self, site: &StoredSite) -> Result<bool, StoreError> {
        let failed = "storing a site";
        let body = serde_json::to_string(&site.site).map_err(StoreError::corrupt("site"))?;
        let id = site.site.id.0.as_str();
        let mut transaction = self.pool.begin().await.map_err(StoreError::query(failed))?;
        let inserted = sqlx::query(
            "INSERT INTO sites (id, purchaser, body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(id)
        .bind(site.purchaser.as_str())
        .bind(body)
        .execute(&mut *transaction)
        .await
        .map_err(StoreError::query(failed))?;
        if inserted.rows_affected() == 0 {
            return Ok(false);
        }
        for host in &site.hosts {
            sqlx::query("INSERT INTO hosts (host, site, challenge) VALUES (?, ?, ?)")
                .bind(host.host.as_str())
                .bind(id)
                .bind(&host.challenge)
                .execute(&mut *transaction)
                .await
                .map_err(StoreError::query(failed))?;
        }
        transaction.commit().await.map_err(StoreError::query(failed))?;
        Ok(true)
    }

    /// Records that control of `host` was proved for `site`.
    ///
    /// # Errors
    /// If it cannot be stored.
    pub async fn prove_host(
        &self,
        site: &SiteId,
        host: &HostName,
        now: Timestamp,
    ) -> Result<ProofOutcome, StoreError> {
        let updated = sqlx::query(
            "UPDATE hosts SET proved_at_nanos = coalesce(proved_at_nanos, ?)
             WHERE host = ? AND site = ?",
        )
        .bind(signed(now.nanos()))
        .bind(host.as_str())
        .bind(site.as_str())
        .execute(&self.pool)
        .await;
        match updated {
            Ok(_) => Ok(ProofOutcome::Proved),
            Err(error) if error.as_database_error().is_some_and(|e| e.is_unique_violation()) => {
                Ok(ProofOutcome::TakenByAnother)
            }
            Err(source) => Err(StoreError::Query { doing: "recording a proof", source }),
        }
    }

    /// All sites, by id.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn sites(&self) -> Result<Vec<StoredSite>, StoreError> {
        let failed = "reading the sites";
        let sites = sqlx::query("SELECT id, purchaser, body FROM sites ORDER BY id")
            .fetch_all(&self.pool)
            .await
            .map_err(StoreError::query(failed))?;
        let hosts = sqlx::query(
            "SELECT site, host, challenge, proved_at_nanos IS NOT NULL AS proved
             FROM hosts ORDER BY site, host",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::query(failed))?;
        sites
            .iter()
            .map(|row| {
                let (id, body): (String, String) = (row.get("id"), row.get("body"));
                let purchaser: String = row.get("purchaser");
                let hosts = hosts
                    .iter()
                    .filter(|host| host.get::<String, _>("site") == id)
                    .map(|host| {
                        Ok(StoredHost {
                            host: host
                                .get::<String, _>("host")
                                .parse()
                                .map_err(StoreError::corrupt("host name"))?,
                            challenge: host.get("challenge"),
                            proved: host.get("proved"),
                        })
                    })
                    .collect::<Result<_, StoreError>>()?;
                Ok(StoredSite {
                    purchaser: purchaser.parse().map_err(StoreError::corrupt("purchaser"))?,
                    site: serde_json::from_str(&body).map_err(StoreError::corrupt("site"))?,
                    hosts,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use headroom_wire::{OverShareDocument, RemainderDocument, SiteRulesDocument, Text};

    use super::*;
    use crate::testing;

    fn site(id: &str, purchaser: &str) -> StoredSite {
        let host: HostName = "www.shop.example".parse().unwrap();
        StoredSite {
            purchaser: purchaser.parse().unwrap(),
            site: NewSite {
                id: Text(id.parse().unwrap()),
                hosts: vec![Text(host.clone())],
                origins: vec![Text("198.51.100.1:80".parse().unwrap())],
                remainder: RemainderDocument::Return {
                    name: Text("origin.shop.example".parse().unwrap()),
                },
                over_share: OverShareDocument::Redirect,
                fallback: Text("origin.shop.example".parse().unwrap()),
                rules: SiteRulesDocument::default(),
            },
            hosts: vec![StoredHost { host, challenge: "xyz".to_owned(), proved: false }],
        }
    }

    #[tokio::test]
    async fn a_name_may_be_claimed_twice_but_proved_once() {
        let (store, _folder) = testing::store().await;
        assert!(store.add_site(&site("shop", "shop-inc")).await.unwrap());
        assert!(!store.add_site(&site("shop", "thief")).await.unwrap(), "the id is taken");
        assert!(store.add_site(&site("fake", "thief")).await.unwrap());
        let prove = async |id: &str| {
            let host = "www.shop.example".parse().unwrap();
            store.prove_host(&id.parse().unwrap(), &host, Timestamp::EPOCH).await.unwrap()
        };
        assert_eq!(prove("shop").await, ProofOutcome::Proved);
        assert_eq!(prove("shop").await, ProofOutcome::Proved);
        assert_eq!(prove("fake").await, ProofOutcome::TakenByAnother);
        let sites = store.sites().await.unwrap();
        let proved: Vec<_> =
            sites.iter().map(|site| (site.site.id.0.as_str(), site.hosts[0].proved)).collect();
        assert_eq!(proved, [("fake", false), ("shop", true)]);
    }

    #[tokio::test]
    async fn a_site_that_was_stored_without_rules_is_read() {
        let (store, _folder) = testing::store().await;
        let body = r#"{"id":"old","hosts":["www.old.example"],"origins":["198.51.100.1:80"],
            "remainder":{"policy":"return","name":"origin.old.example"},"over_share":"redirect",
            "fallback":"origin.old.example"}"#;
        sqlx::query("INSERT INTO sites (id, purchaser, body) VALUES ('old', 'shop-inc', ?)")
            .bind(body)
            .execute(&store.pool)
            .await
            .unwrap();
        let site = store.sites().await.unwrap().remove(0).site;
        assert_eq!(site.origins[0].0.to_string(), "http://198.51.100.1:80");
        assert_eq!(site.rules, SiteRulesDocument::default());
    }
}
