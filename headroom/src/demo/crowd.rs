//! The visitors: resolvers of very unequal weight, and users who fetch objects over HTTP from the
//! address they were given, and follow redirects.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use headroom_units::{Authority, Timestamp};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use ipnet::IpNet;
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    origin,
    resolver::{Delegations, Resolver},
    scenario::{Place, REGIONS, Scenario},
    tally::{Ending, Tally},
    world::{PORTAL, SHOP, World},
};

/// The spread of the resolvers' weights: with 1.5 the heaviest of a hundred carries about a sixth.
const WEIGHT_SIGMA: f64 = 1.5;
/// One resolver in this many caches longer than it may,
const STRETCHES: u8 = 12;
/// by this factor.
const STRETCH: u32 = 3;
/// One client prefix in this many asks through a public resolver that sends the client subnet.
const PUBLIC: u8 = 4;
/// The public resolver.
const PUBLIC_RESOLVER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 30, 0, 1));
/// Prefixes of the operator's own visitors in one region.
const OWN_PREFIXES: u8 = 10;
/// Objects of a site; how often one is asked for falls with its number.
const OBJECTS: u32 = 200;
/// A visitor gives up after this.
const PATIENCE: Duration = Duration::from_secs(30);
const REDIRECTS_MAX: usize = 3;
/// The most requests of one region that are under way.
const UNDER_WAY_MAX: usize = 8_000;

type Http = Client<HttpConnector, Empty<Bytes>>;

/// Everyone who visits. Dropping it ends them.
pub(crate) struct Crowd {
    generators: JoinSet<JoinSet<()>>,
    stop: tokio_util::sync::CancellationToken,
}

/// The users behind one client prefix.
struct Users {
    resolver: Resolver,
    http: Http,
}

/// Those who visit one site from one region.
struct Visitors {
    region: Place,
    host: &'static str,
    port: u16,
    users: Vec<Arc<Users>>,
    /// Running sums of the users' weights, ending with 1.
    weights: Vec<f64>,
}

impl Crowd {
    /// Lets visitors of both sites come, as the scenario says.
    pub(crate) fn gather(
        scenario: &Scenario,
        world: &World,
        (tally, own_tally): (&Tally, &Tally),
        began: Timestamp,
    ) -> Self {
        let stop = tokio_util::sync::CancellationToken::new();
        let mut generators = JoinSet::new();
        let mut random = fastrand::Rng::with_seed(scenario.seed);
        for region in REGIONS {
            let crowd = Visitors::shop(scenario, world, region, &mut random);
            let scenario_of = scenario.clone();
            let rate = move |now| scenario_of.crowd_rate(began, now);
            let arriving = arrive(crowd, rate, random.fork(), tally.clone(), stop.clone());
            generators.spawn(arriving);

            let own = Visitors::portal(world, region);
            let load: Vec<f64> = scenario.own_load(region).split_off(Scenario::HISTORY);
            let slot = scenario.slot;
            let first = slot.slot_at(began).number();
            let rate = move |now| {
                let number = slot.slot_at(now).number() - first;
                usize::try_from(number).ok().and_then(|at| load.get(at).copied()).unwrap_or(0.0)
            };
            let arriving = arrive(own, rate, random.fork(), own_tally.clone(), stop.clone());
            generators.spawn(arriving);
        }
        Self { generators, stop }
    }

    /// No one comes any more; those under way finish.
    pub(crate) async fn disperse(mut self) {
        self.stop.cancel();
        while let Some(Ok(mut under_way)) = self.generators.join_next().await {
            while under_way.join_next().await.is_some() {}
        }
    }
}

impl Visitors {
    fn shop(scenario: &Scenario, world: &World, region: Place, random: &mut fastrand::Rng) -> Self {
        let users = (0..scenario.prefixes)
            .map(|number| {
                let prefix = Ipv4Addr::new(127, region.visitors, number, 0);
                let public = number % PUBLIC == 1;
                let stretch = if number % STRETCHES == 5 { STRETCH } else { 1 };
                users(prefix, public, stretch, &world.delegations)
            })
            .collect();
        let weight = |_| (WEIGHT_SIGMA * normal(random)).exp();
        let weights = (0..scenario.prefixes).map(weight).collect();
        Self::new(region, SHOP, world.http_port, users, weights)
    }

    fn portal(world: &World, region: Place) -> Self {
        let users = (0..OWN_PREFIXES)
            .map(|number| {
                let prefix = Ipv4Addr::new(127, region.own_visitors, number, 0);
                users(prefix, false, 1, &world.delegations)
            })
            .collect();
        Self::new(region, PORTAL, world.http_port, users, vec![1.0; usize::from(OWN_PREFIXES)])
    }

    fn new(
        region: Place,
        host: &'static str,
        port: u16,
        users: Vec<Arc<Users>>,
        weights: Vec<f64>,
    ) -> Self {
        let total: f64 = weights.iter().sum();
        let mut sum = 0.0;
        let weights = weights
            .into_iter()
            .map(|weight| {
                sum += weight / total;
                sum
            })
            .collect();
        Self { region, host, port, users, weights }
    }

