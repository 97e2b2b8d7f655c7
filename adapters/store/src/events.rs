//! The market's event log, and what calls with an idempotency key were answered.
//!
//! Events, their links of the hash chain, and the answer of the call that caused them are stored in
//! one transaction: after a crash either all are there or none, so a repeated call never acts twice.

use headroom_units::Timestamp;
use headroom_wire::{ChainHash, EventDocument};
use sqlx::{Row, Sqlite, SqliteConnection, Transaction};

use crate::{Store, StoreError, chain, signed, unsigned};

/// An event with its place in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEvent {
    /// Its number, from 1, without gaps.
    pub sequence: u64,
    /// When it was stored.
    pub at: Timestamp,
    /// The event.
    pub event: EventDocument,
}

/// The answer to a call with an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Who called.
    pub tenant: String,
    /// The key the caller chose.
    pub key: String,
    /// A hash of the call: the same key with another call is a mistake.
    pub request_hash: Vec<u8>,
    /// The HTTP status of the answer.
    pub status: u16,
    /// Its body.
    pub body: String,
}

impl Store {
    /// The whole event log in order.
    ///
    /// # Errors
    /// If it cannot be read, or an event in it cannot.
    pub async fn events(&self) -> Result<Vec<StoredEvent>, StoreError> {
        let rows = sqlx::query("SELECT sequence, at_nanos, body FROM events ORDER BY sequence")
            .fetch_all(&self.pool)
            .await
            .map_err(StoreError::query("reading the event log"))?;
        rows.into_iter()
            .map(|row| {
                let body: String = row.get("body");
                Ok(StoredEvent {
                    sequence: unsigned(row.get("sequence")),
                    at: Timestamp::from_nanos(unsigned(row.get("at_nanos"))),
                    event: serde_json::from_str(&body).map_err(StoreError::corrupt("event"))?,
                })
            })
            .collect()
    }

    /// Appends events as number `first` and following, together with the answer of the call that
    /// caused them. Returns the head of the hash chain after them.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if number `first` is taken, [`StoreError::Corrupt`] if there is no
    /// event before it. On any error nothing is stored.
    pub async fn append(
        &self,
        first: u64,
        at: Timestamp,
        events: &[EventDocument],
        answered: Option<&Answered>,
    ) -> Result<ChainHash, StoreError> {
        let failed = "appending to the event log";
        let mut transaction: Transaction<'_, Sqlite> =
            self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(StoreError::query(failed))?;
        let mut head = chain::hash_before(&mut transaction, first).await?;
        for (sequence, event) in (first..).zip(events) {
            let body = serde_json::to_string(event).map_err(StoreError::corrupt("event"))?;
            head = head.follow(sequence, at, &body);
            insert_event(&mut transaction, sequence, at, &body).await?;
            chain::insert_hash(&mut transaction, sequence, head).await?;
        }
        if let Some(answered) = answered {
            insert_answered(&mut transaction, at, answered).await?;
        }
        transaction.commit().await.map_err(StoreError::query(failed))?;
        Ok(head)
    }

    /// What a call with this key was answered, if it was.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn answered(&self, tenant: &str, key: &str) -> Result<Option<Answered>, StoreError> {
        let row = sqlx::query(
            "SELECT request_hash, status, body FROM idempotency_keys WHERE tenant = ? AND key = ?",
        )
        .bind(tenant)
        .bind(key)
        .fetch_optional(&self.pool)
        .await
        .map_err(StoreError::query("looking up an idempotency key"))?;
        Ok(row.map(|row| Answered {
            tenant: tenant.to_owned(),
            key: key.to_owned(),
            request_hash: row.get("request_hash"),
            status: u16::try_from(row.get::<i64, _>("status")).unwrap_or(500),
            body: row.get("body"),
        }))
    }
}

async fn insert_event(
    connection: &mut SqliteConnection,
    sequence: u64,
    at: Timestamp,
    body: &str,
) -> Result<(), StoreError> {
    let inserted = sqlx::query("INSERT INTO events (sequence, at_nanos, body) VALUES (?, ?, ?)")
        .bind(signed(sequence))
        .bind(signed(at.nanos()))
        .bind(body)
        .execute(connection)
        .await;
    match inserted {
        Ok(_) => Ok(()),
        Err(error) if error.as_database_error().is_some_and(|e| e.is_unique_violation()) => {
            Err(StoreError::Conflict { sequence })
        }
        Err(source) => Err(StoreError::Query { doing: "appending to the event log", source }),
    }
}

