//! HTTP/2 towards visitors (RFC 9113), over TLS or with prior knowledge.
//!
//! ```text
//!  bytes ─► session ─┬─ request ─► hit ─────────────────────────► outbox ─► visitor
//!                    │              └ no ─► job: serve ─► body ──┘
//!                    └─ content ─► inlet ─► whoever reads it
//! ```
//!
//! The protocol is in [`session`], which knows no socket; here is the socket, and beside it are the
//! requests and the turn in which their bodies go out. A connection that waits holds no buffers: it reads into
//! those of its thread, and has tables only while streams are open.

mod allowance;
mod fields;
pub(crate) mod frame;
mod head;
mod hpack;
mod job;
mod ready;
mod reply;
mod requests;
mod session;
mod streams;
#[cfg(test)]
mod tests;
mod turns;
mod window;

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

pub(crate) use fields::Fields;
use frame::Reason;
use job::{Job, Jobs};
use ready::{Ready, Slots};
use session::{Event, Session, Took};
use tokio::{
    io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf},
    time::timeout,
};

use crate::{
    connection::{Hall, Line},
    desk::{DESK, Desk},
    limits,
    outbox::Outbox,
    pulse::{Awaited, Order, Stage},
    socket::Stream,
};

/// A connection that speaks HTTP/2.
pub(crate) struct Http2 {
    hall: Arc<Hall>,
    line: Arc<Line>,
    stream: Stream,
    /// What came and was not looked at.
    unread: Vec<u8>,
    /// Whether that is the beginning of a frame and nothing else.
    is_partial: bool,
    outbox: Outbox,
    session: Session,
    jobs: Jobs,
    /// What wakes the jobs. Only while there are any.
    ready: Option<Arc<Ready>>,
    /// The jobs that were woken.
    woken: Slots,
    /// The jobs that may have something to send, and whose turn it is.
    sendable: Slots,
    turn: usize,
    /// How often a request or a response went on.
    progress: u32,
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("all is answered")]
    Over,
    #[error("the visitor is gone")]
    Left,
    #[error("it was cut off")]
    Cut,
    #[error("{0:?}")]
    Fault(Reason),
    #[error("{0}")]
    Broken(#[from] io::Error),
}

impl From<Reason> for End {
    fn from(reason: Reason) -> Self {
        Self::Fault(reason)
    }
}

impl Http2 {
    pub(crate) fn new(hall: Arc<Hall>, line: Arc<Line>, stream: Stream, begun: Vec<u8>) -> Self {
        line.pulse.enter(Stage::Http2);
        let mut outbox = Outbox::default();
        let session = Session::new(outbox.writer());
        Self {
            hall,
            line,
            stream,
            unread: begun,
            is_partial: false,
            outbox,
            session,
            jobs: Jobs::default(),
            ready: None,
            woken: Slots::default(),
            sendable: Slots::default(),
            turn: 0,
            progress: 0,
        }
    }

    /// Serves the connection to its end.
    pub(crate) async fn serve(mut self) {
        let mut listens = false;
        let end = poll_fn(|cx| {
            if !listens {
                self.line.pulse.listen(cx);
                listens = true;
            }
            self.poll(cx)
        });
        let end = end.await;
        tracing::debug!(peer = %self.line.peer.address, %end, "a connection ends");
        // What nobody waits for ends here.
        self.jobs = Jobs::default();
        Box::pin(self.end(end)).await;
    }

    /// Ends the connection, and says why if that is possible.
    async fn end(mut self, end: End) {
        let metrics = &self.hall.worker.shared.metrics;
        match end {
            End::Over => {}
            End::Fault(reason) => {
                if reason != Reason::EnhanceYourCalm {
                    metrics.malformed.inc();
                }
                self.session.go_away(reason, self.outbox.writer());
            }
            End::Cut => {
                metrics.connections_cut.inc();
                return;
            }
            End::Left | End::Broken(_) => return,
        }
        let last_words = async {
            let (outbox, stream, pulse) = (&mut self.outbox, &mut self.stream, &self.line.pulse);
            poll_fn(|cx| outbox.poll_send(stream, pulse, cx)).await?;
            self.stream.shutdown().await
        };
        // Whoever does not take it gets nothing.
        let _ = timeout(limits::LAST_WORDS_MAX, last_words).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        DESK.with_borrow_mut(|desk| self.outbox.lend(&mut desk.written));
        let end = self.poll_end(cx).map(|end| end.err().unwrap_or(End::Over));
        DESK.with_borrow_mut(|desk| self.outbox.give_back(&mut desk.written));
        end
    }

