//! What is answered, by the plan, the budgets and the ledgers.

use super::*;
use crate::plan::testing;

const SECOND: Duration = Duration::from_secs(1);

fn steering(change: impl FnOnce(&mut crate::PlanInput)) -> Steering {
    let mut input = testing::input(Timestamp::EPOCH);
    input.entitlements.push(testing::entitlement("shop", "east", 1, 100, 200, 50));
    change(&mut input);
    Steering::new("ns1".parse().unwrap(), Arc::new(crate::plan(&input)))
}

fn ask(steering: &mut Steering, site: &str, client: &str, millis: u64) -> Answer {
    let client = client.parse().unwrap();
    steering.answer(&site.parse().unwrap(), client, Timestamp::from_millis(millis)).unwrap()
}

#[test]
fn traffic_begins_with_the_first_slot_and_ends_with_the_last() {
    let mut steering = steering(|_| {});
    let name = Target::Name("origin.shop.example".parse().unwrap());
    let mut at = |millis| {
        let answer = ask(&mut steering, "shop", "10.0.1.0/24", millis);
        (answer.target != name, answer.ttl.as_secs())
    };
    assert_eq!(at(10_000), (false, 20));
    assert_eq!(at(95_500), (false, 5), "not cached beyond the start");
    assert_eq!(at(99_900), (false, 1));
    assert_eq!(at(100_000), (true, 20));
    assert_eq!(at(190_500), (true, 9), "not leased beyond the end");
    assert_eq!(at(199_200), (false, 20));
    assert_eq!(at(200_000), (false, 20));
}

#[test]
fn a_purchase_in_one_region_serves_no_other() {
    let mut steering = steering(|_| {});
    let answer = ask(&mut steering, "shop", "10.200.1.0/24", 150_000);
    assert_eq!(answer.region.as_str(), "west");
    assert!(matches!(answer.target, Target::Name(_)));
}

#[test]
fn the_operators_own_site_is_always_at_the_edges() {
    let mut steering = steering(|_| {});
    let first = ask(&mut steering, "own", "10.0.1.0/24", 0);
    assert!(matches!(first.target, Target::Edge(_)));
    let later = ask(&mut steering, "own", "10.0.1.0/24", 5_000);
    assert_eq!((later.target, later.ttl), (first.target, first.ttl));
    assert!(steering.answer(&"none".parse().unwrap(), first_net(), Timestamp::EPOCH).is_none());
}

fn first_net() -> IpNet {
    "10.0.0.0/24".parse().unwrap()
}

fn assign(text: &str) -> Remainder {
    Remainder::Assign(text.parse().unwrap())
}

const PAIR: &str = "v=headroom1; algorithm=weighted; server=198.51.100.1; \
                    server=198.51.100.2,2001:db8::2,weight=3";

#[test]
fn the_remainder_is_assigned_as_the_purchaser_says() {
    for (algorithm, expected) in [("round-robin", 500_usize), ("weighted", 250)] {
        let remainder = assign(&PAIR.replace("weighted", algorithm));
        let mut steering = steering(|input| input.sites[0].remainder = remainder);
        let mut target = |client: usize| {
            let client = format!("10.{}.{}.0/24", client / 256, client % 256);
            let answer = ask(&mut steering, "shop", &client, 0);
            assert_eq!(answer.target, ask(&mut steering, "shop", &client, 9_000).target);
            assert!(answer.hold.is_some() && answer.server.is_some());
            answer.target
        };
        let first = Target::Addresses(vec!["198.51.100.1".parse().unwrap()]);
        let count = (0..1_000).filter(|client| target(*client) == first).count();
        assert!(expected.abs_diff(count) <= 5, "{algorithm}: {count}");
    }
}

#[test]
fn a_server_that_goes_down_is_left_at_once_and_come_back_to() {
    let remainder = assign(&PAIR.replace("weighted", "ordered"));
    let mut steering = steering(|input| input.sites[0].remainder = remainder);
    let shop = "shop".parse().unwrap();
    let mut at = |down: &[&str]| {
        let down = down.iter().map(|address| address.parse().unwrap()).collect();
        steering.assignments_mut().states_mut(&shop).set_down(down);
        ask(&mut steering, "shop", "10.0.1.0/24", 0).server
    };
    assert_eq!([at(&[]), at(&["198.51.100.1"]), at(&[])], [Some(0), Some(1), Some(0)]);
}

#[test]
fn what_a_name_server_provides_is_in_force_until_it_provides_something_else() {
    let host = "www.shop.example".parse().unwrap();
    let mut steering = steering(|input| input.sites[0].remainder = Remainder::AssignByDns { host });
    let shop: SiteId = "shop".parse().unwrap();
    let mut asked = |provided: Option<&str>| {
        if let Some(text) = provided {
            steering.assignments_mut().provide(shop.clone(), text.parse().unwrap());
        }
        let answer = ask(&mut steering, "shop", "10.0.1.0/24", 0);
        assert_eq!((answer.hold, answer.server), (None, None), "it is not in the plan");
        answer.target
    };
    assert_eq!(asked(None), Target::Name("origin.shop.example".parse().unwrap()));
    let one = "v=headroom1; algorithm=ordered; server=198.51.100.7";
    let seven = Target::Addresses(vec!["198.51.100.7".parse().unwrap()]);
    assert_eq!(asked(Some(one)), seven);
    assert_eq!(asked(None), seven);
    assert_ne!(asked(Some(&one.replace('7', "8"))), seven);
}

