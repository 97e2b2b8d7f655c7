//! scratch
#![allow(clippy::all, clippy::print_stdout, reason = "scratch")]
use std::time::Duration;
use headroom_sim::*;
fn main() {
    let seeds: u64 = std::env::args().nth(1).unwrap().parse().unwrap();
    let n_s: u64 = std::env::args().nth(2).map_or(60, |a| a.parse().unwrap());
    let verbose = seeds == 1;
    let s = Settings {
        top_share: 0.15, ttl: Duration::from_secs(2), demand: 242.0,
        purchased: headroom_units::RequestRate::from_requests_per_second(120),
        resolvers: 120, subnets: 0, subnets_share: 0.0, stretched: 3, edges: 2, name_servers: 1,
        report_delay: Duration::from_millis(20), report_noise: 0.0,
        network_delay: Duration::from_millis(5), network_loss: 0.0,
        warm_up: Duration::ZERO, seconds: n_s, ..Settings::default()
    };
    let mut by = vec![(0u64, 0u64); n_s as usize];
    for seed in 1..=seeds {
        let c = run(&s, Approach::Ledger, seed);
        for (i, x) in c.seconds.iter().enumerate() { by[i].0 += x.offered; by[i].1 += x.admitted; }
        let sum = |r: std::ops::Range<usize>| c.seconds[r].iter().map(|s| s.admitted).sum::<u64>() as f64;
        if verbose || seed < 6 { println!("seed {seed}: first 30 s {:.3}, second 30 s {:.3}", sum(0..30)/3600.0, sum(n_s as usize - 30..n_s as usize)/3600.0); }
    }
    let n = seeds as f64 * 120.0;
    for (i, (o, a)) in by.iter().take(60).enumerate() { print!("{i}:{:.2}/{:.2} ", *o as f64 / n, *a as f64 / n); }
    let f: u64 = by[..30].iter().map(|b| b.1).sum(); let l: u64 = by[n_s as usize - 30..].iter().map(|b| b.1).sum();
    println!("\nmean first 30 {:.3} second 30 {:.3}", f as f64/n/30.0, l as f64/n/30.0);
}
