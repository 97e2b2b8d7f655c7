//! Shares, stickiness, who moves when something changes, and who is left out.

use headroom_units::Fraction;
use proptest::prelude::*;

use super::*;

fn assignment(algorithm: AssignAlgorithm, weights: &[u32]) -> Assignment {
    let server = |(at, weight): (usize, &u32)| Server {
        addresses: vec![format!("198.51.100.{}", at + 1).parse().unwrap()],
        weight: *weight,
        region: None,
    };
    let servers = weights.iter().enumerate().map(server).collect();
    Assignment { algorithm, servers, check: None }
}

/// The /24 network of this number.
fn client(number: u32) -> IpNet {
    let address = std::net::Ipv4Addr::from(number << 8);
    IpNet::new(address.into(), 24).unwrap()
}

fn east() -> RegionId {
    "east".parse().unwrap()
}

fn choose(assignment: &Assignment, states: &ServerStates, client: IpNet) -> usize {
    assignment.choose(client, &east(), states, Timestamp::EPOCH).unwrap()
}

fn shares(
    assignment: &Assignment,
    states: &ServerStates,
    clients: impl Iterator<Item = u32>,
) -> Vec<u32> {
    let mut shares = vec![0; assignment.servers.len()];
    clients.for_each(|number| shares[choose(assignment, states, client(number))] += 1);
    shares
}

fn report(healthy: bool, load: Option<u32>) -> ServerReport {
    ServerReport {
        healthy,
        load: load.map(|percent| Fraction::from_millionths(percent * 10_000).unwrap()),
        reported_at: Timestamp::EPOCH,
        expires_at: Timestamp::MAX,
    }
}

/// The states in which these servers are down.
fn down(assignment: &Assignment, numbers: &[usize]) -> ServerStates {
    let mut states = ServerStates::default();
    states.set_down(numbers.iter().map(|at| assignment.servers[*at].addresses[0]).collect());
    states
}

fn loads(assignment: &Assignment, loads: &[Option<u32>]) -> ServerStates {
    let mut states = ServerStates::default();
    for (server, load) in assignment.servers.iter().zip(loads) {
        if load.is_some() {
            states.report(server.addresses[0], report(true, *load), Timestamp::EPOCH);
        }
    }
    states
}

const SPREAD: [AssignAlgorithm; 2] = [AssignAlgorithm::RoundRobin, AssignAlgorithm::Weighted];

