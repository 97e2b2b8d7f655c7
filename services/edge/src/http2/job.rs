//! One request on its way to the end of its response.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::Response;
use http_body::Body as _;

use crate::{
    body::EdgeBody, connection::InFlight, content::Inlet, interim::Interim, reply::Length,
};

/// A request whose response is not at its end.
pub(crate) struct Job {
    pub(crate) stream: u32,
    pub(crate) to_head: bool,
    pub(crate) work: Work,
    /// Where its content goes.
    pub(crate) inlet: Option<Inlet>,
    /// Wakes it.
    pub(crate) waker: Waker,
    pub(crate) _in_flight: InFlight,
}

/// How far a request is.
pub(crate) enum Work {
    /// There is no response yet, or only interim ones.
    Serving(Pin<Box<dyn Future<Output = Response<EdgeBody>> + Send>>, Interim),
    Sending(Sending),
}

/// A body on its way.
pub(crate) struct Sending {
    pub(crate) body: EdgeBody,
    /// What of it is at hand.
    piece: Bytes,
    /// How much is still to be sent, if that is known.
    left: Option<u64>,
}

/// What of a body can be sent.
pub(crate) enum Next {
    /// These bytes; true if they are the last.
    Piece(Bytes, bool),
    /// Nothing more: it is whole.
    End,
    /// Nothing more, but it is not whole.
    CutOff,
}

impl Sending {
    pub(crate) fn new(body: EdgeBody, length: Length) -> Self {
        let left = match length {
            Length::Known(length) => Some(length),
            Length::None | Length::Unknown => None,
        };
        Self { body, piece: Bytes::new(), left }
    }

    /// A body that is at hand, and was counted.
    pub(crate) fn at_hand(body: Bytes) -> Self {
        let left = u64::try_from(body.len()).ok();
        Self { body: EdgeBody::empty(), piece: body, left }
    }

    /// What comes next, no more than `max` bytes.
    pub(crate) fn poll_next(&mut self, max: usize, cx: &mut Context<'_>) -> Poll<Next> {
        while self.piece.is_empty() {
            match std::task::ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None if self.left.is_none_or(|left| left == 0) => return Poll::Ready(Next::End),
                None => return Poll::Ready(Next::CutOff),
                Some(Ok(frame)) => self.piece = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => {
                    tracing::debug!(%error, "a response was cut off");
                    return Poll::Ready(Next::CutOff);
                }
            }
        }
        let part = self.piece.split_to(max.min(self.piece.len()));
        if let Some(left) = &mut self.left {
            let rest = u64::try_from(part.len()).ok().and_then(|length| left.checked_sub(length));
            let Some(rest) = rest else {
                tracing::warn!("a response was longer than it said");
                return Poll::Ready(Next::CutOff);
            };
            *left = rest;
        }
        let is_last = self.piece.is_empty() && self.is_last(cx);
        Poll::Ready(Next::Piece(part, is_last))
    }

    /// Whether nothing more comes: what is said to be all is all, whether the end was seen or not.
    fn is_last(&mut self, cx: &mut Context<'_>) -> bool {
        if self.left == Some(0) {
            // Whoever counts it learns that it is whole.
            let _ = Pin::new(&mut self.body).poll_frame(cx);
            return true;
        }
        self.left.is_none() && self.body.is_end_stream()
    }
}

/// The requests of a connection, each in the slot of its stream. Without any it holds no memory.
#[derive(Default)]
pub(crate) struct Jobs {
    slots: Vec<Option<Box<Job>>>,
    count: usize,
}

impl Jobs {
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn get(&self, slot: usize) -> Option<&Job> {
        self.slots.get(slot)?.as_deref()
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = (usize, &Job)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(slot, job)| Some((slot, job.as_deref()?)))
    }

    pub(crate) fn insert(&mut self, slot: usize, job: Box<Job>) {
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        self.count += 1;
        self.slots[slot] = Some(job);
    }

    /// Takes a job out for a moment: [`Self::put_back`] or [`Self::free`] follows.
    pub(crate) fn take_out(&mut self, slot: usize) -> Option<Box<Job>> {
        self.slots.get_mut(slot)?.take()
    }

    pub(crate) fn put_back(&mut self, slot: usize, job: Box<Job>) {
        self.slots[slot] = Some(job);
    }

    /// Frees the slot of a job that is at its end.
    pub(crate) fn free(&mut self) {
        self.count -= 1;
        if self.count == 0 {
            self.slots = Vec::new();
        }
    }

    /// How many slots it holds memory for.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.slots.capacity()
    }
}

impl Job {
    /// Whether it sends its body.
    pub(crate) fn is_sending(&self) -> bool {
        matches!(self.work, Work::Sending(_))
    }
}
