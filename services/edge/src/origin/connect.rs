//! One connection to an origin: its name is resolved, each address looked at, a TCP connection
//! made, TLS shaken hands on. Each step has its time.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use headroom_units::{HostName, Origin, OriginHost, Scheme, why_not_public};
use prometheus_client::metrics::counter::Counter;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, timeout},
};

use super::{
    FetchError,
    tls::{OriginTls, TlsStream},
};
use crate::limits;

/// Why there is no connection. The text is for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("its name cannot be resolved: {0}")]
    Resolve(io::Error),
    #[error("its name was not resolved in time")]
    ResolveTimeout,
    #[error("its name has no address")]
    NoAddress,
    #[error("its address {0} is denied: {1}")]
    Denied(IpAddr, &'static str),
    #[error("no connection: {0}")]
    Connect(io::Error),
    #[error("no connection in time")]
    ConnectTimeout,
    #[error("no TLS: {0}")]
    Tls(io::Error),
    #[error("TLS was not agreed on in time")]
    TlsTimeout,
}

impl ConnectError {
    /// What it means for the visitor.
    pub(super) fn meaning(&self) -> FetchError {
        match self {
            Self::ResolveTimeout | Self::ConnectTimeout | Self::TlsTimeout => {
                FetchError::ConnectTimeout
            }
            _ => FetchError::Unreachable,
        }
    }
}

/// Makes connections to origins.
pub(crate) struct Connector {
    pub(super) tls: OriginTls,
    /// Which addresses are the fleet's own.
    pub(super) is_fleet: Box<dyn Fn(IpAddr) -> bool + Send + Sync>,
    /// Counts the origins that have no other than denied addresses, connection by connection.
    pub(super) denied: Counter,
    pub(super) allow_private: bool,
    /// How long each step may take.
    pub(super) step_max: Duration,
    /// How long an origin may accept nothing of what is sent to it.
    pub(super) send_silence_max: Duration,
    pub(super) names: Names,
}

/// Who knows the addresses of names.
pub(super) enum Names {
    /// The system.
    System,
    /// A test; names that are not in it are never resolved.
    #[cfg(test)]
    Given(std::collections::BTreeMap<String, Vec<IpAddr>>),
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("tls", &self.tls).finish_non_exhaustive()
    }
}

/// A connection, and whether HTTP/2 is spoken on it.
pub(crate) struct Connected {
    pub(crate) stream: OriginStream,
    pub(crate) h2: bool,
}

impl Connector {
    /// A new connection to `origin`. HTTP/2 is offered if it is `wanted`.
    pub(super) async fn connect(
        &self,
        origin: &Origin,
        wanted: bool,
    ) -> Result<Connected, ConnectError> {
        let addresses = self.resolve(origin).await?;
        let stream = self.dial(&addresses).await?;
        // Small requests must not wait for the acknowledgement of others.
        stream.set_nodelay(true).map_err(ConnectError::Connect)?;
        let (way, h2) = match origin.scheme {
            Scheme::Http => (Way::Plain(stream), false),
            Scheme::Https => {
                let shaken = self.tls.handshake(&origin.host, stream, wanted);
                let shaken = timeout(self.step_max, shaken).await;
                let (stream, h2) =
                    shaken.map_err(|_| ConnectError::TlsTimeout)?.map_err(ConnectError::Tls)?;
                (Way::Tls(stream), h2)
            }
        };
        let stream = OriginStream { way, send_silence_max: self.send_silence_max, alarm: None };
        Ok(Connected { stream, h2 })
    }

    /// The addresses that may be connected to. They are looked at here, at each connection, and
    /// connected to as they are: a name that says something else a moment later changes nothing.
    async fn resolve(&self, origin: &Origin) -> Result<Vec<SocketAddr>, ConnectError> {
        let mut denied = None;
        let mut allowed = Vec::new();
        let mut look_at = |address: SocketAddr| match self.denial(address.ip()) {
            Some(reason) => denied = Some(ConnectError::Denied(address.ip(), reason)),
            None => allowed.push(address),
        };
        match &origin.host {
            OriginHost::Address(address) => look_at(SocketAddr::new(*address, origin.port)),
            OriginHost::Name(name) => {
                let found = timeout(self.step_max, self.names.look_up(name, origin.port)).await;
                let found = found
                    .map_err(|_| ConnectError::ResolveTimeout)?
                    .map_err(ConnectError::Resolve)?;
                found.into_iter().for_each(&mut look_at);
            }
        }
        match denied {
            _ if !allowed.is_empty() => Ok(allowed),
            Some(denied) => {
                self.denied.inc();
                Err(denied)
            }
            None => Err(ConnectError::NoAddress),
        }
    }

    fn denial(&self, address: IpAddr) -> Option<&'static str> {
        if self.allow_private {
            return None;
        }
        let own = || (self.is_fleet)(address).then_some("it is one of the network's own");
        why_not_public(address).or_else(own)
    }

    /// The first address that answers; each has its part of the time.
    async fn dial(&self, addresses: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
        let deadline = Instant::now() + self.step_max;
        let mut result = Err(ConnectError::NoAddress);
        for (index, address) in addresses.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let others = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
            result = match timeout(left / others, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => Err(ConnectError::Connect(error)),
                Err(_) => Err(ConnectError::ConnectTimeout),
            };
        }
        result
    }
}

impl Names {
    async fn look_up(&self, name: &HostName, port: u16) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::System => {
                let found = tokio::net::lookup_host((name.as_str(), port)).await?;
                Ok(found.take(limits::ORIGIN_ADDRESSES_MAX).collect())
            }
            #[cfg(test)]
            Self::Given(names) => match names.get(name.as_str()) {
                Some(found) => Ok(found.iter().map(|ip| SocketAddr::new(*ip, port)).collect()),
                None => std::future::pending().await,
            },
        }
    }
}

