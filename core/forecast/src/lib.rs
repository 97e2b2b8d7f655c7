//! Measured load to quantiles per slot to headroom at a risk.