#[test]
fn what_is_repeated_is_what_would_be_answered() {
    let mut steering = steering(|_| {});
    for millis in (80_000..205_000).step_by(93) {
        let answer = ask(&mut steering, "shop", "10.0.1.0/24", millis);
        let hold = answer.hold.expect("its remainder takes no turns");
        let now = Timestamp::from_millis(millis);
        assert_eq!(hold.ttl(now), Some(answer.ttl), "{millis}");
        assert!(hold.until.since(now) <= limits::HOLD_MAX && hold.ttl(hold.until).is_none());
        let later = Timestamp::from_millis(millis + 700);
        let same = ask(&mut steering, "shop", "10.0.1.0/24", millis + 700);
        if same.target == answer.target {
            assert_eq!(hold.ttl(later), Some(same.ttl), "{millis}");
        }
    }
}

#[test]
fn what_may_be_another_the_next_time_is_not_repeated() {
    let remainder = Remainder::ReturnRecords;
    let mut steering = steering(|input| input.sites[0].remainder = remainder);
    assert_eq!(ask(&mut steering, "shop", "10.0.1.0/24", 50_000).hold, None);
    let leased = ask(&mut steering, "shop", "10.0.1.0/24", 150_000);
    assert!(matches!(leased.target, Target::Edge(_)) && leased.hold.is_some());
}

#[test]
fn a_lease_covers_what_is_repeated() {
    let mut steering = steering(|_| {});
    let answer = ask(&mut steering, "shop", "10.0.1.0/24", 110_000);
    let last = answer.hold.unwrap().until.before(Duration::from_millis(1));
    let ttl = answer.hold.unwrap().ttl(last).unwrap();
    let place = ("shop".parse().unwrap(), "east".parse().unwrap());
    steering.ledgers.get_mut(&place).unwrap().learn(&LeaseBudget::default(), last.after(ttl));
    assert_eq!(steering.ledgers[&place].count(), 1);
}

#[test]
fn plans_and_budgets_only_go_forward() {
    let mut steering = steering(|_| {});
    let mut input = testing::input(Timestamp::EPOCH);
    assert!(!steering.install(Arc::new(crate::plan(&input))), "the same generation");
    input.generation = headroom_units::Generation::new(2);
    assert!(steering.install(Arc::new(crate::plan(&input))));
    let budgets = |sequence| Budgets {
        sequence,
        generation: input.generation,
        issued_at: Timestamp::EPOCH,
        expires_at: Timestamp::EPOCH.after(SECOND),
        leases: BTreeMap::new(),
        shares: BTreeMap::new(),
    };
    assert!(steering.renew(budgets(5), Timestamp::EPOCH));
    assert!(!steering.renew(budgets(5), Timestamp::EPOCH));
    assert!(!steering.renew(budgets(4), Timestamp::EPOCH));
}

/// 20,000 clients that bring one request a second each, asked about 50 times, when 30 % of their
/// load is purchased.
#[test]
fn of_a_million_questions_the_purchased_part_goes_to_the_edges_and_nobody_moves() {
    let mut steering = steering(|input| {
        input.entitlements = vec![testing::entitlement("shop", "east", 1, 100, 900, 6_000)];
    });
    let place: SiteRegion = ("shop".parse().unwrap(), "east".parse().unwrap());
    let clients: Vec<IpNet> = (0..20_000_u32)
        .map(|number| format!("10.{}.{}.0/24", number / 256, number % 256).parse().unwrap())
        .collect();
    let mut round = |number: u64| {
        let now = Timestamp::from_seconds(100 + number * 10);
        let targets: Vec<_> = clients
            .iter()
            .map(|client| steering.answer(&place.0, *client, now).unwrap().target)
            .collect();
        let at_edges = |(client, target): (&IpNet, &Target)| {
            matches!(target, Target::Edge(_))
                .then_some((*client, RequestRate::from_requests_per_second(1)))
        };
        let brought = clients.iter().zip(&targets).filter_map(at_edges).collect();
        let budget = LeaseBudget { measured_second: now, brought, ..LeaseBudget::default() };
        let budgets = Budgets {
            sequence: number + 1,
            generation: headroom_units::Generation::new(1),
            issued_at: now,
            expires_at: now.after(SECOND),
            leases: [(place.clone(), budget)].into(),
            shares: BTreeMap::new(),
        };
        assert!(steering.renew(budgets, now.after(SECOND)));
        targets
    };
    (0..8).for_each(|number| drop(round(number)));
    let first = round(8);
    for number in 9..58 {
        assert_eq!(round(number), first, "round {number}");
    }
    let at_edges = first.iter().filter(|target| matches!(target, Target::Edge(_))).count();
    assert!(at_edges.abs_diff(6_000) <= 20, "0.1 point of 20,000: {at_edges}");
}

#[test]
fn a_report_tells_the_fraction() {
    let mut steering = steering(|_| {});
    for client in 0..100 {
        ask(&mut steering, "shop", &format!("10.0.{client}.0/24"), 99_000);
    }
    for client in 0..100 {
        ask(&mut steering, "shop", &format!("10.0.{client}.0/24"), 100_000);
    }
    let report = steering.report(Timestamp::from_seconds(101));
    let east = &report[&("shop".parse().unwrap(), "east".parse().unwrap())];
    assert_eq!((east.mapping_requests, east.mapped_to_edges), (200, 50));
    assert_eq!(east.leased.load, RequestRate::from_requests_per_second(50));
    assert_eq!(east.leased.strangers, east.leased.load);
    let quiet = steering.report(Timestamp::from_seconds(102));
    assert_eq!(quiet.values().map(|report| report.mapping_requests).sum::<u64>(), 0);
    assert_eq!(
        quiet.values().map(|report| report.leased.load).sum::<RequestRate>(),
        east.leased.load
    );
    assert!(steering.report(Timestamp::from_seconds(200)).is_empty(), "nothing is active any more");
}
