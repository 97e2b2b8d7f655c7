//! A whole name server on loopback.

use std::{future::Future, net::SocketAddr, time::Duration};

use headroom_bus::Bus;
use prometheus_client::registry::Registry;
use tokio::{net::UdpSocket, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{Query, print};
use crate::{DnsConfig, DnsServer};

/// How long anything may take that has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A name server that runs, and its bus.
pub(crate) struct Running {
    pub(crate) bus: Bus,
    address: SocketAddr,
    registry: Registry,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start(config: DnsConfig) -> Self {
        let (bus, mut registry) = (Bus::in_process(), Registry::default());
        let server = DnsServer::bind(config, &bus, &mut registry).await.unwrap();
        let address = server.local_addresses()[0];
        let stop = CancellationToken::new();
        let task = tokio::spawn(server.run(stop.clone()));
        Self { bus, address, registry, stop, task }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }

    pub(crate) async fn send(&self, message: &[u8]) -> Vec<u8> {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(message, self.address).await.unwrap();
        let mut reply = vec![0; 65_535];
        let (length, _) = timeout(PATIENCE, socket.recv_from(&mut reply)).await.unwrap().unwrap();
        reply.truncate(length);
        reply
    }

    /// The printed answer to a question such as `www.shop.example A edns`.
    pub(crate) async fn ask(&self, question: &str) -> String {
        print(&self.send(&Query::parse(&format!("127.0.0.1 {question}")).octets()).await)
    }

    /// Asks until `part` stands in the answer.
    pub(crate) async fn ask_until(&self, question: &str, part: &str) {
        until(part, async || self.ask(question).await).await;
    }

    /// Reads the metrics until `line` stands in them.
    pub(crate) async fn metric_until(&self, line: &str) {
        until(line, async || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
            text
        })
        .await;
    }
}

/// Looks until `part` is seen.
pub(crate) async fn until<F: Future<Output = String>>(part: &str, mut look: impl FnMut() -> F) {
    let looking = async {
        while !look().await.contains(part) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if timeout(PATIENCE, looking).await.is_err() {
        panic!("never {part}: {}", look().await);
    }
}
