//! The market with its event log: every change is on the disk before anyone learns of it.
//!
//! One command at a time is decided, stored and applied. If it cannot be stored it has not
//! happened. What is being stored is also applied, even if whoever asked for it has gone: a market
//! behind its own log could store nothing more. After a restart the log is replayed to the same
//! state.

use std::sync::Arc;

use headroom_market::{Command, Event, Market, Rules};
use headroom_store::{Answered, Store};
use headroom_units::Timestamp;
use headroom_wire::{ChainHash, EventDocument};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};

use crate::ExchangeError;

/// The market and its log.
#[derive(Debug)]
pub(crate) struct Book {
    store: Store,
    state: Arc<RwLock<State>>,
}

/// What identifies a call that may be made again.
#[derive(Debug, Clone)]
pub(crate) struct CallKey {
    pub(crate) tenant: String,
    pub(crate) key: String,
    /// A hash of the call: the same key with another call is a mistake.
    pub(crate) request_hash: Vec<u8>,
}

/// What a call is answered.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
}

#[derive(Debug)]
struct State {
    market: Market,
    next_sequence: u64,
    /// The head of the log's hash chain.
    head: ChainHash,
}

impl Book {
    /// Replays the log of `store`.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub(crate) async fn open(store: Store, rules: Rules) -> Result<Self, ExchangeError> {
        let mut market = Market::new(rules);
        let mut next_sequence = 1;
        for stored in store.events().await? {
            let sequence = stored.sequence;
            let event = Event::try_from(stored.event)
                .map_err(|source| ExchangeError::Log { sequence, source })?;
            market.apply(&event);
            next_sequence = sequence + 1;
        }
        let head = store.chain_head(next_sequence - 1).await?;
        let state = State { market, next_sequence, head };
        Ok(Self { store, state: Arc::new(RwLock::new(state)) })
    }

    /// How many events the log has, and the head of its hash chain.
    pub(crate) async fn head(&self) -> (u64, ChainHash) {
        let state = self.state.read().await;
        (state.next_sequence - 1, state.head)
    }

    /// Reads the market.
    pub(crate) async fn read<T>(&self, read: impl FnOnce(&Market) -> T) -> T {
        read(&self.state.read().await.market)
    }

    /// Decides a command, stores its events, applies them, and returns them.
    ///
    /// # Errors
    /// If the market refuses it or it cannot be stored; nothing has happened then.
    pub(crate) async fn execute(
        &self,
        command: Command,
        now: Timestamp,
    ) -> Result<Vec<Event>, ExchangeError> {
        let state = Arc::clone(&self.state).write_owned().await;
        let events = state.market.decide(command, now)?;
        self.store_and_apply(state, now, events.clone(), None).await?;
        Ok(events)
    }

    /// As [`Book::execute`], for a call that is to be answered. A call with a key that was answered
    /// before is not done again: it gets the same answer. The answer is made of the market before
    /// the events and of the events, and stored with them.
    ///
    /// # Errors
    /// If the key is another call's, the market refuses the command or it cannot be stored; nothing
    /// has happened then.
    pub(crate) async fn answer(
        &self,
        command: Command,
        now: Timestamp,
        key: Option<CallKey>,
        answer: impl FnOnce(&Market, &[Event]) -> Option<Reply>,
    ) -> Result<Reply, ExchangeError> {
        let state = Arc::clone(&self.state).write_owned().await;
        // Looked up while nobody else can act: of two such calls at once, the second finds it.
        if let Some(key) = &key
            && let Some(reply) = self.answered(key).await?
        {
            return Ok(reply);
        }
        let events = state.market.decide(command, now)?;
        let reply = answer(&state.market, &events).ok_or(ExchangeError::Unanswered)?;
        let answered = key.map(|CallKey { tenant, key, request_hash }| {
            let Reply { status, body } = reply.clone();
            Answered { tenant, key, request_hash, status, body }
        });
        self.store_and_apply(state, now, events, answered).await?;
        Ok(reply)
    }

    /// What the call with this key was answered, if it was made before.
    ///
    /// # Errors
    /// If the key is another call's, or the store cannot be read.
    pub(crate) async fn answered(&self, key: &CallKey) -> Result<Option<Reply>, ExchangeError> {
        match self.store.answered(&key.tenant, &key.key).await? {
            Some(known) if known.request_hash != key.request_hash => Err(ExchangeError::KeyReused),
            known => Ok(known.map(|Answered { status, body, .. }| Reply { status, body })),
        }
    }

    /// In a task of its own, so that it is done to the end when the caller hangs up.
    async fn store_and_apply(
        &self,
        mut state: OwnedRwLockWriteGuard<State>,
        now: Timestamp,
        events: Vec<Event>,
        answered: Option<Answered>,
    ) -> Result<(), ExchangeError> {
        if events.is_empty() && answered.is_none() {
            return Ok(());
        }
        let store = self.store.clone();
        let task = tokio::spawn(async move {
            let documents: Vec<EventDocument> = events.iter().map(EventDocument::from).collect();
            let first = state.next_sequence;
            state.head = store.append(first, now, &documents, answered.as_ref()).await?;
            for event in &events {
                state.market.apply(event);
                state.next_sequence += 1;
            }
            Ok(())
        });
        task.await?
    }
}
