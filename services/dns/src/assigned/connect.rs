//! One check of one server: a TCP connection, or `HEAD` over it.
//!
//! Servers are named by purchasers, and name servers stand inside the operator's network: an address
//! that is not of the public internet, or is the network's own, is never connected to.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, SocketAddr},
};

use headroom_steer::{Plan, ServerCheck};
use headroom_units::why_not_public;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::schedule::Target;
use crate::limits;

/// Which addresses may be connected to.
#[derive(Debug, Clone, Default)]
pub(super) struct Reach {
    pub(super) allow_private: bool,
    /// The network's own addresses.
    fleet: BTreeSet<IpAddr>,
}

impl Reach {
    pub(super) fn of(plan: &Plan, allow_private: bool) -> Self {
        Self { allow_private, fleet: plan.own_addresses().collect() }
    }

    fn allows(&self, address: IpAddr) -> bool {
        let is_own = self.fleet.contains(&address.to_canonical());
        self.allow_private || (why_not_public(address).is_none() && !is_own)
    }
}

/// Whether a server passes its check at any of its addresses; `None` if none may be connected to.
pub(super) async fn probe(target: &Target, reach: &Reach) -> Option<bool> {
    let mut passed = None;
    for address in target.addresses.iter().filter(|address| reach.allows(**address)) {
        let at = SocketAddr::new(*address, target.check.port());
        let probed = timeout(limits::CHECK_TIME, probe_one(at, target)).await;
        let passes = matches!(probed, Ok(Ok(true)));
        tracing::trace!(%at, passes, "a server is checked");
        if passes {
            return Some(true);
        }
        passed = Some(false);
    }
    passed
}

async fn probe_one(at: SocketAddr, target: &Target) -> io::Result<bool> {
    let mut stream = TcpStream::connect(at).await?;
    let ServerCheck::Http { status, path, .. } = &target.check else { return Ok(true) };
    let request = format!(
        "HEAD {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: headroom\r\nConnection: close\r\n\r\n",
        target.host
    );
    stream.write_all(request.as_bytes()).await?;
    // RFC 9112 §4: "HTTP/1.1 200".
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    let told = head.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..));
    let told = told.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u16>().ok());
    Ok(told.is_some_and(|told| match status {
        Some(status) => told == *status,
        None => (200..=299).contains(&told),
    }))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn probed(
        check: &str,
        response: Option<&'static str>,
        reach: &Reach,
    ) -> (Option<bool>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 512];
            let length = stream.read(&mut asked).await.unwrap_or_default();
            asked.truncate(length);
            if let Some(response) = response {
                let _ = stream.write_all(response.as_bytes()).await;
            }
            String::from_utf8(asked).unwrap()
        });
        let target = target(&check.replace("PORT", &port.to_string()), &["127.0.0.1"]);
        let passed = probe(&target, reach).await;
        let asked = if passed.is_some() { serving.await.unwrap() } else { String::new() };
        (passed, asked)
    }

    fn target(check: &str, addresses: &[&str]) -> Target {
        Target {
            owner: "shop-inc".parse().unwrap(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            check: check.parse().unwrap(),
            host: "www.shop.example".parse().unwrap(),
        }
    }

    fn anywhere() -> Reach {
        Reach { allow_private: true, ..Reach::default() }
    }

    #[tokio::test]
    async fn a_check_passes_if_the_server_does_as_it_should() {
        let check = async |check: &str, response| probed(check, response, &anywhere()).await;
        assert_eq!(check("tcp:PORT", None).await, (Some(true), String::new()));
        let (passed, asked) = check("http:PORT/up", Some("HTTP/1.1 204 No Content\r\n\r\n")).await;
        assert_eq!(passed, Some(true));
        assert!(asked.starts_with("HEAD /up HTTP/1.1\r\nHost: www.shop.example\r\n"), "{asked}");
        for (text, response, expected) in [
            ("http:PORT/up", "HTTP/1.0 200 OK\r\n\r\n", true),
            ("http:PORT/up", "HTTP/1.1 301 Moved\r\n\r\n", false),
            ("http:PORT/up", "HTTP/1.1 503 Busy\r\n\r\n", false),
            ("http:PORT:301/up", "HTTP/1.1 301 Moved\r\n\r\n", true),
            ("http:PORT:301/up", "HTTP/1.1 200 OK\r\n\r\n", false),
            ("http:PORT/up", "HTTP/1.1 2", false),
            ("http:PORT/up", "SSH-2.0-OpenSSH_9.2\r\n", false),
            ("http:PORT/up", "", false),
        ] {
            assert_eq!(check(text, Some(response)).await.0, Some(expected), "{text} {response}");
        }
    }

    #[tokio::test]
    async fn nobody_there_is_a_failure_and_one_address_is_enough() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let check = format!("tcp:{port}");
        let both = target(&check, &["127.0.0.77", "127.0.0.1"]);
        assert_eq!(probe(&both, &anywhere()).await, Some(true));
        drop(listener);
        assert_eq!(probe(&both, &anywhere()).await, Some(false));
    }

    #[tokio::test]
    async fn what_lies_inside_the_network_is_not_connected_to() {
        assert_eq!(probed("tcp:PORT", None, &Reach::default()).await.0, None);
        let plan = headroom_steer::plan(&crate::testing::input());
        let reach = Reach::of(&plan, false);
        for (address, allowed) in [
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("::ffff:10.0.0.1", false),
            ("192.0.2.11", false),
            ("::ffff:192.0.2.11", false),
            ("192.0.2.53", false),
            ("198.51.100.1", true),
            ("2001:db8:f::1", true),
        ] {
            assert_eq!(reach.allows(address.parse().unwrap()), allowed, "{address}");
        }
    }
}
