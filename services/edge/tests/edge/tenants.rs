//! No tenant sees another's bytes, whatever visitors ask for, in whatever order and at a time.
//!
//! Random visits go to one edge over HTTP/1.1 and HTTP/2. Three sites have the same paths and
//! answer alike, each from an origin of its own that marks whatever it says: its content is made of
//! one sign, of a length of its own, its entity tags and fields bear its name, and it repeats the
//! host that it is told. An auditor who knows nothing but the host of a request judges each
//! response by these marks.

use std::{
    cell::Cell,
    collections::BTreeSet,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use headroom_steer::{Owner, Plan, Purge, PurgeScope};
use headroom_units::{ContractId, QueryRule};
use http::{Method, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed, TestCaseError, TestRunner},
};
use tokio::{net::TcpStream, time::timeout};

use crate::harness::{OWN, Origin, SHOP, Saying, World, entitlement, plan};

/// How many worlds are tried at most, and how long.
const CASES: u32 = 40;
const TIME_MAX: Duration = Duration::from_secs(6);

/// A tenant, and the marks of what is its own.
struct Site {
    id: &'static str,
    hosts: [&'static str; 2],
    sign: char,
    length: usize,
}

const SITES: [Site; 3] = [
    Site { id: "own", hosts: [OWN, "img.own.example"], sign: '#', length: 40 },
    Site { id: "shop", hosts: [SHOP, "img.shop.example"], sign: '%', length: 41 },
    Site { id: "bank", hosts: ["www.bank.example", "img.bank.example"], sign: '~', length: 42 },
];

const PATHS: [&str; 8] =
    ["/stored", "/validated", "/varied", "/private", "/gone", "/moved", "/large", "/img/tagged"];
const QUERIES: [&str; 5] = ["", "?x=1&y=2", "?y=2&x=1", "?x=1", "?host=www.shop.example"];
const RANGES: [&str; 4] = ["bytes=0-0", "bytes=5-9", "bytes=0-0,7-9", "bytes=-3"];
const LANGUAGES: [&str; 3] = ["en", "fr", "fr, en;q=0.5"];
/// Fields in which proxies tell what was asked for.
const CLAIMS: [&str; 5] =
    ["x-forwarded-host", "x-host", "x-original-url", "forwarded", "x-forwarded-proto"];
/// `/large` has so many times the content of others: it is not stored.
const LARGE: usize = 10_000;

/// What an origin says: the same as the others, with its own marks.
fn answer(site: &Site, request: &str) -> Saying {
    let field = |name: &str| {
        let mut lines = request.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(field, _)| field.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    };
    let target = request.split(' ').nth(1).unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default();
    let (status, control) = match path {
        "/validated" => ("200 OK", "max-age=0, must-revalidate"),
        "/private" => ("200 OK", "no-store"),
        "/gone" => ("404 Not Found", "max-age=60"),
        "/moved" => ("301 Moved Permanently", "max-age=60"),
        _ => ("200 OK", "max-age=60"),
    };
    let (id, language) = (site.id, field("accept-language"));
    let tag = tag(site, path);
    let known = field("if-none-match").contains(&tag) && path == "/validated";
    let length = if path == "/large" { site.length * LARGE } else { site.length };
    let body = match (known, request.starts_with("HEAD ")) {
        (false, false) => site.sign.to_string().repeat(length),
        _ => String::new(),
    };
    let status = if known { "304 Not Modified" } else { status };
    let told = ["host", "forwarded", "x-forwarded-host", "x-host", "x-original-url"].map(field);
    let told = told.join(" ");
    let bytes = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nCache-Control: {control}\r\n\
         ETag: {tag}\r\nVary: Accept-Language\r\nCache-Tag: all, {id}\r\nX-Site: {id}\r\n\
         X-Language: {language}\r\nX-Told: {told}\r\nLocation: http://{}/there\r\n\r\n{body}",
        site.hosts[0]
    );
    Saying { bytes, ..Saying::default() }
}

fn tag(site: &Site, path: &str) -> String {
    format!("\"{}{path}\"", site.id)
}

/// How a host is written.
#[derive(Debug, Clone, Copy)]
enum Spelling {
    Plain,
    Capitals,
    Port,
    Dot,
}

/// One request. Numbers are places in the tables above.
#[derive(Debug, Clone)]
struct Ask {
    http2: bool,
    method: Method,
    site: usize,
    host: usize,
    spelling: Spelling,
    /// The site whose host stands in an absolute target, or in `:authority`; none of them in the
    /// plain form of a target.
    authority: Option<usize>,
    path: usize,
    query: usize,
    fields: Vec<Field>,
}

