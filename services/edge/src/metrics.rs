//! What the edge shows to Prometheus.

use std::{array, sync::atomic::Ordering};

use headroom_units::{EdgeId, Timestamp};
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use crate::{
    disk::{Disk, DiskCounts},
    visitors::Full,
};

type Labels = Vec<(&'static str, String)>;

/// The metrics of all edges of one process, told apart by the label `edge`.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    requests: Family<Labels, Counter>,
    sent_bytes: Family<Labels, Counter>,
    connections: Family<Labels, Gauge>,
    connections_refused: Family<Labels, Counter>,
    connections_cut: Family<Labels, Counter>,
    connections_displaced: Family<Labels, Counter>,
    handshakes: Family<Labels, Counter>,
    certificates: Family<Labels, Gauge>,
    certificate_expiry: Family<Labels, Gauge>,
    malformed: Family<Labels, Counter>,
    origin_requests: Family<Labels, Counter>,
    origins_denied: Family<Labels, Counter>,
    cache_objects: Family<Labels, Gauge>,
    cache_bytes: Family<Labels, Gauge>,
    disk: DiskMetrics,
    generation: Family<Labels, Gauge>,
    budget_sequence: Family<Labels, Gauge>,
    draining: Family<Labels, Gauge>,
    meters_dropped: Family<Labels, Counter>,
    access_log_dropped: Family<Labels, Counter>,
}

impl Metrics {
    /// Adds the metrics to `registry`. Once per process: a name must not be there twice.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let edge = registry.sub_registry_with_prefix("headroom_edge");
        edge.register("requests", "Requests by outcome", metrics.requests.clone());
        edge.register_with_unit(
            "sent",
            "Sent to visitors, heads and bodies",
            Unit::Bytes,
            metrics.sent_bytes.clone(),
        );
        metrics.register_connections(edge);
        edge.register("handshakes", "TLS handshakes by result", metrics.handshakes.clone());
        edge.register("certificates", "Certificates loaded", metrics.certificates.clone());
        edge.register_with_unit(
            "certificate_expiry_timestamp",
            "When the first certificate expires, since the Unix epoch; 0 if there is none",
            Unit::Seconds,
            metrics.certificate_expiry.clone(),
        );
        edge.register(
            "malformed_requests",
            "Requests refused before they were understood",
            metrics.malformed.clone(),
        );
        edge.register(
            "origin_requests",
            "Requests to origins by result",
            metrics.origin_requests.clone(),
        );
        edge.register(
            "origins_denied",
            "Connections that were not made, because the origin is at no public address",
            metrics.origins_denied.clone(),
        );
        edge.register("cache_objects", "Responses stored", metrics.cache_objects.clone());
        edge.register_with_unit(
            "cache",
            "Memory of stored responses",
            Unit::Bytes,
            metrics.cache_bytes.clone(),
        );
        metrics.disk.register(edge);
        edge.register("plan_generation", "The plan in force", metrics.generation.clone());
        edge.register("budget_sequence", "The budgets in force", metrics.budget_sequence.clone());
        edge.register(
            "draining",
            "1 while it ends and accepts nothing new",
            metrics.draining.clone(),
        );
        edge.register(
            "meters_dropped",
            "Meter reports dropped because the spool was full",
            metrics.meters_dropped.clone(),
        );
        edge.register(
            "access_log_dropped",
            "Lines of the access log that were not written",
            metrics.access_log_dropped.clone(),
        );
        metrics
    }

    fn register_connections(&self, edge: &mut Registry) {
        edge.register("connections", "Visitors' connections", self.connections.clone());
        edge.register(
            "connections_refused",
            "Connections closed for want of room",
            self.connections_refused.clone(),
        );
        edge.register(
            "connections_cut",
            "Connections closed on visitors who were too slow",
            self.connections_cut.clone(),
        );
        edge.register(
            "connections_displaced",
            "Connections that waited and made room for new ones",
            self.connections_displaced.clone(),
        );
    }

    /// The metrics of one edge, looked up once.
    pub(crate) fn of(&self, edge: &EdgeId) -> EdgeMetrics {
        let base = vec![("edge", edge.to_string())];
        let labelled = |family: &Family<Labels, Counter>, key, value: &str| {
            let mut labels = base.clone();
            labels.push((key, value.to_owned()));
            family.get_or_create(&labels).clone()
        };
        EdgeMetrics {
            requests: array::from_fn(|index| {
                labelled(&self.requests, "outcome", Outcome::ALL[index].as_str())
            }),
            sent_bytes: self.sent_bytes.get_or_create(&base).clone(),
            connections: self.connections.get_or_create(&base).clone(),
            refused_full: labelled(&self.connections_refused, "reason", "full"),
            refused_client: labelled(&self.connections_refused, "reason", "client"),
            connections_cut: self.connections_cut.get_or_create(&base).clone(),
            connections_displaced: self.connections_displaced.get_or_create(&base).clone(),
            handshakes_done: labelled(&self.handshakes, "result", "done"),
            handshakes_failed: labelled(&self.handshakes, "result", "failed"),
            handshakes_refused: labelled(&self.handshakes, "result", "refused"),
            handshakes_unknown_name: labelled(&self.handshakes, "result", "unknown_name"),
            certificates: self.certificates.get_or_create(&base).clone(),
            certificate_expiry: self.certificate_expiry.get_or_create(&base).clone(),
            malformed: self.malformed.get_or_create(&base).clone(),
            origin_answered: labelled(&self.origin_requests, "result", "answered"),
            origin_unreachable: labelled(&self.origin_requests, "result", "unreachable"),
            origin_timeout: labelled(&self.origin_requests, "result", "timeout"),
            origins_denied: self.origins_denied.get_or_create(&base).clone(),
            cache_objects: self.cache_objects.get_or_create(&base).clone(),
            cache_bytes: self.cache_bytes.get_or_create(&base).clone(),
            disk: self.disk.clone(),
            generation: self.generation.get_or_create(&base).clone(),
            budget_sequence: self.budget_sequence.get_or_create(&base).clone(),
            draining: self.draining.get_or_create(&base).clone(),
            meters_dropped: self.meters_dropped.get_or_create(&base).clone(),
            access_log_dropped: self.access_log_dropped.get_or_create(&base).clone(),
            base,
        }
    }
}

