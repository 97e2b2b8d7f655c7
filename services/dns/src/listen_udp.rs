//! Datagrams in, datagrams out.
//!
//! One task per socket; the per-core batched path takes this file's place, nothing else's. A
//! socket on a wildcard address answers from the address the system picks: name the addresses.

use std::{
    io,
    net::{SocketAddr, UdpSocket as StdUdpSocket},
    sync::Arc,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use crate::{Transport, limits, server::Shared};

/// How long to wait after the system refused to receive, so that a lasting fault does not spin.
const FAULT_PAUSE: Duration = Duration::from_millis(10);

pub(crate) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if let Err(error) = socket.set_recv_buffer_size(limits::UDP_RECEIVE_BUFFER) {
        tracing::debug!(%error, "the receive buffer stays as it is");
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(StdUdpSocket::from(socket))
}

/// Answers until told to stop, then what still waits at the socket.
pub(crate) async fn serve(socket: UdpSocket, shared: Arc<Shared>, stop: CancellationToken) {
    let mut query = vec![0; limits::MESSAGE_MAX];
    loop {
        let received = tokio::select! {
            () = stop.cancelled() => break,
            received = socket.recv_from(&mut query) => received,
        };
        match received {
            Ok((length, source)) => answer(&socket, &shared, &query[..length], source).await,
            Err(error) => {
                tracing::warn!(%error, "cannot receive a datagram");
                tokio::time::sleep(FAULT_PAUSE).await;
            }
        }
    }
    for _ in 0..limits::UDP_DRAIN_MAX {
        let Ok((length, source)) = socket.try_recv_from(&mut query) else {
            break;
        };
        answer(&socket, &shared, &query[..length], source).await;
    }
}

async fn answer(socket: &UdpSocket, shared: &Shared, query: &[u8], source: SocketAddr) {
    // Port 0 cannot be answered; a datagram from it is forged.
    if source.port() == 0 {
        return;
    }
    if let Some(response) = shared.answer(query, source, Transport::Udp)
        && let Err(error) = socket.send_to(&response, source).await
    {
        tracing::debug!(%error, %source, "cannot send an answer");
    }
}
