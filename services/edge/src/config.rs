//! What an edge is told at its start.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use headroom_units::{Bytes, EdgeId};

use crate::{EdgeError, limits};

/// How one edge runs. Which sites it serves, it learns from the plan.
#[derive(Debug, Clone)]
pub struct EdgeConfig {
    /// Its id; the plan says in which region it stands.
    pub id: EdgeId,
    /// Where it serves visitors.
    pub listen: Vec<SocketAddr>,
    /// How many threads serve, each with its own listener and origin connections.
    pub threads: usize,
    /// The memory for cached responses.
    pub cache_bytes: Bytes,
    /// Where responses are kept on disk as well; without it, a restart begins with nothing.
    pub cache_directory: Option<PathBuf>,
    /// How much disk they may take.
    pub cache_disk_bytes: Bytes,
    /// How long an idle bucket saves up.
    pub burst: Duration,
    /// How long each step of connecting to an origin may take: resolving its name, TCP, TLS.
    pub origin_connect_timeout: Duration,
    /// How long an origin may take to begin its response, and to go on with it.
    pub origin_response_timeout: Duration,
    /// A PEM file of authorities that are believed beside the system's.
    pub origin_ca_file: Option<PathBuf>,
    /// Whether origins may be at loopback, private and link-local addresses, and at the fleet's own.
    /// For development: it lets purchasers reach into the operator's network.
    pub allow_private_origins: bool,
    /// The largest response that is stored in memory. Larger ones go to disk, if there is one.
    pub object_bytes_max: Bytes,
    /// Where the last plan is kept; without it, a start needs the exchange.
    pub plan_file: Option<PathBuf>,
    /// What is around serving: its files, its log, its replacement.
    pub running: Running,
    /// How visitors' connections are taken.
    pub visitors: VisitorConfig,
}

/// How an edge is run: where it keeps and writes what is not served, and how it is replaced.
#[derive(Debug, Clone, Default)]
pub struct Running {
    /// The folder where meters are kept until they are acknowledged; without it a kill loses them.
    pub spool_dir: Option<PathBuf>,
    /// The Unix socket over which the next process takes this one's listeners over; without it
    /// there is a gap between them.
    pub handover_socket: Option<PathBuf>,
    /// Takes the listeners over from the process that serves, if there is one.
    pub take_over: bool,
    /// Where requests are logged; `-` is standard output. Without it, they are not.
    pub access_log: Option<PathBuf>,
    /// Leaves the queries of targets out of the access log.
    pub access_log_without_query: bool,
}

/// How an edge takes visitors' connections.
#[derive(Debug, Clone)]
pub struct VisitorConfig {
    /// Where it serves visitors over TLS.
    pub tls_listen: Vec<SocketAddr>,
    /// The folder with the certificates: in it one folder for each, with `fullchain.pem` and
    /// `privkey.pem`. Needed to serve over TLS.
    pub certificates: Option<PathBuf>,
    /// The most connections, if the process may open as many files. When there are as many, the
    /// one that has waited for its visitor the longest makes room for a new one.
    pub connections_max: usize,
    /// The most connections of one client, an IPv4 address or an IPv6 /56; zero for no limit.
    pub per_client_max: usize,
    /// How long a visitor may take to send a request's head.
    pub head_timeout: Duration,
    /// How long a connection is kept without a request.
    pub idle_timeout: Duration,
    /// How long a visitor may take nothing of what is sent to it.
    pub send_timeout: Duration,
}

impl Default for VisitorConfig {
    fn default() -> Self {
        Self {
            tls_listen: Vec::new(),
            certificates: None,
            connections_max: limits::CONNECTIONS_MAX,
            per_client_max: limits::CONNECTIONS_PER_CLIENT,
            head_timeout: limits::HEAD_READ_TIMEOUT,
            idle_timeout: limits::IDLE_MAX,
            send_timeout: limits::SEND_SILENCE_MAX,
        }
    }
}

impl EdgeConfig {
    /// Refuses values an edge cannot run with.
    pub(crate) fn check(&self) -> Result<(), EdgeError> {
        let refuse = |key, reason: &str| Err(EdgeError::Config { key, reason: reason.to_owned() });
        if self.listen.is_empty() {
            return refuse("listen", "no address is given");
        }
        let visitors = &self.visitors;
        if visitors.tls_listen.is_empty() != visitors.certificates.is_none() {
            return refuse("tls_listen, certificates", "one is given without the other");
        }
        if visitors.connections_max == 0 || visitors.connections_max > limits::CONNECTIONS_MAX {
            return refuse("connections", "it is not from 1 to 65536");
        }
        let times = [visitors.head_timeout, visitors.idle_timeout, visitors.send_timeout];
        if times.iter().any(Duration::is_zero) {
            return refuse("head_timeout, idle_timeout, send_timeout", "it is zero");
        }
        if self.threads == 0 || self.threads > limits::THREADS_MAX {
            return refuse("threads", "it is not from 1 to 1024");
        }
        let object_max = self.object_bytes_max.count();
        if object_max.saturating_mul(limits::OBJECTS_PER_SHARD_MIN) > self.cache_bytes.count() {
            return refuse("object_bytes_max", "it is more than a quarter of cache_bytes");
        }
        if self.origin_connect_timeout.is_zero() || self.origin_response_timeout.is_zero() {
            return refuse("origin_connect_timeout, origin_response_timeout", "it is zero");
        }
        if self.running.take_over && self.running.handover_socket.is_none() {
            return refuse("take_over", "there is no handover_socket to ask at");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> EdgeConfig {
        EdgeConfig {
            id: "east-1".parse().unwrap(),
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            threads: 2,
            cache_bytes: "64 MiB".parse().unwrap(),
            cache_directory: None,
            cache_disk_bytes: "1 GiB".parse().unwrap(),
            burst: Duration::from_millis(250),
            origin_connect_timeout: Duration::from_secs(1),
            origin_response_timeout: Duration::from_secs(5),
            origin_ca_file: None,
            allow_private_origins: false,
            object_bytes_max: "8 MiB".parse().unwrap(),
            plan_file: None,
            running: Running::default(),
            visitors: VisitorConfig::default(),
        }
    }

    #[test]
    fn what_cannot_work_is_refused() {
        assert!(config().check().is_ok());
        let refused = |change: fn(&mut EdgeConfig)| {
            let mut config = config();
            change(&mut config);
            config.check().unwrap_err().to_string()
        };
        assert!(refused(|config| config.listen.clear()).contains("listen"));
        assert!(refused(|config| config.threads = 0).contains("threads"));
        assert!(refused(|config| config.running.take_over = true).contains("handover_socket"));
        let tls = vec!["127.0.0.1:0".parse().unwrap()];
        let mut config = config();
        config.visitors.tls_listen = tls;
        assert!(config.check().unwrap_err().to_string().contains("certificates"));
        assert!(
            refused(|config| config.object_bytes_max = config.cache_bytes).contains("object_bytes")
        );
    }
}