/// A number of [`DiskCounts`]: its name, what it is, and how to get it.
type DiskCount = (&'static str, &'static str, fn(&DiskCounts) -> u64);

const DISK_COUNTS: [DiskCount; 9] = [
    ("disk_gets", "Values asked of the disk tier", |counts| counts.gets),
    ("disk_hits", "Values the disk tier had", |counts| counts.hits),
    ("disk_puts", "Values the disk tier took", |counts| counts.puts),
    ("disk_refused", "Values the disk tier did not take", |counts| counts.refused),
    ("disk_lost", "Values the disk tier took and could not write", |counts| counts.lost),
    ("disk_removals", "Values removed from the disk tier", |counts| counts.removals),
    ("disk_corrupt", "Damaged values found in the disk tier", |counts| counts.corrupt),
    ("disk_read_errors", "Reads of the disk tier that failed", |counts| counts.read_errors),
    ("disk_write_errors", "Writes of the disk tier that failed", |counts| counts.write_errors),
];

/// The metrics of the disk tier; an edge without one has none.
#[derive(Debug, Clone, Default)]
struct DiskMetrics {
    entries: Family<Labels, Gauge>,
    bytes: Family<Labels, Gauge>,
    counts: [Family<Labels, Counter>; DISK_COUNTS.len()],
}

impl DiskMetrics {
    fn register(&self, edge: &mut Registry) {
        edge.register("disk_entries", "Values in the disk tier", self.entries.clone());
        let bytes = self.bytes.clone();
        edge.register_with_unit("disk", "Size of the files of the disk tier", Unit::Bytes, bytes);
        for ((name, help, _), family) in DISK_COUNTS.iter().zip(&self.counts) {
            edge.register(*name, *help, family.clone());
        }
    }

    fn show(&self, labels: &Labels, disk: &Disk) {
        let entries = i64::try_from(disk.entries()).unwrap_or(i64::MAX);
        self.entries.get_or_create(labels).set(entries);
        self.bytes.get_or_create(labels).set(shown(disk.bytes()));
        let counts = disk.counts();
        for ((.., number), family) in DISK_COUNTS.iter().zip(&self.counts) {
            family.get_or_create(labels).inner().store(number(&counts), Ordering::Relaxed);
        }
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Hit,
    Stale,
    Revalidated,
    Collapsed,
    Miss,
    Bypass,
    Redirected,
    PassedThrough,
    Refused,
    BadRequest,
    Misdirected,
    OriginUnreachable,
    OriginTimeout,
    NotCached,
    Upgraded,
}

impl Outcome {
    const ALL: [Self; 15] = [
        Self::Hit,
        Self::Stale,
        Self::Revalidated,
        Self::Collapsed,
        Self::Miss,
        Self::Bypass,
        Self::Redirected,
        Self::PassedThrough,
        Self::Refused,
        Self::BadRequest,
        Self::Misdirected,
        Self::OriginUnreachable,
        Self::OriginTimeout,
        Self::NotCached,
        Self::Upgraded,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::Collapsed => "collapsed",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
            Self::Redirected => "redirected",
            Self::PassedThrough => "passed_through",
            Self::Refused => "refused",
            Self::BadRequest => "bad_request",
            Self::Misdirected => "misdirected",
            Self::OriginUnreachable => "origin_unreachable",
            Self::OriginTimeout => "origin_timeout",
            Self::NotCached => "not_cached",
            Self::Upgraded => "upgraded",
        }
    }
}

