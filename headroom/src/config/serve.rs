//! `[edge]` and `[dns]`: what every edge and every name server is told.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use headroom_dns::{AssignConfig, DnsConfig, DnssecConfig, ForwardConfig, SecondaryConfig, Zone};
use headroom_edge::{EdgeConfig, Running, VisitorConfig};
use headroom_units::{Bytes, HostName};

use super::{
    dnssec,
    exchange::Control,
    limits,
    mistake::Refusal,
    network::{Basics, Claims, Network},
    prefix_map::{self, PrefixMap},
    protocol::{self, Protocol},
    reader::{Placed, Section, parsed},
    resolve, secondaries, values,
};

/// The settings that all edges, and those that all name servers share.
pub(super) struct Serving {
    edge: EdgeSettings,
    dns_port: u16,
    dns_threads: usize,
    zones: Vec<Zone>,
    secondaries: Vec<SecondaryConfig>,
    forwards: Vec<ForwardConfig>,
    pub(super) prefix_map: PrefixMap,
    assign: AssignConfig,
    hostmaster: Option<HostName>,
    dnssec: Option<DnssecConfig>,
    protocol: Protocol,
}

struct EdgeSettings {
    port: u16,
    threads: usize,
    cache_bytes: Bytes,
    cache_disk_bytes: Bytes,
    object_bytes_max: Bytes,
    origin_connect_timeout: Duration,
    origin_response_timeout: Duration,
    access_log: Option<PathBuf>,
    access_log_without_query: bool,
    origin_ca_file: Option<PathBuf>,
    allow_private_origins: bool,
    tls_port: u16,
    visitors: VisitorConfig,
}

pub(super) fn read(root: &Section<'_>, basics: &Basics, base_dir: &Path) -> Option<Serving> {
    let edge = edge(root, base_dir);
    let section = root.section("dns");
    let port = port(&section, "port", 5353);
    let threads = section.count_or("threads", "cores", limits::THREADS);
    let hostmaster = section.maybe("hostmaster", parsed).map(|name| name.value);
    let mut origins = Claims::new();
    let zones = zones(&section, basics, base_dir, &mut origins);
    let secondaries = secondaries::read(&section, basics, base_dir, &mut origins);
    let forwards = secondaries::forwards(&section);
    let prefix_map = prefix_map::read(&section, base_dir);
    let check_every =
        section.optional("server_check_every", "5s", values::duration(limits::SERVER_CHECK_EVERY));
    let allow_private = section.flag("allow_private_servers", false);
    let dnssec = dnssec::read(&section, base_dir);
    let protocol = protocol::read(&section, base_dir);
    section.finish();
    Some(Serving {
        edge: edge?,
        dns_port: port?,
        dns_threads: threads_of(threads?),
        zones: zones?,
        secondaries: secondaries?,
        forwards: forwards?,
        prefix_map: prefix_map?,
        assign: AssignConfig {
            check_every: check_every?.value,
            allow_private: allow_private?,
            file: None,
        },
        hostmaster,
        dnssec: dnssec?,
        protocol: protocol?,
    })
}

impl Serving {
    /// One configuration for each edge of `network`.
    pub(super) fn edges(
        &self,
        network: &Network,
        control: &Control,
        data_dir: &Path,
    ) -> Vec<EdgeConfig> {
        let edges = network.edge_order.iter().filter_map(|id| {
            let region = network.fleet.regions.values().find_map(|region| region.edges.get(id))?;
            Some(EdgeConfig {
                id: id.clone(),
                listen: sockets(&region.addresses, self.edge.port),
                threads: self.edge.threads,
                cache_bytes: self.edge.cache_bytes,
                cache_directory: (self.edge.cache_disk_bytes.count() > 0)
                    .then(|| data_dir.join("edges").join(id.as_str()).join("cache")),
                cache_disk_bytes: self.edge.cache_disk_bytes,
                burst: control.burst,
                origin_connect_timeout: self.edge.origin_connect_timeout,
                origin_response_timeout: self.edge.origin_response_timeout,
                origin_ca_file: self.edge.origin_ca_file.clone(),
                allow_private_origins: self.edge.allow_private_origins,
                object_bytes_max: self.edge.object_bytes_max,
                plan_file: Some(data_dir.join("edges").join(id.as_str()).join("plan.json")),
                running: self.edge.running(&data_dir.join("edges").join(id.as_str())),
                visitors: self.edge.visitors(&region.addresses),
            })
        });
        edges.collect()
    }