    /// One of the users, in proportion to their weights.
    fn someone(&self, random: &mut fastrand::Rng) -> Option<Arc<Users>> {
        let point = random.f64();
        let index = self.weights.partition_point(|sum| *sum < point);
        self.users.get(index.min(self.users.len() - 1)).cloned()
    }
}

fn users(
    prefix: Ipv4Addr,
    public: bool,
    stretch: u32,
    delegations: &Arc<Delegations>,
) -> Arc<Users> {
    let host = |last| IpAddr::V4(Ipv4Addr::from_bits(prefix.to_bits() + last));
    let subnet = IpNet::new(IpAddr::V4(prefix), 24).ok().filter(|_| public);
    let address = if public { PUBLIC_RESOLVER } else { host(1) };
    let mut connector = HttpConnector::new();
    connector.set_local_address(Some(host(10)));
    connector.set_nodelay(true);
    let http = Client::builder(TokioExecutor::new())
        .pool_idle_timeout(Duration::from_secs(5))
        .build(connector);
    let resolver = Resolver::new(address, subnet, stretch, Arc::clone(delegations));
    Arc::new(Users { resolver, http })
}

/// Visitors arrive independently of each other and of how they are served (a Poisson process).
async fn arrive(
    visitors: Visitors,
    rate: impl Fn(Timestamp) -> f64,
    mut random: fastrand::Rng,
    tally: Tally,
    stop: tokio_util::sync::CancellationToken,
) -> JoinSet<()> {
    let under_way = Arc::new(Semaphore::new(UNDER_WAY_MAX));
    let mut tasks = JoinSet::new();
    let mut next = headroom_clock::now();
    while !stop.is_cancelled() {
        let wait = -(1.0 - random.f64()).ln() / rate(next).max(0.1);
        next = next.after(Duration::from_secs_f64(wait.min(1.0)));
        let pause = next.since(headroom_clock::now());
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        if wait > 1.0 {
            continue;
        }
        while tasks.try_join_next().is_some() {}
        let (region, host, port) = (visitors.region.id, visitors.host, visitors.port);
        let (Some(users), Ok(permit)) =
            (visitors.someone(&mut random), Arc::clone(&under_way).try_acquire_owned())
        else {
            let ending = Ending::Failed("too many requests under way".to_owned());
            tally.count(region, headroom_clock::now(), &ending);
            continue;
        };
        let path = object(&mut random);
        let tally = tally.clone();
        tasks.spawn(async move {
            let visit = visit(&users, host, port, &path);
            let ending = match tokio::time::timeout(PATIENCE, visit).await {
                Ok(Ok(address)) if World::is_edge(address) => Ending::ByEdge,
                Ok(Ok(_)) => Ending::ByPurchaser,
                Ok(Err(error)) => Ending::Failed(format!("{error:#}")),
                Err(_) => Ending::Failed("gave up waiting".to_owned()),
            };
            tally.count(region, headroom_clock::now(), &ending);
            drop(permit);
        });
    }
    tasks
}

/// Fetches one object: from the address the resolver gives, and where that sends us.
async fn visit(users: &Users, host: &str, port: u16, path: &str) -> anyhow::Result<IpAddr> {
    let mut host = Authority { host: host.parse()?, port: Some(port) };
    for _ in 0..=REDIRECTS_MAX {
        let addresses = users.resolver.resolve(host.host.as_str()).await?;
        let address = *fastrand::choice(&addresses).context("no address")?;
        let server = SocketAddr::new(address, host.port.unwrap_or(80));
        let request = Request::get(format!("http://{server}{path}"))
            .header(header::HOST, host.to_string())
            .body(Empty::new())?;
        let response = users.http.request(request).await.context("no answer")?;
        let status = response.status();
        let location = response.headers().get(header::LOCATION).cloned();
        let body = response.into_body().collect().await.context("a body cut short")?.to_bytes();
        match (status, location) {
            (StatusCode::OK, _) => {
                ensure!(body == origin::body(path), "the wrong body");
                return Ok(address);
            }
            (StatusCode::TEMPORARY_REDIRECT, Some(location)) => {
                let location = location.to_str().context("an odd redirect")?;
                let rest = location.strip_prefix("http://").context("an odd redirect")?;
                let (authority, target) = rest.split_at(rest.find('/').context("an odd redirect")?);
                ensure!(target == path, "a redirect to another object");
                host = authority.parse()?;
            }
            (status, _) => bail!("status {status}"),
        }
    }
    bail!("too many redirects")
}

/// An object's path: a few are asked for often, most rarely.
fn object(random: &mut fastrand::Rng) -> String {
    let skew = random.f64().powi(3) * f64::from(OBJECTS);
    format!("/images/{skew:.0}.png")
}

/// A standard normal number (Box and Muller).
fn normal(random: &mut fastrand::Rng) -> f64 {
    let (first, second) = (1.0 - random.f64(), random.f64());
    (-2.0 * first.ln()).sqrt() * (std::f64::consts::TAU * second).cos()
}
