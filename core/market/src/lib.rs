//! Offers, bids, auctions, contracts, ledger, settlement: decide(command) -> events, apply(event).
