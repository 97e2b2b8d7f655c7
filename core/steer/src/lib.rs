//! Contracts, fleet and measurements to plan and budgets; answers where a request goes.
