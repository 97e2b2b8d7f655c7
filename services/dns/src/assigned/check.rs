//! The task that checks servers.

use std::{sync::Arc, time::Duration};

use headroom_units::{SiteId, Timestamp};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    connect::{Reach, probe},
    schedule::{Schedule, Target, wanted},
};
use crate::server::Shared;

/// Checks the servers that are assigned to until told to stop.
pub(crate) async fn check(shared: Arc<Shared>, stop: CancellationToken) {
    let mut changes = shared.assigned.changes();
    changes.mark_changed();
    let schedule = Schedule::new(shared.assigned.config.check_every);
    let mut checker = Checker { shared, schedule, reach: Arc::default() };
    let mut checks: JoinSet<(Arc<Target>, Option<bool>)> = JoinSet::new();
    loop {
        let now = headroom_clock::now();
        while let Some(target) = checker.schedule.start(now) {
            let reach = Arc::clone(&checker.reach);
            checks.spawn(async move {
                let passed = probe(&target, &reach).await;
                (target, passed)
            });
        }
        let next = checker.schedule.next(now);
        tokio::select! {
            () = stop.cancelled() => return,
            changed = changes.changed() => match changed {
                Ok(()) => checker.follow(),
                Err(_) => return,
            },
            Some(ended) = checks.join_next() => match ended {
                Ok((target, passed)) => checker.finish(&target, passed),
                Err(error) => tracing::error!(%error, "a check has failed to be made"),
            },
            () = sleep_until(next, now) => {}
        }
    }
}

async fn sleep_until(next: Option<Timestamp>, now: Timestamp) {
    match next {
        Some(next) => tokio::time::sleep(next.since(now).max(Duration::from_millis(1))).await,
        None => std::future::pending().await,
    }
}

struct Checker {
    shared: Arc<Shared>,
    schedule: Schedule,
    reach: Arc<Reach>,
}

impl Checker {
    /// Takes up what is to be checked by the plan in force.
    fn follow(&mut self) {
        let Some(plan) = self.shared.responder().plan() else { return };
        let assigned = &self.shared.assigned;
        let wanted = wanted(&plan, &assigned.in_force(&plan));
        self.reach = Arc::new(Reach::of(&plan, assigned.config.allow_private));
        let gone = self.schedule.follow(wanted, headroom_clock::now());
        // A plan that has just come in knows nothing of them yet.
        let sites: Vec<SiteId> = self.schedule.sites().cloned().collect();
        gone.iter().chain(&sites).for_each(|site| self.tell(site));
        self.count_down();
    }

    fn finish(&mut self, target: &Arc<Target>, passed: Option<bool>) {
        self.shared.assigned.metrics.count_check(passed);
        let sites = self.schedule.finish(target, passed, headroom_clock::now());
        for site in &sites {
            let checked = self.schedule.checked(site);
            tracing::info!(%site, ?checked, "what the checks of its servers find has changed");
            self.tell(site);
        }
        if !sites.is_empty() {
            self.count_down();
        }
    }

    /// Puts in force what is known of the servers of a site.
    fn tell(&self, site: &SiteId) {
        let checked = self.schedule.checked(site);
        let down = checked.iter().filter(|(_, up)| !up).map(|(address, _)| *address).collect();
        let mut responder = self.shared.responder();
        let is_planned = responder.plan().is_some_and(|plan| plan.sites.contains_key(site));
        if let Some(assignments) = responder.assignments_mut().filter(|_| is_planned) {
            assignments.states_mut(site).set_down(down);
        }
        drop(responder);
        self.shared.assigned.status().set_checked(site, checked);
    }

    fn count_down(&self) {
        self.shared.assigned.metrics.set_servers_down(self.schedule.count_down());
    }
}
