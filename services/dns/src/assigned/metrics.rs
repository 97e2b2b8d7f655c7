//! What is counted of the servers that remainders are assigned to.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// The counters of assigned servers.
#[derive(Debug, Clone, Default)]
pub(crate) struct AssignedMetrics {
    texts: Family<OutcomeLabel, Counter>,
    sites_failing: Gauge,
    checks: Family<OutcomeLabel, Counter>,
    servers_down: Gauge,
}

/// What came of looking for a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextOutcome {
    Changed,
    Same,
    Malformed,
    Silent,
}

impl AssignedMetrics {
    /// The counters, listed in `registry` under `headroom_dns_`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let list = registry.sub_registry_with_prefix("headroom_dns");
        list.register(
            "assignment_texts",
            "TXT records with assignments that were looked for, by what came of it",
            metrics.texts.clone(),
        );
        list.register(
            "assignments_failing",
            "Sites whose newest TXT record is not there or cannot be used",
            metrics.sites_failing.clone(),
        );
        list.register(
            "server_checks",
            "Checks of servers that remainders are assigned to, by what came of them",
            metrics.checks.clone(),
        );
        list.register(
            "servers_down",
            "Servers that the checks find down",
            metrics.servers_down.clone(),
        );
        metrics
    }

    pub(super) fn count_text(&self, outcome: TextOutcome) {
        let outcome = match outcome {
            TextOutcome::Changed => "changed",
            TextOutcome::Same => "same",
            TextOutcome::Malformed => "malformed",
            TextOutcome::Silent => "silent",
        };
        self.texts.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    pub(super) fn set_sites_failing(&self, count: usize) {
        self.sites_failing.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Counts a check: passed, failed, or not made.
    pub(super) fn count_check(&self, passed: Option<bool>) {
        let outcome = match passed {
            Some(true) => "passed",
            Some(false) => "failed",
            None => "denied",
        };
        self.checks.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    pub(super) fn set_servers_down(&self, count: usize) {
        self.servers_down.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}
