//! Which server is checked when, and what was found. Pure: the time is an argument.
//!
//! A server is checked once for all sites of its purchaser that check it alike. No purchaser has more
//! than its part of the checks that are under way, so that nobody's silent servers hold up those of
//! others.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use headroom_steer::{Assignment, CheckedHealth, Owner, Plan, ServerCheck};
use headroom_units::{HostName, PurchaserId, SiteId, Timestamp};

use crate::limits;

/// One server, and what is asked of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub(super) owner: PurchaserId,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) check: ServerCheck,
    /// The host that is asked for.
    pub(super) host: HostName,
}

/// The targets of each site.
pub(super) type Wanted = BTreeMap<SiteId, Vec<Arc<Target>>>;

#[derive(Debug)]
pub(super) struct Schedule {
    /// How often each server is checked.
    every: Duration,
    sites: Wanted,
    states: BTreeMap<Arc<Target>, State>,
    due: BTreeSet<(Timestamp, Arc<Target>)>,
    running: BTreeMap<PurchaserId, usize>,
    running_in_all: usize,
}

#[derive(Debug, Default)]
struct State {
    health: CheckedHealth,
    sites: Vec<SiteId>,
    /// Whether anything was found out.
    is_known: bool,
    /// When it is checked next, unless a check is under way.
    due: Option<Timestamp>,
}

/// What is to be checked by `plan` and by what is in force.
pub(super) fn wanted(plan: &Plan, in_force: &BTreeMap<SiteId, Arc<Assignment>>) -> Wanted {
    let mut wanted = Wanted::new();
    let (mut all, mut of_purchaser) = (BTreeSet::new(), BTreeMap::<_, usize>::new());
    for (id, assignment) in in_force {
        let Some(site) = plan.sites.get(id) else { continue };
        let (Some(check), Owner::Purchaser(owner)) = (&assignment.check, &site.owner) else {
            continue;
        };
        let Some(host) = site.hosts.first() else { continue };
        for server in &assignment.servers {
            let target = Arc::new(Target {
                owner: owner.clone(),
                addresses: server.addresses.clone(),
                check: check.clone(),
                host: host.clone(),
            });
            if !all.contains(&target) {
                let count = of_purchaser.entry(owner.clone()).or_default();
                if all.len() >= limits::CHECKED_SERVERS_MAX
                    || *count >= limits::CHECKED_SERVERS_PER_PURCHASER_MAX
                {
                    tracing::warn!(site = %id, "a server is not checked: there are too many");
                    continue;
                }
                *count += 1;
                all.insert(Arc::clone(&target));
            }
            wanted.entry(id.clone()).or_default().push(target);
        }
    }
    wanted
}

impl Schedule {
    /// Nothing is to be checked yet.
    pub(super) fn new(every: Duration) -> Self {
        Self {
            every,
            sites: Wanted::new(),
            states: BTreeMap::new(),
            due: BTreeSet::new(),
            running: BTreeMap::new(),
            running_in_all: 0,
        }
    }

    /// Takes up what is to be checked from now on; what is known of servers that stay is kept. The
    /// sites that are no longer checked.
    pub(super) fn follow(&mut self, wanted: Wanted, now: Timestamp) -> Vec<SiteId> {
        let mut states: BTreeMap<Arc<Target>, State> = BTreeMap::new();
        for (site, targets) in &wanted {
            for target in targets {
                let state = states.entry(Arc::clone(target)).or_insert_with(|| {
                    let held = self.states.remove(target).unwrap_or_else(|| {
                        self.due.insert((now, Arc::clone(target)));
                        State { due: Some(now), ..State::default() }
                    });
                    State { sites: Vec::new(), ..held }
                });
                state.sites.push(site.clone());
            }
        }
        self.states = states;
        self.due.retain(|(_, target)| self.states.contains_key(target));
        let before = std::mem::replace(&mut self.sites, wanted);
        before.into_keys().filter(|site| !self.sites.contains_key(site)).collect()
    }

    /// The next target whose time has come, if there is room. It is then under way.
    pub(super) fn start(&mut self, now: Timestamp) -> Option<Arc<Target>> {
        if self.running_in_all >= limits::CHECKS_MAX {
            return None;
        }
        let due = self.due.iter().take_while(|(at, _)| *at <= now);
        let has_room = |owner: &PurchaserId| {
            let running = self.running.get(owner).copied().unwrap_or_default();
            running < limits::CHECKS_PER_PURCHASER_MAX
        };
        let next = due.into_iter().find(|(_, target)| has_room(&target.owner)).cloned()?;
        self.due.remove(&next);
        if let Some(state) = self.states.get_mut(&next.1) {
            state.due = None;
        }
        *self.running.entry(next.1.owner.clone()).or_default() += 1;
        self.running_in_all += 1;
        Some(next.1)
    }

