//! The running server: sockets, the subscriptions, and the responder they share.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    os::fd::OwnedFd,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;
use headroom_bus::{
    Bus, Subscription,
    subjects::{BUDGETS, PLAN, SERVER_REPORTS},
};
use headroom_handover::Taken;
use headroom_steer::Plan;
use headroom_wire::{BudgetsMessage, PlanDocument, ServerReportsMessage};
use prometheus_client::registry::Registry;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    CookieSecret, DnsConfig, DnsError, NameTable, ProtocolConfig, RateLimit, Responder, Running,
    Transport,
    assigned::{self, Assigned, AssignedMetrics, Provided},
    connections::Connections,
    decisions::{Decision, Repeated},
    dnssec::{Signer, SignerMetrics},
    dot::Tls,
    edns::EdnsPolicy,
    forward::{self, ForwardMetrics, Forwarder, Wish},
    limits,
    listen_tcp::{self, Service},
    listen_udp, message,
    metrics::Metrics,
    names::name_of,
    prefixes::Prefixes,
    secondary::{Secondaries, SecondaryMetrics, Start, follow},
    snapshot::Snapshot,
    sockets::{self, Sockets},
    state::Response,
    steered::{Source, SteeredAnswers},
    tables::Tables,
    updates::{self, Intake},
};

/// What the tasks share. The lock is held for one answer, or one swap of the plan; never across
/// an await.
#[derive(Debug)]
pub(crate) struct Shared {
    responder: Mutex<Responder>,
    /// What of the responder's answers is the same for everyone.
    pub(crate) snapshot: ArcSwap<Snapshot>,
    pub(crate) edns: Arc<EdnsPolicy>,
    pub(crate) rate_limit: RateLimit,
    /// How many threads answer the datagrams of each address; known before the first is answered.
    pub(crate) threads: AtomicUsize,
    secondaries: Secondaries,
    pub(crate) forwarder: Arc<Forwarder>,
    pub(crate) assigned: Assigned,
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
    ) -> Option<Answered> {
        let now = headroom_clock::now();
        if let Some((answer, outcome)) = self.secondaries.hear(query, source.ip(), now) {
            self.secondaries.metrics.count_notify(outcome);
            return Some(Answered::unverified(answer));
        }
        let handle = || self.responder().handle(query, source, transport, now);
        // A defect that one query finds must not silence the socket for all others.
        let Ok(response) = catch_unwind(AssertUnwindSafe(handle)) else {
            tracing::error!(query = %hex(query), %source, "a query could not be handled");
            self.metrics.panics.inc();
            return message::server_failure(query).map(Answered::unverified);
        };
        self.metrics.count(transport, response.as_ref());
        response.map(Answered::from)
    }

    /// As [`Self::answer`] over a connection; what is being asked for elsewhere is waited for a
    /// little.
    pub(crate) async fn answer_in_time(
        &self,
        query: &[u8],
        source: SocketAddr,
        transport: Transport,
    ) -> Option<Answered> {
        let deadline = tokio::time::Instant::now() + limits::FORWARD_TIME;
        loop {
            let found = self.forwarder.found();
            tokio::pin!(found);
            // From here on nothing that is found is missed.
            found.as_mut().enable();
            let answered = self.answer(query, source, transport)?;
            let is_last = !answered.comes_later;
            if is_last || tokio::time::timeout_at(deadline, found).await.is_err() {
                return Some(answered);
            }
        }
    }

    /// What those sites of a plan are answered from that their own DNS assigns.
    pub(crate) fn provided(&self, plan: &Plan) -> Provided {
        self.assigned.answered_from(plan, self.responder().assignments())
    }

    /// Counts what a thread has repeated, in the numbers of `steered`.
    pub(crate) fn count_repeated(
        &self,
        steered: &SteeredAnswers,
        repeated: impl Iterator<Item = ((u32, u16), Repeated)>,
    ) {
        let mut responder = self.responder();
        for ((site, region), repeated) in repeated {
            if let Some(place) = steered.place(site, region) {
                responder.count_repeated(&place, repeated);
            }
            self.metrics.count_repeated(repeated);
        }
    }
}

/// An answer, and whether its receiver has shown by a cookie that it is real.
pub(crate) struct Answered {
    pub(crate) octets: Vec<u8>,
    pub(crate) is_verified: bool,
    /// What was decided for it, if it may be repeated.
    pub(crate) decision: Option<Decision>,
    /// Whether there may be a better one soon.
    comes_later: bool,
}

