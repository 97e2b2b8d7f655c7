//! What the exchange tells Prometheus.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

/// Counters of the exchange.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) reconcile_failures: Counter,
    pub(crate) meter_reports: Counter,
    pub(crate) late_meters: Counter,
    pub(crate) contracts_made: Counter,
    pub(crate) slots_settled: Counter,
    pub(crate) plan_generation: Gauge,
    pub(crate) edges_down: Gauge,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let counters = [
            ("reconcile_failures", "Reconciler runs that failed", &metrics.reconcile_failures),
            ("meter_reports", "Meter reports taken in", &metrics.meter_reports),
            (
                "late_meters",
                "Contract meters that came after their slot was settled",
                &metrics.late_meters,
            ),
            ("contracts_made", "Contracts made", &metrics.contracts_made),
            ("slots_settled", "Contract slots settled", &metrics.slots_settled),
        ];
        for (name, help, counter) in counters {
            registry.register(format!("headroom_exchange_{name}"), help, counter.clone());
        }
        let gauges = [
            ("plan_generation", "The plan in force", &metrics.plan_generation),
            ("edges_down", "Edges that do not report", &metrics.edges_down),
        ];
        for (name, help, gauge) in gauges {
            registry.register(format!("headroom_exchange_{name}"), help, gauge.clone());
        }
        metrics
    }
}
