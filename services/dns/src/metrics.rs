//! What is counted, in Prometheus' form.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::{Transport, message::Rcode, state::Response};

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

/// The counters of one name server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    queries: Family<QueryLabels, Counter>,
    ignored: Family<TransportLabel, Counter>,
    truncated: Family<TransportLabel, Counter>,
    mappings: Family<TargetLabel, Counter>,
    plans: Family<OutcomeLabel, Counter>,
    generation: Gauge,
    pub(crate) connections: Gauge,
    pub(crate) connections_refused: Counter,
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
        list.register("mappings", "Mapping requests by where they went", metrics.mappings.clone());
        list.register("plans", "Plans offered, by what came of them", metrics.plans.clone());
        list.register("plan_generation", "The plan in force", metrics.generation.clone());
        list.register("tcp_connections", "Open TCP connections", metrics.connections.clone());
        list.register(
            "tcp_connections_refused",
            "TCP connections closed because there were too many",
            metrics.connections_refused.clone(),
        );
        list.register("panics", "Queries that found a defect here", metrics.panics.clone());
        metrics
    }

    /// Counts a query, answered or not.
    pub(crate) fn count(&self, transport: Transport, response: Option<&Response>) {
        let transport = match transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
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

    /// Counts datagrams that got an answer that is the same for everyone.
    pub(crate) fn count_same_for_all(&self, count: u64) {
        if count > 0 {
            let labels = QueryLabels { transport: "udp", rcode: rcode_label(Rcode::NOERROR) };
            self.queries.get_or_create(&labels).inc_by(count);
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
        Rcode::REFUSED => "refused",
        Rcode::BADVERS => "badvers",
        _ => "other",
    }
}
