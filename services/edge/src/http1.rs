//! Plain requests over HTTP/1.1, read and answered without hyper: the way most visitors go.
//!
//! ```text
//!  bytes ─► head ─┬─ plain ─► hit ──────────► outbox ─► visitor
//!                 │            └ no ─► serve ──┘
//!                 └─ odd, malformed ─► hyper, for the rest of the connection
//! ```
//!
//! A connection that waits for its next request holds no buffers: it reads into those of its
//! thread. A hit is answered from there within one poll, and several that came together are
//! answered together. Everything odd takes the slow path (RFC 9112): content, upgrades, other
//! versions, whatever is refused.

pub(crate) mod head;
pub(crate) mod reply;

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use head::{Head, NO_FIELDS, Read};
use http::{Method, Request, Response};
use http_body::{Body as _, Frame};
use reply::{Framing, Lines};
use tokio::{
    io::{AsyncRead as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    time::timeout,
};

use crate::{
    body::{EdgeBody, Piece},
    connection::{Hall, Line},
    content::RequestBody,
    desk::{DESK, Desk},
    hit::{Hit, RequestHead as _},
    interim::Interim,
    limits,
    origin::BodyError,
    outbox::Outbox,
    proxy::{Visit, Worker},
    pulse::{Awaited, Order, Stage},
    reply::write_interim,
    socket::Stream,
    spare,
};

/// A connection whose requests have been plain so far.
pub(crate) struct Http1 {
    hall: Arc<Hall>,
    line: Arc<Line>,
    stream: Stream,
    /// What came and was not answered.
    unread: Vec<u8>,
    /// Whether that is the beginning of a head and nothing else.
    is_partial: bool,
    outbox: Outbox,
    /// What comes when the outbox is empty.
    next: Option<Came>,
    /// How many heads came to their end.
    heads: u32,
    interim: Interim,
}

/// How it goes on with a connection.
pub(crate) enum Next {
    /// It is at its end.
    Ended,
    /// With these bytes it becomes hyper's.
    Odd(Stream, Vec<u8>),
}

/// What came that is no hit.
enum Came {
    Request(Box<Asked>),
    Odd,
    /// The end of the connection, from either side.
    End,
}

/// A request that is no hit.
struct Asked {
    request: Request<Option<RequestBody>>,
    visit: Option<Visit>,
    /// Whether the connection ends with it.
    last: bool,
}

impl Http1 {
    pub(crate) fn new(hall: Arc<Hall>, line: Arc<Line>, stream: Stream, begun: Vec<u8>) -> Self {
        line.pulse.enter(Stage::Http1);
        Self {
            hall,
            line,
            stream,
            unread: begun,
            is_partial: false,
            outbox: Outbox::default(),
            next: None,
            heads: 0,
            interim: Interim::default(),
        }
    }

    /// Serves requests as long as they are plain.
    pub(crate) async fn serve(mut self) -> io::Result<Next> {
        let (mut listens, pulse) = (false, Arc::clone(&self.line.pulse));
        loop {
            let came = poll_fn(|cx| {
                if !listens {
                    pulse.listen(cx);
                    listens = true;
                }
                self.poll_requests(cx)
            });
            match came.await? {
                Came::Request(asked) => {
                    if self.answer(asked).await? {
                        continue;
                    }
                }
                Came::Odd => return Ok(Next::Odd(self.stream, self.unread)),
                Came::End => {}
            }
            // Whoever does not take it gets nothing.
            let _ = timeout(limits::LAST_WORDS_MAX, self.end()).await;
            return Ok(Next::Ended);
        }
    }

    /// Ends the connection; who was too slow to say what it wants is told so.
    async fn end(&mut self) -> io::Result<()> {
        if self.line.pulse.order() == Order::Cut {
            self.hall.worker.shared.metrics.connections_cut.inc();
            if self.is_partial {
                return last_words(&mut self.stream).await;
            }
        }
        self.stream.shutdown().await
    }

    /// Answers hits until something else comes.
    fn poll_requests(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Came>> {
        DESK.with_borrow_mut(|desk| {
            self.outbox.lend(&mut desk.written);
            let came = self.poll_at(desk, cx);
            self.outbox.give_back(&mut desk.written);
            came
        })
    }

    fn poll_at(&mut self, desk: &mut Desk, cx: &mut Context<'_>) -> Poll<io::Result<Came>> {
        loop {
            if self.line.pulse.order() == Order::Cut {
                return Poll::Ready(Ok(Came::End));
            }
            ready!(self.outbox.poll_send(&mut self.stream, &self.line.pulse, cx))?;
            if let Some(next) = self.next.take() {
                return Poll::Ready(Ok(next));
            }
            if !self.unread.is_empty() && !self.is_partial {
                let unread = std::mem::take(&mut self.unread);
                self.take(&unread, &mut desk.key);
                continue;
            }
            if self.unread.is_empty() && self.line.pulse.order() == Order::Drain {
                return Poll::Ready(Ok(Came::End));
            }
            let before = self.unread.len();
            if before >= desk.inbox.len() {
                return Poll::Ready(Ok(Came::Odd));
            }
            desk.inbox[..before].copy_from_slice(&self.unread);
            let awaited = if self.is_partial { Awaited::Head } else { Awaited::Request };
            let read = match self.poll_read(&mut desk.inbox[before..], cx) {
                Poll::Ready(read) => read?,
                Poll::Pending => {
                    self.line.pulse.awaits(awaited);
                    return Poll::Pending;
                }
            };
            if read == 0 {
                return Poll::Ready(Ok(Came::End));
            }
            let bytes = &desk.inbox[..before + read];
            if self.is_partial && !head::may_be_whole(bytes, read) {
                self.unread.extend_from_slice(&bytes[before..]);
                continue;
            }
            self.unread = Vec::new();
            self.take(bytes, &mut desk.key);
        }
    }

    /// Answers what is a hit of `bytes`, up to the first request that is none.
    fn take(&mut self, bytes: &[u8], key: &mut String) {
        let mut at = 0;
        self.is_partial = false;
        while at < bytes.len() && self.next.is_none() && self.outbox.has_room() {
            let mut fields = NO_FIELDS;
            match head::read(&bytes[at..], &mut fields) {
                Read::Plain(head) => {
                    at += head.length();
                    self.heads = self.heads.wrapping_add(1);
                    self.line.pulse.progress(self.heads);
                    self.next = self.take_one(&head, key);
                    if matches!(self.next, Some(Came::Odd)) {
                        at -= head.length();
                    }
                }
                Read::Partial => {
                    self.is_partial = true;
                    break;
                }
                Read::Other => self.next = Some(Came::Odd),
            }
        }
        self.unread.extend_from_slice(&bytes[at..]);
    }

    /// Answers a hit; anything else comes next.
    fn take_one(&mut self, head: &Head<'_, '_>, key: &mut String) -> Option<Came> {
        let ends = self.hall.is_closing() || self.line.pulse.order() != Order::GoOn;
        let last = head.is_last() || ends;
        let mut lines = Lines { out: self.outbox.writer(), last };
        match self.hall.worker.hit(&self.line, head, key, &mut lines) {
            Hit::Written(body) => {
                self.outbox.put(body);
                last.then_some(Came::End)
            }
            Hit::Not(visit) => Some(head.request(None).map_or(Came::Odd, |request| {
                Came::Request(Box::new(Asked { request, visit, last }))
            })),
        }
    }

    /// Reads what came. It is counted, and zero at the end.
    fn poll_read(&mut self, into: &mut [u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut into = ReadBuf::new(into);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut into))?;
        let read = into.filled().len();
        self.line.pulse.awaits(Awaited::Nothing);
        self.line.pulse.moved(read);
        Poll::Ready(Ok(read))
    }

    /// Serves a request the long way. False if the connection ends with it.
    async fn answer(&mut self, asked: Box<Asked>) -> io::Result<bool> {
        let to_head = asked.request.method() == Method::HEAD;
        let last = asked.last;
        let Some(response) = self.response(asked).await? else { return Ok(false) };
        DESK.with_borrow_mut(|desk| self.outbox.lend(&mut desk.written));
        let drains = self.hall.is_closing() || self.line.pulse.order() == Order::Drain;
        let head = reply::write_head(self.outbox.writer(), &response, to_head, last || drains);
        let (parts, body) = response.into_parts();
        spare::give_back(parts.headers);
        let files = self.stream.sends_files();
        let mut sending = Sending { body, framing: head.framing, files };
        let whole = poll_fn(|cx| self.poll_body(&mut sending, cx)).await?;
        DESK.with_borrow_mut(|desk| self.outbox.give_back(&mut desk.written));
        Ok(whole && !head.closes)
    }

    /// The response to a request; `None` if the visitor is gone, or has to go.
    async fn response(&mut self, asked: Box<Asked>) -> io::Result<Option<Response<EdgeBody>>> {
        let interim = self.interim.renewed();
        let line = Arc::clone(&self.line);
        let mut serving = pin!(asked.serve(&self.hall.worker, &line, interim.clone()));
        poll_fn(|cx| {
            let response = serving.as_mut().poll(cx);
            self.write_interim(&interim);
            match response {
                Poll::Ready(response) => Poll::Ready(Ok(Some(response))),
                Poll::Pending => match self.outbox.poll_send(&mut self.stream, &line.pulse, cx) {
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    _ if self.is_left(cx) => Poll::Ready(Ok(None)),
                    _ => Poll::Pending,
                },
            }
        })
        .await
    }

    /// Writes what came before the final response (RFC 9110 §15.2).
    fn write_interim(&mut self, interim: &Interim) {
        for (status, mut headers) in interim.take() {
            self.hall.worker.pass_on(&mut headers);
            let mut lines = Lines { out: self.outbox.writer(), last: false };
            write_interim(&mut lines, status, &headers);
        }
    }

    /// True if the visitor is gone, or has to go. Reads what it already asks for next.
    fn is_left(&mut self, cx: &mut Context<'_>) -> bool {
        if self.line.pulse.order() == Order::Cut {
            return true;
        }
        while self.unread.len() < limits::INBOX_BYTES {
            let came = DESK.with_borrow_mut(|desk| {
                let came = self.poll_read(&mut desk.inbox, cx);
                if let Poll::Ready(Ok(read)) = &came {
                    self.unread.extend_from_slice(&desk.inbox[..*read]);
                }
                came
            });
            match came {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0) | Err(_)) => return true,
                Poll::Pending => return false,
            }
        }
        false
    }

    /// Sends the head and the body; a piece that is at hand goes with what is before it. False if
    /// the body was cut off.
    fn poll_body(&mut self, sending: &mut Sending, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut ended = sending.poll_pieces(&mut self.outbox, cx);
        loop {
            match self.outbox.poll_send(&mut self.stream, &self.line.pulse, cx) {
                Poll::Ready(sent) => sent?,
                Poll::Pending if self.line.pulse.order() == Order::Cut => {
                    return Poll::Ready(Ok(false));
                }
                Poll::Pending => return Poll::Pending,
            }
            match ended {
                Poll::Ready(whole) => return Poll::Ready(Ok(whole)),
                Poll::Pending => ended = sending.poll_pieces(&mut self.outbox, cx),
            }
            if ended.is_pending() && self.outbox.is_empty() {
                return if self.is_left(cx) { Poll::Ready(Ok(false)) } else { Poll::Pending };
            }
        }
    }
}

