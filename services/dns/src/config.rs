//! What the name server is told at its start; validated values only.

use std::{net::SocketAddr, path::PathBuf};

use headroom_units::{HostName, NameServerId};

use crate::Zone;

/// How one name server is set up.
#[derive(Debug, Clone)]
pub struct DnsConfig {
    /// Which of the plan's name servers this one is; without it, only static zones are served.
    pub id: Option<NameServerId>,
    /// Where to listen, each over UDP and TCP.
    pub listen: Vec<SocketAddr>,
    /// How many threads answer the datagrams of each address; at least one.
    pub threads: usize,
    /// Where the last plan is kept, so that a start needs nothing else.
    pub plan_file: Option<PathBuf>,
    /// The static zones.
    pub zones: Vec<Zone>,
    /// Who answers for the network's zone, in the SOA's form; `hostmaster.<zone>` if not given.
    pub hostmaster: Option<HostName>,
}
