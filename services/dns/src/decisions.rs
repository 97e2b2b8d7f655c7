//! What was decided for whom lately, as one thread remembers it: who asks again gets the same
//! without the ledgers being asked. Each stands for a fraction of its TTL, which its lease covers
//! ([`headroom_steer::Hold`]).
//!
//! The table has a fixed size: where three clients meet, the oldest is forgotten, and asks the
//! ledgers again. A look takes one place in memory. Nothing is allocated for an answer, and the time
//! comes from outside.

use std::{collections::HashMap, hash::BuildHasher as _};

use foldhash::quality::RandomState;
use headroom_steer::{Answer, Hold, Target, limits::CLIENT_PREFIX_V6};
use headroom_units::{EdgeId, Generation, RegionId, SiteId, Timestamp};
use ipnet::IpNet;

use crate::limits;

/// What the ledgers decided for a client.
#[derive(Debug, Clone)]
pub(crate) struct Decision {
    /// The plan it was decided under.
    pub(crate) generation: Generation,
    pub(crate) site: SiteId,
    pub(crate) region: RegionId,
    pub(crate) client: IpNet,
    /// An edge, or else the remainder.
    pub(crate) edge: Option<EdgeId>,
    /// The server of the site that the remainder is assigned to, if it is.
    pub(crate) server: Option<usize>,
    pub(crate) hold: Hold,
}

impl Decision {
    /// `answer`, if it may be repeated.
    pub(crate) fn of(
        generation: Generation,
        site: &SiteId,
        client: IpNet,
        answer: &Answer,
    ) -> Option<Self> {
        let edge = match &answer.target {
            Target::Edge(edge) => Some(edge.clone()),
            Target::Name(_) | Target::Addresses(_) | Target::Records => None,
        };
        let (site, region, server) = (site.clone(), answer.region.clone(), answer.server);
        Some(Self { generation, site, region, client, edge, server, hold: answer.hold? })
    }
}

/// Where a client is sent, in the numbers of a [`crate::steered::SteeredAnswers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    Edge(u32),
    Remainder,
    /// The remainder, assigned to this server of the site.
    Server(u16),
}

/// What a client was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Recalled {
    pub(crate) said: Said,
    /// In seconds.
    pub(crate) ttl: u32,
    /// By site and region.
    place: (u32, u16),
}

/// How often answers were repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Repeated {
    pub(crate) to_edges: u64,
    pub(crate) to_remainder: u64,
}

/// The decisions that one thread remembers.
#[derive(Debug)]
pub(crate) struct Decisions {
    held: Box<[Pair]>,
    hasher: RandomState,
    /// By site and region.
    repeated: HashMap<(u32, u16), Repeated, RandomState>,
}

/// Two that meet, side by side where a processor's caches fetch them together.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(128))]
struct Pair([Option<Held>; 2]);

const _: () = assert!(size_of::<Pair>() == 128);

#[derive(Debug, Clone, Copy)]
struct Held {
    key: Key,
    region: u16,
    said: Said,
    hold: Hold,
}

/// Whose decision it is: a site, and a client's network in one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    site: u32,
    client: u64,
}

impl Key {
    /// `None` for a network that is finer than a client of IPv6 ever is.
    fn of(site: u32, client: IpNet) -> Option<Self> {
        const V6: u64 = 1 << 7;
        let client = match client {
            IpNet::V4(net) => u64::from(u32::from(net.addr())) << 32 | u64::from(net.prefix_len()),
            IpNet::V6(net) if net.prefix_len() <= CLIENT_PREFIX_V6 => {
                let bits = u64::try_from(u128::from(net.addr()) >> 64).unwrap_or_default();
                bits & !0xff | V6 | u64::from(net.prefix_len())
            }
            IpNet::V6(_) => return None,
        };
        Some(Self { site, client })
    }
}

const _: () = assert!(CLIENT_PREFIX_V6 <= 56, "a client's bits and their number fit eight octets");

impl Decisions {
    pub(crate) fn new() -> Self {
        Self::with_room(limits::DECISIONS)
    }

    fn with_room(room: usize) -> Self {
        let held = vec![Pair::default(); (room / 2).next_power_of_two()].into();
        Self { held, hasher: RandomState::default(), repeated: HashMap::default() }
    }

    /// Remembers a decision.
    pub(crate) fn remember(
        &mut self,
        (site, region, said): (u32, u16, Said),
        client: IpNet,
        hold: Hold,
    ) {
        let Some(key) = Key::of(site, client) else { return };
        let at = self.place(key);
        let Pair([first, second]) = &mut self.held[at];
        let is_its_own = |held: &Option<Held>| held.is_some_and(|held| held.key == key);
        let until = |held: &Option<Held>| held.map_or(Timestamp::EPOCH, |held| held.hold.until);
        let takes_second =
            !is_its_own(first) && (is_its_own(second) || until(second) < until(first));
        let place = if takes_second { second } else { first };
        *place = Some(Held { key, region, said, hold });
    }

