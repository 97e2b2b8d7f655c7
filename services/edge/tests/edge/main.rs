//! The edge over real sockets: visitors in front of it, origin servers behind it, plans and
//! budgets from a bus, meters to it.

#[cfg(test)]
mod admission;
#[cfg(test)]
mod caching;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod filling;
#[cfg(test)]
mod h2;
#[cfg(test)]
mod h2_content;
#[cfg(test)]
mod h2_frames;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod http2;
#[cfg(test)]
mod hygiene;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod origins;
#[cfg(test)]
mod plain;
#[cfg(test)]
mod responses;
#[cfg(test)]
mod running;
#[cfg(test)]
mod tenants;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod upgrade;
