//! Conversations with a ledger.

use proptest::prelude::*;

use super::*;

const TTL: Duration = Duration::from_secs(20);

fn client(number: u8) -> IpNet {
    format!("10.0.{number}.0/24").parse().unwrap()
}

fn rate(requests: u64) -> RequestRate {
    RequestRate::from_requests_per_second(requests)
}

fn seconds(seconds: u64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn edges() -> [EdgeId; 2] {
    ["east-1".parse().unwrap(), "east-2".parse().unwrap()]
}

fn lease(ledger: &mut Ledger, number: u8, budget: u64, now: u64) -> Option<EdgeId> {
    let edges = edges();
    ledger.note(client(number), seconds(now), TTL * 2);
    ledger.lease(client(number), rate(budget), (&edges.each_ref(), |_| 1), TTL, seconds(now))
}

fn learn(ledger: &mut Ledger, second: u64, brought: &[(u8, u64)]) {
    let brought = brought.iter().map(|(number, load)| (client(*number), rate(*load))).collect();
    let by_name_server = [("ns1".parse().unwrap(), rate(100))].into();
    let measured_second = seconds(second);
    let budget = LeaseBudget { by_name_server, measured_second, brought, ..LeaseBudget::default() };
    ledger.learn(&budget, seconds(second + 1));
}

fn crowd(clients: u8) -> Ledger {
    let mut ledger = Ledger::default();
    for number in 0..clients {
        ledger.note(client(number), seconds(0), TTL * 2);
    }
    ledger
}

#[test]
fn strangers_fill_half_the_budget_each_until_they_are_known() {
    let mut ledger = crowd(10);
    let leased = (0..10).filter(|n| lease(&mut ledger, *n, 100, 1).is_some()).count();
    assert_eq!(leased, 5);
}

#[test]
fn a_heavy_client_is_held_to_what_it_really_brings() {
    let mut ledger = crowd(10);
    for number in 0..10 {
        lease(&mut ledger, number, 100, 1);
    }
    learn(&mut ledger, 2, &[(0, 60), (1, 5), (2, 5), (3, 5), (4, 5)]);
    assert_eq!(ledger.leased(), rate(80));
    assert!(lease(&mut ledger, 5, 100, 3).is_some(), "a stranger of 20 fits");
    assert!(lease(&mut ledger, 6, 100, 3).is_none(), "another does not");
    assert!(lease(&mut ledger, 0, 70, 3).is_none(), "a smaller budget drops the heavy one");
}

#[test]
fn the_choice_is_sticky_and_survives_expiry() {
    let mut ledger = Ledger::default();
    let first = lease(&mut ledger, 1, 100, 0).unwrap();
    learn(&mut ledger, 1, &[(1, 10)]);
    lease(&mut ledger, 2, 100, 1);
    learn(&mut ledger, 2, &[(1, 10), (2, 10)]);
    assert_eq!(lease(&mut ledger, 1, 100, 10).unwrap(), first);
    assert_eq!(lease(&mut ledger, 1, 100, 100).unwrap(), first);
}

#[test]
fn who_comes_back_to_a_busy_edge_gets_another() {
    let mut ledger = crowd(10);
    let first = lease(&mut ledger, 1, 1_000, 0).unwrap();
    learn(&mut ledger, 1, &[(1, 5)]);
    for number in 2..6 {
        lease(&mut ledger, number, 1_000, 15);
    }
    let on_first: Vec<_> = (2..6)
        .filter(|number| ledger.leases[&client(*number)].edge == first)
        .map(|number| (number, 100))
        .collect();
    learn(&mut ledger, 16, &on_first);
    assert_ne!(lease(&mut ledger, 1, 1_000, 21).unwrap(), first);
}

#[test]
fn when_there_is_too_much_no_more_are_refused_than_it_takes() {
    let mut ledger = crowd(10);
    let strangers = (0..10).filter(|n| lease(&mut ledger, *n, 100, 1).is_some()).count();
    assert_eq!(strangers, 5);
    learn(&mut ledger, 2, &[(0, 30), (1, 30), (2, 30), (3, 30), (4, 30)]);
    let kept: Vec<_> = (0..10).filter(|n| lease(&mut ledger, *n, 100, 11).is_some()).collect();
    assert_eq!(kept, [2, 3, 4], "150 became 90, and no stranger of 20 fits beside what runs out");
    assert_eq!(ledger.leased(), rate(150), "what was refused has not run out");
    learn(&mut ledger, 21, &[(2, 30), (3, 30), (4, 30)]);
    assert_eq!(ledger.leased(), rate(90));
}

#[test]
fn a_light_client_is_learned_from_leases_that_hold_no_whole_second() {
    let mut ledger = crowd(10);
    let edges = edges();
    for visit in 0..3 {
        let now = Timestamp::from_millis(10_500 + visit * 4_000);
        let ttl = Duration::from_secs(1);
        let leased = ledger.lease(client(1), rate(100), (&edges.each_ref(), |_| 1), ttl, now);
        assert!(leased.is_some());
        assert_eq!(ledger.leased(), rate(if visit == 0 { 20 } else { 2 }), "visit {visit}");
        for second in now.seconds()..now.seconds() + 4 {
            let brought = if second < now.seconds() + 2 { 1 } else { 0 };
            learn(&mut ledger, second, &[(1, brought)]);
        }
    }
}

#[test]
fn edges_are_filled_in_proportion_to_their_shares() {
    let (mut ledger, edges) = (crowd(40), edges());
    for number in 0..40 {
        let share = |edge: &EdgeId| if *edge == edges[0] { 30 } else { 10 };
        let edges = (&edges.each_ref()[..], share);
        ledger.lease(client(number), rate(1_000), edges, TTL, seconds(1));
    }
    let load = |edge: &EdgeId| ledger.by_edge.get(edge).copied().unwrap_or(0);
    assert_eq!(load(&edges[0]), 3 * load(&edges[1]));
    let none = |edge: &EdgeId| u64::from(*edge == edges[1]);
    let edges_of = (&edges.each_ref()[..], none);
    let edge = ledger.lease(client(41), rate(10_000), edges_of, TTL, seconds(2));
    assert_eq!(edge, Some(edges[1].clone()), "the other has no share");
}

#[test]
fn an_answer_that_is_kept_too_long_is_counted_until_the_meters_tell() {
    let mut ledger = crowd(10);
    lease(&mut ledger, 1, 100, 0);
    learn(&mut ledger, 1, &[(1, 10)]);
    learn(&mut ledger, 22, &[(1, 10)]);
    assert_eq!(ledger.leased(), rate(10), "its time is over, its load is not");
    lease(&mut ledger, 1, 100, 60);
    assert_eq!(ledger.keeps(client(1)), Duration::from_secs(60));
    learn(&mut ledger, 79, &[(1, 10)]);
    learn(&mut ledger, 81, &[]);
    assert_eq!((ledger.leased(), ledger.count()), (RequestRate::ZERO, 0));
}

#[test]
fn who_keeps_an_answer_for_the_first_time_is_found_by_the_meters() {
    let mut ledger = crowd(10);
    lease(&mut ledger, 1, 100, 0);
    learn(&mut ledger, 1, &[(1, 10)]);
    learn(&mut ledger, 20, &[]);
    assert_eq!(ledger.count(), 0, "it is not so heavy that it would have asked at once");
    learn(&mut ledger, 21, &[(1, 10)]);
    assert_eq!((ledger.count(), ledger.leased()), (1, rate(10)));
    learn(&mut ledger, 22, &[(1, 10)]);
    lease(&mut ledger, 1, 100, 30);
    assert_eq!(ledger.keeps(client(1)), Duration::from_secs(30));
    assert!(lease(&mut ledger, 1, 5, 40).is_none());
    learn(&mut ledger, 51, &[(1, 10)]);
    assert_eq!(ledger.count(), 0, "who was refused keeps nothing");
}

#[test]
fn who_waited_and_is_leased_waits_no_more() {
    let mut ledger = crowd(100);
    for number in 0..30 {
        lease(&mut ledger, number, 1_000, 1);
    }
    let brought: Vec<_> = (0..30).map(|n| (n, 2)).collect();
    learn(&mut ledger, 2, &brought);
    let waiting = |ledger: &Ledger| ledger.waiting.most() / 1_000;
    let kept = (0..30).filter(|n| lease(&mut ledger, *n, 40, 21).is_some()).count();
    assert_eq!((kept, waiting(&ledger)), (20, 20));
    (0..30).for_each(|n| drop(lease(&mut ledger, n, 1_000, 25)));
    assert_eq!(waiting(&ledger), 0);
}

#[test]
fn strangers_and_heavy_clients_give_way_to_light_ones_that_are_known() {
    let mut ledger = crowd(100);
    for number in 0..100 {
        lease(&mut ledger, number, 1_000, 1);
    }
    let brought: Vec<_> = (0..50).map(|n| (n, if n == 0 { 200 } else { 10 })).collect();
    learn(&mut ledger, 2, &brought);
    assert!(lease(&mut ledger, 0, 200, 11).is_none(), "it does not fit");
    let light = (1..50).filter(|n| lease(&mut ledger, *n, 200, 12).is_some()).count();
    assert!((15..=20).contains(&light), "{light} of 10 req/s fit into 200");
    assert!(lease(&mut ledger, 0, 500, 13).is_none(), "heavy");
    assert!(lease(&mut ledger, 60, 250, 40).is_none(), "a stranger");
    assert!(lease(&mut ledger, 60, 800, 40).is_some(), "there is room for all who wait");
}

#[test]
fn what_was_leased_at_a_lost_edge_leaves_room() {
    let mut ledger = crowd(10);
    for number in 0..4 {
        lease(&mut ledger, number, 100, 1);
    }
    let before = ledger.leased();
    ledger.keep_edges(&[&edges()[1]], seconds(2));
    assert_eq!(ledger.leased().millirequests_per_second() * 2, before.millirequests_per_second());
}

#[test]
fn what_is_told_twice_is_learned_once() {
    let mut ledger = crowd(10);
    lease(&mut ledger, 1, 100, 0);
    learn(&mut ledger, 1, &[(1, 10)]);
    for _ in 0..5 {
        learn(&mut ledger, 1, &[(1, 90)]);
    }
    assert_eq!(ledger.leased(), rate(10));
}

#[test]
fn leases_end_with_their_ttl() {
    let mut ledger = Ledger::default();
    lease(&mut ledger, 1, 100, 0);
    assert_eq!(ledger.count(), 1);
    learn(&mut ledger, 20, &[]);
    assert_eq!((ledger.count(), ledger.leased()), (0, RequestRate::ZERO));
}

#[test]
fn load_beyond_the_leases_leaves_less_room() {
    let mut ledger = crowd(10);
    lease(&mut ledger, 1, 100, 0);
    learn(&mut ledger, 1, &[(1, 10), (9, 85)]);
    assert!(lease(&mut ledger, 2, 100, 2).is_none());
    learn(&mut ledger, 3, &[(1, 10)]);
    assert!(lease(&mut ledger, 2, 100, 4).is_some());
}

#[test]
fn what_was_brought_under_a_lease_that_ended_since_is_no_overhang() {
    let mut ledger = crowd(10);
    lease(&mut ledger, 1, 100, 0);
    learn(&mut ledger, 20, &[(1, 90)]);
    assert_eq!(ledger.overhang, 90_000, "the lease ended at 20");
    let mut ledger = crowd(10);
    lease(&mut ledger, 1, 100, 0);
    learn(&mut ledger, 19, &[(1, 90)]);
    learn(&mut ledger, 19, &[(1, 90)]);
    assert_eq!((ledger.count(), ledger.overhang), (0, 0), "it covered the second 19");
}

#[test]
fn a_resolver_away_from_its_users_gets_their_load() {
    let mut ledger = Ledger::default();
    lease(&mut ledger, 1, 100, 0);
    for second in 1..4 {
        learn(&mut ledger, second, &[(200, 40)]);
    }
    assert_eq!(ledger.leased(), rate(40));
}

proptest! {
    /// The ledger's sums are those of its leases, and no lease is given beyond the budget and an
    /// eighth.
    #[test]
    fn sums_hold_under_any_conversation(
        steps in prop::collection::vec((0u8..20, 0u64..5, 1u64..200, 0u64..60), 1..200)
    ) {
        let mut ledger = Ledger::default();
        let mut now = 0;
        for (number, wait, budget, load) in steps {
            now += wait;
            if lease(&mut ledger, number, budget, now).is_some() {
                let standing = RequestRate::from_millirequests_per_second(ledger.standing);
                prop_assert!(standing.millirequests_per_second() <= budget * 1_125);
            }
            learn(&mut ledger, now.saturating_sub(1), &[(number, load)]);
            let sum: u64 = ledger.leases.values().map(|lease| lease.weight).sum();
            prop_assert_eq!(ledger.leased, sum);
            let standing = ledger.leases.values().filter(|lease| lease.refused.is_none());
            prop_assert_eq!(ledger.standing, standing.map(|lease| lease.weight).sum::<u64>());
            prop_assert_eq!(ledger.by_edge.values().sum::<u64>(), sum);
            let due = ledger.leases.values().filter(|lease| lease.overdue == Overdue::No);
            prop_assert_eq!(ledger.expiries.len(), due.count());
        }
    }
}
