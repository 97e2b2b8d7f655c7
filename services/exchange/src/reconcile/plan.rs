//! Contracts, sites and health become the plan in force.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use headroom_bus::subjects::PLAN;
use headroom_market::{Contract, Market};
use headroom_steer::{
    Entitlement, Owner, Plan, PlanInput, Severity, SiteInput, check, fold,
    limits::ENTITLEMENT_KEPT, plan,
};
use headroom_store::StoredSite;
use headroom_units::{Generation, SiteId, Timestamp};
use headroom_wire::{PlanDocument, PurgeDocument};

use super::attempt;
use crate::{ExchangeConfig, ExchangeError, limits::GENERATION_MAX, start::Shared};

/// Health and ended contracts are looked at this often; changes of contracts and sites at once.
const EVERY: Duration = Duration::from_millis(500);

/// Runs on every signal and every half second.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = shared.plan_wanted.notified() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
        attempt(&shared, "plan", reconcile(&shared)).await;
    }
}

/// Puts the last published plan in force again after a restart.
pub(crate) async fn resume(shared: &Shared) -> Result<(), ExchangeError> {
    if let Some(document) = shared.store.latest_plan().await? {
        shared.bus.publish(&PLAN, &document)?;
        put_in_force(shared, document.into());
    }
    Ok(())
}

/// Makes the next plan; if it says anything new, checks, stores and publishes it.
pub(crate) async fn reconcile(shared: &Shared) -> Result<(), ExchangeError> {
    let held = shared.plan();
    let input = input(shared).await?;
    shared.metrics.edges_down.set(i64::try_from(input.down.len()).unwrap_or(i64::MAX));
    let next = plan(&input);
    fold_purges(shared, &input).await?;
    let newest = |held: &Plan| held.generation.number() >= generation_seen(shared);
    if held.is_some_and(|held| newest(&held) && held.says_the_same(&next)) {
        return Ok(());
    }
    for note in check(&next) {
        match note.severity {
            Severity::Error => return Err(ExchangeError::UnsoundPlan(note)),
            Severity::Warning => tracing::warn!(%note, "the next plan"),
        }
    }
    let document = PlanDocument::from(&next);
    shared.store.save_plan(&document).await?;
    shared.bus.publish(&PLAN, &document)?;
    tracing::info!(generation = document.generation, "a plan is in force");
    put_in_force(shared, next);
    Ok(())
}

/// All that the next plan is made from.
pub(crate) async fn input(shared: &Shared) -> Result<PlanInput, ExchangeError> {
    let now = headroom_clock::now();
    let fleet = &shared.config.fleet;
    let sites = shared.store.sites().await?;
    let mut purges = shared.store.purges().await?;
    let own = shared.config.own_sites.iter().cloned();
    let mut sites: Vec<_> = own.chain(sites.iter().map(site)).collect();
    for site in &mut sites {
        let purges = purges.remove(&site.id).unwrap_or_default();
        site.purges = purges.into_iter().map(Into::into).collect();
    }
    let edges = fleet.regions.values().flat_map(|region| region.edges.keys());
    Ok(PlanInput {
        now,
        generation: shared
            .plan()
            .map_or(Generation::ZERO, |held| held.generation)
            .max(Generation::new(generation_seen(shared)))
            .next(),
        fleet: fleet.clone(),
        down: shared.live.down(edges, shared.started_at, shared.config.edge_timeout, now),
        sites,
        entitlements: shared.book.read(|market| entitlements(market, &shared.config, now)).await,
    })
}

/// Keeps of the purges what the plan keeps of them.
async fn fold_purges(shared: &Shared, input: &PlanInput) -> Result<(), ExchangeError> {
    for site in &input.sites {
        let folded = fold(site.purges.clone());
        if folded == site.purges {
            continue;
        }
        let kept: BTreeSet<u64> = folded.iter().map(|purge| purge.sequence).collect();
        let dropped = site.purges.iter().map(|purge| purge.sequence);
        let dropped: Vec<u64> = dropped.filter(|sequence| !kept.contains(sequence)).collect();
        let widened = folded.iter().filter(|purge| !site.purges.contains(purge));
        let widened: Vec<_> = widened.map(PurgeDocument::from).collect();
        shared.store.fold_purges(&widened, &dropped).await?;
    }
    Ok(())
}

/// The highest generation in use anywhere: after a lost or restored database, edges and name
/// servers have newer plans than it and would ignore ours. One that no exchange can have reached
/// is a fault of the edge's and not followed.
fn generation_seen(shared: &Shared) -> u64 {
    let seen = shared.generation_seen.load(Ordering::Relaxed);
    if seen < GENERATION_MAX { seen } else { 0 }
}

fn put_in_force(shared: &Shared, plan: Plan) {
    let number = i64::try_from(plan.generation.number()).unwrap_or(i64::MAX);
    shared.metrics.plan_generation.set(number);
    shared.set_plan(Arc::new(plan));
}

/// A stored site as the planner takes it.
pub(crate) fn site(stored: &StoredSite) -> SiteInput {
    let site = &stored.site;
    SiteInput {
        id: site.id.0.clone(),
        owner: Owner::Purchaser(stored.purchaser.clone()),
        hosts: stored.hosts.iter().map(|host| (host.host.clone(), host.proved)).collect(),
        origins: site.origins.iter().map(|origin| origin.0.clone()).collect(),
        remainder: site.remainder.clone().into(),
        over_share: site.over_share.into(),
        fallback: site.fallback.0.clone(),
        rules: site.rules.clone().into(),
        purges: Vec::new(),
    }
}

fn entitlements(
    market: &Market,
    config: &ExchangeConfig,
    now: Timestamp,
) -> Vec<(SiteId, Entitlement)> {
    let entitlement = |contract: &Contract| Entitlement {
        contract: contract.id,
        region: contract.region.clone(),
        from: config.slot_length.start(contract.slots.first()),
        until: contract.ends(config.slot_length),
        requests: config.unit.requests(contract.units),
        egress: config.unit.egress_of(contract.units),
        class: contract.class,
    };
    let live =
        |contract: &&Contract| contract.ends(config.slot_length).after(ENTITLEMENT_KEPT) > now;
    market
        .contracts()
        .filter(live)
        .map(|contract| (contract.site.clone(), entitlement(contract)))
        .collect()
}
