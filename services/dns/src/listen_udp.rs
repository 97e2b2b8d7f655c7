//! Datagrams in, datagrams out, in batches.
//!
//! Each address has as many sockets as there are threads, and each thread has one: the system
//! divides those who ask among them (SO_REUSEPORT). A thread waits for one datagram and takes all
//! that came with it, answers them under one snapshot, and sends the answers together. A socket on
//! a wildcard address answers from the address the system picks: name the addresses.

use std::{
    array::from_fn,
    io::{self, IoSlice, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg},
};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};
use socket2::{Domain, Protocol, Socket, Type};
use tokio_util::sync::CancellationToken;

use crate::{Transport, limits, limits::UDP_BATCH, server::Shared};

/// How long to wait after the system refused to receive, so that a lasting fault does not spin.
const FAULT_PAUSE: Duration = Duration::from_millis(10);
/// How long to wait for a datagram before looking whether to stop.
const WAIT: Duration = Duration::from_millis(100);

/// As many sockets of one address as there are `threads`.
pub(crate) fn bind(address: SocketAddr, threads: usize) -> io::Result<Vec<UdpSocket>> {
    let first = bind_one(address)?;
    let address = first.local_addr()?;
    let others = (1..threads).map(|_| bind_one(address));
    std::iter::once(Ok(first)).chain(others).collect()
}

fn bind_one(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if let Err(error) = socket.set_recv_buffer_size(limits::UDP_RECEIVE_BUFFER) {
        tracing::debug!(%error, "the receive buffer stays as it is");
    }
    socket.set_reuse_port(true)?;
    socket.set_read_timeout(Some(WAIT))?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Answers until told to stop, then what still waits at the socket.
pub(crate) fn serve(socket: &UdpSocket, shared: &Shared, stop: &CancellationToken) {
    let mut batch = Batch::new();
    while !stop.is_cancelled() {
        match batch.receive(socket, MsgFlags::MSG_WAITFORONE) {
            Ok(()) => batch.answer(socket, shared),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot receive datagrams");
                std::thread::sleep(FAULT_PAUSE);
            }
        }
    }
    for _ in 0..limits::UDP_DRAIN_MAX / UDP_BATCH {
        if batch.receive(socket, MsgFlags::MSG_DONTWAIT).is_err() {
            break;
        }
        batch.answer(socket, shared);
    }
}

/// Datagrams that came together, and the answers to them. Its buffers are used again and again.
struct Batch {
    headers: MultiHeaders<SockaddrStorage>,
    queries: [Vec<u8>; UDP_BATCH],
    /// How long each query is, and where it came from.
    came: Vec<(usize, Option<SocketAddr>)>,
    answers: [Vec<u8>; UDP_BATCH],
    /// Where each answer goes.
    targets: [SocketAddrAny; UDP_BATCH],
    /// How many answers there are.
    answered: usize,
}

impl Batch {
    fn new() -> Self {
        Self {
            headers: MultiHeaders::preallocate(UDP_BATCH, None),
            queries: from_fn(|_| vec![0; limits::MESSAGE_MAX]),
            came: Vec::with_capacity(UDP_BATCH),
            answers: from_fn(|_| Vec::with_capacity(limits::UDP_ANSWER_MAX.into())),
            targets: from_fn(|_| SocketAddr::from(([0, 0, 0, 0], 0)).into()),
            answered: 0,
        }
    }

    /// Takes in the datagrams that came.
    fn receive(&mut self, socket: &UdpSocket, flags: MsgFlags) -> Result<(), Errno> {
        self.came.clear();
        let mut slices = self.queries.each_mut().map(|query| [IoSliceMut::new(query)]);
        let fd = socket.as_raw_fd();
        let received = recvmmsg(fd, &mut self.headers, slices.iter_mut(), flags, None)?;
        self.came.extend(received.map(|one| (one.bytes, one.address.as_ref().and_then(source))));
        Ok(())
    }

    /// Answers them.
    fn answer(&mut self, socket: &UdpSocket, shared: &Shared) {
        self.answered = 0;
        let snapshot = shared.snapshot.load();
        let mut same_for_all = 0;
        for ((length, source), query) in self.came.iter().zip(&self.queries) {
            let query = query.get(..*length).unwrap_or_default();
            // Port 0 cannot be answered; a datagram from it is forged.
            let Some(source) = source.filter(|source| source.port() != 0) else { continue };
            let answer = &mut self.answers[self.answered];
            if snapshot.answer(query, answer) {
                same_for_all += 1;
            } else if let Some(response) = shared.answer(query, source, Transport::Udp) {
                *answer = response;
            } else {
                continue;
            }
            self.targets[self.answered] = source.into();
            self.answered += 1;
        }
        shared.metrics.count_same_for_all(same_for_all);
        self.send(socket);
    }

    /// Sends the answers. One that cannot be sent is left out.
    fn send(&self, socket: &UdpSocket) {
        let slices = self.answers.each_ref().map(|answer| [IoSlice::new(answer)]);
        let mut controls: [_; UDP_BATCH] = from_fn(|_| SendAncillaryBuffer::default());
        let mut parts = self.targets.iter().zip(&slices).zip(&mut controls);
        let mut headers: [_; UDP_BATCH] = from_fn(|_| {
            let ((target, slice), control) = parts.next().expect("as many of each");
            MMsgHdr::new_with_addr(target, slice, control)
        });
        let mut sent = 0;
        while sent < self.answered {
            match sendmmsg(socket, &mut headers[sent..self.answered], SendFlags::empty()) {
                Ok(more) => sent += more.max(1),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::debug!(%error, "cannot send an answer");
                    sent += 1;
                }
            }
        }
    }
}

fn source(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|address| SocketAddr::V4((*address).into()));
    v4.or_else(|| address.as_sockaddr_in6().map(|address| SocketAddr::V6((*address).into())))
}
