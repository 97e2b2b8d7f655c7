//! Resolvers: they ask the name servers for their users, follow aliases, and cache for the TTL, a
//! few of them longer.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::bail;
use ipnet::IpNet;
use tokio::sync::Mutex;

use super::dns_client;

/// How many aliases are followed.
const ALIASES_MAX: usize = 6;

/// Which name server is asked for which zone: what the delegations in the DNS would say.
#[derive(Debug, Clone)]
pub(crate) struct Delegations {
    zones: Vec<(String, SocketAddr)>,
}

impl Delegations {
    pub(crate) fn new(zones: Vec<(String, SocketAddr)>) -> Self {
        Self { zones }
    }

    fn server(&self, name: &str) -> Option<SocketAddr> {
        let within = |zone: &str| {
            name.strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        self.zones.iter().find(|(zone, _)| within(zone)).map(|(_, server)| *server)
    }
}

/// A resolver as the users of one client prefix see it.
#[derive(Debug)]
pub(crate) struct Resolver {
    /// Where its questions come from.
    pub(crate) address: IpAddr,
    /// The client subnet it sends along, if it does.
    pub(crate) subnet: Option<IpNet>,
    /// It caches this many times longer than it may.
    pub(crate) stretch: u32,
    delegations: Arc<Delegations>,
    cache: Mutex<BTreeMap<String, Cached>>,
}

#[derive(Debug, Clone)]
struct Cached {
    response: dns_client::Response,
    until: Instant,
}

impl Resolver {
    pub(crate) fn new(
        address: IpAddr,
        subnet: Option<IpNet>,
        stretch: u32,
        delegations: Arc<Delegations>,
    ) -> Self {
        Self { address, subnet, stretch, delegations, cache: Mutex::default() }
    }

    /// The addresses of `name`. Users who ask at the same time wait for one question.
    pub(crate) async fn resolve(&self, name: &str) -> anyhow::Result<Vec<IpAddr>> {
        let mut cache = self.cache.lock().await;
        let mut name = name.to_owned();
        for _ in 0..ALIASES_MAX {
            let response = self.look_up(&mut cache, &name).await?;
            if !response.addresses.is_empty() {
                return Ok(response.addresses);
            }
            match response.alias {
                Some(alias) => name = alias,
                None => bail!("{name} has no address"),
            }
        }
        bail!("too many aliases on the way from {name}")
    }

    async fn look_up(
        &self,
        cache: &mut BTreeMap<String, Cached>,
        name: &str,
    ) -> anyhow::Result<dns_client::Response> {
        if let Some(cached) = cache.get(name).filter(|cached| cached.until > Instant::now()) {
            return Ok(cached.response.clone());
        }
        let Some(server) = self.delegations.server(name) else {
            bail!("no name server is known for {name}");
        };
        let response = dns_client::ask(self.address, server, name, self.subnet).await?;
        // The margin keeps a lease at the name server from ending before the cached answer does.
        let kept = (response.ttl * self.stretch).saturating_sub(Duration::from_millis(5));
        let until = Instant::now() + kept;
        cache.insert(name.to_owned(), Cached { response: response.clone(), until });
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_zone_is_listed_first() {
        let server = |last: u8| SocketAddr::from(([127, 0, 0, last], 53));
        let delegations = Delegations::new(vec![
            ("shop.example".to_owned(), server(1)),
            ("cdn.example".to_owned(), server(2)),
        ]);
        assert_eq!(delegations.server("www.shop.example"), Some(server(1)));
        assert_eq!(delegations.server("shop.cdn.example"), Some(server(2)));
        assert_eq!(delegations.server("workshop.example"), None);
    }
}