pub(crate) async fn insert_answered(
    connection: &mut SqliteConnection,
    at: Timestamp,
    answered: &Answered,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO idempotency_keys (tenant, key, request_hash, status, body, at_nanos)
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(&answered.tenant)
    .bind(&answered.key)
    .bind(&answered.request_hash)
    .bind(i64::from(answered.status))
    .bind(&answered.body)
    .bind(signed(at.nanos()))
    .execute(connection)
    .await
    .map(drop)
    .map_err(StoreError::query("storing the answer to an idempotency key"))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use headroom_wire::Text;

    use super::*;
    use crate::testing;

    fn credited(amount_micro: i64) -> EventDocument {
        let purchaser = Text("shop".parse().unwrap());
        EventDocument::Credited { purchaser, amount_micro, by: "ops".to_owned() }
    }

    fn answered(key: &str) -> Answered {
        Answered {
            tenant: "shop".to_owned(),
            key: key.to_owned(),
            request_hash: vec![1, 2, 3],
            status: 201,
            body: "{}".to_owned(),
        }
    }

    #[tokio::test]
    async fn events_come_back_in_order() {
        let (store, _folder) = testing::store().await;
        let at = Timestamp::from_seconds(7);
        store.append(1, at, &[credited(1), credited(2)], None).await.unwrap();
        store.append(3, at, &[credited(3)], Some(&answered("a"))).await.unwrap();
        let events = store.events().await.unwrap();
        let sequences: Vec<_> = events.iter().map(|event| event.sequence).collect();
        assert_eq!(sequences, [1, 2, 3]);
        assert_eq!(events[2], StoredEvent { sequence: 3, at, event: credited(3) });
        assert_eq!(store.answered("shop", "a").await.unwrap(), Some(answered("a")));
        assert_eq!(store.answered("other", "a").await.unwrap(), None);
    }

    #[tokio::test]
    async fn on_a_conflict_nothing_is_stored() {
        let (store, _folder) = testing::store().await;
        let at = Timestamp::from_seconds(7);
        store.append(1, at, &[credited(1), credited(2)], None).await.unwrap();
        let both = [credited(3), credited(4)];
        let error = store.append(2, at, &both, Some(&answered("a"))).await.unwrap_err();
        assert!(matches!(error, StoreError::Conflict { sequence: 2 }), "{error}");
        assert_eq!(store.events().await.unwrap().len(), 2);
        assert_eq!(store.answered("shop", "a").await.unwrap(), None);
    }

    #[tokio::test]
    async fn the_log_is_append_only() {
        let (store, _folder) = testing::store().await;
        store.append(1, Timestamp::EPOCH, &[credited(1)], None).await.unwrap();
        for statement in ["DELETE FROM events", "UPDATE events SET body = '{}'"] {
            let error = sqlx::query(statement).execute(&store.pool).await.unwrap_err();
            assert!(error.to_string().contains("append only"), "{error}");
        }
    }

    /// Copies the database of `from` to `to` as a loss of power leaves it when only the first
    /// `kept` bytes of the write-ahead log have reached the disk.
    fn copy_torn(from: &Path, to: &Path, kept: usize) {
        fs::copy(from.join("headroom.db"), to.join("headroom.db")).unwrap();
        let log = fs::read(from.join("headroom.db-wal")).unwrap();
        fs::write(to.join("headroom.db-wal"), &log[..kept]).unwrap();
    }

    #[tokio::test]
    async fn wherever_writing_stops_what_was_acknowledged_is_there_and_nothing_is_half_done() {
        const BATCHES: u64 = 12;
        const CUTS: usize = 120;
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("headroom.db")).await.unwrap();
        let log = folder.path().join("headroom.db-wal");
        let logged = || usize::try_from(fs::metadata(&log).unwrap().len()).unwrap();
        let mut acknowledged = vec![logged()];
        for batch in 0..BATCHES {
            let amount = i64::try_from(batch).unwrap();
            let (both, key) = ([credited(amount), credited(-amount)], answered(&batch.to_string()));
            let first = 2 * batch + 1;
            store.append(first, Timestamp::EPOCH, &both, Some(&key)).await.unwrap();
            acknowledged.push(logged());
        }
        let (begin, end) = (acknowledged[0], logged());
        for cut in 0..=CUTS {
            let kept = begin + (end - begin) * cut / CUTS;
            let torn = tempfile::tempdir().unwrap();
            copy_torn(folder.path(), torn.path(), kept);
            let store = Store::open(&torn.path().join("headroom.db")).await.unwrap();
            let events = store.events().await.unwrap();
            assert_eq!(events.len() % 2, 0, "half a batch at {kept}");
            let batches = events.len() / 2;
            let promised = acknowledged.iter().filter(|length| **length <= kept).count() - 1;
            assert!(batches >= promised, "{batches} of {promised} at {kept}");
            for batch in 0..BATCHES {
                let answer = store.answered("shop", &batch.to_string()).await.unwrap();
                let is_stored = usize::try_from(batch).unwrap() < batches;
                assert_eq!(answer.is_some(), is_stored, "batch {batch} at {kept}");
            }
            let next = u64::try_from(events.len()).unwrap() + 1;
            store.append(next, Timestamp::EPOCH, &[credited(9)], None).await.unwrap();
        }
    }
}
