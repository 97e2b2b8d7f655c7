//! What the name server is told at its start; validated values only.

use std::{net::SocketAddr, path::PathBuf};

use headroom_prefixmap::PrefixFile;
use headroom_units::{HostName, NameServerId};

use crate::{
    AssignConfig, ConnectionLimit, CookieSecret, DnssecConfig, ForwardConfig, RateLimit,
    SecondaryConfig, TlsConfig, Zone,
};

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
    /// The zones that are taken from other name servers.
    pub secondaries: Vec<SecondaryConfig>,
    /// Where these zones are kept, so that a start needs nothing else.
    pub zone_folder: Option<PathBuf>,
    /// Who is asked for the addresses of names that no zone held here has.
    pub forwards: Vec<ForwardConfig>,
    /// Which client prefixes are in which region, where the plan does not say.
    pub prefix_map: Option<PrefixFile>,
    /// How the servers that remainders are assigned to are followed.
    pub assign: AssignConfig,
    /// Who answers for the network's zone, in the SOA's form; `hostmaster.<zone>` if not given.
    pub hostmaster: Option<HostName>,
    /// How zones are signed, if any are.
    pub dnssec: Option<DnssecConfig>,
    /// How it speaks and defends itself.
    pub protocol: ProtocolConfig,
    /// How it follows the process before it, and is followed.
    pub running: Running,
}

impl DnsConfig {
    /// A name server that listens at these addresses and holds nothing yet: one thread, no plan, no
    /// zones.
    #[must_use]
    pub fn at(listen: Vec<SocketAddr>) -> Self {
        Self {
            id: None,
            listen,
            threads: 1,
            plan_file: None,
            zones: Vec::new(),
            secondaries: Vec::new(),
            zone_folder: None,
            forwards: Vec::new(),
            prefix_map: None,
            assign: AssignConfig::default(),
            hostmaster: None,
            dnssec: None,
            protocol: ProtocolConfig::default(),
            running: Running::default(),
        }
    }
}

/// How one process of a name server follows another.
#[derive(Debug, Clone, Default)]
pub struct Running {
    /// Where the next process asks for the sockets (a Unix socket); without it there is a gap.
    pub handover_socket: Option<PathBuf>,
    /// Take over the sockets of the process that serves, if there is one.
    pub take_over: bool,
}

/// How a name server speaks DNS, and what it stands.
#[derive(Debug, Clone, Default)]
pub struct ProtocolConfig {
    /// What cookies are signed with (RFC 9018): the first signs, all are accepted. Without any, a
    /// secret is made at the start; then no other server accepts the cookies of this one.
    pub cookie_secrets: Vec<CookieSecret>,
    /// What is told to those who ask which server this is (NSID, RFC 5001).
    pub nsid: Option<String>,
    /// How much is answered over UDP to sources that may be forged.
    pub rate_limit: RateLimit,
    /// How many connections it has.
    pub connections: ConnectionLimit,
    /// Where it serves over TLS, if at all (RFC 7858).
    pub tls: Option<TlsConfig>,
}
