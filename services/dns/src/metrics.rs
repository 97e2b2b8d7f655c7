//! What is counted, in Prometheus' form.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::{Transport, decisions::Repeated, message::Rcode, rate_limit::Tally, state::Response};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct QueryLabels {
    transport: &'static str,
    rcode: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct TransportLabel {
    transport: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ActionLabel {
    action: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct TargetLabel {
    target: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OutcomeLabel {
    outcome: &'static str,
}

/// What came of a plan that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlanOutcome {
    Installed,
    NotNewer,
    Unsound,
    NotSaved,
}

/// What came of a prefix map that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PrefixMapOutcome {
    Loaded,
    Refused,
}

/// The counters of one name server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    queries: Family<QueryLabels, Counter>,
    ignored: Family<TransportLabel, Counter>,
    truncated: Family<TransportLabel, Counter>,
    limited: Family<ActionLabel, Counter>,
    mappings: Family<TargetLabel, Counter>,
    plans: Family<OutcomeLabel, Counter>,
    generation: Gauge,
    prefix_maps: Family<OutcomeLabel, Counter>,
    prefix_map_prefixes: Gauge,
    prefix_map_digest: Gauge,
    pub(crate) connections: Gauge,
    pub(crate) connections_displaced: Counter,
    pub(crate) panics: Counter,
}

impl Metrics {
    /// The counters, listed in `registry` under `headroom_dns_`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let list = registry.sub_registry_with_prefix("headroom_dns");
        list.register("queries", "Queries answered", metrics.queries.clone());
        list.register("ignored", "Messages that must not be answered", metrics.ignored.clone());
        list.register("truncated", "Answers that did not fit", metrics.truncated.clone());
        list.register(
            "limited",
            "Answers over UDP that were held back from sources without a cookie, by what was sent",
            metrics.limited.clone(),
        );
        list.register("mappings", "Mapping requests by where they went", metrics.mappings.clone());
        list.register("plans", "Plans offered, by what came of them", metrics.plans.clone());
        list.register("plan_generation", "The plan in force", metrics.generation.clone());
        list.register(
            "prefix_maps",
            "Prefix maps read, by what came of them",
            metrics.prefix_maps.clone(),
        );
        list.register(
            "prefix_map_prefixes",
            "Prefixes of the map in force",
            metrics.prefix_map_prefixes.clone(),
        );
        list.register(
            "prefix_map_digest",
            "What the map in force says, as a number: the same where clients have the same regions",
            metrics.prefix_map_digest.clone(),
        );
        list.register(
            "tcp_connections",
            "Open connections, over TLS too",
            metrics.connections.clone(),
        );
        list.register(
            "tcp_connections_displaced",
            "Connections closed to make room for newer ones",
            metrics.connections_displaced.clone(),
        );
        list.register("panics", "Queries that found a defect here", metrics.panics.clone());
        metrics
    }

    /// Counts a query, answered or not.
    pub(crate) fn count(&self, transport: Transport, response: Option<&Response>) {
        let transport = match transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        };
        let Some(response) = response else {
            self.ignored.get_or_create(&TransportLabel { transport }).inc();
            return;
        };
        let rcode = rcode_label(response.rcode);
        self.queries.get_or_create(&QueryLabels { transport, rcode }).inc();
        if response.truncated {
            self.truncated.get_or_create(&TransportLabel { transport }).inc();
        }
        let mapped = response.mapped;
        for (target, count) in [("edge", mapped.to_edges), ("remainder", mapped.to_remainder)] {
            if count > 0 {
                self.mappings.get_or_create(&TargetLabel { target }).inc_by(count.into());
            }
        }
    }

    /// Counts mapping requests that got an answer once more.
    pub(crate) fn count_repeated(&self, repeated: Repeated) {
        for (target, count) in [("edge", repeated.to_edges), ("remainder", repeated.to_remainder)] {
            if count > 0 {
                self.mappings.get_or_create(&TargetLabel { target }).inc_by(count);
            }
        }
    }

    /// Counts datagrams that got an answer that was made in advance.
    pub(crate) fn count_made_in_advance(&self, count: u64) {
        if count > 0 {
            let labels = QueryLabels { transport: "udp", rcode: rcode_label(Rcode::NOERROR) };
            self.queries.get_or_create(&labels).inc_by(count);
        }
    }

    /// Counts answers that the rate limiter held back.
    pub(crate) fn count_limited(&self, tally: Tally) {
        for (action, count) in
            [("dropped", tally.dropped), ("slipped", tally.slipped), ("truncated", tally.truncated)]
        {
            if count > 0 {
                self.limited.get_or_create(&ActionLabel { action }).inc_by(count);
            }
        }
    }

    pub(crate) fn count_plan(&self, outcome: PlanOutcome) {
        let outcome = match outcome {
            PlanOutcome::Installed => "installed",
            PlanOutcome::NotNewer => "not_newer",
            PlanOutcome::Unsound => "unsound",
            PlanOutcome::NotSaved => "not_saved",
        };
        self.plans.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    pub(crate) fn count_prefix_map(&self, outcome: PrefixMapOutcome) {
        let outcome = match outcome {
            PrefixMapOutcome::Loaded => "loaded",
            PrefixMapOutcome::Refused => "refused",
        };
        self.prefix_maps.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    pub(crate) fn show_prefix_map(&self, prefixes: usize, digest: i64) {
        self.prefix_map_prefixes.set(i64::try_from(prefixes).unwrap_or(i64::MAX));
        self.prefix_map_digest.set(digest);
    }

    pub(crate) fn set_generation(&self, generation: u64) {
        self.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
    }
}

fn rcode_label(rcode: Rcode) -> &'static str {
    match rcode {
        Rcode::NOERROR => "noerror",
        Rcode::FORMERR => "formerr",
        Rcode::NXDOMAIN => "nxdomain",
        Rcode::NOTIMP => "notimp",
        Rcode::YXDOMAIN => "yxdomain",
        Rcode::REFUSED => "refused",
        Rcode::BADVERS => "badvers",
        Rcode::BADCOOKIE => "badcookie",
        _ => "other",
    }
}
