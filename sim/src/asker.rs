//! Askers: whoever has one cache entry for the site. A resolver with its users, or one client subnet
//! that a giant public resolver asks for.

use std::{cmp::Reverse, collections::BinaryHeap, net::Ipv4Addr, time::Duration};

use headroom_units::Timestamp;
use ipnet::{IpNet, Ipv4Net};

use crate::{
    Settings,
    draw::{Draw, as_f64},
    skew,
};

/// One cache entry and the visitors behind it.
#[derive(Debug)]
pub(crate) struct Asker {
    /// As whom name servers and edges know it.
    pub(crate) client: IpNet,
    /// Its part of all requests.
    pub(crate) weight: f64,
    /// The name server it prefers.
    pub(crate) server: usize,
    /// It keeps an answer so many times its TTL.
    pub(crate) stretch: u32,
    /// The edge its visitors go to; none for the purchaser's own servers.
    pub(crate) edge: Option<usize>,
    /// They do so from this moment on,
    pub(crate) since: Timestamp,
    /// and until this one. The next visitor after it makes it ask again.
    pub(crate) until: Timestamp,
}

/// All askers, and who asks next.
#[derive(Debug)]
pub(crate) struct Askers {
    pub(crate) all: Vec<Asker>,
    queue: BinaryHeap<Reverse<(Timestamp, usize)>>,
    /// Who is mapped to an edge.
    pub(crate) mapped: Vec<usize>,
}

impl Askers {
    /// Draws them; each asks for the first time within a TTL of `now`.
    pub(crate) fn new(settings: &Settings, draw: &mut Draw, now: Timestamp) -> Self {
        let mut normals = |count| (0..count).map(|_| draw.normal()).collect::<Vec<f64>>();
        let (resolvers, subnets) = (normals(settings.resolvers), normals(settings.subnets));
        let shares = if subnets.is_empty() { 0.0 } else { settings.subnets_share };
        let mut weights = skew::weights(&resolvers, settings.top_share, 1.0 - shares);
        weights.extend(skew::lognormal(&subnets, 1.0, shares));
        let mut askers = Self { all: Vec::new(), queue: BinaryHeap::new(), mapped: Vec::new() };
        for (number, weight) in weights.into_iter().enumerate() {
            let stretches = number < settings.resolvers && draw.happens(settings.stretching);
            let within = settings.ttl.mul_f64(draw.even());
            askers.all.push(Asker {
                client: client(number),
                weight,
                server: draw.one_of(settings.name_servers),
                stretch: if stretches { settings.stretched } else { 1 },
                edge: None,
                since: now,
                until: now,
            });
            askers.ask_at(number, now.after(within));
        }
        askers
    }

    /// `number` will ask at `at`.
    pub(crate) fn ask_at(&mut self, number: usize, at: Timestamp) {
        self.queue.push(Reverse((at, number)));
    }

    /// Who asks before `end`, the first first.
    pub(crate) fn next_before(&mut self, end: Timestamp) -> Option<(Timestamp, usize)> {
        let Reverse((at, _)) = self.queue.peek()?;
        if *at >= end {
            return None;
        }
        self.queue.pop().map(|Reverse(next)| next)
    }

    /// Takes in an answer that may be kept for `ttl`.
    pub(crate) fn answered(
        &mut self,
        number: usize,
        (edge, ttl): (Option<usize>, Duration),
        now: Timestamp,
    ) {
        let asker = &mut self.all[number];
        asker.edge = edge;
        asker.since = now;
        asker.until = now.after(ttl * asker.stretch);
    }
}

/// The /24 by which an asker is known.
fn client(number: usize) -> IpNet {
    let number = u32::try_from(number).unwrap_or(u32::MAX) << 8;
    let address = Ipv4Addr::from_bits(0x0A00_0000_u32.wrapping_add(number));
    IpNet::V4(Ipv4Net::new(address, 24).expect("24 of 32 bits"))
}

/// The mean of `values`; zero of none.
pub(crate) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_u64), |(sum, count), value| (sum + value, count + 1));
    if count == 0 { 0.0 } else { sum / as_f64(count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn askers_are_told_apart_and_carry_all_load() {
        let settings = Settings::default();
        let askers = Askers::new(&settings, &mut Draw::new(1), Timestamp::EPOCH);
        let mut clients: Vec<IpNet> = askers.all.iter().map(|asker| asker.client).collect();
        clients.sort_unstable();
        clients.dedup();
        assert_eq!(clients.len(), settings.resolvers + settings.subnets);
        let load: f64 = askers.all.iter().map(|asker| asker.weight).sum();
        assert!((load - 1.0).abs() < 1e-9);
        let stretching = askers.all.iter().filter(|asker| asker.stretch > 1).count();
        assert!((60..120).contains(&stretching), "{stretching}");
    }
}
