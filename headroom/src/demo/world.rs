//! The network, the purchaser's and the operator's servers: all that visitors meet.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use headroom_bus::Bus;
use headroom_dns::{DnsConfig, DnsServer, Zone};
use headroom_exchange::OPERATOR_TOKEN_FILE;
use headroom_units::Origin;
use headroom_wire::{
    AlgorithmDocument, ContractView, NewCredit, NewPurchaser, NewSeries, NewSite,
    OverShareDocument, PurchaserView, RemainderDocument, SeriesImported, SeriesPoint,
    ServerDocument, SiteRulesDocument, SiteView, Text, Time,
};
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    api::Api,
    origin,
    resolver::Delegations,
    scenario::{
        NAME_SERVER, OPERATOR_ORIGIN, ORIGINS, PURCHASER_NAME_SERVER, Place, REGIONS,
        RemainderPolicy, Scenario, edge_address,
    },
};
use crate::{
    config::Config,
    roles::{self, Network},
};

/// The host that the purchaser's visitors ask for, and the purchaser's own name for it.
pub(crate) const SHOP: &str = "www.shop.example";
pub(crate) const SHOP_ORIGIN: &str = "origin.shop.example";
/// The operator's own site.
pub(crate) const PORTAL: &str = "www.portal.example";
const ZONE: &str = "cdn.headroom.example";
/// What the purchaser pays in.
const CREDIT_MICRO: i64 = 100_000_000;
/// How long the last slots may take to be settled.
const SETTLED_WITHIN: Duration = Duration::from_secs(15);

/// Everything that is up.
pub(crate) struct World {
    pub(crate) operator: Api,
    pub(crate) purchaser: Api,
    pub(crate) delegations: Arc<Delegations>,
    pub(crate) http_port: u16,
    pub(crate) api: SocketAddr,
    pub(crate) token_file: std::path::PathBuf,
    purchaser_dns: CancellationToken,
    tasks: JoinSet<()>,
}

impl World {
    /// Starts it all: the network, its history, the operator's site; then the purchaser registers
    /// its site, proves its name and points it to the network.
    pub(crate) async fn start(scenario: &Scenario) -> anyhow::Result<(Self, Network)> {
        let mut tasks = JoinSet::new();
        let http_port = scenario.http_port();
        for address in ORIGINS {
            let address = SocketAddr::from((address, http_port));
            origin::serve(address, scenario.origin_strength, &mut tasks).await?;
        }
        let portal = SocketAddr::from((OPERATOR_ORIGIN, http_port));
        origin::serve(portal, scenario.own_peak * 10.0, &mut tasks).await?;

        let config = Config::parse(&configuration(scenario), &scenario.data_dir)?;
        let bus = Bus::in_process();
        let network = roles::start(config, &bus).await?;
        let api = network.api().context("the exchange has no API")?;
        let token_file = scenario.data_dir.join("exchange").join(OPERATOR_TOKEN_FILE);
        let token = std::fs::read_to_string(&token_file).context("the operator's token")?;
        let operator = Api::new(&format!("http://{api}"), token.trim())?;
        import_history(scenario, &operator).await?;

        let (purchaser, site) = register(scenario, &operator).await?;
        let purchaser_dns = CancellationToken::new();
        let zone = purchaser_zone(&site)?;
        serve_purchaser_zone(scenario, zone, &mut tasks, purchaser_dns.clone()).await?;
        let verify = format!("/v1/sites/{}/verify", site.id.0);
        let _proved: SiteView = purchaser.post(&verify, serde_json::json!({})).await?;

        let dns = SocketAddr::from((NAME_SERVER, scenario.dns_port()));
        let purchaser_server = SocketAddr::from((PURCHASER_NAME_SERVER, scenario.dns_port()));
        let delegations = Arc::new(Delegations::new(vec![
            ("shop.example".to_owned(), purchaser_server),
            (ZONE.to_owned(), dns),
            (PORTAL.to_owned(), dns),
        ]));
        let world = Self {
            operator,
            purchaser,
            delegations,
            http_port,
            api,
            token_file,
            purchaser_dns,
            tasks,
        };
        Ok((world, network))
    }

