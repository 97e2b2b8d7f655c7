//! One course of events: who asks, who comes, what is on its way, what is broken.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use headroom_steer::{Budgets, EdgeReport, Leased, Plan, SiteRegion};
use headroom_units::{RequestRate, SiteId, Timestamp};

use crate::{
    Approach, Figures, Scenario, Second, Settings,
    asker::Askers,
    auditor::Auditor,
    draw::Draw,
    edge::EdgeServer,
    exchange::{CONTRACT, Exchange, edge_id, name_server_id, region_id, site_id},
    limits::STEP,
    mapping::NameServer,
};

/// Visitors ask for so long before the purchase begins.
const BEFORE: Duration = Duration::from_secs(40);
/// When everything begins.
const BEGIN: Timestamp = Timestamp::from_seconds(1_000_000);
/// What is known of weights is examined so long after the purchase began.
const LEARNED_AFTER_TTLS: u32 = 5;
/// Steps in a second, and in which of them budgets are issued: 400 ms after the second.
const STEPS: u64 = 10;
const CONTROL_STEP: u64 = 4;
/// The plan is looked at every half second.
const PLAN_STEPS: u64 = 5;
/// After a leap of demand, windows are not judged for so many seconds.
const LEAP_SECONDS: usize = 60;

/// What happened, from the beginning of the purchase on.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    /// Each second.
    pub seconds: Vec<Second>,
    /// The judgement of those after the warm-up.
    pub figures: Figures,
}

/// Runs the world of `seed` under `approach`. The same arguments give the same course.
#[must_use]
pub fn run(settings: &Settings, approach: Approach, seed: u64) -> Course {
    let mut world = World::new(settings, approach, seed);
    let seconds = BEFORE.as_secs() + settings.warm_up.as_secs() + settings.seconds;
    for step in 0..seconds * STEPS {
        world.step(step);
    }
    world.judge()
}

/// A message on its way.
#[derive(Debug)]
enum Message {
    Report(Box<EdgeReport>),
    Leased(usize, Timestamp, BTreeMap<SiteRegion, Leased>),
    BudgetsToEdge(usize, Arc<Budgets>),
    BudgetsToNameServer(usize, Arc<Budgets>, f64),
    Plan(usize, Arc<Plan>),
}

#[derive(Debug)]
struct World<'s> {
    settings: &'s Settings,
    site: SiteId,
    purchase: Timestamp,
    askers: Askers,
    edges: Vec<EdgeServer>,
    name_servers: Vec<NameServer>,
    exchange: Exchange,
    on_the_way: BTreeMap<(Timestamp, u64), Message>,
    sent: u64,
    was_broken: bool,
    /// When it is known that the first edge has stopped.
    fence: Option<Timestamp>,
    auditor: Auditor,
    learned: Option<f64>,
    visitors: Draw,
    answers: Draw,
    network: Draw,
    noise: Draw,
}

impl<'s> World<'s> {
    fn new(settings: &'s Settings, approach: Approach, seed: u64) -> Self {
        let mut draw = Draw::new(seed);
        let purchase = BEGIN.after(BEFORE);
        let seconds = settings.warm_up.as_secs() + settings.seconds;
        let until = purchase.after(Duration::from_secs(seconds + 3_600));
        let exchange = Exchange::new(approach, settings, (purchase, until), BEGIN);
        let askers = Askers::new(settings, &mut draw.fork(), BEGIN);
        let new_edge = |number| {
            let mut edge = EdgeServer::new(edge_id(number), askers.all.len());
            edge.start(exchange.entitlement(), settings, BEGIN);
            edge
        };
        let new_name_server =
            |number| NameServer::new(approach, name_server_id(number), Arc::clone(exchange.plan()));
        Self {
            settings,
            site: site_id(),
            purchase,
            edges: (0..settings.edges).map(new_edge).collect(),
            name_servers: (0..settings.name_servers).map(new_name_server).collect(),
            askers,
            exchange,
            on_the_way: BTreeMap::new(),
            sent: 0,
            was_broken: false,
            fence: None,
            auditor: Auditor::new(purchase, usize::try_from(seconds).unwrap_or(0)),
            learned: None,
            visitors: draw.fork(),
            answers: draw.fork(),
            network: draw.fork(),
            noise: draw.fork(),
        }
    }

    fn step(&mut self, number: u64) {
        let now = BEGIN.after(STEP * u32::try_from(number).unwrap_or(u32::MAX));
        let end = now.after(STEP);
        self.break_and_mend(now);
        self.deliver(now);
        if number.is_multiple_of(PLAN_STEPS) {
            self.plan(now);
        }
        if number % STEPS == CONTROL_STEP {
            self.control(now);
        }
        let demand = self.demand(now);
        self.auditor.wanted(now, demand);
        self.visitors_come(now, end, demand);
        self.askers_ask(end, demand);
        for edge in &mut self.edges {
            edge.admit(&mut self.auditor);
        }
        if (number + 1).is_multiple_of(STEPS) {
            self.report(end);
            self.report_leases(end);
            self.examine(end);
        }
    }

