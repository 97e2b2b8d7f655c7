//! What is counted of zones that are taken from others.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::notify::NotifyOutcome;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OutcomeLabel {
    outcome: &'static str,
}

/// What came of one visit at a primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TransferOutcome {
    /// It has what we have.
    Current,
    /// A newer zone, by its changes.
    Changes,
    /// A newer zone, as a whole.
    Whole,
    /// Nothing of use.
    Failed,
}

impl TransferOutcome {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Changes => "changes",
            Self::Whole => "whole",
            Self::Failed => "failed",
        }
    }
}

/// The counters of all zones that are taken from others.
#[derive(Debug, Clone, Default)]
pub(crate) struct SecondaryMetrics {
    transfers: Family<OutcomeLabel, Counter>,
    notifies: Family<OutcomeLabel, Counter>,
    served: Gauge,
    missing: Gauge,
}

impl SecondaryMetrics {
    /// The counters, listed in `registry` under `headroom_dns_`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let list = registry.sub_registry_with_prefix("headroom_dns");
        list.register(
            "transfers",
            "Visits at primaries, by what came of them",
            metrics.transfers.clone(),
        );
        list.register("notifies", "Calls that a zone has changed", metrics.notifies.clone());
        list.register("secondary_zones", "Zones of others that are served", metrics.served.clone());
        list.register(
            "secondary_zones_missing",
            "Zones of others that were never had or have expired",
            metrics.missing.clone(),
        );
        metrics
    }

    pub(super) fn count_transfer(&self, outcome: TransferOutcome) {
        let outcome = outcome.label();
        self.transfers.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    pub(crate) fn count_notify(&self, outcome: NotifyOutcome) {
        let outcome = match outcome {
            NotifyOutcome::Taken => "taken",
            NotifyOutcome::Refused => "refused",
        };
        self.notifies.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Counts a zone at the start.
    pub(super) fn count_zone(&self, is_served: bool) {
        self.gauge(is_served).inc();
    }

    /// Counts a zone that is served from now on, or no longer.
    pub(super) fn change_zone(&self, is_served: bool) {
        self.gauge(is_served).inc();
        self.gauge(!is_served).dec();
    }

    fn gauge(&self, is_served: bool) -> &Gauge {
        if is_served { &self.served } else { &self.missing }
    }
}
