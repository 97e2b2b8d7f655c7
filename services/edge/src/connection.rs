//! One visitor's connection: which protocol it speaks, and the requests on it one after the other.
//!
//! ```text
//!  accepted ─► TLS (name, ALPN) ─┬─► HTTP/1.1, plain ─► odd ─ 101 ─► tunnel
//!           └► first bytes ──────┴─► HTTP/2
//! ```
//!
//! It knows nothing of sites; what a request gets is decided in [`crate::proxy`].

use std::{
    convert::Infallible,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use headroom_cache::Scheme;
use http::{HeaderValue, Request, Response, header::CONNECTION};
use http_body::{Body, Frame, SizeHint};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use crate::{
    body::EdgeBody,
    content::RequestBody,
    http1::{Http1, Next, last_words},
    http2::Http2,
    limits,
    origin::BodyError,
    proxy::Worker,
    pulse::{Order, Pulse, Stage, Under, Watch},
    socket::{self, Socket, Stream},
    tls::{Tls, TlsError},
    upgrade::Tunnel,
    visitors::{Full, Place},
};

/// Who speaks, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    pub(crate) scheme: Scheme,
}

/// What is the same for all requests of a connection.
#[derive(Debug)]
pub(crate) struct Line {
    worker: Arc<Worker>,
    pub(crate) peer: Peer,
    /// The name the visitor asked for in TLS.
    pub(crate) server_name: Option<Box<str>>,
    pub(crate) pulse: Arc<Pulse>,
    /// What follows a 101.
    tunnel: Mutex<Option<Tunnel>>,
}

/// What the connections of one thread share.
pub(crate) struct Hall {
    pub(crate) worker: Arc<Worker>,
    pub(crate) watch: Arc<Watch>,
    tls: Option<Arc<Tls>>,
    http1: http1::Builder,
    handshakes: AtomicUsize,
    /// True when each response is the last of its connection.
    closing: AtomicBool,
}

/// Keeps a connection counted and watched as long as it is held.
pub(crate) struct Seat {
    pub(crate) under: Under,
    _place: Place,
    worker: Arc<Worker>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.worker.shared.metrics.connections.dec();
    }
}

/// A connection that is ready for requests.
struct Opened {
    stream: Stream,
    begun: Vec<u8>,
    stage: Stage,
    server_name: Option<Box<str>>,
}

impl Hall {
    pub(crate) fn new(worker: Arc<Worker>, watch: Arc<Watch>, tls: Option<Arc<Tls>>) -> Self {
        let mut http1 = http1::Builder::new();
        // hyper's own limit of fields is `limits::HEADERS_MAX`: set, it would fill two arrays for each
        // request. Slow heads are the watch's matter: hyper would make a timer for each request. No
        // `pipeline_flush`: half a request would keep back the response to the one before it.
        http1
            .header_read_timeout(None)
            .max_buf_size(limits::HEAD_BYTES_MAX)
            .max_header_size(limits::HEAD_BYTES_MAX);
        Self {
            worker,
            watch,
            tls,
            http1,
            handshakes: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
        }
    }

