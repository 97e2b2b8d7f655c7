//! The backtest on small made series.
