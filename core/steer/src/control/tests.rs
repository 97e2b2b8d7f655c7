//! What a controller issues, for what it was told.

use proptest::prelude::*;

use super::*;
use crate::{Gate, plan::testing};

const CONFIG: ControlConfig = ControlConfig { budget_lifetime: Duration::from_secs(3) };
const CONTRACT: ContractId = ContractId::new(1);

fn world() -> Plan {
    let mut input = testing::input(Timestamp::from_seconds(100));
    input.entitlements.push(testing::entitlement("shop", "east", 1, 100, 10_000, 100));
    crate::plan(&input)
}

fn meter(offered: u64) -> ContractMeter {
    let available = RequestRate::from_requests_per_second(25);
    ContractMeter { contract: CONTRACT, offered, served: offered, available }
}

fn report(edge: &str, second: u64, sequence: u64, offered: u64) -> EdgeReport {
    EdgeReport {
        edge: edge.parse().unwrap(),
        second: Timestamp::from_seconds(second),
        budget_sequence: sequence,
        contracts: vec![meter(offered)],
        clients: vec![("shop".parse().unwrap(), "10.0.1.0/24".parse().unwrap(), offered)],
    }
}

fn run(controller: &mut Controller, plan: &Plan, second: u64, offered: [u64; 2]) -> [u64; 2] {
    let now = Timestamp::from_seconds(second);
    let sequence = controller.sequence;
    for (edge, offered) in ["east-1", "east-2"].iter().zip(offered) {
        controller.observe(plan, &report(edge, second - 1, sequence, offered), now);
    }
    let budgets = controller.control(plan, now);
    let safe = RequestRate::from_requests_per_second(25);
    let shares = budgets.shares.get(&CONTRACT);
    ["east-1", "east-2"].map(|edge| {
        let share = shares.map_or(safe, |shares| shares[&edge.parse().unwrap()]);
        (share.millirequests_per_second() + 500) / 1_000
    })
}

#[test]
fn shares_follow_the_demand() {
    let plan = world();
    let mut controller = Controller::new(CONFIG, Timestamp::from_seconds(100));
    assert_eq!(run(&mut controller, &plan, 101, [60, 20]), [25, 25], "first the safe shares");
    let mut settle = |seconds: std::ops::Range<u64>, offered| {
        let mut shares = [0, 0];
        for second in seconds {
            shares = run(&mut controller, &plan, second, offered);
            assert!(shares.iter().sum::<u64>() <= 101, "{shares:?}");
        }
        shares
    };
    let near = |shares: [u64; 2], expected: [u64; 2]| {
        shares.iter().zip(expected).all(|(share, expected)| share.abs_diff(expected) <= 5)
    };
    assert!(near(settle(104..120, [80, 20]), [75, 25]));
    assert!(near(settle(120..140, [20, 80]), [25, 75]));
    assert!(near(settle(140..160, [65, 45]), [55, 45]), "the smaller demand is met first");
    assert!(near(settle(160..180, [30, 10]), [52, 47]), "what is left is spread evenly");
}

#[test]
fn small_changes_of_demand_move_no_share() {
    let plan = world();
    let mut controller = Controller::new(CONFIG, Timestamp::from_seconds(90));
    for second in 101..110 {
        run(&mut controller, &plan, second, [50, 50]);
    }
    assert_eq!(run(&mut controller, &plan, 110, [53, 47]), [50, 50]);
    assert_eq!(run(&mut controller, &plan, 111, [48, 52]), [50, 50]);
}

#[test]
fn a_report_is_taken_once_and_only_from_known_edges() {
    let plan = world();
    let now = Timestamp::from_seconds(110);
    let mut controller = Controller::new(CONFIG, now);
    assert!(controller.observe(&plan, &report("east-1", 109, 0, 5), now));
    assert!(!controller.observe(&plan, &report("east-1", 109, 0, 500), now), "repeated");
    assert!(!controller.observe(&plan, &report("east-1", 108, 0, 500), now), "older");
    assert!(!controller.observe(&plan, &report("east-1", 113, 0, 500), now), "the future");
    assert!(!controller.observe(&plan, &report("nowhere-1", 109, 0, 500), now), "unknown");
}

/// Tells what two name servers leased out and what came of it, second by second.
fn follow(of: impl Fn(u64) -> (u64, u64), seconds: std::ops::Range<u64>) -> (Controller, f64) {
    let plan = world();
    let mut controller = Controller::new(CONFIG, Timestamp::from_seconds(90));
    let place: SiteRegion = ("shop".parse().unwrap(), "east".parse().unwrap());
    let mut budget = 0.0;
    for second in seconds {
        let now = Timestamp::from_seconds(second);
        let (offered, leased) = of(second);
        for edge in ["east-1", "east-2", "west-1", "west-2"] {
            controller.observe(&plan, &report(edge, second - 1, 0, offered / 4), now);
        }
        let leased =
            Leased { load: RequestRate::from_requests_per_second(leased), ..Leased::default() };
        let ns1 = "ns1".parse().unwrap();
        controller.observe_leased((&ns1, &place), Timestamp::from_seconds(second - 1), leased, now);
        let budgets = controller.control(&plan, now);
        budget = budgets.leases[&place].by_name_server.get(&ns1).map_or(0.0, |rate| rate.as_f64());
    }
    (controller, budget)
}

