//! Who is served, who is sent back, and what is told of it.

use std::time::Duration;

use headroom_bus::subjects::BUDGETS;
use headroom_edge::EdgeConfig;
use headroom_steer::{Budgets, OverShare};
use headroom_units::{Generation, RequestRate};
use headroom_wire::{BudgetsMessage, ContractMeterMessage, MeterReport};
use tokio::time::timeout;

use crate::harness::{
    CONTRACT, OWN, Origin, SHOP, Saying, World, config, plan, plan_with_contract, response, shop,
};

const FRESH: &str = "Cache-Control: max-age=60";

async fn stopped_reports(world: World) -> Vec<MeterReport> {
    let mut meters = world.meters();
    world.end().await;
    let mut reports = Vec::new();
    while let Ok(Ok(report)) = timeout(Duration::from_millis(100), meters.next()).await {
        reports.push(report);
    }
    reports
}

fn contract_sum(reports: &[MeterReport]) -> ContractMeterMessage {
    let mut meters = reports.iter().flat_map(|report| &report.contracts);
    let mut sum = meters.next().expect("the contract is reported").clone();
    for meter in meters {
        sum.offered += meter.offered;
        sum.served += meter.served;
        sum.refused += meter.refused;
        sum.hits += meter.hits;
        sum.bytes += meter.bytes;
        sum.available_millirequests += meter.available_millirequests;
    }
    sum
}

#[tokio::test]
async fn the_operators_own_site_is_always_served_and_metered_apart() {
    let origin = Origin::start(|_, _| response(FRESH, "hello")).await;
    let world = World::before(&origin).await;
    let mut meters = world.meters();
    for _ in 0..30 {
        assert_eq!(world.get(OWN, "/a").await.status, 200);
    }
    let stopping = world.end();
    let mut reports = Vec::new();
    stopping.await;
    while let Ok(Ok(report)) = timeout(Duration::from_millis(100), meters.next()).await {
        reports.push(report);
    }
    let requests: u64 = reports.iter().map(|report| report.own.requests).sum();
    let hits: u64 = reports.iter().map(|report| report.own.hits).sum();
    let bytes: u64 = reports.iter().map(|report| report.own.bytes).sum();
    assert_eq!((requests, hits), (30, 29));
    assert!(bytes > 30 * 100, "{bytes}");
    assert!(reports.iter().all(|report| report.clients.is_empty() && report.contracts.is_empty()));
}

#[tokio::test]
async fn without_a_contract_visitors_go_back_to_the_purchaser() {
    let origin = Origin::start(|_, _| response(FRESH, "hello")).await;
    let world = World::before(&origin).await;
    let answer = world.get(SHOP, "/a/b?c=d&e").await;
    assert_eq!(answer.status, 307);
    assert_eq!(answer.field("location"), Some("http://origin.shop.example:8080/a/b?c=d&e"));
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    assert_eq!(origin.count(), 0);
    let reports = stopped_reports(world).await;
    let clients: u64 =
        reports.iter().flat_map(|report| &report.clients).map(|client| client.requests).sum();
    assert!(clients <= 1, "it may have been reported before");
}

#[tokio::test]
async fn who_has_bought_nothing_is_not_proxied_even_if_the_site_says_so() {
    let origin = Origin::start(|_, _| response(FRESH, "hello")).await;
    let mut world = World::start();
    let mut plan = plan(origin.address);
    shop(&mut plan).over_share = OverShare::PassThrough;
    world.plan(plan).await;
    assert_eq!(world.get(SHOP, "/a").await.status, 307);
    assert_eq!(origin.count(), 0);
    world.end().await;
}

#[tokio::test]
async fn a_contract_begins_with_its_first_slot_and_ends_with_its_last() {
    let origin = Origin::start(|_, _| response(FRESH, "hello")).await;
    let mut world = World::start();
    world.plan(plan_with_contract(origin.address, 100, 1, 3)).await;
    assert_eq!(world.get(SHOP, "/a").await.status, 307);
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    assert_eq!(world.get(SHOP, "/a").await.status, 200);
    tokio::time::sleep(Duration::from_millis(2_000)).await;
    assert_eq!(world.get(SHOP, "/a").await.status, 307);
    world.end().await;
}