    /// Five TTLs after the purchase began: how much of the load at the edges is known?
    fn examine(&mut self, now: Timestamp) {
        if now.since(self.purchase) != self.settings.ttl * LEARNED_AFTER_TTLS {
            return;
        }
        let place = (self.site.clone(), region_id());
        let (mut all, mut known) = (0.0, 0.0);
        for number in &self.askers.mapped {
            let asker = &self.askers.all[*number];
            let steering = self.name_servers[asker.server].steering();
            let brings = asker.weight * self.demand(now);
            let told = steering.known_load(&place, asker.client).map_or(0.0, RequestRate::as_f64);
            all += brings;
            known += if (told - brings).abs() <= 0.1 * brings { brings } else { 0.0 };
        }
        self.learned = (all > 0.0).then(|| known / all);
    }

    /// The seconds since what is judged begins; below zero before.
    fn judged(&self, now: Timestamp) -> f64 {
        let since = now.since(self.purchase).as_secs_f64();
        if now < self.purchase { -1.0 } else { since - self.settings.warm_up.as_secs_f64() }
    }

    #[expect(clippy::cast_precision_loss, reason = "a day has few seconds")]
    fn length(&self) -> f64 {
        self.settings.seconds as f64
    }

    fn demand(&self, now: Timestamp) -> f64 {
        let at = self.judged(now).max(0.0);
        self.settings.demand * self.settings.scenario.demand(at, self.length())
    }

    fn is_broken(&self, now: Timestamp) -> bool {
        self.settings.scenario.is_broken(self.judged(now), self.length())
    }

    fn break_and_mend(&mut self, now: Timestamp) {
        let broken = self.is_broken(now);
        if broken != self.was_broken {
            self.was_broken = broken;
            match self.settings.scenario {
                Scenario::EdgeLoss if broken => {
                    self.edges[0].stop();
                    self.fence = self.settings.fence.map(|known| now.after(known));
                }
                Scenario::EdgeLoss => {
                    self.edges[0].start(self.exchange.entitlement(), self.settings, now);
                }
                Scenario::ExchangeLoss if !broken => self.exchange.restart(now),
                _ => {}
            }
        }
        if self.fence.take_if(|known| *known <= now).is_some() {
            self.exchange.fence(self.edges[0].id.clone(), now);
        }
    }

    /// True while the exchange is away.
    fn is_away(&self) -> bool {
        self.was_broken && self.settings.scenario == Scenario::ExchangeLoss
    }

    /// Makes a plan if there is anything new, and tells those name servers that do not have it: the
    /// bus keeps the newest for late comers.
    fn plan(&mut self, now: Timestamp) {
        if self.is_away() {
            return;
        }
        self.exchange.replan(now);
        let plan = Arc::clone(self.exchange.plan());
        for number in 0..self.name_servers.len() {
            if self.name_servers[number].generation() < plan.generation {
                self.send(now, Duration::ZERO, Message::Plan(number, Arc::clone(&plan)));
            }
        }
    }

    /// True if the exchange cannot be reached from the edge, or the name server, with this number.
    fn is_cut_off(&self, number: usize, of: usize) -> bool {
        let apart = number < of / 2;
        match self.settings.scenario {
            Scenario::Partition => self.was_broken && apart,
            Scenario::ExchangeLoss => self.was_broken,
            _ => false,
        }
    }

    fn send(&mut self, now: Timestamp, later: Duration, message: Message) {
        let (edges, servers) = (self.edges.len(), self.name_servers.len());
        let cut = match &message {
            Message::Report(report) => {
                let number = self.edges.iter().position(|edge| edge.id == report.edge);
                self.is_cut_off(number.unwrap_or(0), edges)
            }
            Message::Leased(number, ..) => self.is_cut_off(*number, servers),
            Message::BudgetsToEdge(number, _) => self.is_cut_off(*number, edges),
            Message::BudgetsToNameServer(number, ..) | Message::Plan(number, _) => {
                self.is_cut_off(*number, servers)
            }
        };
        if cut || self.network.happens(self.settings.network_loss) {
            return;
        }
        let delay = self.settings.network_delay.mul_f64(0.5 + self.network.even());
        self.sent += 1;
        self.on_the_way.insert((now.after(later + delay), self.sent), message);
    }

    fn deliver(&mut self, now: Timestamp) {
        while let Some(entry) = self.on_the_way.first_entry().filter(|entry| entry.key().0 <= now) {
            match entry.remove() {
                Message::Report(report) => {
                    if !self.is_away() {
                        self.exchange.observe(&report, now);
                    }
                }
                Message::Leased(number, second, leased) => {
                    if !self.is_away() {
                        let id = name_server_id(number);
                        self.exchange.observe_leased(&id, (second, &leased), now);
                    }
                }
                Message::BudgetsToEdge(number, budgets) => {
                    self.edges[number].renew(&budgets, CONTRACT, now);
                }
                Message::BudgetsToNameServer(number, budgets, fraction) => {
                    self.name_servers[number].renew(&budgets, fraction, now);
                }
                Message::Plan(number, plan) => self.name_servers[number].install(plan),
            }
        }
    }

