//! API tokens. Only hashes are kept: tokens are long random numbers, so a plain hash suffices.

use headroom_units::PurchaserId;
use sha2::{Digest, Sha256};

use crate::{Store, StoreError};

/// The hash of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenHash(Vec<u8>);

impl TokenHash {
    /// The hash of `token`.
    #[must_use]
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).to_vec())
    }
}

/// Whose token it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenOwner {
    /// The operator's: may do everything.
    Operator,
    /// A purchaser's: sees and moves only its own.
    Purchaser(PurchaserId),
}

impl Store {
    /// Keeps the hash of a new token.
    ///
    /// # Errors
    /// If it cannot be stored.
    pub async fn add_token(&self, hash: &TokenHash, owner: &TokenOwner) -> Result<(), StoreError> {
        let purchaser = match owner {
            TokenOwner::Operator => None,
            TokenOwner::Purchaser(purchaser) => Some(purchaser.as_str()),
        };
        sqlx::query("INSERT INTO tokens (hash, purchaser) VALUES (?, ?)")
            .bind(&hash.0)
            .bind(purchaser)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(StoreError::query("storing a token"))
    }

    /// Whose token has this hash.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn token_owner(&self, hash: &TokenHash) -> Result<Option<TokenOwner>, StoreError> {
        let row: Option<(Option<String>,)> =
            sqlx::query_as("SELECT purchaser FROM tokens WHERE hash = ?")
                .bind(&hash.0)
                .fetch_optional(&self.pool)
                .await
                .map_err(StoreError::query("looking up a token"))?;
        match row {
            None => Ok(None),
            Some((None,)) => Ok(Some(TokenOwner::Operator)),
            Some((Some(purchaser),)) => purchaser
                .parse()
                .map(|purchaser| Some(TokenOwner::Purchaser(purchaser)))
                .map_err(StoreError::corrupt("purchaser")),
        }
    }

    /// Whether the operator has a token yet.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn has_operator_token(&self) -> Result<bool, StoreError> {
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM tokens WHERE purchaser IS NULL)")
            .fetch_one(&self.pool)
            .await
            .map_err(StoreError::query("looking up the operator's token"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[tokio::test]
    async fn a_token_is_known_by_its_hash_alone() {
        let (store, folder) = testing::store().await;
        let owner = TokenOwner::Purchaser("shop".parse().unwrap());
        assert!(!store.has_operator_token().await.unwrap());
        store.add_token(&TokenHash::of("secret-of-shop"), &owner).await.unwrap();
        store.add_token(&TokenHash::of("operator"), &TokenOwner::Operator).await.unwrap();
        assert!(store.has_operator_token().await.unwrap());
        let known = |token| TokenHash::of(token);
        assert_eq!(store.token_owner(&known("secret-of-shop")).await.unwrap(), Some(owner));
        assert_eq!(store.token_owner(&known("other")).await.unwrap(), None);
        store.close().await;
        let bytes = std::fs::read(folder.path().join("headroom.db")).unwrap();
        assert!(!bytes.windows(14).any(|window| window == b"secret-of-shop"));
    }
}