impl Answered {
    /// An answer that is all there is to say, to whoever asks.
    fn unverified(octets: Vec<u8>) -> Self {
        Self { octets, is_verified: false, decision: None, comes_later: false }
    }
}

impl From<Response> for Answered {
    fn from(response: Response) -> Self {
        let Response { octets, is_verified, decision, comes_later, .. } = response;
        Self { octets, is_verified, decision, comes_later }
    }
}

/// What goes into OPT records; without configured secrets cookies are signed with one made now.
fn edns_policy(config: &ProtocolConfig) -> EdnsPolicy {
    let mut secrets = config.cookie_secrets.clone();
    if secrets.is_empty() {
        match CookieSecret::generate() {
            Ok(secret) => secrets.push(secret),
            Err(error) => tracing::error!(%error, "there are no cookies: no random numbers"),
        }
    }
    EdnsPolicy::new(&secrets, config.nsid.as_deref())
}

fn hex(octets: &[u8]) -> String {
    octets.iter().take(limits::LOGGED_MAX).map(|octet| format!("{octet:02x}")).collect()
}

/// A name server that has its sockets and is ready to run.
#[derive(Debug)]
pub struct DnsServer {
    who: String,
    running: Running,
    sockets: Sockets,
    tls: Option<Arc<Tls>>,
    connections: Arc<Connections>,
    addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
    tables: Arc<Tables>,
    starts: Vec<Start>,
    forwards: (Arc<Forwarder>, mpsc::Receiver<Wish>),
    prefixes: Option<Prefixes>,
    intake: Option<Intake>,
    bus: Bus,
    news: News,
    handed_over: CancellationToken,
}

/// What an exchange tells.
#[derive(Debug)]
struct News {
    plans: Subscription<PlanDocument>,
    budgets: Subscription<BudgetsMessage>,
    reports: Subscription<ServerReportsMessage>,
}

impl News {
    fn on(bus: &Bus) -> Self {
        Self {
            plans: bus.subscribe(&PLAN),
            budgets: bus.subscribe(&BUDGETS),
            reports: bus.subscribe(&SERVER_REPORTS),
        }
    }
}

impl DnsServer {
    /// Takes the last plan from its file, then all sockets. A plan file that cannot be used is
    /// reported and left: the next plan replaces it, and static zones are served at once. If the
    /// configuration says so, the sockets are taken over from the process that serves: it goes on
    /// until [`DnsServer::run`].
    ///
    /// # Errors
    /// If the configuration contradicts itself, or a socket cannot be had.
    pub async fn bind(
        config: DnsConfig,
        bus: &Bus,
        registry: &mut Registry,
    ) -> Result<Self, DnsError> {
        check(&config)?;
        let who = sockets::who(&config);
        let tls = config.protocol.tls.as_ref().map(|tls| Tls::new(tls.certificate.clone()));
        let tls = tls.transpose().map_err(|error| DnsError::Tls(error.to_string()))?;
        let connections = Connections::new(config.protocol.connections);

        let secondaries = Secondaries::new(
            &config.secondaries,
            config.zone_folder.clone(),
            SecondaryMetrics::register(registry),
        );
        let starts = secondaries.load(headroom_clock::now());
        let transferred = starts.iter().map(|start| Arc::clone(&start.zone));
        let zones: Vec<_> = config.zones.iter().cloned().map(Arc::new).chain(transferred).collect();
        let (forwarder, wishes) =
            Forwarder::new(&config.forwards, ForwardMetrics::register(registry));
        let forwarder = Arc::new(forwarder);
        let edns = Arc::new(edns_policy(&config.protocol));
        let responder = Responder::new(config.id.clone(), &zones).with(Arc::clone(&edns));
        let responder = Mutex::new(responder.with_forwarder(Arc::clone(&forwarder)));
        let snapshot = Snapshot::of(Source::new(NameTable::of_zones(&zones), None));
        let shared = Arc::new(Shared {
            responder,
            snapshot: ArcSwap::from_pointee(snapshot),
            edns,
            rate_limit: config.protocol.rate_limit,
            threads: AtomicUsize::new(config.threads),
            secondaries,
            forwarder: Arc::clone(&forwarder),
            assigned: Assigned::new(config.assign.clone(), AssignedMetrics::register(registry)),
            metrics: Metrics::register(registry),
        });
        let signer = Signer::new(config.dnssec.clone(), SignerMetrics::register(registry));
        let hostmaster = config.hostmaster.clone();
        let tables = Arc::new(Tables::new(&zones, hostmaster, signer, Arc::clone(&shared)));
        updates::renew_signatures(&tables).await;
        let prefixes = match config.prefix_map.clone() {
            Some(file) => Some(Prefixes::load(file, Arc::clone(&shared)).await?),
            None => None,
        };
        let intake = config.id.clone().map(|id| {
            let file = config.plan_file.clone();
            Intake::new(id, file, Arc::clone(&tables), Arc::clone(&shared))
        });
        if let Some(intake) = &intake {
            intake.load().await;
        }
        // Only now: who is asked for its sockets does not wait long.
        let sockets = Sockets::take(&config).await?;
        shared.threads.store(sockets.threads(), Ordering::Relaxed);
        let addresses = sockets.addresses(&config.listen);
        let forwards = (forwarder, wishes);
        Ok(Self {
            who,
            running: config.running,
            sockets,
            tls: tls.map(Arc::new),
            connections,
            addresses,
            shared,
            tables,
            starts,
            forwards,
            prefixes,
            intake,
            news: News::on(bus),
            bus: bus.clone(),
            handed_over: CancellationToken::new(),
        })
    }

