//! The database: events, series, plans, meters, sites, tokens, idempotency keys.
