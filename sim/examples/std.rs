//! scratch
#![allow(clippy::all, clippy::print_stdout, reason = "scratch")]
use headroom_sim::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let seeds: u64 = a[1].parse().unwrap();
    let mut s = Settings { scenario: a[2].parse().unwrap(), top_share: a[3].parse().unwrap(), ..Settings::default() };
    if let Some(n) = a.get(4) { s.seconds = n.parse().unwrap(); }
    let c = compare(&s, &[Approach::Ledger], seeds, |_| {});
    let f = &c[0].figures;
    if std::env::var("EACH").is_ok() { for seed in 1..=seeds { let c = run(&s, Approach::Ledger, seed); let f = c.figures; println!("seed {seed} use {:.4} ref {:.4} p99 {:.3} max {:.3} learned {:.3}", f.use_of_purchase, f.refused_share, f.p99_offered_over_purchased_10s, f.max_admitted_over_purchased_1s, f.learned.unwrap_or(0.0));
        for (i, w) in c.seconds.windows(10).enumerate().skip(100) { let o: u64 = w.iter().map(|x| x.offered).sum(); if o as f64 > 1.02*60_000.0 { print!("{i}:{:.2} ", o as f64/60_000.0); } } println!();
    } return; }
    println!("{} {}: use {:.4} refused {:.4} p99 {:.3} max {:.3} rec {:?} learned {:?}", a[2], a[3], f.use_of_purchase, f.refused_share, f.p99_offered_over_purchased_10s, f.max_admitted_over_purchased_1s, f.recovered_after, f.learned);
}
