//! What the edge hears and tells: plans and budgets come in, meters go out until they are
//! acknowledged.
//!
//! One task beside the serving threads. It replaces the table; the threads only read it.

use std::{path::PathBuf, sync::Arc};

use headroom_bus::{
    Bus, BusError, Subscription,
    subjects::{BUDGETS, METER_ACKS, METERS, PLAN},
};
use headroom_planfile as planfile;
use headroom_steer::{Budgets, Plan, Severity, check};
use headroom_units::{EdgeId, Timestamp};
use headroom_wire::{BudgetsMessage, MeterAck, MeterReport, PlanDocument};
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    limits, meter::ThreadMeter, metrics::shown, proxy::Shared, report::Reporter, spool::Spool,
    table::Table,
};

/// Keeps the table up to date and reports.
#[derive(Debug)]
pub(crate) struct Control {
    shared: Arc<Shared>,
    threads: Vec<Arc<ThreadMeter>>,
    plan_file: Option<PathBuf>,
    reporter: Reporter,
    spool: Spool,
    bus: Bus,
    plans: Subscription<PlanDocument>,
    budgets: Subscription<BudgetsMessage>,
    acks: Subscription<MeterAck>,
}

impl Control {
    pub(crate) fn new(
        edge: EdgeId,
        shared: Arc<Shared>,
        threads: Vec<Arc<ThreadMeter>>,
        plan_file: Option<PathBuf>,
        spool: Spool,
        bus: &Bus,
    ) -> Self {
        let table = shared.table.load_full();
        shared.metrics.generation.set(shown(table.generation().number()));
        shared.metrics.draining.set(0);
        let reporter = Reporter::new(edge, spool.incarnation(), &table, headroom_clock::now());
        let (plans, budgets) = (bus.subscribe(&PLAN), bus.subscribe(&BUDGETS));
        let (acks, bus) = (bus.subscribe(&METER_ACKS), bus.clone());
        Self { shared, threads, plan_file, reporter, spool, bus, plans, budgets, acks }
    }

    /// Goes on until all is `served`. From `draining` on the edge accepts nothing new.
    pub(crate) async fn run(&mut self, draining: &CancellationToken, served: &CancellationToken) {
        let mut drains = false;
        loop {
            let rest = self.reporter.wait(headroom_clock::now());
            tokio::select! {
                () = served.cancelled() => return,
                () = draining.cancelled(), if !drains => {
                    drains = true;
                    self.shared.metrics.draining.set(1);
                    self.reporter.close_gates(headroom_clock::now());
                }
                () = tokio::time::sleep(rest) => self.step().await,
                plan = heard(&mut self.plans) => self.take_plan(plan.into()).await,
                budgets = heard(&mut self.budgets) => self.take_budgets(&budgets.into()),
                ack = heard(&mut self.acks) => self.take_ack(&ack).await,
            }
        }
    }

    /// Reports what is not reported yet, and waits a little for the acknowledgement: the last
    /// thing an edge does.
    pub(crate) async fn finish(&mut self) {
        let table = self.shared.table.load_full();
        let now = headroom_clock::now();
        for report in self.reporter.last(&table, &self.threads, now) {
            self.publish(&report).await;
        }
        let acknowledged = async {
            while self.spool.is_acknowledged() && !self.spool.is_empty() {
                let ack = heard(&mut self.acks).await;
                self.take_ack(&ack).await;
            }
        };
        if timeout(limits::LAST_ACK_TIME, acknowledged).await.is_err() {
            tracing::warn!("the last meters are not acknowledged; the next run sends them again");
        }
        self.spool.close().await;
    }

    async fn step(&mut self) {
        let table = self.shared.table.load_full();
        let now = headroom_clock::now();
        let Some(report) = self.reporter.step(&table, &self.threads, now) else { return };
        let second = report.second.0.seconds();
        self.publish(&report).await;
        if second.is_multiple_of(limits::SPOOL_ADOPT_SECONDS) {
            self.spool.adopt().await;
        }
        for overdue in self.spool.overdue(now) {
            self.send(&overdue);
        }
    }

    async fn take_ack(&mut self, ack: &MeterAck) {
        self.spool.acknowledge(ack, headroom_clock::now()).await;
    }

    async fn publish(&mut self, report: &MeterReport) {
        self.spool.keep(report, headroom_clock::now()).await;
        self.send(report);
    }

    fn send(&self, report: &MeterReport) {
        if let Err(error) = self.bus.publish(&METERS, report) {
            tracing::error!(%error, "a second's meters cannot be sent");
        }
        let metrics = &self.shared.metrics;
        metrics.cache_objects.set(shown(self.shared.cache.objects()));
        metrics.cache_bytes.set(shown(self.shared.cache.bytes()));
        if let Some(disk) = self.shared.cache.disk() {
            metrics.show_disk(disk);
        }
    }

    async fn take_plan(&mut self, plan: Plan) {
        if plan.generation <= self.shared.table.load().generation() {
            tracing::debug!(generation = %plan.generation, "an older plan is ignored");
            return;
        }
        if let Some(note) = check(&plan).into_iter().find(|note| note.severity == Severity::Error) {
            tracing::error!(generation = %plan.generation, %note, "an unsound plan is ignored");
            return;
        }
        let plan = Arc::new(plan);
        if let Some(path) = self.plan_file.clone() {
            let saved = Arc::clone(&plan);
            let saving = tokio::task::spawn_blocking(move || planfile::save(&path, &saved));
            match saving.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "a start would not find this plan"),
                Err(error) => tracing::error!(%error, "saving the plan broke off"),
            }
        }
        tracing::info!(generation = %plan.generation, "a new plan is in force");
        let now = headroom_clock::now();
        let table = self.shared.table.load().with_plan(&plan, now);
        self.replace(table, now);
    }

    fn take_budgets(&mut self, budgets: &Budgets) {
        let now = headroom_clock::now();
        self.spool.heard(now);
        let table = self.shared.table.load().with_budgets(budgets, now);
        self.replace(table, now);
    }

    fn replace(&mut self, table: Option<Table>, now: Timestamp) {
        if let Some(table) = table {
            self.reporter.table_changed(&table, now);
            let (generation, sequence) = (table.generation().number(), table.budget_sequence());
            self.shared.table.store(Arc::new(table));
            self.shared.metrics.generation.set(shown(generation));
            self.shared.metrics.budget_sequence.set(shown(sequence));
        }
    }
}

/// The next message. One that cannot be read is passed over; a bus that is gone brings none.
async fn heard<T: DeserializeOwned>(subscription: &mut Subscription<T>) -> T {
    loop {
        match subscription.next().await {
            Ok(message) => return message,
            Err(error) => {
                tracing::warn!(%error, "the edge goes on with what it has");
                if matches!(error, BusError::Closed { .. }) {
                    tokio::time::sleep(limits::BUS_REST).await;
                }
            }
        }
    }
}