enum Way {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The bytes to and from an origin. An origin that accepts nothing for too long is an error.
pub(crate) struct OriginStream {
    way: Way,
    send_silence_max: Duration,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl OriginStream {
    fn timed<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.alarm = None;
            return polled;
        }
        let silence_max = self.send_silence_max;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(silence_max)));
        match alarm.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for OriginStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.way {
            Way::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Way::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for OriginStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = match &mut self.way {
            Way::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Way::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        };
        self.timed(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = match &mut self.way {
            Way::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Way::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        };
        self.timed(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.way {
            Way::Plain(stream) => stream.is_write_vectored(),
            Way::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = match &mut self.way {
            Way::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Way::Tls(stream) => Pin::new(stream).poll_flush(cx),
        };
        self.timed(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = match &mut self.way {
            Way::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Way::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        };
        self.timed(cx, polled)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::net::TcpListener;

    use super::*;

    const STEP: Duration = Duration::from_millis(200);

    fn connector(names: &[(&str, &[&str])]) -> Connector {
        let name = |(name, addresses): &(&str, &[&str])| {
            let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
            ((*name).to_owned(), addresses)
        };
        Connector {
            tls: OriginTls::load(None).unwrap(),
            is_fleet: Box::new(|address| address == IpAddr::from([192, 0, 2, 53])),
            denied: Counter::default(),
            allow_private: false,
            step_max: STEP,
            send_silence_max: STEP,
            names: Names::Given(names.iter().map(name).collect::<BTreeMap<_, _>>()),
        }
    }

    async fn refusal(connector: &Connector, origin: &str) -> String {
        match connector.connect(&origin.parse().unwrap(), true).await {
            Err(error) => error.to_string(),
            Ok(_) => panic!("{origin} is connected"),
        }
    }

    #[tokio::test]
    async fn addresses_inside_a_network_are_denied_also_behind_a_name() {
        let names: &[(&str, &[&str])] = &[
            ("private.shop.example", &["10.0.0.1"]),
            ("metadata.shop.example", &["169.254.169.254", "::ffff:127.0.0.1"]),
            ("edge.shop.example", &["192.0.2.53"]),
            ("none.shop.example", &[]),
        ];
        let connector = connector(names);
        for (origin, reason) in [
            ("127.0.0.1:80", "denied: it is this machine's own"),
            ("https://[::1]:443", "denied: it is this machine's own"),
            ("[::ffff:10.0.0.1]:80", "denied: it is private"),
            ("192.0.2.53:80", "denied: it is one of the network's own"),
            ("http://private.shop.example", "10.0.0.1 is denied: it is private"),
            ("https://metadata.shop.example", "is denied: "),
            ("http://edge.shop.example", "denied: it is one of the network's own"),
            ("http://none.shop.example", "no address"),
        ] {
            let refusal = refusal(&connector, origin).await;
            assert!(refusal.contains(reason), "{origin}: {refusal}");
        }
        assert_eq!(connector.denied.get(), 7);
    }

    #[tokio::test]
    async fn denied_addresses_of_a_name_are_passed_over_and_others_tried_in_turn() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let origin = format!("http://origin.shop.example:{port}").parse().unwrap();
        // Nobody is at 127.0.0.9, so that the second address of the name answers.
        let mut connector = connector(&[("origin.shop.example", &["127.0.0.9", "127.0.0.1"])]);
        let denied = connector.connect(&origin, true).await;
        assert!(matches!(denied, Err(ConnectError::Denied(..))));
        connector.allow_private = true;
        assert!(connector.connect(&origin, true).await.is_ok());
        connector.allow_private = false;
        connector.names = Names::Given(BTreeMap::from([(
            "origin.shop.example".to_owned(),
            vec!["127.0.0.1".parse().unwrap(), "192.0.2.1".parse().unwrap()],
        )]));
        let addresses = connector.resolve(&origin).await.unwrap();
        assert_eq!(addresses, [format!("192.0.2.1:{port}").parse().unwrap()]);
    }

    #[tokio::test]
    async fn each_step_has_its_time() {
        let mut connector = connector(&[]);
        connector.allow_private = true;
        assert_eq!(
            refusal(&connector, "http://silent.shop.example").await,
            "its name was not resolved in time"
        );
        // The system takes the connection, and nobody shakes hands.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("https://{}", listener.local_addr().unwrap());
        assert_eq!(refusal(&connector, &origin).await, "TLS was not agreed on in time");
        drop(listener);
        assert!(refusal(&connector, &origin).await.starts_with("no connection: "));
    }

    #[tokio::test]
    async fn a_connection_that_is_never_made_ends() {
        use socket2::{Domain, Socket, Type};
        let mut connector = connector(&[]);
        connector.allow_private = true;
        // Once the queue is full, the system answers nobody any more.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(0).unwrap();
        let origin = socket.local_addr().unwrap().as_socket().unwrap().into();
        let mut queued = Vec::new();
        for _ in 0..64 {
            match connector.connect(&origin, true).await {
                Ok(connected) => queued.push(connected),
                Err(ConnectError::ConnectTimeout) => return,
                Err(error) => panic!("{error}"),
            }
        }
        panic!("{} connections are in the queue", queued.len());
    }

    #[tokio::test]
    async fn who_takes_nothing_is_given_up() {
        use tokio::io::AsyncWriteExt as _;
        let mut connector = connector(&[]);
        connector.allow_private = true;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = listener.local_addr().unwrap().into();
        let mut connected = connector.connect(&origin, true).await.ok().unwrap();
        let _peer = listener.accept().await.unwrap();
        let much = vec![0; 64 * 1024 * 1024];
        let error = connected.stream.write_all(&much).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
