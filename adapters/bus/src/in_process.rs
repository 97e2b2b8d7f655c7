//! The bus within one process.

use std::{
    collections::BTreeMap,
    marker::PhantomData,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use headroom_wire::limits::MESSAGE_BYTES_MAX;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::{broadcast, watch};

use crate::{BusError, Kind, Subject, limits::STREAM_QUEUE_MAX};

/// Carries messages between the services of one process. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Bus {
    channels: Arc<Mutex<BTreeMap<&'static str, Channel>>>,
}

#[derive(Debug, Clone)]
enum Channel {
    State(watch::Sender<Option<Bytes>>),
    Stream(broadcast::Sender<Bytes>),
}

/// Receives the messages of one subject.
#[derive(Debug)]
pub struct Subscription<T> {
    subject: &'static str,
    receiver: Receiver,
    shape: PhantomData<fn() -> T>,
}

#[derive(Debug)]
enum Receiver {
    State(watch::Receiver<Option<Bytes>>),
    Stream(broadcast::Receiver<Bytes>),
}

impl Bus {
    /// A bus without messages.
    #[must_use]
    pub fn in_process() -> Self {
        Self::default()
    }

    /// Sends a message to all who subscribe; a state also to those who will.
    ///
    /// # Errors
    /// If the message cannot be written or is too long; nothing is sent then.
    pub fn publish<T: Serialize>(&self, subject: &Subject<T>, message: &T) -> Result<(), BusError> {
        let encoded = serde_json::to_vec(message)
            .map_err(|source| BusError::Encode { subject: subject.name, source })?;
        if encoded.len() > MESSAGE_BYTES_MAX {
            let (subject, bytes) = (subject.name, encoded.len());
            return Err(BusError::TooLarge { subject, bytes, max: MESSAGE_BYTES_MAX });
        }
        match self.channel(subject.name, subject.kind) {
            Channel::State(sender) => {
                sender.send_replace(Some(encoded.into()));
            }
            // Nobody listening is no error: a stream is not kept for late comers.
            Channel::Stream(sender) => drop(sender.send(encoded.into())),
        }
        Ok(())
    }

    /// Receives from now on; of a state also the newest message before.
    #[must_use]
    pub fn subscribe<T: DeserializeOwned>(&self, subject: &Subject<T>) -> Subscription<T> {
        let receiver = match self.channel(subject.name, subject.kind) {
            Channel::State(sender) => {
                let mut receiver = sender.subscribe();
                if receiver.borrow().is_some() {
                    receiver.mark_changed();
                }
                Receiver::State(receiver)
            }
            Channel::Stream(sender) => Receiver::Stream(sender.subscribe()),
        };
        Subscription { subject: subject.name, receiver, shape: PhantomData }
    }

    fn channel(&self, name: &'static str, kind: Kind) -> Channel {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || match kind {
            Kind::State => Channel::State(watch::Sender::new(None)),
            Kind::Stream => Channel::Stream(broadcast::Sender::new(STREAM_QUEUE_MAX)),
        };
        channels.entry(name).or_insert_with(new).clone()
    }
}

impl<T: DeserializeOwned> Subscription<T> {
    /// Waits for the next message: of a state the newest, of a stream each in order. May be
    /// cancelled without losing a message.
    ///
    /// # Errors
    /// If the message is not of the subject's shape, messages were lost, or the bus is gone. After
    /// any but the last, the next call goes on.
    pub async fn next(&mut self) -> Result<T, BusError> {
        let subject = self.subject;
        let encoded = match &mut self.receiver {
            Receiver::State(receiver) => loop {
                receiver.changed().await.map_err(|_| BusError::Closed { subject })?;
                if let Some(encoded) = receiver.borrow_and_update().clone() {
                    break encoded;
                }
            },
            Receiver::Stream(receiver) => receiver.recv().await.map_err(|error| match error {
                broadcast::error::RecvError::Lagged(lost) => BusError::Lagged { subject, lost },
                broadcast::error::RecvError::Closed => BusError::Closed { subject },
            })?,
        };
        serde_json::from_slice(&encoded).map_err(|source| BusError::Decode { subject, source })
    }
}

#[cfg(test)]
mod tests {
    use headroom_units::{RequestRate, Timestamp};
    use headroom_wire::{BudgetsMessage, NameServerReport, Text, Time};

    use super::*;
    use crate::subjects::{BUDGETS, NAME_SERVER_REPORTS};

    fn budgets(sequence: u64) -> BudgetsMessage {
        BudgetsMessage {
            sequence,
            generation: 1,
            issued_at: Time(Timestamp::EPOCH),
            expires_at: Time(Timestamp::EPOCH),
            leases: Vec::new(),
            shares: Vec::new(),
        }
    }

    fn report(second: u64) -> NameServerReport {
        NameServerReport {
            name_server: Text("ns1".parse().unwrap()),
            second: Time(Timestamp::from_seconds(second)),
            places: vec![headroom_wire::MappingMeter {
                site: Text("shop".parse().unwrap()),
                region: Text("east".parse().unwrap()),
                mapping_requests: 3,
                mapped_to_edges: 1,
                leased: Text(RequestRate::from_requests_per_second(5)),
                strangers: Text(RequestRate::ZERO),
            }],
            assignments: Vec::new(),
        }
    }

    #[tokio::test]
    async fn of_a_state_the_newest_is_kept_for_late_comers() {
        let bus = Bus::in_process();
        bus.publish(&BUDGETS, &budgets(1)).unwrap();
        bus.publish(&BUDGETS, &budgets(2)).unwrap();
        let mut late = bus.subscribe(&BUDGETS);
        assert_eq!(late.next().await.unwrap(), budgets(2));
        bus.publish(&BUDGETS, &budgets(3)).unwrap();
        bus.publish(&BUDGETS, &budgets(4)).unwrap();
        assert_eq!(late.next().await.unwrap(), budgets(4));
    }

    #[tokio::test]
    async fn of_a_stream_each_arrives_in_order() {
        let bus = Bus::in_process();
        let mut subscription = bus.subscribe(&NAME_SERVER_REPORTS);
        for second in 0..3 {
            bus.publish(&NAME_SERVER_REPORTS, &report(second)).unwrap();
        }
        for second in 0..3 {
            assert_eq!(subscription.next().await.unwrap(), report(second));
        }
    }

    #[tokio::test]
    async fn what_is_lost_is_told() {
        let bus = Bus::in_process();
        let mut subscription = bus.subscribe(&NAME_SERVER_REPORTS);
        for second in 0..=STREAM_QUEUE_MAX as u64 {
            bus.publish(&NAME_SERVER_REPORTS, &report(second)).unwrap();
        }
        let error = subscription.next().await.unwrap_err();
        assert!(matches!(error, BusError::Lagged { lost: 1, .. }), "{error}");
        assert_eq!(subscription.next().await.unwrap(), report(1));
    }
}