#[test]
fn less_is_leased_out_when_more_comes_for_it() {
    assert!((follow(|_| (100, 100), 102..200).1 - 103.55).abs() < 0.1, "a small purchase");
    let (_, budget) = follow(|second| (if second < 150 { 100 } else { 200 }, 100), 102..190);
    assert!((budget - 51.775).abs() < 0.5, "{budget}");
}

#[test]
fn what_is_hardly_leased_out_or_guessed_tells_nothing() {
    assert!((follow(|_| (100, 10), 102..150).1 - 103.55).abs() < 1e-6, "after the first lifetime");
}

#[test]
fn who_lies_repeats_or_is_of_the_future_raises_no_budget() {
    let plan = world();
    let (mut controller, before) = follow(|_| (100, 100), 102..200);
    let place: SiteRegion = ("shop".parse().unwrap(), "east".parse().unwrap());
    let now = Timestamp::from_seconds(200);
    let ns1 = "ns1".parse().unwrap();
    let little = Leased { load: RequestRate::from_requests_per_second(1), ..Leased::default() };
    for second in [100, 198, 199, 210] {
        let second = Timestamp::from_seconds(second);
        controller.observe_leased((&ns1, &place), second, little, now);
    }
    let stranger = "ns9".parse().unwrap();
    controller.observe_leased((&stranger, &place), now, little, now);
    let budgets = controller.control(&plan, now);
    let after = budgets.leases[&place].by_name_server[&ns1].as_f64();
    assert!(after <= before + 0.1, "{after}");
}

#[test]
fn a_fenced_edge_leaves_its_share_to_the_others_and_comes_back_when_it_is_heard_of() {
    let plan = world();
    let mut controller = Controller::new(CONFIG, Timestamp::from_seconds(90));
    for second in 101..110 {
        run(&mut controller, &plan, second, [50, 50]);
    }
    controller.fence(&"east-1".parse().unwrap(), Timestamp::from_seconds(110));
    let shares = |controller: &mut Controller, second| {
        let budgets = controller.control(&plan, Timestamp::from_seconds(second));
        budgets.shares[&CONTRACT].values().map(|share| share.as_f64()).collect::<Vec<_>>()
    };
    assert_eq!(shares(&mut controller, 110), [100.0]);
    let sequence = controller.sequence;
    let back = report("east-1", 111, sequence, 0);
    assert!(controller.observe(&plan, &back, Timestamp::from_seconds(112)));
    let first = shares(&mut controller, 112);
    assert!(first.len() == 1 && first[0] < 75.0, "the other one makes room first: {first:?}");
    let sequence = controller.sequence;
    controller.observe(&plan, &report("east-2", 112, sequence, 50), Timestamp::from_seconds(113));
    let both = shares(&mut controller, 113);
    assert!(both.len() == 2 && both.iter().sum::<f64>() <= 100.0, "{both:?}");
}

proptest! {
    /// Budgets are lost, delayed and applied by real gates; whatever happens, the shares in
    /// use never add up to more than the contract.
    #[test]
    fn live_shares_never_exceed_the_contract(
        steps in prop::collection::vec((0u64..200, 0u64..200, 0u8..4, any::<bool>()), 1..60)
    ) {
        let plan = world();
        let (_, entitlement) = testing::entitlement("shop", "east", 1, 100, 10_000, 100);
        let mut controller = Controller::new(CONFIG, Timestamp::from_seconds(100));
        let ids: [EdgeId; 2] = ["east-1".parse().unwrap(), "east-2".parse().unwrap()];
        let gate = || Gate::new(&entitlement, 2, Duration::from_millis(250), Timestamp::EPOCH);
        let mut gates = [gate(), gate()];
        let mut applied = [0u64; 2];
        for (step, (first, second, lost, silent)) in steps.into_iter().enumerate() {
            let now = Timestamp::from_seconds(101 + step as u64);
            for (index, offered) in [first, second].into_iter().enumerate() {
                if !(silent && index == 0) {
                    let edge = ids[index].as_str();
                    let report = report(edge, 100 + step as u64, applied[index], offered);
                    let held = |at: Timestamp| gates[index].available_millirequests(at);
                    let available = held(now) - held(now.before(Duration::from_secs(1)));
                    let available = RequestRate::from_millirequests_per_second(available);
                    let meters = vec![ContractMeter { available, ..meter(offered) }];
                    let report = EdgeReport { contracts: meters, ..report };
                    controller.observe(&plan, &report, now);
                }
            }
            let budgets = controller.control(&plan, now);
            for index in 0..2 {
                if lost & (1 << index) == 0 {
                    let shares = budgets.shares.get(&CONTRACT);
                    if let Some(share) = shares.and_then(|shares| shares.get(&ids[index])) {
                        gates[index] = gates[index].renewed(*share, budgets.expires_at, now);
                    }
                    applied[index] = budgets.sequence;
                }
            }
            for later in [0, 999] {
                let at = now.after(Duration::from_millis(later));
                let sum = gates.iter().map(|gate| gate.share(at)).sum::<RequestRate>();
                prop_assert!(sum <= entitlement.requests, "{sum} at step {step}");
            }
        }
    }
}
