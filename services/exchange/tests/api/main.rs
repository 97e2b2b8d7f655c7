//! The exchange over real sockets: purchasers and the operator call its HTTP API, edges and name
//! servers are played over the bus, and host names are proved against a DNS server of the test's
//! own. Nothing inside the exchange is looked into, but for the count of the events it keeps.

#[cfg(test)]
mod books;
#[cfg(test)]
mod callers;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod idempotency;
#[cfg(test)]
mod name_server;
#[cfg(test)]
mod odd_values;
#[cfg(test)]
mod purges;
#[cfg(test)]
mod refused_bids;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod servers;
#[cfg(test)]
mod sites;
#[cfg(test)]
mod slot_life;
#[cfg(test)]
mod stops;
