//! What is counted of zones that we sign.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::{Registry, Unit},
};

/// The counters of one name server.
#[derive(Debug, Clone, Default)]
pub(crate) struct SignerMetrics {
    /// Zones that are signed here.
    pub(super) zones: Gauge,
    /// Zones that should be, and are not, or are as they were before.
    pub(super) failed: Gauge,
    /// Keys that are not there any more, or cannot be read.
    pub(super) faults: Gauge,
    /// Signatures that were made.
    pub(super) made: Counter,
    /// When the first signature ends, in seconds since the Unix epoch.
    pub(super) expiry: Gauge,
    /// Steered names of which some answers are not signed.
    pub(super) unsigned: Gauge,
    /// Host names that are not steered, as their zone is signed by others.
    pub(super) left_out: Gauge,
}

impl SignerMetrics {
    /// The counters, listed in `registry` under `headroom_dns_`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let list = registry.sub_registry_with_prefix("headroom_dns");
        list.register("signed_zones", "Zones that are signed here", metrics.zones.clone());
        list.register(
            "signed_zones_failed",
            "Zones that could not be signed: they are absent, or as they were signed before",
            metrics.failed.clone(),
        );
        list.register(
            "key_faults",
            "Keys of zones that are missing or cannot be read",
            metrics.faults.clone(),
        );
        list.register("signatures", "Signatures made", metrics.made.clone());
        list.register_with_unit(
            "signature_expiry_timestamp",
            "When the first signature ends; 0 if there is none",
            Unit::Seconds,
            metrics.expiry.clone(),
        );
        list.register(
            "unsigned_names",
            "Steered names in signed zones of which some answers cannot be signed",
            metrics.unsigned.clone(),
        );
        list.register(
            "unsteered_names",
            "Host names that are not steered, as others signed their zone",
            metrics.left_out.clone(),
        );
        metrics
    }
}
