//! The table in a script: what plans and budgets let through, second by second.

use super::*;
use crate::testing::{budgets, entitlement, plan};

const BURST: Duration = Duration::from_millis(250);

fn empty() -> Table {
    Table::empty("east-1".parse().unwrap(), BURST)
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn ask(table: &Table, now: Timestamp) -> (Verdict, Vec<(u64, Asked)>) {
    let (_, site) = table.site("www.shop.example").unwrap();
    let mut told = Vec::new();
    let verdict = table.admit(site, now, |contract, asked| told.push((contract.number(), asked)));
    (verdict, told)
}

fn admitted(table: &Table, from_millis: u64, until_millis: u64) -> usize {
    let served = |millis: &u64| {
        let (verdict, _) = ask(table, Timestamp::from_millis(*millis));
        verdict == Verdict::Purchased(ContractId::new(1))
    };
    (from_millis..until_millis).filter(served).count()
}

#[test]
fn the_networks_own_addresses_are_known() {
    let table = empty().with_plan(&plan(1, vec![]), at(1)).unwrap();
    for (address, own) in [
        ("192.0.2.1", true),
        ("192.0.2.53", true),
        ("::ffff:192.0.2.53", true),
        ("192.0.2.9", false),
    ] {
        assert_eq!(table.is_fleet(address.parse().unwrap()), own, "{address}");
    }
}

#[test]
fn without_a_plan_nothing_is_known() {
    assert!(empty().site("www.shop.example").is_none());
}

#[test]
fn the_operators_own_site_is_always_admitted() {
    let table = empty().with_plan(&plan(1, vec![]), at(1)).unwrap();
    let (name, site) = table.site("www.own.example").unwrap();
    assert_eq!(name.as_str(), "www.own.example");
    let verdict = table.admit(site, at(1), |_, _| panic!("no contract is asked"));
    assert_eq!(verdict, Verdict::Own);
}

#[test]
fn without_an_active_contract_everything_is_over_the_share() {
    let table = empty().with_plan(&plan(1, vec![entitlement(1, 100, 200, 80)]), at(1)).unwrap();
    assert_eq!(ask(&table, at(99)), (Verdict::NoContract, vec![]));
    assert_eq!(ask(&table, at(200)), (Verdict::NoContract, vec![]));
    let (verdict, told) = ask(&table, at(100));
    assert_eq!(verdict, Verdict::Purchased(ContractId::new(1)));
    assert_eq!(told, [(1, Asked::Served)]);
}

#[test]
fn firm_is_asked_before_interruptible() {
    let mut second = entitlement(1, 100, 200, 4);
    second.class = Class::Interruptible;
    let plan = plan(1, vec![second, entitlement(2, 100, 200, 4)]);
    let table = empty().with_plan(&plan, at(1)).unwrap();
    let now = at(150);
    assert_eq!(ask(&table, now).1, [(2, Asked::Served)]);
    assert_eq!(ask(&table, now).1, [(2, Asked::PassedOn), (1, Asked::Served)]);
    assert_eq!(ask(&table, now).1, [(2, Asked::PassedOn), (1, Asked::Refused)]);
}

#[test]
fn an_edge_outside_of_all_regions_has_no_share() {
    let stranger = Table::empty("west-1".parse().unwrap(), BURST);
    let table = stranger.with_plan(&plan(1, vec![entitlement(1, 100, 200, 80)]), at(1)).unwrap();
    assert_eq!(ask(&table, at(150)), (Verdict::NoContract, vec![]));
}

#[test]
fn only_newer_plans_and_budgets_are_taken() {
    let table = empty().with_plan(&plan(5, vec![]), at(1)).unwrap();
    assert!(table.with_plan(&plan(5, vec![]), at(1)).is_none());
    assert!(table.with_plan(&plan(4, vec![]), at(1)).is_none());
    let table = table.with_budgets(&budgets(7, &[], 10), at(1)).unwrap();
    assert!(table.with_budgets(&budgets(7, &[], 10), at(1)).is_none());
    assert!(table.with_budgets(&budgets(6, &[], 10), at(1)).is_none());
    assert_eq!((table.generation().number(), table.budget_sequence()), (5, 7));
}

#[test]
fn a_gate_goes_on_under_new_plans_and_budgets() {
    let bought = || vec![entitlement(1, 100, 1_000, 80)];
    let table = empty().with_plan(&plan(1, bought()), at(1)).unwrap();
    // A quarter of 80 req/s for 999 ms, and the bucket of 250 ms.
    assert_eq!(admitted(&table, 110_000, 111_000), 19 + 5);
    let table = table.with_plan(&plan(2, bought()), at(111)).unwrap();
    assert_eq!(admitted(&table, 111_000, 112_000), 20, "the bucket is not filled again");
    let table = table.with_budgets(&budgets(1, &[(1, 60)], 115), at(112)).unwrap();
    assert_eq!(admitted(&table, 112_000, 113_000), 60);
    let table = table.with_plan(&plan(3, bought()), at(113)).unwrap();
    assert_eq!(admitted(&table, 113_000, 114_000), 60, "the share outlives the plan");
}

#[test]
fn budgets_that_came_first_hold_for_a_contract_that_comes_later() {
    let table = empty().with_budgets(&budgets(1, &[(1, 60)], 115), at(110)).unwrap();
    let table = table.with_plan(&plan(1, vec![entitlement(1, 100, 200, 80)]), at(110)).unwrap();
    let served = admitted(&table, 110_000, 112_000);
    assert!((2 * 60..=2 * 60 + 15).contains(&served), "{served}");
}

#[test]
fn what_was_sent_is_charged() {
    let table = empty().with_plan(&plan(1, vec![entitlement(1, 100, 200, 80)]), at(1)).unwrap();
    table.charge(ContractId::new(1), 10_000_000, at(150));
    table.charge(ContractId::new(2), 10_000_000, at(150));
    assert_eq!(ask(&table, at(150)).1, [(1, Asked::Refused)]);
}
