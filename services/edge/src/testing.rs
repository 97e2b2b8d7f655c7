//! A small world for the tests of this crate: one region of two edges, a purchaser's site and one
//! of the operator's.

use std::{collections::BTreeMap, time::Duration};

use headroom_steer::{
    Budgets, Edge, Entitlement, NameServer, OverShare, Owner, Plan, Region, Remainder, Site,
    SiteRules,
};
use headroom_units::{BitRate, Class, ContractId, Generation, RequestRate, Timestamp};

pub(crate) fn plan(generation: u64, entitlements: Vec<Entitlement>) -> Plan {
    let edge = || Edge { addresses: vec!["192.0.2.1".parse().unwrap()], healthy: true };
    let region = Region {
        client_prefixes: vec!["10.0.0.0/8".parse().unwrap()],
        edges: BTreeMap::from([
            ("east-1".parse().unwrap(), edge()),
            ("east-2".parse().unwrap(), edge()),
        ]),
    };
    let server = NameServer {
        host: "ns1.cdn.example".parse().unwrap(),
        addresses: vec!["192.0.2.53".parse().unwrap()],
    };
    let purchaser = Owner::Purchaser("shop-inc".parse().unwrap());
    Plan {
        generation: Generation::new(generation),
        made_at: Timestamp::EPOCH,
        zone: "cdn.example".parse().unwrap(),
        name_servers: BTreeMap::from([("ns1".parse().unwrap(), server)]),
        ttl: Duration::from_secs(20),
        default_region: "east".parse().unwrap(),
        regions: BTreeMap::from([("east".parse().unwrap(), region)]),
        sites: BTreeMap::from([
            ("shop".parse().unwrap(), site("www.shop.example", purchaser, entitlements)),
            ("own".parse().unwrap(), site("www.own.example", Owner::Operator, Vec::new())),
        ]),
    }
}

fn site(host: &str, owner: Owner, entitlements: Vec<Entitlement>) -> Site {
    Site {
        owner,
        hosts: vec![host.parse().unwrap()],
        origins: vec!["127.0.0.1:1".parse().unwrap()],
        remainder: Remainder::ReturnName("origin.shop.example".parse().unwrap()),
        over_share: OverShare::Redirect,
        fallback: "origin.shop.example:8080".parse().unwrap(),
        rules: SiteRules::default(),
        purges: Vec::new(),
        entitlements,
    }
}

pub(crate) fn entitlement(contract: u64, from: u64, until: u64, requests: u64) -> Entitlement {
    Entitlement {
        contract: ContractId::new(contract),
        region: "east".parse().unwrap(),
        from: Timestamp::from_seconds(from),
        until: Timestamp::from_seconds(until),
        requests: RequestRate::from_requests_per_second(requests),
        egress: BitRate::from_bits_per_second(requests * 500_000),
        class: Class::Firm,
    }
}

pub(crate) fn budgets(sequence: u64, shares: &[(u64, u64)], expires: u64) -> Budgets {
    let share = |&(contract, rate): &(u64, u64)| {
        let shares = BTreeMap::from([(
            "east-1".parse().unwrap(),
            RequestRate::from_requests_per_second(rate),
        )]);
        (ContractId::new(contract), shares)
    };
    Budgets {
        sequence,
        generation: Generation::new(1),
        issued_at: Timestamp::EPOCH,
        expires_at: Timestamp::from_seconds(expires),
        leases: BTreeMap::new(),
        shares: shares.iter().map(share).collect(),
    }
}
