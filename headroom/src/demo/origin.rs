//! Origin servers: real HTTP, with a strength that a crowd can exceed.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, task::JoinSet};

/// Requests wait for their turn at most this long; then the server is overrun.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that answers `strength` requests per second; what comes faster waits.
#[derive(Debug)]
struct Strength {
    interval: Duration,
    next_free: Mutex<Instant>,
}

impl Strength {
    fn new(requests_per_second: f64) -> Self {
        let interval = Duration::from_secs_f64(1.0 / requests_per_second);
        Self { interval, next_free: Mutex::new(Instant::now()) }
    }

    /// How long this request waits for its turn; `None` if that is too long.
    fn queue(&self) -> Option<Duration> {
        let mut next_free = self.next_free.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let turn = (*next_free).max(now);
        let wait = turn.duration_since(now);
        (wait <= PATIENCE).then(|| {
            *next_free = turn + self.interval;
            wait
        })
    }
}

/// Starts an origin server that serves any path with a body of its own, cacheable for a minute.
/// It ends when the tasks are dropped.
pub(crate) async fn serve(
    address: SocketAddr,
    requests_per_second: f64,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("an origin server cannot listen on {address}"))?;
    let strength = Arc::new(Strength::new(requests_per_second));
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let Ok((stream, _)) = accepted else { continue };
                    connections.spawn(connection(stream, Arc::clone(&strength)));
                }
                Some(_) = connections.join_next() => {}
            }
        }
    });
    Ok(())
}

async fn connection(stream: tokio::net::TcpStream, strength: Arc<Strength>) {
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |request| {
        let strength = Arc::clone(&strength);
        async move { Ok::<_, Infallible>(answer(&request, &strength).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new());
    // A visitor that goes away is no failure of the server.
    let _ = http.serve_connection(TokioIo::new(stream), answer).await;
}

async fn answer(request: &Request<Incoming>, strength: &Strength) -> Response<Full<Bytes>> {
    match strength.queue() {
        Some(wait) => tokio::time::sleep(wait).await,
        None => {
            let mut overrun = Response::new(Full::from("overrun\n"));
            *overrun.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return overrun;
        }
    }
    let path = request.uri().path();
    Response::builder()
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::CACHE_CONTROL, "public, max-age=60")
        .header(header::ETAG, format!("\"{}\"", path.len()))
        .body(Full::from(body(path)))
        .unwrap_or_default()
}

/// The object at `path`: its own name, repeated to a size that depends on the path.
pub(crate) fn body(path: &str) -> Bytes {
    let sum: usize = path.bytes().map(usize::from).sum();
    let size = 1_024 + sum % 16 * 1_024;
    path.bytes().cycle().take(size).collect::<Vec<_>>().into()
}
