//! Sockets: a listener per thread on the same address, and the connections it accepts.
//!
//! The kernel deals new connections out among the listeners (`SO_REUSEPORT`), so the threads share
//! no accept lock and a connection stays where it is.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderValue, header::CONNECTION};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{EdgeError, guard::Guarded, limits, proxy::Worker};

/// The listeners of all threads: at least `threads` for each address. A port of zero is chosen by
/// the first and shared by the others. Those that are `inherited` go on, also if they are more
/// than the threads: nobody else accepts what the kernel deals to them. Inherited ones of other
/// addresses are closed; the process they come from accepts what is left in them.
pub(crate) fn bind(
    addresses: &[SocketAddr],
    threads: usize,
    mut inherited: Vec<std::net::TcpListener>,
) -> Result<Vec<Vec<std::net::TcpListener>>, EdgeError> {
    let mut by_thread: Vec<Vec<std::net::TcpListener>> = (0..threads).map(|_| Vec::new()).collect();
    for &address in addresses {
        let failed = |source| EdgeError::Listen { address, source };
        let mut begun = 0;
        let mut chosen = address;
        let held = inherited.extract_if(.., |listener| listens_on(listener, address));
        for (thread, listener) in held.enumerate() {
            chosen = listener.local_addr().map_err(failed)?;
            by_thread[thread % threads].push(listener);
            begun = begun.max(thread + 1);
        }
        for listeners in by_thread.iter_mut().skip(begun) {
            let listener = listen(chosen).map_err(failed)?;
            chosen = listener.local_addr().map_err(failed)?;
            listeners.push(listener);
        }
    }
    Ok(by_thread)
}

/// True if `listener` is for `address`; a port of zero is any.
fn listens_on(listener: &std::net::TcpListener, address: SocketAddr) -> bool {
    listener.local_addr().is_ok_and(|held| {
        held.ip() == address.ip() && (address.port() == 0 || held.port() == address.port())
    })
}

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(limits::BACKLOG).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// Serves all listeners of one thread until `stop`, then lets the requests in flight end.
pub(crate) async fn serve(
    worker: Arc<Worker>,
    listeners: Vec<std::net::TcpListener>,
    stop: CancellationToken,
) -> io::Result<()> {
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let listener = TcpListener::from_std(listener)?;
        accepting.spawn(accept(Arc::clone(&worker), listener, stop.clone()));
    }
    accepting.join_all().await;
    Ok(())
}

async fn accept(worker: Arc<Worker>, listener: TcpListener, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => welcome(&worker, &mut connections, stream, peer, &stop),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(limits::ACCEPT_REST).await;
                }
            }
        }
    }
    // What the kernel already accepted for this listener would be reset when it closes.
    while let Ok(Ok((stream, peer))) = timeout(Duration::ZERO, listener.accept()).await {
        welcome(&worker, &mut connections, stream, peer, &stop);
    }
    drop(listener);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    if timeout(limits::DRAIN_MAX, all_ended).await.is_err() {
        tracing::warn!(left = connections.len(), "connections are cut off: they did not end");
    }
}

fn welcome(
    worker: &Arc<Worker>,
    connections: &mut JoinSet<()>,
    stream: TcpStream,
    peer: SocketAddr,
    stop: &CancellationToken,
) {
    let metrics = &worker.shared.metrics;
    let limit = i64::try_from(limits::CONNECTIONS_MAX).unwrap_or(i64::MAX);
    if metrics.connections.inc() >= limit {
        metrics.connections.dec();
        metrics.connections_refused.inc();
        return;
    }
    connections.spawn(converse(Arc::clone(worker), stream, peer, stop.clone()));
}

/// One connection, request after request.
async fn converse(
    worker: Arc<Worker>,
    stream: TcpStream,
    peer: SocketAddr,
    stop: CancellationToken,
) {
    let _open = Open(Arc::clone(&worker));
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection broke at once");
        return;
    }
    let serving = Arc::clone(&worker);
    let ending = stop.clone();
    let service = service_fn(move |request| {
        let (worker, ending) = (Arc::clone(&serving), ending.clone());
        async move {
            let mut response = worker.serve(peer.ip(), request).await;
            if ending.is_cancelled() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEAD_READ_TIMEOUT)
        .max_buf_size(limits::HEAD_BYTES_MAX)
        .max_header_size(limits::HEAD_BYTES_MAX)
        .max_headers(limits::HEADERS_MAX)
        .serve_connection(TokioIo::new(Guarded::new(stream)), service);
    let mut connection = Box::pin(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            // A request may be on its way; hyper would close under it.
            match timeout(limits::DRAIN_LINGER, connection.as_mut()).await {
                Ok(ended) => ended,
                Err(_) => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        }
    };
    if let Err(error) = ended {
        if error.is_parse() {
            worker.shared.metrics.malformed.inc();
        }
        tracing::debug!(%peer, %error, "a connection ended with an error");
    }
}

/// Counts a connection as long as it is held.
struct Open(Arc<Worker>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.shared.metrics.connections.dec();
    }
}