    /// Where it listens, in the order of the configuration, with the ports it was given.
    #[must_use]
    pub fn local_addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where it listens for TLS, in the order of the configuration, with the ports it was given.
    #[must_use]
    pub fn local_tls_addresses(&self) -> Vec<SocketAddr> {
        self.sockets.tls.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Cancelled when another process has taken over: [`DnsServer::run`] drains and ends then.
    #[must_use]
    pub fn handed_over(&self) -> CancellationToken {
        self.handed_over.clone()
    }

    /// Serves until `stop`; then datagrams that already came are answered, connections finish their
    /// message, and all tasks end. The same when another process has taken over, but that
    /// connections may go on for [`limits::HANDOVER_LINGER`].
    pub async fn run(self, stop: CancellationToken) {
        // The threads look at nothing else: if this is dropped, they end too.
        let taking = stop.child_token();
        let _end_of_threads = taking.clone().drop_guard();
        let (talking, served) = (CancellationToken::new(), CancellationToken::new());
        let ends = Ends { taking, talking, served };
        let offered = self.running.handover_socket.as_ref().and_then(|_| to_offer(&self.sockets));
        let offered = offered.zip(self.running.handover_socket.clone());
        let (shared, handed_over) = (Arc::clone(&self.shared), self.handed_over.clone());
        let who = self.who.clone();
        let (mut serving, mut beside) = (JoinSet::new(), JoinSet::new());
        let taken = self.spawn(&mut serving, &mut beside, &ends);
        let ending = async {
            tokio::select! {
                () = hand_over(taken, offered, &who, &ends.taking) => {
                    shared.edns.ask_to_leave();
                    handed_over.cancel();
                    ends.taking.cancel();
                    // From here on the program may stop: who is connected has this time all the same.
                    tokio::time::sleep(limits::HANDOVER_LINGER).await;
                }
                () = stop.cancelled() => {}
            }
            ends.talking.cancel();
            std::future::pending::<()>().await;
        };
        let served = async {
            all_ended(&mut serving).await;
            ends.served.cancel();
        };
        tokio::select! {
            _ = async { tokio::join!(served, all_ended(&mut beside)) } => {}
            () = ending => {}
        }
    }

    /// Starts what answers, and what runs beside it. Gives the process that is to be told so.
    fn spawn(
        self,
        serving: &mut JoinSet<()>,
        beside: &mut JoinSet<()>,
        ends: &Ends,
    ) -> Option<Taken> {
        let (shared, connections) = (Arc::clone(&self.shared), self.connections);
        let service = Service { shared, connections, tls: None };
        for (udp, tcp) in self.sockets.plain {
            for udp in udp {
                let (shared, stop) = (Arc::clone(&self.shared), ends.taking.clone());
                serving.spawn_blocking(move || listen_udp::serve(&udp, &shared, &stop));
            }
            let (taking, talking) = (ends.taking.clone(), ends.talking.clone());
            serving.spawn(listen_tcp::serve(tcp, service.clone(), taking, talking));
        }
        if let Some(tls) = self.tls {
            let service = Service { tls: Some(Arc::clone(&tls)), ..service };
            for listener in self.sockets.tls {
                let (taking, talking) = (ends.taking.clone(), ends.talking.clone());
                serving.spawn(listen_tcp::serve(listener, service.clone(), taking, talking));
            }
            beside.spawn(tls.keep(ends.taking.clone()));
        }
        beside.spawn(updates::keep_signed(Arc::clone(&self.tables), ends.taking.clone()));
        let (forwarder, wishes) = self.forwards;
        // Who is still connected may wait for an answer from elsewhere.
        beside.spawn(forward::run(forwarder, wishes, ends.served.clone()));
        for start in self.starts {
            let (tables, slots) = (Arc::clone(&self.tables), self.shared.secondaries.slots());
            let (slots, metrics) = (Arc::clone(slots), self.shared.secondaries.metrics.clone());
            beside.spawn(follow(start, tables, slots, metrics, ends.taking.clone()));
        }
        if let Some(prefixes) = self.prefixes {
            beside.spawn(prefixes.keep(ends.taking.clone()));
        }
        if let Some(intake) = self.intake {
            let (id, stop) = (intake.id().clone(), &ends.taking);
            let shared = || Arc::clone(&self.shared);
            let tables = Arc::clone(&self.tables);
            beside.spawn(assigned::provide(shared(), tables, stop.clone()));
            beside.spawn(assigned::check(shared(), stop.clone()));
            beside.spawn(assigned::hear(shared(), self.news.reports, stop.clone()));
            beside.spawn(updates::report(id, shared(), self.bus, stop.clone()));
            beside.spawn(updates::renew_budgets(self.news.budgets, self.shared, stop.clone()));
            beside.spawn(updates::take_plans(self.news.plans, intake, stop.clone()));
        }
        self.sockets.taken
    }
}

/// When a name server ends, from the first to the last.
struct Ends {
    /// The end of new datagrams and connections, and of all that changes the answers.
    taking: CancellationToken,
    /// The end of connections that are open.
    talking: CancellationToken,
    /// Nobody is left who waits for an answer.
    served: CancellationToken,
}

/// Tells the process before this one that it is followed, and waits until another follows this one.
async fn hand_over(
    taken: Option<Taken>,
    offered: Option<(Vec<OwnedFd>, PathBuf)>,
    who: &str,
    stop: &CancellationToken,
) {
    if let Some(taken) = taken {
        // It blocks. If it breaks off, the other process goes on, and says so.
        drop(tokio::task::spawn_blocking(move || taken.confirm()).await);
    }
    // Only now: until then the next process would ask the old one.
    let is_handed_over = match offered {
        Some((sockets, path)) => match sockets::offer(&path) {
            Some(offer) => offer.hand_over(who, sockets, stop).await,
            None => false,
        },
        None => false,
    };
    if !is_handed_over {
        std::future::pending::<()>().await;
    }
}

async fn all_ended(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a task of the name server failed");
        }
    }
}

/// The sockets to hand over one day.
fn to_offer(sockets: &Sockets) -> Option<Vec<OwnedFd>> {
    let told = |error| tracing::error!(%error, "the name server cannot be replaced without a gap");
    sockets.to_offer().map_err(told).ok()
}

/// Finds what a configuration must not say.
fn check(config: &DnsConfig) -> Result<(), DnsError> {
    if config.listen.is_empty() {
        return Err(DnsError::NoAddress);
    }
    let secondaries = config.secondaries.iter().map(|secondary| name_of(&secondary.zone));
    let mut apexes = config.zones.iter().map(|zone| zone.apex().clone()).chain(secondaries);
    let mut names = BTreeSet::new();
    if let Some(apex) = apexes.find(|apex| !names.insert(apex.clone())) {
        return Err(DnsError::DuplicateZone { apex: apex.to_string() });
    }
    let asks_itself = |server: &&SocketAddr| config.listen.contains(server);
    let mut servers = config.forwards.iter().flat_map(|forward| &forward.name_servers);
    match servers.find(asks_itself) {
        Some(server) => Err(DnsError::AsksItself { server: *server }),
        None => Ok(()),
    }
}
