//! Sockets: a listener per thread on the same address, and the connections it accepts.
//!
//! The kernel deals new connections out among the listeners (`SO_REUSEPORT`), so the threads share
//! no accept lock and a connection stays where it is.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{EdgeError, connection::Hall, limits, proxy::Worker, pulse::Watch};

/// The listeners of all threads: at least `threads` for each address. A port of zero is chosen by
/// the first and shared by the others. Those that are `inherited` go on, also if they are more
/// than the threads: nobody else accepts what the kernel deals to them. Inherited ones of other
/// addresses are closed; the process they come from accepts what is left in them.
pub(crate) fn bind(
    addresses: &[SocketAddr],
    threads: usize,
    inherited: &mut Vec<std::net::TcpListener>,
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

/// The listeners of one thread.
#[derive(Debug)]
pub(crate) struct Doors {
    pub(crate) clear: Vec<std::net::TcpListener>,
    pub(crate) tls: Vec<std::net::TcpListener>,
}

/// Serves all listeners of one thread until `stop`, then lets the requests in flight end.
pub(crate) async fn serve(
    worker: Arc<Worker>,
    doors: Doors,
    stop: CancellationToken,
) -> io::Result<()> {
    let watch = Arc::new(Watch::new(worker.shared.times));
    let tls = worker.shared.tls.clone();
    let hall = Arc::new(Hall::new(worker, Arc::clone(&watch), tls));
    let mut accepting = JoinSet::new();
    let clear = doors.clear.into_iter().map(|listener| (listener, false));
    let tls = doors.tls.into_iter().map(|listener| (listener, true));
    for (listener, secure) in clear.chain(tls) {
        let listener = TcpListener::from_std(listener)?;
        accepting.spawn(accept(Arc::clone(&hall), listener, secure, stop.clone()));
    }
    let ended = CancellationToken::new();
    let all_ended = async {
        accepting.join_all().await;
        ended.cancel();
    };
    tokio::join!(all_ended, watch.run(&ended));
    Ok(())
}

async fn accept(hall: Arc<Hall>, listener: TcpListener, secure: bool, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => welcome(&hall, &mut connections, stream, peer, secure),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(limits::ACCEPT_REST).await;
                }
            }
        }
    }
    // What the kernel already accepted for this listener would be reset when it closes.
    while let Ok(Ok((stream, peer))) = timeout(Duration::ZERO, listener.accept()).await {
        welcome(&hall, &mut connections, stream, peer, secure);
    }
    drop(listener);
    hall.close_after_responses();
    // A request may be on its way on a connection that looks idle: it is still answered.
    if timeout(limits::DRAIN_LINGER, all_ended(&mut connections)).await.is_ok() {
        return;
    }
    hall.watch.drain();
    if timeout(limits::DRAIN_MAX, all_ended(&mut connections)).await.is_err() {
        tracing::warn!(left = connections.len(), "connections are cut off: they did not end");
    }
}

async fn all_ended(connections: &mut JoinSet<()>) {
    while connections.join_next().await.is_some() {}
}

fn welcome(
    hall: &Arc<Hall>,
    connections: &mut JoinSet<()>,
    stream: TcpStream,
    peer: SocketAddr,
    secure: bool,
) {
    if let Some(seat) = hall.seat(peer.ip()) {
        connections.spawn(Arc::clone(hall).converse(seat, stream, peer.ip(), secure));
    }
}