impl Asked {
    fn serve(
        self: Box<Self>,
        worker: &Arc<Worker>,
        line: &Arc<Line>,
        interim: Interim,
    ) -> impl Future<Output = Response<EdgeBody>> + Send + use<> {
        Arc::clone(worker).serve(line, self.request, self.visit, Some(interim))
    }
}

/// A body on its way.
struct Sending {
    body: EdgeBody,
    framing: Framing,
    /// Whether the system may send files by itself.
    files: bool,
}

impl Sending {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BodyError>>> {
        if self.files {
            return self.body.poll_piece(cx);
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let bytes = |frame: Frame<Bytes>| Piece::Bytes(frame.into_data().unwrap_or_default());
        Poll::Ready(frame.map(|frame| frame.map(bytes)))
    }

    /// Puts what is at hand into the outbox; true at the end, false if it was cut off.
    fn poll_pieces(&mut self, outbox: &mut Outbox, cx: &mut Context<'_>) -> Poll<bool> {
        while outbox.has_room() {
            if self.framing == Framing::None {
                return Poll::Ready(true);
            }
            let piece = match self.poll_piece(cx) {
                // What is said to be all is all, whether the end was seen or not.
                _ if self.framing == Framing::Length(0) => return Poll::Ready(true),
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => {
                    outbox.writer().extend_from_slice(self.framing.end());
                    return Poll::Ready(self.framing == Framing::Chunked);
                }
                Poll::Ready(Some(Ok(piece))) => piece,
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(%error, "a response was cut off");
                    return Poll::Ready(false);
                }
            };
            if !self.framing.put(piece, outbox) {
                tracing::warn!("a response was longer than it said");
                return Poll::Ready(false);
            }
        }
        Poll::Pending
    }
}

/// What a visitor gets who does not say all it wants in time (RFC 9110 §15.5.9).
const REQUEST_TIMEOUT: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// Ends a connection whose request did not come in time.
pub(crate) async fn last_words(stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    stream.write_all(REQUEST_TIMEOUT).await?;
    stream.shutdown().await
}
