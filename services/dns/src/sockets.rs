//! The sockets of a name server: bound, or taken over from the process that serves.
//!
//! All sockets of an address that come from there go on, in the order in which they came, so that
//! the system divides those who ask as before and nothing that waits at a socket is lost.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdTcpListener, UdpSocket},
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use headroom_handover::{Offer, Taken, refuse_second};
use socket2::{Socket, Type};
use tokio::net::TcpListener;

use crate::{DnsConfig, DnsError, TlsConfig, limits, listen_tcp, listen_udp};

/// The sockets of one name server.
#[derive(Debug)]
pub(crate) struct Sockets {
    /// Of each address: those for datagrams, one for each thread, and that for connections.
    pub(crate) plain: Vec<(Vec<UdpSocket>, TcpListener)>,
    /// Of each address for TLS.
    pub(crate) tls: Vec<TcpListener>,
    /// The process that they were taken over from; it goes on until it is told.
    pub(crate) taken: Option<Taken>,
}

impl Sockets {
    /// All sockets of a configuration. What `config` does not listen on any more is closed here; the
    /// process that had it answers what waits there.
    pub(crate) async fn take(config: &DnsConfig) -> Result<Self, DnsError> {
        let who = who(config);
        let mut taken = match (config.running.handover_socket.clone(), config.running.take_over) {
            (Some(path), true) => blocking(move || Taken::ask(&path, &who)).await?,
            (Some(path), false) => {
                blocking(move || refuse_second(&path, &who)).await.map(|()| None)?
            }
            (None, true) => return Err(DnsError::NoHandoverSocket),
            (None, false) => None,
        };
        let sockets = taken.iter_mut().flat_map(|taken| taken.sockets.drain(..));
        let mut inherited = Inherited::of(sockets);
        let plain = config.listen.iter();
        let plain = plain.map(|address| listen(*address, config.threads, &mut inherited));
        let plain = plain.collect::<Result<_, _>>()?;
        let tls = config.protocol.tls.as_ref().map(|tls| secured(tls, &mut inherited));
        Ok(Self { plain, tls: tls.transpose()?.unwrap_or_default(), taken })
    }

    /// The most sockets for datagrams that an address has.
    pub(crate) fn threads(&self) -> usize {
        self.plain.iter().map(|(udp, _)| udp.len()).max().unwrap_or(1)
    }

    /// Where they listen that were `asked` for, with the ports they were given.
    pub(crate) fn addresses(&self, asked: &[SocketAddr]) -> Vec<SocketAddr> {
        let addresses = asked.iter().zip(&self.plain);
        addresses.map(|(asked, (_, tcp))| tcp.local_addr().unwrap_or(*asked)).collect()
    }

    /// The same sockets once more, to hand them over one day.
    pub(crate) fn to_offer(&self) -> io::Result<Vec<OwnedFd>> {
        let plain = self
            .plain
            .iter()
            .flat_map(|(udp, tcp)| udp.iter().map(|udp| udp.as_fd()).chain([tcp.as_fd()]));
        let all = plain.chain(self.tls.iter().map(|tls| tls.as_fd()));
        all.map(|socket| socket.try_clone_to_owned()).collect()
    }
}

/// Whose sockets they are, as the two processes of a hand-over say it.
pub(crate) fn who(config: &DnsConfig) -> String {
    config.id.as_ref().map_or_else(|| "name-server".to_owned(), |id| format!("name-server {id}"))
}

/// The hand-over socket. A name server serves also without.
pub(crate) fn offer(path: &Path) -> Option<Offer> {
    let told = |error: io::Error| {
        let path = path.display();
        tracing::error!(%path, %error, "the name server cannot be replaced without a gap");
    };
    Offer::bind(path).map_err(told).ok()
}

/// Work that waits for another process, beside the runtime's threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Sockets of another process that nobody has asked for yet.
#[derive(Debug, Default)]
struct Inherited {
    udp: Vec<UdpSocket>,
    tcp: Vec<StdTcpListener>,
}

impl Inherited {
    fn of(sockets: impl Iterator<Item = OwnedFd>) -> Self {
        let mut inherited = Self::default();
        for socket in sockets.map(Socket::from) {
            match socket.r#type() {
                Ok(Type::DGRAM) => inherited.udp.push(socket.into()),
                Ok(Type::STREAM) => inherited.tcp.push(socket.into()),
                _ => tracing::warn!("a socket that was handed over is none of a name server's"),
            }
        }
        inherited
    }

    /// The listener of this address; a port of zero is any.
    fn tcp(&mut self, address: SocketAddr) -> Option<StdTcpListener> {
        let found = |held: &mut StdTcpListener| is_at(held.local_addr(), address);
        self.tcp.extract_if(.., found).next()
    }

    /// The sockets of this address.
    fn udp(&mut self, address: SocketAddr) -> Vec<UdpSocket> {
        self.udp.extract_if(.., |held| is_at(held.local_addr(), address)).collect()
    }
}

fn is_at(held: io::Result<SocketAddr>, address: SocketAddr) -> bool {
    let same_port = |held: &SocketAddr| address.port() == 0 || held.port() == address.port();
    held.is_ok_and(|held| held.ip() == address.ip() && same_port(&held))
}

/// The sockets of one address. If any port may be taken, it must be free for both.
fn listen(
    address: SocketAddr,
    threads: usize,
    inherited: &mut Inherited,
) -> Result<(Vec<UdpSocket>, TcpListener), DnsError> {
    let failed = |transport| move |source| DnsError::Listen { transport, address, source };
    let mut tries = 1..=limits::PORT_TRIES;
    loop {
        // First what one process alone can have: another name server's datagrams stay its own.
        let tcp = connections(address, inherited).map_err(failed("TCP"))?;
        let chosen = tcp.local_addr().map_err(failed("TCP"))?;
        match datagrams(chosen, threads, inherited) {
            Ok(udp) => return Ok((udp, tcp)),
            Err(_) if address.port() == 0 && tries.next().is_some() => {}
            Err(source) => return Err(failed("UDP")(source)),
        }
    }
}

/// Those that are inherited, also if they are more than the threads: nobody else reads what the
/// system gives to them.
fn datagrams(
    address: SocketAddr,
    threads: usize,
    inherited: &mut Inherited,
) -> io::Result<Vec<UdpSocket>> {
    let mut sockets = inherited.udp(address);
    let missing = threads.saturating_sub(sockets.len());
    if missing > 0 {
        sockets.extend(listen_udp::bind(address, missing)?);
    }
    Ok(sockets)
}

fn connections(address: SocketAddr, inherited: &mut Inherited) -> io::Result<TcpListener> {
    match inherited.tcp(address) {
        Some(listener) => TcpListener::from_std(listener),
        None => listen_tcp::bind(address),
    }
}

fn secured(config: &TlsConfig, inherited: &mut Inherited) -> Result<Vec<TcpListener>, DnsError> {
    let listeners = config.listen.iter().map(|address| {
        let failed = |source| DnsError::Listen { transport: "TLS", address: *address, source };
        connections(*address, inherited).map_err(failed)
    });
    listeners.collect()
}
