//! What comes in over the bus, and what goes out: plans, budgets, reports.

use std::{path::PathBuf, sync::Arc, time::Duration};

use headroom_bus::{Bus, BusError, Subscription, subjects::NAME_SERVER_REPORTS};
use headroom_steer::{Plan, Severity, SiteRegion, SteeringReport, check};
use headroom_units::{NameServerId, Timestamp};
use headroom_wire::{BudgetsMessage, MappingMeter, NameServerReport, PlanDocument, Text, Time};
use tokio_util::sync::CancellationToken;

use crate::{limits, metrics::PlanOutcome, server::Shared, tables::Tables};

/// How long to wait after a message could not be read, so that a lasting fault does not spin.
const FAULT_PAUSE: Duration = Duration::from_millis(100);

/// Takes plans in: looks them over, puts them in force, saves them.
#[derive(Debug, Clone)]
pub(crate) struct Intake {
    id: NameServerId,
    file: Option<PathBuf>,
    tables: Arc<Tables>,
    shared: Arc<Shared>,
}

impl Intake {
    pub(crate) fn new(
        id: NameServerId,
        file: Option<PathBuf>,
        tables: Arc<Tables>,
        shared: Arc<Shared>,
    ) -> Self {
        Self { id, file, tables, shared }
    }

    pub(crate) fn id(&self) -> &NameServerId {
        &self.id
    }

    /// Puts the plan of the file in force.
    pub(crate) async fn load(&self) {
        self.off_the_runtime(|intake| {
            let Some(path) = &intake.file else { return };
            match headroom_planfile::load(path) {
                Ok(Some(plan)) => {
                    let outcome = intake.install(Arc::new(plan));
                    intake.shared.metrics.count_plan(outcome);
                }
                Ok(None) => tracing::info!(path = %path.display(), "no plan is saved yet"),
                Err(error) => tracing::error!(%error, "starting without a plan"),
            }
        })
        .await;
    }

    /// Takes in a plan from the bus. What fails its check is refused; the old one stays.
    async fn take(&self, plan: Plan) {
        self.off_the_runtime(move |intake| {
            let outcome = intake.judge(plan);
            intake.shared.metrics.count_plan(outcome);
        })
        .await;
    }

    /// A table of a million names, and a file that is synced, take their time.
    async fn off_the_runtime(&self, work: impl FnOnce(&Self) + Send + 'static) {
        let intake = self.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || work(&intake)).await {
            tracing::error!(%error, "a plan could not be taken in");
        }
    }

    fn judge(&self, plan: Plan) -> PlanOutcome {
        let held = self.shared.responder().generation();
        if held.is_some_and(|held| plan.generation <= held) {
            tracing::debug!(generation = %plan.generation, "a plan is not newer");
            return PlanOutcome::NotNewer;
        }
        if let Some(note) = check(&plan).into_iter().find(|n| n.severity == Severity::Error) {
            tracing::error!(generation = %plan.generation, %note, "a plan is refused");
            return PlanOutcome::Unsound;
        }
        let plan = Arc::new(plan);
        let outcome = self.install(Arc::clone(&plan));
        // The disk may be slow, and nobody's answer waits for it: after a crash in between, the plan
        // comes over the bus again.
        match &self.file {
            Some(path) if outcome == PlanOutcome::Installed => {
                match headroom_planfile::save(path, &plan) {
                    Ok(()) => outcome,
                    Err(error) => {
                        // A full disk must not stop steering: only a restart would fall back.
                        tracing::error!(%error, "a plan is in force but not saved");
                        PlanOutcome::NotSaved
                    }
                }
            }
            _ => outcome,
        }
    }

    fn install(&self, plan: Arc<Plan>) -> PlanOutcome {
        if !plan.name_servers.contains_key(&self.id) {
            tracing::warn!(id = %self.id, "the plan does not know this name server");
        }
        let generation = plan.generation;
        if !self.tables.install(plan) {
            return PlanOutcome::NotNewer;
        }
        self.shared.metrics.set_generation(generation.number());
        tracing::info!(%generation, "a plan is in force");
        PlanOutcome::Installed
    }
}

/// Takes plans in until told to stop.
pub(crate) async fn take_plans(
    mut plans: Subscription<PlanDocument>,
    intake: Intake,
    stop: CancellationToken,
) {
    while let Some(document) = next(&mut plans, &stop).await {
        intake.take(Plan::from(document)).await;
    }
}

/// Looks whether there is anything to sign, until told to stop.
pub(crate) async fn keep_signed(tables: Arc<Tables>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(limits::KEYS_EVERY) => {}
        }
        renew_signatures(&tables).await;
    }
}

/// Signs what has to be signed. Thousands of signatures take their time.
pub(crate) async fn renew_signatures(tables: &Arc<Tables>) {
    let tables = Arc::clone(tables);
    if let Err(error) = tokio::task::spawn_blocking(move || tables.renew()).await {
        tracing::error!(%error, "zones could not be signed");
    }
}

/// Puts budgets in force until told to stop.
pub(crate) async fn renew_budgets(
    mut budgets: Subscription<BudgetsMessage>,
    shared: Arc<Shared>,
    stop: CancellationToken,
) {
    while let Some(message) = next(&mut budgets, &stop).await {
        let renewed = shared.responder().renew(message.into(), headroom_clock::now());
        if !renewed {
            tracing::debug!("budgets are not newer, or come before a plan");
        }
    }
}

/// The next message; `None` when told to stop or the bus is gone.
pub(crate) async fn next<T: serde::de::DeserializeOwned>(
    subscription: &mut Subscription<T>,
    stop: &CancellationToken,
) -> Option<T> {
    loop {
        let message = tokio::select! {
            () = stop.cancelled() => return None,
            message = subscription.next() => message,
        };
        match message {
            Ok(message) => return Some(message),
            Err(BusError::Closed { .. }) => return None,
            Err(error) => {
                tracing::error!(%error, "a message from the exchange is unusable");
                tokio::time::sleep(FAULT_PAUSE).await;
            }
        }
    }
}

/// Tells at the end of each second what was steered in it, until told to stop.
pub(crate) async fn report(
    id: NameServerId,
    shared: Arc<Shared>,
    bus: Bus,
    stop: CancellationToken,
) {
    let mut end = headroom_clock::now().seconds() + 1;
    loop {
        let wait = Timestamp::from_seconds(end).since(headroom_clock::now());
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        // A late timer tells of the second that ended last, and goes on from there.
        end = end.max(headroom_clock::now().seconds());
        let now = headroom_clock::now();
        let places = shared.responder().report(now).into_iter().map(meter).collect();
        let second = Time(Timestamp::from_seconds(end - 1));
        let assignments = shared.assigned.report(now);
        let name_server = Text(id.clone());
        let report = NameServerReport { name_server, second, places, assignments };
        if let Err(error) = bus.publish(&NAME_SERVER_REPORTS, &report) {
            tracing::error!(%error, "a report is lost");
        }
        end += 1;
    }
}

fn meter(((site, region), report): (SiteRegion, SteeringReport)) -> MappingMeter {
    MappingMeter {
        site: Text(site),
        region: Text(region),
        mapping_requests: report.mapping_requests,
        mapped_to_edges: report.mapped_to_edges,
        leased: Text(report.leased.load),
        strangers: Text(report.leased.strangers),
    }
}
