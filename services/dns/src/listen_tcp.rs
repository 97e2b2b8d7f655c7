//! Connections (RFC 7766): each message behind its length, many on one connection, in order.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdTcpListener},
    sync::Arc,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{Transport, limits, server::Shared};

/// How long to wait after the system refused a connection, as when out of file descriptors.
const FAULT_PAUSE: Duration = Duration::from_millis(50);

pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(limits::TCP_BACKLOG)?;
    TcpListener::from_std(StdTcpListener::from(socket))
}

/// Accepts until told to stop, then lets open connections finish their message.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(limits::TCP_CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, source) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(FAULT_PAUSE).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            shared.metrics.connections_refused.inc();
            continue;
        };
        let (shared, stop) = (Arc::clone(&shared), stop.clone());
        connections.spawn(async move {
            shared.metrics.connections.inc();
            if let Err(error) = converse(stream, source, &shared, &stop).await {
                tracing::debug!(%error, %source, "a connection ended early");
            }
            shared.metrics.connections.dec();
            drop(slot);
        });
    }
    drop(listener);
    let finish = async { while connections.join_next().await.is_some() {} };
    if timeout(limits::STOP_GRACE, finish).await.is_err() {
        tracing::debug!("connections were cut off");
    }
}

async fn converse(
    mut stream: TcpStream,
    source: SocketAddr,
    shared: &Shared,
    stop: &CancellationToken,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut query = Vec::new();
    loop {
        let first = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            first = timeout(limits::TCP_IDLE, stream.read_u8()) => first,
        };
        let first = match first {
            Ok(Ok(first)) => first,
            Ok(Err(error)) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
            // Silent for too long, or the other side is done.
            Ok(Err(_)) | Err(_) => return Ok(()),
        };
        timeout(limits::TCP_MESSAGE_TIME, read_rest(&mut stream, first, &mut query)).await??;
        let Some(response) = shared.answer(&query, source, Transport::Tcp) else {
            continue;
        };
        let length = u16::try_from(response.len()).expect("no message is longer than 65,535");
        let framed = [&length.to_be_bytes(), response.as_slice()].concat();
        timeout(limits::TCP_MESSAGE_TIME, stream.write_all(&framed)).await??;
    }
}

async fn read_rest(stream: &mut TcpStream, first: u8, query: &mut Vec<u8>) -> io::Result<()> {
    let length = u16::from_be_bytes([first, stream.read_u8().await?]);
    query.resize(length.into(), 0);
    stream.read_exact(query).await.map(|_| ())
}