/// A field of a request that could mislead.
#[derive(Debug, Clone)]
enum Field {
    Language(usize),
    Range(usize),
    /// The entity tag of a site, which need not be the one that is asked.
    Known(usize),
    NoCache,
    OnlyIfCached,
    /// One of the fields in which a proxy tells the host, with that of a site.
    Claim(&'static str, usize),
}

/// One step of a world.
#[derive(Debug, Clone)]
enum Step {
    /// Requests at the same time.
    Ask(Vec<Ask>),
    /// A purge of a site: 0 of all, 1 of a tag, 2 of a prefix, 3 of a URL.
    Purge(usize, usize),
}

fn field() -> impl Strategy<Value = Field> {
    prop_oneof![
        (0..LANGUAGES.len()).prop_map(Field::Language),
        (0..RANGES.len()).prop_map(Field::Range),
        (0..SITES.len()).prop_map(Field::Known),
        Just(Field::NoCache),
        Just(Field::OnlyIfCached),
        (prop::sample::select(&CLAIMS[..]), 0..SITES.len())
            .prop_map(|(name, site)| Field::Claim(name, site)),
    ]
}

fn ask() -> impl Strategy<Value = Ask> {
    let method =
        prop_oneof![6 => Just(Method::GET), 2 => Just(Method::HEAD), 1 => Just(Method::POST)];
    let spelling = prop_oneof![
        3 => Just(Spelling::Plain),
        1 => Just(Spelling::Capitals),
        1 => Just(Spelling::Port),
        1 => Just(Spelling::Dot),
    ];
    let site = 0..SITES.len();
    // None, the same, or any site.
    let authority = prop_oneof![
        3 => Just(None),
        2 => Just(Some(None)),
        1 => (0..SITES.len()).prop_map(|site| Some(Some(site))),
    ];
    // Most ask for the same, so that there is something to mix up.
    let target = (
        prop_oneof![2 => Just(0), 1 => 0..PATHS.len()],
        prop_oneof![3 => Just(0), 1 => 0..QUERIES.len()],
    );
    let host = prop_oneof![3 => Just(0), 1 => Just(1)];
    let fields = prop::collection::vec(field(), 0..3);
    (any::<bool>(), method, site, host, spelling, authority, target, fields).prop_map(
        |(http2, method, site, host, spelling, authority, (path, query), fields)| {
            let authority = authority.map(|other| other.unwrap_or(site));
            Ask { http2, method, site, host, spelling, authority, path, query, fields }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop::collection::vec(ask(), 1..12).prop_map(Step::Ask),
        1 => (0..SITES.len(), 0..4_usize).prop_map(|(site, scope)| Step::Purge(site, scope)),
    ]
}

impl Ask {
    fn site(&self) -> &'static Site {
        &SITES[self.site]
    }

    fn spelt(&self, site: &Site) -> String {
        let host = site.hosts[self.host];
        match self.spelling {
            Spelling::Plain => host.to_owned(),
            Spelling::Capitals => host.to_uppercase(),
            Spelling::Port => format!("{host}:8080"),
            Spelling::Dot => format!("{host}."),
        }
    }

    /// True if it names two sites: nobody may guess which one is meant.
    fn is_ambiguous(&self) -> bool {
        self.authority.is_some_and(|other| other != self.site)
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let target = format!("{}{}", PATHS[self.path], QUERIES[self.query]);
        let absolute = |site: &Site| format!("http://{}{target}", self.spelt(site));
        let version = if self.http2 { Version::HTTP_2 } else { Version::HTTP_11 };
        let uri = match self.authority {
            Some(other) => absolute(&SITES[other]),
            None if self.http2 => absolute(self.site()),
            None => target,
        };
        let mut request = Request::builder().method(&self.method).version(version).uri(uri);
        if !self.http2 || self.is_ambiguous() {
            request = request.header(header::HOST, self.spelt(self.site()));
        }
        for field in &self.fields {
            let (name, value) = match field {
                Field::Language(index) => ("accept-language", LANGUAGES[*index].to_owned()),
                Field::Range(index) => ("range", RANGES[*index].to_owned()),
                Field::Known(site) => ("if-none-match", tag(&SITES[*site], PATHS[self.path])),
                Field::NoCache => ("cache-control", "no-cache".to_owned()),
                Field::OnlyIfCached => ("cache-control", "only-if-cached".to_owned()),
                Field::Claim("forwarded", site) => {
                    ("forwarded", format!("host={}", SITES[*site].hosts[0]))
                }
                Field::Claim(name, site) => (*name, SITES[*site].hosts[0].to_owned()),
            };
            request = request.header(name, value);
        }
        request.body(Full::default()).unwrap()
    }

    fn knows(&self, wanted: &Site) -> bool {
        self.fields
            .iter()
            .any(|field| matches!(field, Field::Known(site) if SITES[*site].id == wanted.id))
    }

    /// What is wrong with the response, judged by the host alone.
    fn judge(&self, response: &Response<Bytes>) -> Result<(), String> {
        let (site, status) = (self.site(), response.status());
        let head = format!("{status} {:?}", response.headers());
        let body = String::from_utf8_lossy(response.body());
        let others = || SITES.iter().filter(|other| other.id != site.id);
        for other in others() {
            if body.contains(other.sign) {
                return Err(format!("content of {}: {head}", other.id));
            }
            let marks = [other.hosts[0], other.hosts[1], &format!("\"{}/", other.id)];
            if let Some(mark) = marks.iter().find(|mark| head.replace('\\', "").contains(**mark)) {
                return Err(format!("{mark} of {} in {head}", other.id));
            }
        }
        if self.is_ambiguous() {
            let refused = status == StatusCode::BAD_REQUEST;
            return if refused { Ok(()) } else { Err(format!("not refused: {head}")) };
        }
        let says = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let language = self.fields.iter().find_map(|field| match field {
            Field::Language(index) => Some(LANGUAGES[*index]),
            _ => None,
        });
        let fresh = match status.as_u16() {
            504 => return Ok(()),
            304 if !self.knows(site) => return Err(format!("nobody knows it: {head}")),
            200 | 206 | 301 | 304 | 404 => says("x-site") == Some(site.id),
            416 => true,
            _ => false,
        };
        if !fresh {
            return Err(format!("not of {}: {head}", site.id));
        }
        if [200, 206].contains(&status.as_u16()) {
            if says("etag") != Some(&tag(site, PATHS[self.path])) {
                return Err(format!("another tag: {head}"));
            }
            if self.fields.len() < 2 && says("x-language").unwrap_or("") != language.unwrap_or("") {
                return Err(format!("another language than {language:?}: {head}"));
            }
            if self.method == Method::GET && !body.contains(site.sign) {
                return Err(format!("no content: {head}"));
            }
        }
        let whole = site.length * if PATHS[self.path] == "/large" { LARGE } else { 1 };
        let said = says("content-length").is_none_or(|length| length == whole.to_string());
        if status == StatusCode::OK && !(said && (body.is_empty() || body.len() == whole)) {
            return Err(format!("another length than {whole}: {head}"));
        }
        Ok(())
    }
}

/// A visitor with connections that are kept; how often it asked, and was answered from the cache.
#[derive(Default)]
struct Visitor {
    asked: AtomicUsize,
    hits: AtomicUsize,
    http1: Option<http1::SendRequest<Full<Bytes>>>,
    http2: Option<http2::SendRequest<Full<Bytes>>>,
}

impl Visitor {
    /// Asks all at a time: over HTTP/2 beside each other, over HTTP/1.1 one after the other.
    async fn ask(&mut self, edge: SocketAddr, asks: &[Ask]) -> Result<(), String> {
        let http2 = match &self.http2 {
            Some(client) if !client.is_closed() => client.clone(),
            _ => connect_http2(edge).await,
        };
        self.http2 = Some(http2.clone());
        self.asked.fetch_add(asks.len(), Ordering::Relaxed);
        let hits = &self.hits;
        let beside = asks.iter().filter(|ask| ask.http2).map(|ask| {
            let mut client = http2.clone();
            async move {
                client.ready().await.map_err(|error| format!("{ask:?}: {error}"))?;
                receive(ask, client.send_request(ask.request()), hits).await
            }
        });
        let in_turn = async {
            for ask in asks.iter().filter(|ask| !ask.http2) {
                let mut kept = self.http1.take();
                if let Some(client) = &mut kept
                    && client.ready().await.is_err()
                {
                    kept = None;
                }
                let mut client = match kept {
                    Some(client) => client,
                    None => connect_http1(edge).await,
                };
                receive(ask, client.send_request(ask.request()), hits).await?;
                self.http1 = Some(client);
            }
            Ok(())
        };
        let (beside, in_turn) = tokio::join!(futures_util::future::join_all(beside), in_turn);
        beside.into_iter().collect::<Result<(), String>>().and(in_turn)
    }
}

async fn receive(
    ask: &Ask,
    answer: impl Future<Output = hyper::Result<Response<hyper::body::Incoming>>>,
    hits: &AtomicUsize,
) -> Result<(), String> {
    let receiving = async {
        let (parts, body) = answer.await?.into_parts();
        Ok(Response::from_parts(parts, body.collect().await?.to_bytes()))
    };
    let received: hyper::Result<Response<Bytes>> =
        timeout(Duration::from_secs(10), receiving).await.map_err(|_| format!("{ask:?} waits"))?;
    let received = received.map_err(|error| format!("{ask:?}: {error}"))?;
    if received.headers().get("cache-status").is_some_and(|status| status == "headroom; hit") {
        hits.fetch_add(1, Ordering::Relaxed);
    }
    ask.judge(&received).map_err(|wrong| format!("{ask:?}: {wrong}"))
}

async fn connect_http1(edge: SocketAddr) -> http1::SendRequest<Full<Bytes>> {
    let io = TokioIo::new(TcpStream::connect(edge).await.unwrap());
    let (client, connection) = http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn connect_http2(edge: SocketAddr) -> http2::SendRequest<Full<Bytes>> {
    let io = TokioIo::new(TcpStream::connect(edge).await.unwrap());
    let (client, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A plan with all sites, each with rules of its own.
fn plan_of(origins: &[Origin]) -> Plan {
    let mut plan = plan(origins[0].address);
    let template = plan.sites[&"shop".parse().unwrap()].clone();
    let rules = [QueryRule::Keep, QueryRule::Sort, QueryRule::Except(vec!["y".to_owned()])];
    for (number, ((site, origin), query)) in SITES.iter().zip(origins).zip(rules).enumerate() {
        let id = site.id.parse().unwrap();
        let mut planned = plan.sites.get(&id).unwrap_or(&template).clone();
        planned.hosts = site.hosts.iter().map(|host| host.parse().unwrap()).collect();
        planned.origins = vec![origin.address.into()];
        planned.rules.query = query;
        if planned.owner != Owner::Operator {
            planned.owner = Owner::Purchaser(format!("{}-inc", site.id).parse().unwrap());
            let now = headroom_clock::now();
            let (from, until) =
                (now.before(Duration::from_secs(60)), now.after(Duration::from_secs(600)));
            let contract = ContractId::new(u64::try_from(number).unwrap());
            planned.entitlements =
                vec![headroom_steer::Entitlement { contract, ..entitlement(100_000, from, until) }];
        }
        plan.sites.insert(id, planned);
    }
    plan
}

/// Plays the steps in a new world. Gives how often was asked and answered from the cache, or what
/// is wrong.
async fn play(steps: &[Step]) -> Result<(usize, usize), String> {
    let mut origins = Vec::new();
    for site in &SITES {
        origins.push(Origin::start(move |request, _| answer(site, request)).await);
    }
    let mut plan = plan_of(&origins);
    let mut world = World::start();
    world.plan(plan.clone()).await;
    let mut visitor = Visitor::default();
    let mut purges = 0;
    let mut played = Ok(());
    for step in steps {
        match step {
            Step::Ask(asks) => played = visitor.ask(world.address, asks).await,
            Step::Purge(site, scope) => {
                let host = SITES[*site].hosts[0];
                let scope = match scope {
                    0 => PurgeScope::All,
                    1 => PurgeScope::Tag("all".to_owned()),
                    2 => PurgeScope::Prefix(format!("{host}/img/")),
                    _ => PurgeScope::Url(format!("{host}/stored?x=1&y=2")),
                };
                purges += 1;
                let planned = plan.sites.get_mut(&SITES[*site].id.parse().unwrap()).unwrap();
                planned.purges.push(Purge { sequence: purges, scope });
                world.plan(plan.clone()).await;
            }
        }
        if played.is_err() {
            break;
        }
    }
    world.running.abort();
    played.and(check_origins(&origins))?;
    Ok((visitor.asked.into_inner(), visitor.hits.into_inner()))
}

/// No origin was asked for another's host, or told of it.
fn check_origins(origins: &[Origin]) -> Result<(), String> {
    for (site, origin) in SITES.iter().zip(origins) {
        for request in origin.seen() {
            let hosts: BTreeSet<&str> =
                request.lines().filter_map(|line| line.strip_prefix("host: ")).collect();
            if hosts.len() != 1 || !hosts.iter().all(|host| site.hosts.contains(host)) {
                return Err(format!("{} was asked: {request}", site.id));
            }
        }
    }
    Ok(())
}

/// `PROPTEST_RNG_SEED=<number>` plays the same again.
#[test]
fn no_tenant_sees_anothers_bytes() {
    let mut config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(fastrand::u64(..));
    }
    let seed = config.rng_seed;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let begun = Instant::now();
    let (asked, hits) = (Cell::new(0), Cell::new(0));
    let result = TestRunner::new(config).run(&prop::collection::vec(step(), 1..24), |steps| {
        if begun.elapsed() < TIME_MAX {
            let played = runtime.block_on(play(&steps)).map_err(TestCaseError::fail)?;
            asked.set(asked.get() + played.0);
            hits.set(hits.get() + played.1);
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("with {seed:?}: {error}");
    }
    let (asked, hits) = (asked.get(), hits.get());
    println!("{hits} of {asked} responses came from the cache");
    assert!(hits * 10 > asked, "only {hits} of {asked} responses came from the cache");
}