#[test]
fn of_a_million_neighbouring_networks_each_server_gets_its_part() {
    let nothing = ServerStates::default();
    for algorithm in SPREAD {
        let weights = [5, 1, 3, 0, 7];
        let assignment = assignment(algorithm, &weights);
        let clients = 1_000_000;
        let shares = shares(&assignment, &nothing, 40_000..40_000 + clients);
        for (share, weight) in shares.iter().zip(weights) {
            let (weight, total) = match algorithm {
                AssignAlgorithm::Weighted => (weight, 16),
                _ => (1, 5),
            };
            let expected = clients * weight / total;
            assert!(share.abs_diff(expected) < 100, "{algorithm}: {shares:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Wherever the networks begin and however far apart they are.
    #[test]
    fn each_server_gets_its_part_whatever_the_stride(
        weights in prop::collection::vec(1_u32..20, 1..8),
        begin in 0_u32..8_000_000,
        stride in 1_u32..300,
        algorithm in prop::sample::select(SPREAD.to_vec()),
    ) {
        let assignment = assignment(algorithm, &weights);
        let clients = 10_000;
        let numbers = (0..clients).map(|number| begin + number * stride);
        let shares = shares(&assignment, &ServerStates::default(), numbers);
        let is_weighted = algorithm == AssignAlgorithm::Weighted;
        let weights: Vec<u32> = weights.iter().map(|weight| if is_weighted { *weight } else { 1 }).collect();
        let total: u32 = weights.iter().sum();
        for (share, weight) in shares.iter().zip(&weights) {
            let expected = clients * weight / total;
            prop_assert!(share.abs_diff(expected) <= 300, "3 points: {:?} of {:?}", shares, weights);
        }
    }

    /// By hash the parts are those of chance: within six standard deviations.
    #[test]
    fn by_hash_the_parts_are_as_the_weights_say(
        weights in prop::collection::vec(0_u32..50, 1..8),
        seed in any::<u32>(),
    ) {
        let assignment = assignment(AssignAlgorithm::ClientHash, &weights);
        let clients = 4_000_u32;
        let numbers = (0..clients).map(|number| number.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8);
        let shares = shares(&assignment, &ServerStates::default(), numbers);
        let total: u32 = weights.iter().sum();
        let count = u32::try_from(weights.len()).unwrap();
        for (share, weight) in shares.iter().zip(&weights) {
            let part = if total == 0 { 1.0 / f64::from(count) } else { f64::from(*weight) / f64::from(total) };
            let (expected, clients) = (f64::from(clients) * part, f64::from(clients));
            let bound = 6.0 * (clients * part * (1.0 - part)).sqrt() + 1.0;
            prop_assert!((f64::from(*share) - expected).abs() <= bound, "{:?} of {:?}", shares, weights);
        }
    }

    /// Who moves when a weight changes moves to the server whose weight grew, or away from the one
    /// whose weight shrank; nobody else does.
    #[test]
    fn a_change_of_one_weight_moves_only_that_part(
        weights in prop::collection::vec(1_u32..20, 2..8),
        at in 0_usize..8,
        weight in 0_u32..40,
    ) {
        let before = assignment(AssignAlgorithm::ClientHash, &weights);
        let at = at % weights.len();
        let mut after = before.clone();
        after.servers[at].weight = weight;
        let nothing = ServerStates::default();
        for number in 0..1_000 {
            let (old, new) = (
                choose(&before, &nothing, client(number)),
                choose(&after, &nothing, client(number)),
            );
            let may_move = if weight > weights[at] { new == at } else { old == at };
            prop_assert!(old == new || may_move, "{} moved from {} to {}", number, old, new);
        }
    }

    /// A server more takes clients from the others, one less gives its clients away, wherever it
    /// stands in the list.
    #[test]
    fn a_server_more_or_less_moves_only_its_part(
        weights in prop::collection::vec(1_u32..20, 2..8),
        at in 0_usize..8,
        algorithm in prop::sample::select(vec![AssignAlgorithm::ClientHash, AssignAlgorithm::LeastLoad, AssignAlgorithm::Region]),
    ) {
        let more = assignment(algorithm, &weights);
        let at = at % weights.len();
        let mut less = more.clone();
        less.servers.remove(at);
        less.servers.reverse();
        let nothing = ServerStates::default();
        for number in 0..1_000 {
            let server = &more.servers[choose(&more, &nothing, client(number))];
            let other = &less.servers[choose(&less, &nothing, client(number))];
            prop_assert!(server == other || *server == more.servers[at]);
        }
    }

    /// Whatever the algorithm and the states: nobody gets a server that is not well while another
    /// is, and who had a well one keeps it when others go down.
    #[test]
    fn nobody_is_sent_to_a_server_that_is_down_while_another_is_up(
        weights in prop::collection::vec(0_u32..20, 1..8),
        is_down in prop::collection::vec(any::<bool>(), 8),
        algorithm in prop::sample::select(AssignAlgorithm::ALL.map(|(_, algorithm)| algorithm).to_vec()),
    ) {
        let assignment = assignment(algorithm, &weights);
        let numbers: Vec<usize> = (0..weights.len()).filter(|at| is_down[*at]).collect();
        let states = down(&assignment, &numbers);
        let nothing = ServerStates::default();
        let all_are_down = numbers.len() == weights.len();
        for number in 0..300 {
            let before = choose(&assignment, &nothing, client(number));
            let now = choose(&assignment, &states, client(number));
            if all_are_down {
                prop_assert_eq!(now, before, "all are used");
            } else {
                prop_assert!(!is_down[now]);
                prop_assert!(is_down[before] || now == before || weights[before] == 0);
            }
        }
    }

    /// The same client, the same states: the same server, over either family.
    #[test]
    fn a_client_stays_with_its_server(
        weights in prop::collection::vec(0_u32..20, 1..8),
        high in any::<u64>(),
        algorithm in prop::sample::select(AssignAlgorithm::ALL.map(|(_, algorithm)| algorithm).to_vec()),
    ) {
        let assignment = assignment(algorithm, &weights);
        let address = std::net::Ipv6Addr::from_bits(u128::from(high) << 64);
        let net = crate::client_prefix(address.into(), 128);
        let states = loads(&assignment, &[Some(10), None, Some(90)]);
        let first = choose(&assignment, &states, net);
        prop_assert!((0..5).all(|_| choose(&assignment, &states, net) == first));
    }
}

#[test]
fn neighbouring_ipv6_networks_are_spread_too() {
    let assignment = assignment(AssignAlgorithm::Weighted, &[1, 3]);
    let net = |number: u128| IpNet::new(std::net::Ipv6Addr::from_bits(number << 72).into(), 56);
    let nothing = ServerStates::default();
    let first = (0..10_000_u128)
        .filter(|number| choose(&assignment, &nothing, net(*number).unwrap()) == 0)
        .count();
    assert!(first.abs_diff(2_500) < 20, "{first}");
}

#[test]
fn the_clients_of_a_server_that_is_down_are_spread_over_the_others() {
    let assignment = assignment(AssignAlgorithm::Weighted, &[2, 1, 1]);
    let shares = shares(&assignment, &down(&assignment, &[0]), 0..10_000);
    assert_eq!(shares[0], 0);
    assert!(shares[1].abs_diff(5_000) < 250, "{shares:?}");
}

#[test]
fn the_region_of_the_client_goes_first() {
    let mut assignment = assignment(AssignAlgorithm::Region, &[1, 1, 1, 1]);
    let [east, west] = ["east", "west"].map(|id| Some(id.parse().unwrap()));
    for (server, region) in assignment.servers.iter_mut().zip([&east, &east, &west, &None]) {
        server.region.clone_from(region);
    }
    let chosen = |region: &str, states: &ServerStates| {
        let region = region.parse().unwrap();
        let choose = |number| assignment.choose(client(number), &region, states, Timestamp::EPOCH);
        let chosen: std::collections::BTreeSet<_> = (0..200).filter_map(choose).collect();
        chosen.into_iter().collect::<Vec<_>>()
    };
    let nothing = ServerStates::default();
    assert_eq!(chosen("east", &nothing), [0, 1]);
    assert_eq!(chosen("west", &nothing), [2]);
    assert_eq!(chosen("north", &nothing), [0, 1, 2, 3], "no server is there");
    assert_eq!(chosen("east", &down(&assignment, &[0])), [1]);
    assert_eq!(chosen("west", &down(&assignment, &[2])), [0, 1, 3], "the rest");
}

#[test]
fn who_has_more_free_gets_more() {
    let assignment = assignment(AssignAlgorithm::LeastLoad, &[1, 1, 2]);
    let of = |told: &[Option<u32>]| shares(&assignment, &loads(&assignment, told), 0..8_000);
    let about = |shares: &[u32], expected: [u32; 3]| {
        let near =
            shares.iter().zip(expected).all(|(share, expected)| share.abs_diff(expected) < 250);
        assert!(near, "{shares:?}, not {expected:?}");
    };
    about(&of(&[None, None, None]), [2_000, 2_000, 4_000]);
    about(&of(&[Some(20), Some(80), Some(50)]), [3_200, 800, 4_000]);
    about(&of(&[Some(0), Some(100), Some(100)]), [8_000, 0, 0]);
    about(&of(&[Some(100), Some(100), Some(100)]), [2_000, 2_000, 4_000]);
    about(&of(&[Some(50), None, Some(50)]), [2_000, 2_000, 4_000]);
}

#[test]
fn the_first_that_is_well_is_used() {
    let assignment = assignment(AssignAlgorithm::Ordered, &[0, 5, 9]);
    let of = |numbers: &[usize]| choose(&assignment, &down(&assignment, numbers), client(7));
    assert_eq!([of(&[]), of(&[0]), of(&[0, 1]), of(&[0, 1, 2])], [0, 1, 2, 0]);
    let mut states = ServerStates::default();
    states.report(assignment.servers[0].addresses[0], report(false, None), Timestamp::EPOCH);
    assert_eq!(choose(&assignment, &states, client(7)), 1, "the feed takes it out too");
}

#[test]
fn what_is_known_of_sites_that_are_no_longer_assigned_is_forgotten() {
    let mut assignments = Assignments::default();
    let mut input = crate::plan::testing::input(Timestamp::EPOCH);
    let shop: SiteId = "shop".parse().unwrap();
    let by_dns = Remainder::AssignByDns { host: "www.shop.example".parse().unwrap() };
    let provided = assignment(AssignAlgorithm::Ordered, &[1]);
    assignments.provide(shop.clone(), provided.clone());
    assignments.states_mut(&shop).set_down([provided.servers[0].addresses[0]].into());
    input.sites[0].remainder = by_dns.clone();
    assignments.keep(&crate::plan(&input));
    assert_eq!(assignments.of(&shop, &by_dns), Some(&provided));
    input.sites[0].remainder = Remainder::Assign(provided);
    assignments.keep(&crate::plan(&input));
    assert_eq!(assignments.of(&shop, &by_dns), None);
    assert_eq!(assignments.states.len(), 1);
    input.sites.remove(0);
    assignments.keep(&crate::plan(&input));
    assert!(assignments.states.is_empty());
}
