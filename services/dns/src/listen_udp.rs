//! Datagrams in, datagrams out, in batches.
//!
//! Each address has as many sockets as there are threads, and each thread has one: the system
//! divides those who ask among them (SO_REUSEPORT). A thread waits for one datagram and takes all
//! that came with it, answers them under one snapshot, and sends the answers together. Where more
//! than one came, more will: it looks away for a moment so that they come together. A socket on a
//! wildcard address answers from the address the system picks: name the addresses.

use std::{
    array::from_fn,
    io::{self, IoSlice, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use headroom_units::Timestamp;
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg},
};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};
use smallvec::SmallVec;
use socket2::{Domain, Protocol, Socket, Type};
use tokio_util::sync::CancellationToken;

use crate::{
    Transport,
    decisions::Decisions,
    limits,
    limits::UDP_BATCH,
    rate_limit::{Limiter, Verdict},
    server::Shared,
    snapshot::Snapshot,
};

/// How long to wait after the system refused to receive, so that a lasting fault does not spin.
const FAULT_PAUSE: Duration = Duration::from_millis(10);
/// How long to wait for a datagram before looking whether to stop.
const WAIT: Duration = Duration::from_millis(100);

/// How far the queries of a batch lie from each other: three of a processor's cache lines beyond a
/// multiple of its pages. At whole pages, all would lie in the same few lines of its caches.
const QUERY_STRIDE: usize = limits::MESSAGE_MAX + 1 + 3 * 64;

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
    let mut batch = Batch::new(shared);
    while !stop.is_cancelled() {
        match batch.receive(socket, MsgFlags::MSG_WAITFORONE) {
            Ok(()) => {
                batch.answer(socket, shared);
                if batch.is_one_of_many() {
                    std::thread::sleep(limits::UDP_GATHER);
                }
            }
            Err(Errno::EAGAIN | Errno::EINTR) => batch.keep_up(shared, headroom_clock::now()),
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
    /// Where the queries lie, one behind the other.
    queries: Vec<u8>,
    /// How long each query is, and where it came from.
    came: Vec<(usize, Option<SocketAddr>)>,
    answers: [Vec<u8>; UDP_BATCH],
    /// Where each answer goes.
    targets: [SocketAddrAny; UDP_BATCH],
    /// How many answers there are.
    answered: usize,
    /// What is answered to whom, if there are limits.
    limiter: Option<Limiter>,
    decisions: Decisions,
    /// The snapshot whose numbers the decisions have.
    snapshot: Arc<Snapshot>,
    /// When it was told last what was repeated.
    told: Timestamp,
}

impl Batch {
    fn new(shared: &Shared) -> Self {
        let (limit, threads) = (shared.rate_limit, shared.threads.load(Ordering::Relaxed));
        Self {
            headers: MultiHeaders::preallocate(UDP_BATCH, None),
            queries: vec![0; UDP_BATCH * QUERY_STRIDE],
            came: Vec::with_capacity(UDP_BATCH),
            answers: from_fn(|_| Vec::with_capacity(limits::UDP_ANSWER_MAX.into())),
            targets: from_fn(|_| SocketAddr::from(([0, 0, 0, 0], 0)).into()),
            answered: 0,
            limiter: limit.is_on().then(|| Limiter::new(limit, threads)),
            decisions: Decisions::new(),
            snapshot: shared.snapshot.load_full(),
            told: Timestamp::EPOCH,
        }
    }

    /// Takes in the datagrams that came.
    fn receive(&mut self, socket: &UdpSocket, flags: MsgFlags) -> Result<(), Errno> {
        self.came.clear();
        let mut queries = self.queries.chunks_exact_mut(QUERY_STRIDE);
        let mut slices: [_; UDP_BATCH] = from_fn(|_| {
            let room = queries.next().unwrap_or_default();
            [IoSliceMut::new(room.get_mut(..limits::MESSAGE_MAX).unwrap_or_default())]
        });
        let fd = socket.as_raw_fd();
        let received = recvmmsg(fd, &mut self.headers, slices.iter_mut(), flags, None)?;
        self.came.extend(received.map(|one| (one.bytes, one.address.as_ref().and_then(source))));
        Ok(())
    }

    /// Whether more datagrams are on their way, none of which waits yet.
    fn is_one_of_many(&self) -> bool {
        (2..UDP_BATCH).contains(&self.came.len())
    }

    /// Answers them.
    fn answer(&mut self, socket: &UdpSocket, shared: &Shared) {
        self.answered = 0;
        let now = headroom_clock::now();
        self.keep_up(shared, now);
        let mut made_in_advance = 0;
        for ((length, source), query) in self.came.iter().zip(self.queries.chunks(QUERY_STRIDE)) {
            let query = query.get(..*length).unwrap_or_default();
            let Some(source) = *source else { continue };
            let answer = &mut self.answers[self.answered];
            let mut is_verified = false;
            let decisions = &mut self.decisions;
            let at_once = || self.snapshot.answer(query, source.ip(), decisions, now, answer);
            // What is asked for the first time is made by the slow path, which tells of its defects.
            if let Ok(Some(_)) = catch_unwind(AssertUnwindSafe(at_once)) {
                made_in_advance += 1;
            } else if let Some(response) = shared.answer(query, source, Transport::Udp) {
                *answer = response.octets;
                is_verified = response.is_verified;
                if let Some(decision) = response.decision
                    && let Some(numbered) = self.snapshot.steered.numbered(&decision)
                {
                    decisions.remember(numbered, decision.client, decision.hold);
                }
            } else {
                continue;
            }
            if let (Some(limiter), false) = (&mut self.limiter, is_verified) {
                match limiter.judge(source.ip(), query, answer, now) {
                    Verdict::Pass => {}
                    Verdict::Drop => continue,
                    Verdict::Truncate => match shared.edns.slip(query, source.ip(), now) {
                        Some(slip) => *answer = slip,
                        None => continue,
                    },
                }
            }
            self.targets[self.answered] = source.into();
            self.answered += 1;
        }
        shared.metrics.count_made_in_advance(made_in_advance);
        if let Some(limiter) = &mut self.limiter {
            shared.metrics.count_limited(limiter.take_tally());
        }
        self.send(socket);
    }

    /// Takes the snapshot in force, and tells from time to time what was repeated.
    fn keep_up(&mut self, shared: &Shared, now: Timestamp) {
        let newest = shared.snapshot.load();
        let is_old = !Arc::ptr_eq(&newest, &self.snapshot);
        let is_due = now.since(self.told) >= limits::REPEATED_EVERY;
        if self.decisions.has_repeated() && (is_old || is_due) {
            self.told = now;
            shared.count_repeated(&self.snapshot.steered, self.decisions.take_repeated());
        }
        if is_old {
            self.snapshot = Arc::clone(&newest);
            self.decisions.forget();
        }
    }

    /// Sends the answers. One that cannot be sent is left out.
    fn send(&self, socket: &UdpSocket) {
        let slices = self.answers.each_ref().map(|answer| [IoSlice::new(answer)]);
        let mut controls: [_; UDP_BATCH] = from_fn(|_| SendAncillaryBuffer::default());
        let parts = self.targets.iter().zip(&slices).zip(&mut controls).take(self.answered);
        let mut headers: SmallVec<[_; UDP_BATCH]> = parts
            .map(|((target, slice), control)| MMsgHdr::new_with_addr(target, slice, control))
            .collect();
        let mut sent = 0;
        while sent < headers.len() {
            match sendmmsg(socket, &mut headers[sent..], SendFlags::empty()) {
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

/// Where an answer goes. Port 0 cannot be answered; a datagram from it is forged.
fn source(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|address| SocketAddr::V4((*address).into()));
    let v6 = || address.as_sockaddr_in6().map(|address| SocketAddr::V6((*address).into()));
    v4.or_else(v6).filter(|source| source.port() != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_sent_to_port_0() {
        for (sent_from, is_answered) in [
            ("192.0.2.1:1", true),
            ("192.0.2.1:0", false),
            ("[2001:db8::1]:65535", true),
            ("[2001:db8::1]:0", false),
        ] {
            let address: SocketAddr = sent_from.parse().unwrap();
            let found = source(&SockaddrStorage::from(address));
            assert_eq!(found, Some(address).filter(|_| is_answered));
        }
    }
}