/// The metrics of one edge; each is one atomic number.
#[derive(Debug, Clone)]
pub(crate) struct EdgeMetrics {
    requests: [Counter; Outcome::ALL.len()],
    pub(crate) sent_bytes: Counter,
    pub(crate) connections: Gauge,
    refused_full: Counter,
    refused_client: Counter,
    pub(crate) connections_cut: Counter,
    pub(crate) connections_displaced: Counter,
    pub(crate) handshakes_done: Counter,
    pub(crate) handshakes_failed: Counter,
    pub(crate) handshakes_refused: Counter,
    pub(crate) handshakes_unknown_name: Counter,
    certificates: Gauge,
    certificate_expiry: Gauge,
    pub(crate) malformed: Counter,
    pub(crate) origin_answered: Counter,
    pub(crate) origin_unreachable: Counter,
    pub(crate) origin_timeout: Counter,
    pub(crate) origins_denied: Counter,
    pub(crate) cache_objects: Gauge,
    pub(crate) cache_bytes: Gauge,
    disk: DiskMetrics,
    pub(crate) generation: Gauge,
    pub(crate) budget_sequence: Gauge,
    pub(crate) draining: Gauge,
    pub(crate) meters_dropped: Counter,
    pub(crate) access_log_dropped: Counter,
    /// The labels of this edge.
    base: Labels,
}

impl EdgeMetrics {
    pub(crate) fn count(&self, outcome: Outcome) {
        self.requests[outcome as usize].inc();
    }

    pub(crate) fn show_certificates(&self, count: usize, expiry: Option<Timestamp>) {
        self.certificates.set(i64::try_from(count).unwrap_or(i64::MAX));
        let expiry = expiry.map_or(0, Timestamp::seconds);
        self.certificate_expiry.set(i64::try_from(expiry).unwrap_or(i64::MAX));
    }

    pub(crate) fn show_disk(&self, disk: &Disk) {
        self.disk.show(&self.base, disk);
    }

    pub(crate) fn connection_refused(&self, full: Full) {
        match full {
            Full::All => self.refused_full.inc(),
            Full::Client => self.refused_client.inc(),
        };
    }
}

/// A number as a gauge shows it.
pub(crate) fn shown(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::DiskConfig;

    #[test]
    fn an_edge_shows_its_disk_tier_if_it_has_one() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let directory = tempfile::TempDir::new().unwrap();
        let config = DiskConfig { directory: directory.path().to_owned(), bytes: 16 << 20 };
        let disk = Disk::open(&config).unwrap();
        assert!(disk.put(b"key".to_vec(), b"value".to_vec().into()));
        let east = metrics.of(&"east-1".parse().unwrap());
        metrics.of(&"east-2".parse().unwrap());
        east.show_disk(&disk);
        disk.remove(b"key");
        disk.close();
        east.show_disk(&disk);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "entries{edge=\"east-1\"} 0".to_owned(),
            format!("bytes{{edge=\"east-1\"}} {}", disk.bytes()),
            "puts_total{edge=\"east-1\"} 1".to_owned(),
            "removals_total{edge=\"east-1\"} 1".to_owned(),
            "gets_total{edge=\"east-1\"} 0".to_owned(),
        ] {
            assert!(text.contains(&format!("\nheadroom_edge_disk_{line}\n")), "{line}: {text}");
        }
        assert!(disk.bytes() > 0);
        assert!(!text.lines().any(|line| line.contains("disk_") && line.contains("east-2")));
    }

    #[test]
    fn two_edges_share_each_name() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index);
        }
        metrics.of(&"east-1".parse().unwrap()).count(Outcome::Hit);
        metrics.of(&"east-2".parse().unwrap()).count(Outcome::Miss);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains(r#"headroom_edge_requests_total{edge="east-1",outcome="hit"} 1"#));
        assert!(text.contains(r#"headroom_edge_requests_total{edge="east-2",outcome="miss"} 1"#));
        assert!(text.contains(r#"headroom_edge_sent_bytes_total{edge="east-1"} 0"#), "{text}");
        assert_eq!(text.matches("# TYPE headroom_edge_requests ").count(), 1);
    }
}