#[tokio::test]
async fn over_the_share_visitors_go_back_and_all_is_told() {
    let origin = Origin::start(|_, _| response(FRESH, "hello")).await;
    let mut world = World::start();
    // The safe share of the only edge: 4 requests per second.
    world.plan(plan_with_contract(origin.address, 8, -10, 100)).await;
    let mut meters = world.meters();
    let mut statuses = Vec::new();
    for _ in 0..40 {
        statuses.push(world.get(SHOP, "/a").await.status);
    }
    let served = statuses.iter().filter(|status| **status == 200).count() as u64;
    let refused = statuses.iter().filter(|status| **status == 307).count() as u64;
    assert_eq!(served + refused, 40);
    assert!(served >= 1 && refused >= 20, "{served} {refused}");
    world.end().await;
    let mut reports = Vec::new();
    while let Ok(Ok(report)) = timeout(Duration::from_millis(100), meters.next()).await {
        reports.push(report);
    }
    let sum = contract_sum(&reports);
    assert_eq!(sum.contract.0, CONTRACT);
    assert_eq!((sum.offered, sum.served, sum.refused, sum.hits), (40, served, refused, served - 1));
    assert!(sum.bytes > served * 100);
    let clients: Vec<(String, u64)> = reports
        .iter()
        .flat_map(|report| &report.clients)
        .map(|meter| (format!("{} {}", meter.site.0, meter.client.0), meter.requests))
        .collect();
    assert!(clients.iter().all(|(client, _)| client == "shop 127.0.0.0/24"), "{clients:?}");
    assert_eq!(clients.iter().map(|(_, requests)| requests).sum::<u64>(), 40);
}

#[tokio::test]
async fn over_the_share_visitors_are_passed_through_if_the_site_says_so() {
    let origin = Origin::start(|_, _| response(FRESH, "hello")).await;
    let mut world = World::start();
    let mut plan = plan_with_contract(origin.address, 8, -10, 100);
    shop(&mut plan).over_share = OverShare::PassThrough;
    world.plan(plan).await;
    let mut passed = 0;
    for _ in 0..40 {
        let answer = world.get(SHOP, "/a").await;
        assert_eq!(answer.status, 200);
        passed += usize::from(answer.cache() == "headroom; fwd=bypass");
    }
    assert!(passed >= 20, "{passed}");
    assert_eq!(origin.count(), passed + 1, "one fetch for the cache, the others past it");
    world.end().await;
}

#[tokio::test]
async fn over_the_share_visitors_are_refused_if_the_site_wants_no_remainder() {
    let origin = Origin::start(|_, _| response(FRESH, "hello")).await;
    let mut world = World::start();
    let mut plan = plan(origin.address);
    shop(&mut plan).over_share = OverShare::Refuse;
    world.plan(plan).await;
    let answer = world.get(SHOP, "/a").await;
    assert_eq!((answer.status, answer.field("retry-after")), (503, Some("2")));
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    let mut plan = plan_with_contract(origin.address, 8, -10, 100);
    shop(&mut plan).over_share = OverShare::Refuse;
    world.plan(plan).await;
    let mut refused = 0;
    for _ in 0..40 {
        refused += usize::from(world.get(SHOP, "/a").await.status == 503);
    }
    assert!(refused >= 20, "{refused}");
    assert_eq!(origin.count(), 1, "one fetch for the cache");
    world.end().await;
}

