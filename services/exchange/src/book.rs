//! The market with its event log: every change is on the disk before anyone learns of it.
//!
//! One command at a time is decided, stored and applied. If it cannot be stored it has not
//! happened. After a restart the log is replayed to the same state.

use headroom_market::{Command, Event, Market, Rules};
use headroom_store::{Answered, Store};
use headroom_units::Timestamp;
use headroom_wire::EventDocument;
use tokio::sync::RwLock;

use crate::ExchangeError;

/// The market and its log.
#[derive(Debug)]
pub(crate) struct Book {
    store: Store,
    state: RwLock<State>,
}

#[derive(Debug)]
struct State {
    market: Market,
    next_sequence: u64,
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
        Ok(Self { store, state: RwLock::new(State { market, next_sequence }) })
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
        self.execute_answering(command, now, |_| None).await
    }

    /// As [`Book::execute`], storing what the caller is answered in the same transaction.
    ///
    /// # Errors
    /// If the market refuses it or it cannot be stored; nothing has happened then.
    pub(crate) async fn execute_answering(
        &self,
        command: Command,
        now: Timestamp,
        answer: impl FnOnce(&[Event]) -> Option<Answered>,
    ) -> Result<Vec<Event>, ExchangeError> {
        let mut state = self.state.write().await;
        let events = state.market.decide(command, now)?;
        let answered = answer(&events);
        if events.is_empty() && answered.is_none() {
            return Ok(events);
        }
        let documents: Vec<EventDocument> = events.iter().map(EventDocument::from).collect();
        self.store.append(state.next_sequence, now, &documents, answered.as_ref()).await?;
        for event in &events {
            state.market.apply(event);
            state.next_sequence += 1;
        }
        Ok(events)
    }
}