    /// Goes on as far as possible, until the end.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        loop {
            match self.line.pulse.order() {
                Order::Cut => return Poll::Ready(Err(End::Cut)),
                Order::Drain => self.session.drain(self.outbox.writer()),
                Order::GoOn => {}
            }
            if self.line.pulse.take_probe() {
                self.session.probe(self.outbox.writer());
            }
            self.poll_jobs(cx);
            let sent = self.outbox.poll_send(&mut self.stream, &self.line.pulse, cx)?;
            if self.session.is_over() {
                ready!(sent);
                return Poll::Ready(Ok(()));
            }
            if sent.is_ready() && self.has_more() {
                continue;
            }
            if !self.outbox.has_room() {
                return Poll::Pending;
            }
            ready!(self.poll_frames(cx))?;
        }
    }

    /// Reads, and takes the frames that came.
    fn poll_frames(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        DESK.with_borrow_mut(|desk| {
            let mut inbox = std::mem::take(&mut desk.inbox);
            let taken = self.poll_frames_in(&mut inbox, desk, cx);
            desk.inbox = inbox;
            taken
        })
    }

    fn poll_frames_in(
        &mut self,
        inbox: &mut [u8],
        desk: &mut Desk,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), End>> {
        if !self.unread.is_empty() && !self.is_partial {
            let unread = std::mem::take(&mut self.unread);
            return Poll::Ready(self.take(&unread, desk));
        }
        // Less than a frame, which fits.
        let before = self.unread.len();
        inbox[..before].copy_from_slice(&self.unread);
        let mut into = ReadBuf::new(&mut inbox[before..]);
        if Pin::new(&mut self.stream).poll_read(cx, &mut into)?.is_pending() {
            self.line.pulse.awaits(Awaited::More);
            return Poll::Pending;
        }
        let read = into.filled().len();
        self.line.pulse.awaits(Awaited::Nothing);
        self.line.pulse.moved(read);
        if read == 0 {
            return Poll::Ready(Err(End::Left));
        }
        self.unread = Vec::new();
        Poll::Ready(self.take(&inbox[..before + read], desk))
    }

    /// Takes frames as long as there is room for the answers.
    fn take(&mut self, bytes: &[u8], desk: &mut Desk) -> Result<(), End> {
        let mut at = 0;
        self.is_partial = false;
        while at < bytes.len() && self.outbox.has_room() {
            let now = self.line.pulse.now();
            let (fields, out) = (&mut desk.fields, self.outbox.writer());
            match self.session.take(&bytes[at..], now, fields, out)? {
                Took::Frame(length, event) => {
                    at += length;
                    self.on(event, desk)?;
                }
                Took::Partial => {
                    self.is_partial = true;
                    break;
                }
            }
        }
        self.unread.extend_from_slice(&bytes[at..]);
        Ok(())
    }

    fn on(&mut self, event: Event<'_>, desk: &mut Desk) -> Result<(), End> {
        match event {
            Event::Nothing => {}
            Event::Request(stream, ends) => {
                self.went_on();
                self.request(stream, ends, desk)?;
            }
            Event::Content(slot, content, is_last) => {
                self.went_on();
                let inlet = self.jobs.get(slot).and_then(|job| job.inlet.as_ref());
                if !inlet.is_some_and(|inlet| inlet.put(content, is_last)) {
                    let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
                    self.session.discard(slot, length, self.outbox.writer());
                }
            }
            Event::Gone(slot) => self.drop_job(slot),
            Event::Room(slot) => {
                if self.jobs.get(slot).is_some_and(Job::is_sending) {
                    self.sendable.add(slot);
                }
            }
            Event::RoomForAll => {
                for (slot, job) in self.jobs.slots() {
                    if job.is_sending() {
                        self.sendable.add(slot);
                    }
                }
            }
        }
        Ok(())
    }

    /// How many bytes of memory it holds beside its own.
    #[cfg(test)]
    fn memory(&self) -> usize {
        let jobs = self.jobs.capacity() * size_of::<Option<Box<Job>>>();
        let ready = self.ready.as_ref().map_or(0, |_| size_of::<Ready>());
        self.unread.capacity() + self.outbox.memory() + self.session.memory() + jobs + ready
    }
}
