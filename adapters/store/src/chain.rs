//! The links of the event log's hash chain, one beside each event, and the log as it is exported.

use headroom_units::Timestamp;
use headroom_wire::{ChainHash, LogLine, Text};
use serde_json::value::RawValue;
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};

use crate::{Store, StoreError, signed, unsigned};

impl Store {
    /// The head of the chain after event `sequence`, which is the last; the start after none.
    ///
    /// # Errors
    /// If it cannot be read, or there is no such event.
    pub async fn chain_head(&self, sequence: u64) -> Result<ChainHash, StoreError> {
        let mut connection =
            self.pool.acquire().await.map_err(StoreError::query("reading the hash chain"))?;
        hash_before(&mut connection, sequence.saturating_add(1)).await
    }

    /// The next events after number `after`, at most `most`, with their links.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn log_lines(&self, after: u64, most: u32) -> Result<Vec<LogLine>, StoreError> {
        let rows = sqlx::query(
            "SELECT events.sequence, at_nanos, body, hash FROM events
             JOIN event_hashes ON event_hashes.sequence = events.sequence
             WHERE events.sequence > ? ORDER BY events.sequence LIMIT ?",
        )
        .bind(signed(after))
        .bind(most)
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::query("reading the event log"))?;
        let line = |row: SqliteRow| {
            let body: String = row.get("body");
            Ok(LogLine {
                sequence: unsigned(row.get("sequence")),
                at_nanos: unsigned(row.get("at_nanos")),
                hash: Text(stored_hash(&row)?),
                event: RawValue::from_string(body).map_err(StoreError::corrupt("event"))?,
            })
        };
        rows.into_iter().map(line).collect()
    }

    /// Chains the events of a database that was made before there was a chain.
    pub(crate) async fn chain_older_events(&self) -> Result<(), StoreError> {
        let failed = "chaining older events";
        let mut transaction =
            self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(StoreError::query(failed))?;
        let unchained = sqlx::query(
            "SELECT sequence, at_nanos, body FROM events
             WHERE sequence > (SELECT COALESCE(MAX(sequence), 0) FROM event_hashes)
             ORDER BY sequence",
        )
        .fetch_all(&mut *transaction)
        .await
        .map_err(StoreError::query(failed))?;
        let Some(first) = unchained.first() else { return Ok(()) };
        let mut head = hash_before(&mut transaction, unsigned(first.get("sequence"))).await?;
        for row in &unchained {
            let sequence = unsigned(row.get("sequence"));
            let at = Timestamp::from_nanos(unsigned(row.get("at_nanos")));
            head = head.follow(sequence, at, row.get("body"));
            insert_hash(&mut transaction, sequence, head).await?;
        }
        transaction.commit().await.map_err(StoreError::query(failed))
    }
}

/// The link before event `sequence`.
pub(crate) async fn hash_before(
    connection: &mut SqliteConnection,
    sequence: u64,
) -> Result<ChainHash, StoreError> {
    let before = sequence.saturating_sub(1);
    if before == 0 {
        return Ok(ChainHash::START);
    }
    let row = sqlx::query("SELECT hash FROM event_hashes WHERE sequence = ?")
        .bind(signed(before))
        .fetch_optional(connection)
        .await
        .map_err(StoreError::query("reading the hash chain"))?;
    let missing = || StoreError::corrupt("hash chain")(format!("there is no event {before}"));
    stored_hash(&row.ok_or_else(missing)?)
}

pub(crate) async fn insert_hash(
    connection: &mut SqliteConnection,
    sequence: u64,
    hash: ChainHash,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO event_hashes (sequence, hash) VALUES (?, ?)")
        .bind(signed(sequence))
        .bind(&hash.as_bytes()[..])
        .execute(connection)
        .await
        .map(drop)
        .map_err(StoreError::query("adding to the hash chain"))
}

fn stored_hash(row: &SqliteRow) -> Result<ChainHash, StoreError> {
    let bytes: &[u8] = row.get("hash");
    ChainHash::from_bytes(bytes)
        .ok_or_else(|| StoreError::corrupt("hash")(format!("it has {} bytes", bytes.len())))
}

#[cfg(test)]
mod tests {
    use headroom_wire::{Broken, Chain, EventDocument};

    use super::*;
    use crate::testing;

    fn credited(amount_micro: i64) -> EventDocument {
        let purchaser = Text("shop".parse().unwrap());
        EventDocument::Credited { purchaser, amount_micro, by: "ops".to_owned() }
    }

    async fn walk(store: &Store) -> Result<Chain, Broken> {
        let mut chain = Chain::default();
        loop {
            let lines = store.log_lines(chain.events, 2).await.unwrap();
            if lines.is_empty() {
                return Ok(chain);
            }
            for line in &lines {
                chain.go_on(line)?;
            }
        }
    }

    #[tokio::test]
    async fn the_log_leads_to_the_head_that_appending_told() {
        let (store, _folder) = testing::store().await;
        let at = Timestamp::from_seconds(7);
        assert_eq!(store.chain_head(0).await.unwrap(), ChainHash::START);
        store.append(1, at, &[credited(1), credited(2)], None).await.unwrap();
        let head = store.append(3, at, &[credited(3)], None).await.unwrap();
        let chain = walk(&store).await.unwrap();
        assert_eq!((chain.events, chain.head), (3, head));
        assert_eq!(store.chain_head(3).await.unwrap(), head);
        assert!(store.append(5, at, &[credited(5)], None).await.is_err(), "4 is missing");
    }

    #[tokio::test]
    async fn who_gets_around_the_triggers_is_found() {
        let (store, _folder) = testing::store().await;
        let at = Timestamp::from_seconds(7);
        store.append(1, at, &[credited(1), credited(2), credited(3)], None).await.unwrap();
        for statement in [
            "DROP TRIGGER events_are_never_changed",
            "UPDATE events SET body = replace(body, ':2', ':3') WHERE sequence = 2",
        ] {
            sqlx::query(statement).execute(&store.pool).await.unwrap();
        }
        assert_eq!(walk(&store).await.unwrap_err(), Broken::Changed { sequence: 2 });
    }

    #[tokio::test]
    async fn an_older_log_is_chained_when_it_is_opened() {
        let (store, folder) = testing::store().await;
        let at = Timestamp::from_seconds(7);
        let head = store.append(1, at, &[credited(1), credited(2)], None).await.unwrap();
        for statement in ["DROP TRIGGER event_hashes_are_never_deleted", "DELETE FROM event_hashes"]
        {
            sqlx::query(statement).execute(&store.pool).await.unwrap();
        }
        store.close().await;
        let again = Store::open(&folder.path().join("headroom.db")).await.unwrap();
        assert_eq!(again.chain_head(2).await.unwrap(), head);
        assert_eq!(walk(&again).await.unwrap().head, head);
    }
}
