//! What can go wrong before the server serves.

use std::{io, net::SocketAddr};

use headroom_handover::HandoverError;
use headroom_prefixmap::PrefixFileError;

/// Why a name server does not start.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// There is no address to listen on.
    #[error("cannot serve DNS: no address to listen on is configured")]
    NoAddress,
    /// Two static zones have the same name.
    #[error("cannot serve DNS: the zone {apex} is configured twice")]
    DuplicateZone {
        /// The name.
        apex: String,
    },
    /// TLS cannot be had.
    #[error("cannot serve DNS over TLS: {0}")]
    Tls(String),
    /// What it has to ask others it would ask itself.
    #[error("cannot serve DNS: {server} is to be asked for a remainder, and is this name server")]
    AsksItself {
        /// Where.
        server: SocketAddr,
    },
    /// The prefix map cannot be used.
    #[error("cannot tell clients' regions: {0}")]
    PrefixMap(#[from] PrefixFileError),
    /// It is to take over from another process, and does not know where to ask.
    #[error("cannot take over: no hand-over socket is configured")]
    NoHandoverSocket,
    /// The sockets cannot be taken over, or another process has them.
    #[error("cannot have the sockets of the name server: {0}")]
    Handover(#[from] HandoverError),
    /// A socket cannot be had.
    #[error("cannot listen for DNS over {transport} on {address}: {source}")]
    Listen {
        /// UDP, TCP or TLS.
        transport: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// Why a master file is not a zone.
#[derive(Debug, thiserror::Error)]
pub enum ZoneError {
    /// It is too long.
    #[error("the master file is larger than {max} bytes")]
    TooLarge {
        /// What is accepted.
        max: usize,
    },
    /// It holds too many records.
    #[error("the master file holds more than {max} records")]
    TooManyRecords {
        /// What is accepted.
        max: usize,
    },
    /// It holds too many names.
    #[error("the zone holds more than {max} names")]
    TooManyNames {
        /// What is accepted.
        max: usize,
    },
    /// It is not in the form of RFC 1035 §5.
    #[error("the master file is malformed at line:column {0}")]
    Malformed(String),
    /// It includes another file.
    #[error("the master file includes another; accepted is a file that holds the whole zone")]
    Include,
    /// It is of another class.
    #[error("{owner} is of class {class}; accepted is IN")]
    NotInternet {
        /// The record's owner.
        owner: String,
        /// Its class.
        class: String,
    },
    /// There is not exactly one SOA record.
    #[error("the master file holds {count} SOA records; accepted is one, at the name of the zone")]
    NotOneSoa {
        /// How many there are.
        count: usize,
    },
    /// The zone has no name server.
    #[error("{apex} has no NS record; accepted is a zone that names its name servers")]
    NoNameServer {
        /// The zone.
        apex: String,
    },
    /// A record stands outside the zone.
    #[error("{owner} is not within the zone {apex}")]
    OutOfZone {
        /// The record's owner.
        owner: String,
        /// The zone.
        apex: String,
    },
    /// A CNAME stands beside other records (RFC 2181 §10.1).
    #[error("{owner} has a CNAME beside other records, or two of them")]
    CnameAndOther {
        /// The records' owner.
        owner: String,
    },
    /// A name has two DNAME records (RFC 6672 §2.4).
    #[error("{owner} has two DNAME records")]
    TwoDnames {
        /// The records' owner.
        owner: String,
    },
}