    /// Whether each response is the last of its connection.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// From now on it is so.
    pub(crate) fn close_after_responses(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Takes a connection in; `None` if there is no place for it. When all are taken, the connection
    /// that has waited for its visitor the longest makes room.
    pub(crate) fn seat(&self, peer: IpAddr) -> Option<Seat> {
        let shared = &self.worker.shared;
        let place = match shared.visitors.enter(peer) {
            Err(Full::All) if self.watch.make_room() => {
                shared.metrics.connections_displaced.inc();
                shared.visitors.enter_instead(peer)
            }
            place => place,
        };
        let place = match place {
            Ok(place) => place,
            Err(full) => {
                tracing::debug!(%peer, ?full, "a connection is refused");
                shared.metrics.connection_refused(full);
                return None;
            }
        };
        shared.metrics.connections.inc();
        Some(Seat { under: self.watch.add(), _place: place, worker: Arc::clone(&self.worker) })
    }

    /// Serves a connection to its end.
    pub(crate) async fn converse(
        self: Arc<Self>,
        seat: Seat,
        stream: TcpStream,
        peer: IpAddr,
        secure: bool,
    ) {
        let pulse = Arc::clone(&seat.under.pulse);
        // In a box of its own, so that what it took is free again when the requests come.
        let Some(Some(opened)) = Box::pin(pulse.unless_cut(self.open(stream, secure))).await else {
            tracing::debug!(%peer, "a connection ended before its first request");
            return;
        };
        let Opened { stream, begun, stage, server_name } = opened;
        let scheme = if secure { Scheme::Https } else { Scheme::Http };
        let worker = Arc::clone(&self.worker);
        let peer = Peer { address: peer, scheme };
        let line = Arc::new(Line::new(worker, peer, server_name, pulse));
        if stage == Stage::Http2 {
            return Http2::new(self, line, stream, begun).serve().await;
        }
        match Http1::new(Arc::clone(&self), Arc::clone(&line), stream, begun).serve().await {
            // In a box of its own: most connections never come here.
            Ok(Next::Odd(stream, begun)) => Box::pin(self.by_hyper(&line, stream, begun)).await,
            Ok(Next::Ended) => {}
            Err(error) => tracing::debug!(?peer, %error, "a connection ended with an error"),
        }
    }

    /// Serves what is not plain HTTP/1.1.
    async fn by_hyper(self: &Arc<Self>, line: &Arc<Line>, stream: Stream, begun: Vec<u8>) {
        let socket = TokioIo::new(Socket::new(stream, begun, Arc::clone(&line.pulse)));
        if let Err(error) = self.http1(line, socket).await {
            if error.is_parse() {
                self.worker.shared.metrics.malformed.inc();
            }
            tracing::debug!(peer = %line.peer.address, %error, "a connection ended with an error");
        }
    }

    /// Finds out what the visitor speaks.
    async fn open(&self, mut stream: TcpStream, secure: bool) -> Option<Opened> {
        stream.set_nodelay(true).ok()?;
        let Some(tls) = self.tls.as_ref().filter(|_| secure) else {
            let (begun, stage) = socket::begin(&mut stream).await.ok()?;
            return Some(Opened { stream: Stream::Clear(stream), begun, stage, server_name: None });
        };
        let metrics = &self.worker.shared.metrics;
        let Some(_handshake) = Handshake::begin(&self.handshakes) else {
            metrics.handshakes_refused.inc();
            return None;
        };
        match tls.accept(stream).await {
            Ok(secured) => {
                metrics.handshakes_done.inc();
                let stage = if secured.speaks_http2 { Stage::Http2 } else { Stage::Http1 };
                let stream = Stream::Tls(Box::new(secured.stream));
                Some(Opened { stream, begun: Vec::new(), stage, server_name: Some(secured.name) })
            }
            Err(error) => {
                tracing::debug!(%error, "no connection over TLS");
                match error {
                    TlsError::UnknownName(_) => metrics.handshakes_unknown_name.inc(),
                    TlsError::Handshake(_) => metrics.handshakes_failed.inc(),
                };
                None
            }
        }
    }

    async fn http1(
        self: &Arc<Self>,
        line: &Arc<Line>,
        socket: TokioIo<Socket>,
    ) -> hyper::Result<()> {
        let serving = Arc::clone(line);
        let hall = Arc::clone(self);
        let service = service_fn(move |request| {
            let (line, hall) = (Arc::clone(&serving), Arc::clone(&hall));
            async move {
                let mut response = serve(line, request).await?;
                if hall.is_closing() {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().entry(CONNECTION).or_insert(close);
                }
                Ok::<_, Infallible>(response)
            }
        });
        let connection = self.http1.serve_connection(socket, service).with_upgrades();
        let mut connection = Box::new(connection);
        let ended = drive(&line.pulse, Pin::new(&mut *connection), |connection| {
            connection.graceful_shutdown()
        });
        let Some(ended) = ended.await else {
            self.worker.shared.metrics.connections_cut.inc();
            if line.pulse.is_in_head()
                && let Some(parts) = connection.into_parts()
            {
                let mut socket = parts.io.into_inner();
                // Whoever does not take it gets nothing.
                let _ = timeout(limits::LAST_WORDS_MAX, last_words(&mut socket)).await;
            }
            return Ok(());
        };
        drop(connection);
        ended?;
        let tunnel = line.tunnel.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(tunnel) = tunnel {
            Box::pin(tunnel.run(&line.pulse)).await;
        }
        Ok(())
    }
}

impl Line {
    pub(crate) fn new(
        worker: Arc<Worker>,
        peer: Peer,
        server_name: Option<Box<str>>,
        pulse: Arc<Pulse>,
    ) -> Self {
        Self { worker, peer, server_name, pulse, tunnel: Mutex::default() }
    }

    /// What is to be done with the connection when its 101 is sent.
    pub(crate) fn tunnel(&self, tunnel: Tunnel) {
        *self.tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some(tunnel);
    }
}

/// A handshake that counts as long as it is held.
struct Handshake<'a>(&'a AtomicUsize);

impl<'a> Handshake<'a> {
    fn begin(count: &'a AtomicUsize) -> Option<Self> {
        let running = Self(count);
        let before = count.fetch_add(1, Ordering::Relaxed);
        (before < limits::HANDSHAKES_MAX).then_some(running)
    }
}

impl Drop for Handshake<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn serve(
    line: Arc<Line>,
    request: Request<Incoming>,
) -> Result<Response<Counted>, Infallible> {
    let in_flight = InFlight::new(&line);
    let worker = Arc::clone(&in_flight.0.worker);
    let request = request.map(|body| (!body.is_end_stream()).then_some(RequestBody::Hyper(body)));
    let response = worker.serve(&in_flight.0, request, None, None).await;
    Ok(response.map(|body| Counted { body, _in_flight: in_flight }))
}

/// Polls a connection to its end; `None` if it is cut off before. When it is to drain, `drain` is
/// called once.
async fn drive<C: Future>(
    pulse: &Pulse,
    mut connection: Pin<&mut C>,
    drain: fn(Pin<&mut C>),
) -> Option<C::Output> {
    let (mut listens, mut drains) = (false, false);
    std::future::poll_fn(|cx| {
        if !listens {
            pulse.listen(cx);
            listens = true;
        }
        match pulse.order() {
            Order::Cut => return Poll::Ready(None),
            Order::Drain if !drains => {
                drains = true;
                drain(connection.as_mut());
            }
            Order::Drain | Order::GoOn => {}
        }
        connection.as_mut().poll(cx).map(Some)
    })
    .await
}

/// A request until the end of its response.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Line>);

impl InFlight {
    pub(crate) fn new(line: &Arc<Line>) -> Self {
        line.pulse.opened();
        Self(Arc::clone(line))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.pulse.closed();
    }
}

/// The body of a response, whose end is the end of the request.
#[derive(Debug)]
struct Counted {
    body: EdgeBody,
    _in_flight: InFlight,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