#[tokio::test]
async fn a_report_comes_every_second_with_the_share_that_was_held() {
    let origin = Origin::start(|_, _| response(FRESH, "hello")).await;
    let mut world = World::start();
    world.plan(plan_with_contract(origin.address, 100, -10, 100)).await;
    let mut meters = world.meters();
    let now = headroom_clock::now();
    let budgets = |sequence, share| Budgets {
        sequence,
        generation: Generation::new(1),
        issued_at: now,
        expires_at: now.after(Duration::from_secs(30)),
        leases: [].into(),
        shares: [(
            CONTRACT,
            [("east-1".parse().unwrap(), RequestRate::from_requests_per_second(share))].into(),
        )]
        .into(),
    };
    world.bus.publish(&BUDGETS, &BudgetsMessage::from(&budgets(9, 80))).unwrap();
    // The second in which the budget came into force; it may be the one after it was issued.
    let mut second = loop {
        let report = meters.next().await.unwrap();
        if report.budget_sequence == 9 {
            break report.second.0;
        }
    };
    world.bus.publish(&BUDGETS, &BudgetsMessage::from(&budgets(8, 10))).unwrap();
    for _ in 0..2 {
        let report = meters.next().await.unwrap();
        assert!(headroom_clock::now().since(report.second.0) < Duration::from_millis(1_500));
        assert_eq!(report.second.0, second.after(Duration::from_secs(1)));
        assert_eq!((report.generation, report.budget_sequence), (1, 9));
        assert_eq!(report.contracts[0].available_millirequests, 80_000);
        assert_eq!(report.contracts[0].offered, 0);
        second = report.second.0;
    }
    world.end().await;
}

#[tokio::test]
async fn an_older_plan_is_ignored() {
    let origin = Origin::start(|_, _| response(FRESH, "hello")).await;
    let mut world = World::start();
    world.plan(plan(origin.address)).await;
    world.plan(plan(origin.address)).await;
    let mut older = plan(origin.address);
    older.generation = Generation::new(1);
    older.sites.clear();
    let document = headroom_wire::PlanDocument::from(&older);
    world.bus.publish(&headroom_bus::subjects::PLAN, &document).unwrap();
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(world.get(OWN, "/a").await.status, 200);
    assert_eq!(world.metric("headroom_edge_plan_generation"), "2");
    world.end().await;
}

#[tokio::test]
async fn hits_are_counted_alike_on_the_short_way_and_the_long() {
    let origin = Origin::start(|_, _| response(FRESH, "hello")).await;
    let mut world = World::before(&origin).await;
    world.plan(plan_with_contract(origin.address, 1_000, -10, 60)).await;
    world.get(SHOP, "/a").await;
    for _ in 0..3 {
        assert_eq!(world.get(SHOP, "/a").await.cache(), "headroom; hit");
        // Whoever says how old a response may be is looked at more closely.
        let long = world.ask("GET", SHOP, "/a", &["Cache-Control: max-age=60"]).await;
        assert_eq!(long.cache(), "headroom; hit");
    }
    let sum = contract_sum(&stopped_reports(world).await);
    assert_eq!((sum.offered, sum.served, sum.refused, sum.hits), (7, 7, 0, 6));
}

#[tokio::test]
async fn what_a_contract_admitted_is_sent_after_its_end_unless_it_is_large() {
    let origin = Origin::start(|request, _| {
        let size = if request.starts_with("GET /large") { 100 * 1024 } else { 8 * 1024 };
        let caching = if request.contains("kept") { FRESH } else { "Cache-Control: no-store" };
        // Until the contract is over.
        let after = Duration::from_millis(2_500);
        Saying { after, ..response(caching, &"x".repeat(size)) }
    })
    .await;
    let config = EdgeConfig { origin_response_timeout: Duration::from_secs(10), ..config(None) };
    let mut world = World::before_with(config, &origin).await;
    world.plan(plan_with_contract(origin.address, 1_000, -10, 2)).await;
    let get = |path| world.get(SHOP, path);
    let (kept, passed, large) = tokio::join!(get("/kept"), get("/passed"), get("/large"));
    for small in [kept, passed] {
        assert_eq!((small.status, small.body.len(), small.whole), (200, 8 * 1024, true));
    }
    assert!(!large.whole, "{} bytes", large.body.len());
    assert_eq!(world.get(SHOP, "/kept").await.status, 307, "the contract is over");
    world.end().await;
}