    /// What `client` was told of a site and may be told again at `now`.
    pub(crate) fn recall(&self, site: u32, client: IpNet, now: Timestamp) -> Option<Recalled> {
        let key = Key::of(site, client)?;
        let Pair(held) = &self.held[self.place(key)];
        let held = held.iter().flatten().find(|held| held.key == key)?;
        let ttl = u32::try_from(held.hold.ttl(now)?.as_secs()).ok()?;
        Some(Recalled { said: held.said, ttl, place: (site, held.region) })
    }

    /// Counts what was told again.
    pub(crate) fn count(&mut self, recalled: &Recalled) {
        let repeated = self.repeated.entry(recalled.place).or_default();
        match recalled.said {
            Said::Edge(_) => repeated.to_edges += 1,
            Said::Remainder | Said::Server(_) => repeated.to_remainder += 1,
        }
    }

    /// How often answers were repeated since the last time, by site and region.
    pub(crate) fn take_repeated(&mut self) -> impl Iterator<Item = ((u32, u16), Repeated)> + '_ {
        self.repeated.drain()
    }

    /// Whether any answer was repeated since then.
    pub(crate) fn has_repeated(&self) -> bool {
        !self.repeated.is_empty()
    }

    /// Forgets all decisions: their numbers are of another plan.
    pub(crate) fn forget(&mut self) {
        self.held.fill(Pair::default());
    }

    fn place(&self, key: Key) -> usize {
        let mask = self.held.len() - 1;
        usize::try_from(self.hasher.hash_one(key) & 0xffff_ffff).unwrap_or_default() & mask
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use headroom_steer::Steering;
    use proptest::prelude::*;

    use super::*;
    use crate::testing;

    /// What the ledgers say to a client of the site without purchases.
    fn hold(now: Timestamp) -> Hold {
        let plan = Arc::new(headroom_steer::plan(&testing::input()));
        let id = plan.sites.keys().next().unwrap().clone();
        let mut steering = Steering::new("ns1".parse().unwrap(), plan);
        steering.answer(&id, net(0), now).unwrap().hold.unwrap()
    }

    fn net(number: u8) -> IpNet {
        format!("10.0.{number}.0/24").parse().unwrap()
    }

    #[test]
    fn what_was_said_is_said_again_until_its_time_is_over() {
        let now = Timestamp::from_seconds(1_000);
        let hold = hold(now);
        let mut decisions = Decisions::with_room(16);
        decisions.remember((1, 2, Said::Edge(3)), net(1), hold);
        assert_eq!(decisions.recall(1, net(2), now), None, "another client");
        assert_eq!(decisions.recall(2, net(1), now), None, "another site");
        let told = decisions.recall(1, net(1), now).unwrap();
        let ttl = hold.ttl(now).unwrap().as_secs();
        assert_eq!((told.said, u64::from(told.ttl)), (Said::Edge(3), ttl));
        decisions.count(&told);
        let later = hold.until.before(Duration::from_millis(1));
        decisions.count(&decisions.recall(1, net(1), later).unwrap());
        assert_eq!(decisions.recall(1, net(1), hold.until), None);
        let repeated = Repeated { to_edges: 2, to_remainder: 0 };
        assert_eq!(decisions.take_repeated().collect::<Vec<_>>(), [((1, 2), repeated)]);
        assert!(!decisions.has_repeated());
        decisions.forget();
        assert_eq!(decisions.recall(1, net(1), now), None);
    }

    #[test]
    fn no_two_clients_are_one() {
        let nets = [
            "0.0.0.0/0",
            "0.0.0.0/24",
            "10.0.0.0/24",
            "10.0.0.0/23",
            "::/0",
            "::/24",
            "::/56",
            "10::/24",
            "0:0:0:100::/56",
            "a00::/24",
            "a00::/23",
        ];
        let keys = nets.map(|net| Key::of(1, net.parse().unwrap()).unwrap());
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[..at].contains(key), "{}", nets[at]);
        }
        assert_eq!(Key::of(1, "::/57".parse().unwrap()), None);
    }

    proptest! {
        /// Whatever is forgotten, nobody is told what was decided for another.
        #[test]
        fn nobody_gets_the_decision_of_another(
            steps in prop::collection::vec((0u32..4, 0u8..40, 0u32..9), 1..300),
        ) {
            let now = Timestamp::from_seconds(1_000);
            let hold = hold(now);
            let mut decisions = Decisions::with_room(16);
            let mut last = HashMap::new();
            for (site, client, edge) in steps {
                if let Some(told) = decisions.recall(site, net(client), now) {
                    prop_assert_eq!(Some(&told.said), last.get(&(site, client)));
                }
                decisions.remember((site, 0, Said::Edge(edge)), net(client), hold);
                last.insert((site, client), Said::Edge(edge));
                let told = decisions.recall(site, net(client), now).map(|told| told.said);
                prop_assert_eq!(told, Some(Said::Edge(edge)), "what was decided last is there");
            }
        }
    }
}
