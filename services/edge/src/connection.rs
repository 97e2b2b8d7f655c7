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
use http::{HeaderValue, Method, Request, Response, header::CONNECTION};
use http_body::{Body, Frame, SizeHint};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{net::TcpStream, time::timeout};

use crate::{
    body::EdgeBody,
    http1::{Http1, Next, last_words},
    limits,
    origin::BodyError,
    proxy::Worker,
    pulse::{Order, Pulse, Stage, Under, Watch},
    socket::{self, Socket, Stream},
    tls::{Tls, TlsError},
    upgrade::Tunnel,
    visitors::Place,
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
    http2: http2::Builder<TokioExecutor>,
    handshakes: AtomicUsize,
    /// True when each response is the last of its connection.
    closing: AtomicBool,
}

/// Keeps a connection counted and watched as long as it is held.
pub(crate) struct Seat {
    under: Under,
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
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .adaptive_window(false)
            .initial_stream_window_size(limits::H2_STREAM_WINDOW)
            .initial_connection_window_size(limits::H2_CONNECTION_WINDOW)
            .max_concurrent_streams(limits::H2_STREAMS_MAX)
            .max_header_list_size(u32::try_from(limits::HEAD_BYTES_MAX).unwrap_or(u32::MAX))
            .max_send_buf_size(limits::H2_SEND_BUFFER_MAX)
            .max_pending_accept_reset_streams(limits::H2_PENDING_RESETS_MAX)
            .max_local_error_reset_streams(limits::H2_ERROR_RESETS_MAX)
            .keep_alive_interval(limits::H2_PING_INTERVAL)
            .keep_alive_timeout(limits::H2_PING_TIMEOUT);
        Self {
            worker,
            watch,
            tls,
            http1,
            http2,
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

    /// Takes a connection in; `None` if there is no place for it.
    pub(crate) fn seat(&self, peer: IpAddr) -> Option<Seat> {
        let shared = &self.worker.shared;
        let place = match shared.visitors.enter(peer) {
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
        let line = Arc::new(Line {
            worker: Arc::clone(&self.worker),
            peer: Peer { address: peer, scheme },
            server_name,
            pulse: Arc::clone(&pulse),
            tunnel: Mutex::default(),
        });
        let (stream, begun) = match stage {
            Stage::Http2 => (stream, begun),
            _ => {
                match Http1::new(Arc::clone(&self), Arc::clone(&line), stream, begun).serve().await
                {
                    Ok(Next::Odd(stream, begun)) => (stream, begun),
                    Ok(Next::Ended) => return,
                    Err(error) => {
                        tracing::debug!(%peer, %error, "a connection ended with an error");
                        return;
                    }
                }
            }
        };
        // In a box of its own: most connections never come here.
        Box::pin(self.by_hyper(&line, stream, begun, stage)).await;
    }

    /// Serves what is not plain HTTP/1.1.
    async fn by_hyper(
        self: &Arc<Self>,
        line: &Arc<Line>,
        stream: Stream,
        begun: Vec<u8>,
        stage: Stage,
    ) {
        let socket = TokioIo::new(Socket::new(stream, begun, stage, Arc::clone(&line.pulse)));
        let ended = match stage {
            Stage::Http2 => self.http2(line, socket).await,
            _ => self.http1(line, socket).await,
        };
        if let Err(error) = ended {
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

    async fn http2(&self, line: &Arc<Line>, socket: TokioIo<Socket>) -> hyper::Result<()> {
        let serving = Arc::clone(line);
        let service = service_fn(move |request| {
            let line = Arc::clone(&serving);
            async move {
                let to_head = request.method() == Method::HEAD;
                let mut response = serve(line, request).await?;
                // RFC 9110 §9.3.2. Over HTTP/1.1, hyper knows; here it would send the content.
                if let (true, EdgeBody::Whole(content)) = (to_head, &mut response.body_mut().body) {
                    *content = None;
                }
                // RFC 9113 §8.2.2: a connection is not a request's matter.
                response.headers_mut().remove(CONNECTION);
                Ok::<_, Infallible>(response)
            }
        });
        let mut connection = Box::pin(self.http2.serve_connection(socket, service));
        let ended =
            drive(&line.pulse, connection.as_mut(), |connection| connection.graceful_shutdown());
        match ended.await {
            Some(ended) => ended,
            None => {
                self.worker.shared.metrics.connections_cut.inc();
                Ok(())
            }
        }
    }
}

impl Line {
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
    line.pulse.opened();
    let in_flight = InFlight(line);
    let worker = Arc::clone(&in_flight.0.worker);
    let request = request.map(|body| (!body.is_end_stream()).then_some(body));
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
struct InFlight(Arc<Line>);

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
