//! The running server: sockets, the subscriptions, and the responder they share.

use std::{
    collections::BTreeSet,
    net::{SocketAddr, UdpSocket},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwap;
use headroom_bus::{
    Bus, Subscription,
    subjects::{BUDGETS, PLAN},
};
use headroom_wire::{BudgetsMessage, PlanDocument};
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    DnsConfig, DnsError, NameTable, Responder, Transport, limits, listen_tcp, listen_udp, message,
    metrics::Metrics,
    snapshot::Snapshot,
    updates::{self, Intake},
};

/// What the tasks share. The lock is held for one answer, or one swap of the plan; never across
/// an await.
#[derive(Debug)]
pub(crate) struct Shared {
    responder: Mutex<Responder>,
    /// What of the responder's answers is the same for everyone.
    pub(crate) snapshot: ArcSwap<Snapshot>,
    pub(crate) metrics: Metrics,
}

impl Shared {
    pub(crate) fn responder(&self) -> MutexGuard<'_, Responder> {
        // An answer that panicked changed nothing that the next one could not stand.
        self.responder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn answer(
        &self,
        query: &[u8],
        source: SocketAddr,
        transport: Transport,
    ) -> Option<Vec<u8>> {
        let now = headroom_clock::now();
        let handle = || self.responder().handle(query, source, transport, now);
        // A defect that one query finds must not silence the socket for all others.
        let Ok(response) = catch_unwind(AssertUnwindSafe(handle)) else {
            tracing::error!(query = %hex(query), %source, "a query could not be handled");
            self.metrics.panics.inc();
            return message::server_failure(query);
        };
        self.metrics.count(transport, response.as_ref());
        response.map(|response| response.octets)
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().take(limits::LOGGED_MAX).map(|octet| format!("{octet:02x}")).collect()
}

/// A name server that has its sockets and is ready to run.
#[derive(Debug)]
pub struct DnsServer {
    sockets: Vec<(Vec<UdpSocket>, TcpListener)>,
    addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
    intake: Option<Intake>,
    bus: Bus,
    plans: Subscription<PlanDocument>,
    budgets: Subscription<BudgetsMessage>,
}

impl DnsServer {
    /// Takes the last plan from its file, and all sockets. A plan file that cannot be used is
    /// reported and left: the next plan replaces it, and static zones are served at once.
    ///
    /// # Errors
    /// If the configuration contradicts itself, or a socket cannot be had.
    pub async fn bind(
        config: DnsConfig,
        bus: &Bus,
        registry: &mut Registry,
    ) -> Result<Self, DnsError> {
        if config.listen.is_empty() {
            return Err(DnsError::NoAddress);
        }
        let mut names = BTreeSet::new();
        if let Some(zone) = config.zones.iter().find(|zone| !names.insert(zone.apex().clone())) {
            return Err(DnsError::DuplicateZone { apex: zone.name() });
        }
        let sockets = config.listen.iter().map(|address| listen(*address, config.threads));
        let sockets: Vec<_> = sockets.collect::<Result<_, _>>()?;
        let addresses = config.listen.iter().zip(&sockets);
        let addresses = addresses
            .map(|(asked, (_, tcp))| tcp.local_addr().unwrap_or(*asked))
            .collect::<Vec<_>>();

        let zones: Vec<_> = config.zones.into_iter().map(Arc::new).collect();
        let responder = Mutex::new(Responder::new(config.id.clone(), &zones));
        let snapshot = ArcSwap::from_pointee(Snapshot::of(&NameTable::of_zones(&zones)));
        let metrics = Metrics::register(registry);
        let shared = Arc::new(Shared { responder, snapshot, metrics });
        let intake = config.id.map(|id| {
            Intake::new(id, config.plan_file, zones, config.hostmaster, Arc::clone(&shared))
        });
        if let Some(intake) = &intake {
            intake.load().await;
        }
        let (plans, budgets) = (bus.subscribe(&PLAN), bus.subscribe(&BUDGETS));
        Ok(Self { sockets, addresses, shared, intake, bus: bus.clone(), plans, budgets })
    }

    /// Where it listens, in the order of the configuration, with the ports it was given.
    #[must_use]
    pub fn local_addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves until `stop`; then datagrams that already came are answered, connections finish their
    /// message, and all tasks end.
    pub async fn run(self, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        // The threads look at nothing else: if this is dropped, they end too.
        let threads = stop.child_token();
        let _end_of_threads = threads.clone().drop_guard();
        for (udp, tcp) in self.sockets {
            for udp in udp {
                let (shared, stop) = (Arc::clone(&self.shared), threads.clone());
                tasks.spawn_blocking(move || listen_udp::serve(&udp, &shared, &stop));
            }
            tasks.spawn(listen_tcp::serve(tcp, Arc::clone(&self.shared), stop.clone()));
        }
        if let Some(intake) = self.intake {
            let id = intake.id().clone();
            tasks.spawn(updates::report(id, Arc::clone(&self.shared), self.bus, stop.clone()));
            tasks.spawn(updates::renew_budgets(self.budgets, self.shared, stop.clone()));
            tasks.spawn(updates::take_plans(self.plans, intake, stop));
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a task of the name server failed");
            }
        }
    }
}

/// The sockets of one address. If any port may be taken, it must be free for both.
fn listen(address: SocketAddr, threads: usize) -> Result<(Vec<UdpSocket>, TcpListener), DnsError> {
    let failed = |transport| move |source| DnsError::Listen { transport, address, source };
    let mut tries = 1..=limits::PORT_TRIES;
    loop {
        let udp = listen_udp::bind(address, threads).map_err(failed("UDP"))?;
        let chosen = udp.first().map_or(Ok(address), UdpSocket::local_addr);
        let chosen = chosen.map_err(failed("UDP"))?;
        match listen_tcp::bind(chosen) {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(_) if address.port() == 0 && tries.next().is_some() => {}
            Err(source) => return Err(failed("TCP")(source)),
        }
    }
}