    /// One configuration for each name server of `network`.
    pub(super) fn dns(&self, network: &Network, data_dir: &Path) -> Vec<DnsConfig> {
        let servers = network.name_server_order.iter().filter_map(|id| {
            let server = network.fleet.name_servers.get(id)?;
            let folder = data_dir.join("dns").join(id.as_str());
            Some(DnsConfig {
                id: Some(id.clone()),
                listen: sockets(&server.addresses, self.dns_port),
                threads: self.dns_threads,
                plan_file: Some(folder.join("plan.json")),
                zones: self.zones.clone(),
                secondaries: self.secondaries.clone(),
                forwards: self.forwards.clone(),
                zone_folder: Some(folder.join("zones")),
                prefix_map: self.prefix_map.of(network),
                assign: AssignConfig {
                    file: Some(folder.join("assignments")),
                    ..self.assign.clone()
                },
                hostmaster: self.hostmaster.clone(),
                dnssec: self.dnssec.clone(),
                protocol: self.protocol.of(id, &server.addresses),
                // Whether it takes over is said at its start.
                running: headroom_dns::Running {
                    handover_socket: Some(folder.join("handover.sock")),
                    take_over: false,
                },
            })
        });
        servers.collect()
    }
}

impl EdgeSettings {
    /// How an edge with its files in `folder` is run. Whether it takes over is said at its start.
    fn running(&self, folder: &Path) -> Running {
        Running {
            spool_dir: Some(folder.join("spool")),
            handover_socket: Some(folder.join("handover.sock")),
            take_over: false,
            access_log: self.access_log.clone(),
            access_log_without_query: self.access_log_without_query,
        }
    }

    /// How an edge with these addresses takes visitors' connections.
    fn visitors(&self, addresses: &[IpAddr]) -> VisitorConfig {
        let tls_listen = match self.visitors.certificates {
            Some(_) => sockets(addresses, self.tls_port),
            None => Vec::new(),
        };
        VisitorConfig { tls_listen, ..self.visitors.clone() }
    }
}

/// As many as were asked for, or as there are cores.
fn threads_of(asked: Option<i64>) -> usize {
    asked.map_or_else(cores, |count| usize::try_from(count).unwrap_or(1))
}

pub(super) fn sockets(addresses: &[IpAddr], port: u16) -> Vec<SocketAddr> {
    addresses.iter().map(|address| SocketAddr::new(*address, port)).collect()
}

fn edge(root: &Section<'_>, base_dir: &Path) -> Option<EdgeSettings> {
    let section = root.section("edge");
    let (port, tls_port) = (port(&section, "port", 8080), port(&section, "tls_port", 8443));
    let visitors = visitors(&section, base_dir);
    let threads = section.count_or("threads", "cores", limits::THREADS);
    let cache = limits::CACHE_BYTES_MIN..=limits::CACHE_BYTES_MAX;
    let cache_size = section.optional("cache_size", "256 MiB", values::bytes(cache));
    let disk = 0..=limits::CACHE_BYTES_MAX;
    let disk_size = section.optional("cache_disk_size", "0 B", values::bytes(disk));
    let object = limits::OBJECT_BYTES_MIN..=limits::CACHE_BYTES_MAX;
    let object_max = section.optional("object_max", "16 MiB", values::bytes(object));
    if let (Some(object), Some(cache)) = (&object_max, &cache_size)
        && object.value.count() > cache.value.count() / limits::OBJECTS_PER_CACHE_MIN
    {
        let refusal =
            Refusal::new("the cache is too small for it", "at most a quarter of edge.cache_size");
        section.refuse(&object.place, refusal);
    }
    let timeout = |key: &str, default: &str| {
        section.optional(key, default, values::duration(limits::ORIGIN_TIMEOUT))
    };
    let origin_connect_timeout = timeout("origin_connect_timeout", "2s");
    let origin_response_timeout = timeout("origin_response_timeout", "15s");
    let access_log = section.optional("access_log", "off", values::path);
    let access_log_query = section.optional("access_log_query", "kept", values::kept);
    let ca_file = section.optional("origin_ca_file", "", |path| Ok(path.to_owned()));
    let allow_private_origins = section.flag("allow_private_origins", false);
    section.finish();
    Some(EdgeSettings {
        port: port?,
        threads: threads_of(threads?),
        cache_bytes: cache_size?.value,
        cache_disk_bytes: disk_size?.value,
        object_bytes_max: object_max?.value,
        origin_connect_timeout: origin_connect_timeout?.value,
        origin_response_timeout: origin_response_timeout?.value,
        access_log: match access_log?.value.as_str() {
            "off" => None,
            "-" => Some(PathBuf::from("-")),
            path => Some(resolve(base_dir, path)),
        },
        access_log_without_query: !access_log_query?.value,
        origin_ca_file: Some(ca_file?.value)
            .filter(|path| !path.is_empty())
            .map(|path| resolve(base_dir, &path)),
        allow_private_origins: allow_private_origins?,
        tls_port: tls_port?,
        visitors: visitors?,
    })
}

