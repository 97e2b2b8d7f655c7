//! What is counted of questions to purchasers' name servers.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// The counters of the forwarder.
#[derive(Debug, Clone, Default)]
pub(crate) struct ForwardMetrics {
    forwards: Family<OutcomeLabel, Counter>,
}

impl ForwardMetrics {
    /// The counters, listed in `registry` under `headroom_dns_`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let list = registry.sub_registry_with_prefix("headroom_dns");
        list.register(
            "forwards",
            "Questions to purchasers' name servers, by what came of them",
            metrics.forwards.clone(),
        );
        metrics
    }

    pub(super) fn count(&self, is_answered: bool) {
        let outcome = if is_answered { "answered" } else { "failed" };
        self.forwards.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Counts a question that was not asked: too many wait.
    pub(super) fn count_dropped(&self) {
        self.forwards.get_or_create(&OutcomeLabel { outcome: "dropped" }).inc();
    }
}