    /// Waits until every slot that was bought is settled.
    pub(crate) async fn settled(&self) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + SETTLED_WITHIN;
        loop {
            let contracts: Vec<ContractView> = self.operator.get("/v1/contracts").await?;
            let settled =
                |contract: &ContractView| contract.settlements.len() == contract.prices_micro.len();
            if contracts.iter().all(settled) {
                return Ok(());
            }
            anyhow::ensure!(
                tokio::time::Instant::now() < deadline,
                "not all slots were settled within {} s",
                SETTLED_WITHIN.as_secs()
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Stops everything around the network.
    pub(crate) fn stop(mut self) {
        self.purchaser_dns.cancel();
        self.tasks.abort_all();
    }

    /// True if an address is one of the edges'.
    pub(crate) fn is_edge(address: IpAddr) -> bool {
        (0..REGIONS.len()).any(|region| (0..2).any(|edge| edge_address(region, edge) == address))
    }
}

/// The network's configuration, as an operator would write it.
fn configuration(scenario: &Scenario) -> String {
    let slot = scenario.slot.seconds();
    let (http, api, dns) = (scenario.http_port(), scenario.api_port(), scenario.dns_port());
    let ttl = scenario.ttl().as_secs();
    let name_server = IpAddr::from(NAME_SERVER);
    let purchaser_dns = SocketAddr::from((PURCHASER_NAME_SERVER, dns));
    let portal = SocketAddr::from((OPERATOR_ORIGIN, http));
    let network = format!(
        r#"
[network]
zone = "{ZONE}"
ttl = "{ttl}s"
slot = "{slot}s"
default_region = "{default}"

[[name_servers]]
id = "ns1"
host = "ns1.{ZONE}"
addresses = ["{name_server}"]

[[own_sites]]
id = "portal"
hosts = ["{PORTAL}"]
origins = ["{portal}"]

[exchange]
listen = "127.0.0.1:{api}"
data_dir = "exchange"
resolvers = ["{purchaser_dns}"]
settle_delay = "3s"
edge_timeout = "3s"

[forecast]
season = "{season}s"
history_seasons = 14
horizon = "{horizon}s"
risk = "1 %"
{POLICY}
horizon = "{horizon}s"
lead = "{lead}s"

[edge]
port = {http}
threads = 1
allow_private_origins = true
connections_per_client = 0

[dns]
port = {dns}
"#,
        default = REGIONS[0].id,
        season = 288 * slot,
        horizon = 60 * slot,
        lead = Scenario::LEAD.as_secs(),
    );
    REGIONS.iter().enumerate().fold(network, |text, (number, place)| {
        text + &region_configuration(scenario, number, *place)
    })
}

/// The demo's prices, and buckets that suit its small rates: half a second of 60 req/s.
const POLICY: &str = r#"
[control]
burst = "500ms"

[market]
cost = "0.0001 EUR"
penalty = "0.001 EUR"
reserve = "0.0002 EUR"
auction_every = "1s"
"#;

fn region_configuration(scenario: &Scenario, number: usize, place: Place) -> String {
    let (id, visitors, own) = (place.id, place.visitors, place.own_visitors);
    let mut text = format!(
        r#"
[[regions]]
id = "{id}"
client_prefixes = ["127.{visitors}.0.0/16", "127.{own}.0.0/16"]
"#
    );
    for edge in 0..2 {
        let (address, units) = (edge_address(number, edge), scenario.edge_units);
        text += &format!(
            r#"
[[regions.edges]]
id = "{id}-{edge}"
addresses = ["{address}"]
capacity = "{units} units"
"#,
            edge = edge + 1
        );
    }
    text
}

/// The recorded load before the demo begins, as if the operator had metered it.
async fn import_history(scenario: &Scenario, operator: &Api) -> anyhow::Result<()> {
    let running = scenario.slot.slot_at(headroom_clock::now());
    for place in REGIONS {
        let load = scenario.own_load(place);
        let history = load.iter().take(Scenario::HISTORY);
        let points = (0_u64..)
            .zip(history)
            .map(|(number, load)| {
                let ago = u64::try_from(Scenario::HISTORY).unwrap_or(0) - number;
                SeriesPoint {
                    slot: Time(scenario.slot.start(running.minus(ago))),
                    requests_per_second: *load,
                }
            })
            .collect();
        let path = format!("/v1/regions/{}/series", place.id);
        let _: SeriesImported = operator.put(&path, NewSeries { points }).await?;
    }
    Ok(())
}

/// The operator opens an account for the purchaser; the purchaser registers its site.
async fn register(scenario: &Scenario, operator: &Api) -> anyhow::Result<(Api, SiteView)> {
    let id = Text("shop-inc".parse()?);
    let known: Vec<PurchaserView> = operator.get("/v1/purchasers").await?;
    let account: PurchaserView = if known.iter().any(|purchaser| purchaser.id == id) {
        operator.post("/v1/purchasers/shop-inc/tokens", serde_json::json!({})).await?
    } else {
        operator.post("/v1/purchasers", NewPurchaser { id }).await?
    };
    let token = account.token.context("the purchaser gets a token")?;
    if account.available_micro < CREDIT_MICRO {
        let credit = NewCredit { amount_micro: CREDIT_MICRO };
        let _: PurchaserView = operator.post("/v1/purchasers/shop-inc/credits", credit).await?;
    }
    let purchaser = operator.with_token(&token)?;
    let port = scenario.http_port();
    let site = NewSite {
        id: Text("shop".parse()?),
        hosts: vec![Text(SHOP.parse()?)],
        origins: ORIGINS
            .map(|address| Text(Origin::from(SocketAddr::from((address, port)))))
            .into(),
        remainder: match scenario.remainder {
            RemainderPolicy::Return => {
                RemainderDocument::Return { name: Text(SHOP_ORIGIN.parse()?) }
            }
            RemainderPolicy::Assign => RemainderDocument::Assign {
                algorithm: AlgorithmDocument::Weighted,
                servers: ORIGINS
                    .map(|address| ServerDocument {
                        addresses: vec![address.into()],
                        weight: 1,
                        region: None,
                    })
                    .into(),
                check: None,
            },
        },
        over_share: OverShareDocument::Redirect,
        fallback: Text(format!("{SHOP_ORIGIN}:{port}").parse()?),
        rules: SiteRulesDocument::default(),
    };
    let site: SiteView = purchaser.post("/v1/sites", site).await?;
    Ok((purchaser, site))
}

/// The zone at the purchaser's own name server: its own servers, the proof of control, and the
/// alias that routes the mapping of its name to the network.
fn purchaser_zone(site: &SiteView) -> anyhow::Result<Zone> {
    let host = site.hosts.first().context("the site has a host name")?;
    let (challenge, value, cname) = (&host.challenge_name, &host.challenge_value, &site.cname.0);
    let name_server = IpAddr::from(PURCHASER_NAME_SERVER);
    let mut text = format!(
        "$ORIGIN shop.example.\n$TTL 300\n\
         @ IN SOA ns1 hostmaster 1 3600 600 86400 300\n\
         @ IN NS ns1\n\
         ns1 IN A {name_server}\n\
         www IN CNAME {cname}.\n\
         {challenge}. IN TXT \"{value}\"\n"
    );
    for address in ORIGINS {
        text += &format!("origin IN A {}\n", IpAddr::from(address));
    }
    Zone::parse(&text).context("the purchaser's zone")
}

async fn serve_purchaser_zone(
    scenario: &Scenario,
    zone: Zone,
    tasks: &mut JoinSet<()>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let config = DnsConfig {
        zones: vec![zone],
        ..DnsConfig::at(vec![SocketAddr::from((PURCHASER_NAME_SERVER, scenario.dns_port()))])
    };
    let server = DnsServer::bind(config, &Bus::in_process(), &mut Registry::default()).await?;
    tasks.spawn(server.run(stop));
    Ok(())
}