/// How visitors' connections are taken; where it listens for TLS depends on the edge.
fn visitors(section: &Section<'_>, base_dir: &Path) -> Option<VisitorConfig> {
    let certificates = section.maybe("certificates", values::path);
    let broken = certificates.is_none() && section.has("certificates");
    let connections_max = section.count("connections", 65_536, limits::CONNECTIONS);
    let per_client_max =
        section.count("connections_per_client", 256, limits::CONNECTIONS_PER_CLIENT);
    let timeout = |key: &str, default: &str| {
        section.optional(key, default, values::duration(limits::VISITOR_TIMEOUT))
    };
    let head_timeout = timeout("head_timeout", "30s");
    let idle_timeout = timeout("idle_timeout", "60s");
    let send_timeout = timeout("send_timeout", "30s");
    let visitors = VisitorConfig {
        tls_listen: Vec::new(),
        certificates: certificates.map(|folder| resolve(base_dir, &folder.value)),
        connections_max: usize::try_from(connections_max?).ok()?,
        per_client_max: usize::try_from(per_client_max?).ok()?,
        head_timeout: head_timeout?.value,
        idle_timeout: idle_timeout?.value,
        send_timeout: send_timeout?.value,
    };
    (!broken).then_some(visitors)
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

fn port(section: &Section<'_>, key: &str, default: i64) -> Option<u16> {
    section.count(key, default, limits::PORT).and_then(|port| u16::try_from(port).ok())
}

fn zones(
    dns: &Section<'_>,
    basics: &Basics,
    base_dir: &Path,
    origins: &mut Claims<HostName>,
) -> Option<Vec<Zone>> {
    let mut zones = Vec::new();
    for section in dns.sections("zones") {
        let origin = section.required("origin", parsed::<HostName>);
        let file = section.required("file", values::path);
        origins.claim(&section, &origin);
        if let (Some(origin), Some(own)) = (&origin, &basics.zone)
            && origin.value == own.value
        {
            let reason = "the network's own zone is made from the plan, not from a file";
            section.refuse(&origin.place, Refusal::new(reason, "another zone"));
        }
        let zone = origin.zip(file).map(|(origin, file)| zone(&section, &origin, &file, base_dir));
        section.finish();
        zones.push(zone.flatten());
    }
    zones.into_iter().collect()
}

fn zone(
    section: &Section<'_>,
    origin: &Placed<HostName>,
    file: &Placed<String>,
    base_dir: &Path,
) -> Option<Zone> {
    let path = resolve(base_dir, &file.value);
    let refuse = |reason: String| {
        section.refuse(&file.place, Refusal { reason, accepted: None });
        None
    };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => return refuse(format!("{} cannot be read: {error}", path.display())),
    };
    match Zone::parse(&text) {
        Ok(zone) if zone.name().eq_ignore_ascii_case(origin.value.as_str()) => Some(zone),
        Ok(zone) => refuse(format!("it holds the zone {}, not {}", zone.name(), origin.value)),
        Err(error) => refuse(format!("it is not a zone file: {error}")),
    }
}