    fn control(&mut self, now: Timestamp) {
        if self.is_away() {
            return;
        }
        let (budgets, fraction) = self.exchange.control(now);
        for number in 0..self.edges.len() {
            let message = Message::BudgetsToEdge(number, Arc::clone(&budgets));
            self.send(now, Duration::ZERO, message);
        }
        for number in 0..self.name_servers.len() {
            let message = Message::BudgetsToNameServer(number, Arc::clone(&budgets), fraction);
            self.send(now, Duration::ZERO, message);
        }
    }

    /// Edges and name servers report the second that ends at `end`.
    fn report(&mut self, end: Timestamp) {
        let second = end.before(Duration::from_secs(1));
        for number in 0..self.edges.len() {
            let askers = &self.askers.all;
            let of = (&self.site, CONTRACT);
            let noise = (self.settings.report_noise, &mut self.noise);
            let report = self.edges[number].report(second, of, |asker| askers[asker].client, noise);
            if let Some(report) = report {
                let message = Message::Report(Box::new(report));
                self.send(end, self.settings.report_delay, message);
            }
        }
    }

    fn report_leases(&mut self, end: Timestamp) {
        let second = end.before(Duration::from_secs(1));
        for number in 0..self.name_servers.len() {
            let report = self.name_servers[number].report(end).into_iter();
            let leased = report.map(|(place, report)| (place, report.leased)).collect();
            let message = Message::Leased(number, second, leased);
            self.send(end, self.settings.report_delay, message);
        }
    }

    /// The visitors of those that are mapped to edges.
    fn visitors_come(&mut self, now: Timestamp, end: Timestamp, demand: f64) {
        let mut mapped = std::mem::take(&mut self.askers.mapped);
        mapped.retain(|number| {
            let asker = &self.askers.all[*number];
            let Some(edge) = asker.edge else { return false };
            let rate = asker.weight * demand;
            let until = asker.until.min(end);
            let mut at = asker.since.max(now);
            loop {
                at = at.after(self.visitors.wait(rate));
                if at >= until {
                    break;
                }
                self.edges[edge].come(at, *number);
            }
            asker.until > end
        });
        self.askers.mapped = mapped;
    }

    /// Who has no answer any more asks when the next visitor comes.
    fn askers_ask(&mut self, end: Timestamp, demand: f64) {
        while let Some((at, number)) = self.askers.next_before(end) {
            let asker = &self.askers.all[number];
            let (client, rate, prefers) = (asker.client, asker.weight * demand, asker.server);
            // A lost question is asked again of another server.
            let lost = self.network.happens(self.settings.network_loss);
            let server = if lost { self.network.one_of(self.name_servers.len()) } else { prefers };
            let answer =
                self.name_servers[server].answer(&self.site, client, &mut self.answers, at);
            self.askers.answered(number, answer, at);
            let until = self.askers.all[number].until;
            self.askers.ask_at(number, until.after(self.visitors.wait(rate)));
            let Some(edge) = answer.0 else { continue };
            let mut came = at;
            while came < end.min(until) {
                self.edges[edge].come(came, number);
                came = came.after(self.visitors.wait(rate));
            }
            self.askers.all[number].since = end;
            if until > end {
                self.askers.mapped.push(number);
            }
        }
    }

    fn judge(self) -> Course {
        let from = usize::try_from(self.settings.warm_up.as_secs()).unwrap_or(0);
        let scenario = self.settings.scenario;
        let begins = crate::draw::as_count(scenario.begins(self.length()));
        let begins = from + usize::try_from(begins).unwrap_or(0);
        let leaps = matches!(scenario, Scenario::Step | Scenario::Flash);
        let not = if leaps { begins..begins + LEAP_SECONDS } else { 0..0 };
        let purchased = self.settings.purchased.as_f64();
        let broken = (scenario == Scenario::EdgeLoss).then_some(begins);
        let figures = self.auditor.figures(purchased, from, &not, broken);
        let figures = Figures { learned: self.learned, ..figures };
        Course { seconds: self.auditor.into_seconds(), figures }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short() -> Settings {
        Settings { seconds: 60, warm_up: Duration::from_secs(60), ..Settings::default() }
    }

    #[test]
    fn one_seed_gives_one_course() {
        let settings = short();
        let first = run(&settings, Approach::Ledger, 3);
        assert_eq!(first, run(&settings, Approach::Ledger, 3));
        assert_ne!(first, run(&settings, Approach::Ledger, 4));
    }
}