    /// A check has ended: passed, failed, or it could not be made. The sites that have to know.
    pub(super) fn finish(
        &mut self,
        target: &Arc<Target>,
        passed: Option<bool>,
        now: Timestamp,
    ) -> Vec<SiteId> {
        self.running_in_all = self.running_in_all.saturating_sub(1);
        if let Some(running) = self.running.get_mut(&target.owner) {
            *running = running.saturating_sub(1);
            if *running == 0 {
                self.running.remove(&target.owner);
            }
        }
        let Some(state) = self.states.get_mut(target) else { return Vec::new() };
        // It may have gone and come back since.
        if let Some(due) = state.due.replace(now.after(self.every)) {
            self.due.remove(&(due, Arc::clone(target)));
        }
        self.due.insert((now.after(self.every), Arc::clone(target)));
        let Some(passed) = passed else { return Vec::new() };
        let is_new = !std::mem::replace(&mut state.is_known, true);
        let has_changed = state.health.note(passed);
        if is_new || has_changed { state.sites.clone() } else { Vec::new() }
    }

    /// When the next time of a check comes. What waits for others to end begins when they do.
    pub(super) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        self.due.iter().map(|(at, _)| *at).find(|at| *at > now)
    }

    /// The servers of a site about which something is known, each by its first address.
    pub(super) fn checked(&self, site: &SiteId) -> Vec<(IpAddr, bool)> {
        let targets = self.sites.get(site).into_iter().flatten();
        let known = targets.filter_map(|target| {
            let state = self.states.get(target).filter(|state| state.is_known)?;
            Some((*target.addresses.first()?, state.health.is_up()))
        });
        known.collect()
    }

    /// How many servers are down.
    pub(super) fn count_down(&self) -> usize {
        self.states.values().filter(|state| !state.health.is_up()).count()
    }

    /// All sites that are checked.
    pub(super) fn sites(&self) -> impl Iterator<Item = &SiteId> {
        self.sites.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(5);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn target(owner: &str, last: usize) -> Arc<Target> {
        let address = std::net::Ipv4Addr::from(0xc633_6400 + u32::try_from(last).unwrap());
        Arc::new(Target {
            owner: owner.parse().unwrap(),
            addresses: vec![address.into()],
            check: "tcp:443".parse().unwrap(),
            host: "www.shop.example".parse().unwrap(),
        })
    }

    fn site(id: &str) -> SiteId {
        id.parse().unwrap()
    }

    #[test]
    fn a_server_is_down_after_three_failures_and_all_its_sites_know() {
        let mut schedule = Schedule::new(EVERY);
        let server = target("inc", 1);
        let both = ["one", "two"].map(|id| (site(id), vec![Arc::clone(&server)]));
        schedule.follow(both.into(), at(0));
        let mut now = at(0);
        let mut check = |schedule: &mut Schedule, passed| {
            assert_eq!(schedule.start(now), Some(Arc::clone(&server)), "once for both");
            assert_eq!(schedule.start(now), None);
            let told = schedule.finish(&server, passed, now).len();
            assert_eq!(schedule.next(now), Some(now.after(EVERY)));
            now = now.after(EVERY);
            (told, schedule.checked(&site("two")).first().map(|(_, up)| *up))
        };
        assert_eq!(check(&mut schedule, None), (0, None), "it cannot be checked");
        assert_eq!(check(&mut schedule, Some(false)), (2, Some(true)), "first known");
        assert_eq!(check(&mut schedule, Some(false)), (0, Some(true)));
        assert_eq!(check(&mut schedule, Some(false)), (2, Some(false)));
        assert_eq!(schedule.count_down(), 1);
        assert_eq!(check(&mut schedule, Some(true)), (0, Some(false)));
        assert_eq!(check(&mut schedule, Some(true)), (2, Some(true)));
    }

    #[test]
    fn what_is_known_of_servers_that_stay_is_kept() {
        let mut schedule = Schedule::new(EVERY);
        let [stays, goes] = [target("inc", 1), target("inc", 2)];
        let both = vec![Arc::clone(&stays), Arc::clone(&goes)];
        schedule.follow([(site("one"), both)].into(), at(0));
        while let Some(target) = schedule.start(at(0)) {
            (0..3).for_each(|_| drop(schedule.finish(&target, Some(false), at(0))));
        }
        let gone = schedule.follow([(site("two"), vec![stays])].into(), at(1));
        assert_eq!(schedule.due.len(), 1);
        assert_eq!(gone, [site("one")]);
        assert_eq!(schedule.checked(&site("two")).len(), 1);
        assert!(!schedule.checked(&site("two"))[0].1);
        assert_eq!(schedule.count_down(), 1);
        assert!(schedule.finish(&goes, Some(true), at(2)).is_empty(), "nobody wants to know");
    }

    #[test]
    fn silent_servers_of_one_do_not_hold_up_those_of_another() {
        let mut schedule = Schedule::new(EVERY);
        let many = (0..limits::CHECKS_MAX * 2).map(|last| target("big", last)).collect();
        schedule
            .follow([(site("big"), many), (site("small"), vec![target("small", 0)])].into(), at(0));
        let started: Vec<_> = std::iter::from_fn(|| schedule.start(at(0))).collect();
        assert_eq!(started.len(), limits::CHECKS_PER_PURCHASER_MAX + 1);
        assert!(started.contains(&target("small", 0)));
        assert_eq!(schedule.next(at(0)), None, "the others wait for these to end");
        schedule.finish(&started[0], Some(false), at(2));
        assert!(schedule.start(at(2)).is_some());
    }
}
