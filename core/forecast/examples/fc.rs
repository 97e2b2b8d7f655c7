//! temporary
use headroom_forecast::{Season, backtest::*};
use headroom_units::Slot;
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let risk: f64 = std::env::var("RISK").map_or(0.01, |r| r.parse().unwrap());
    for f in &args[1..] {
        let text = std::fs::read_to_string(f).unwrap();
        let step = if f.contains("30") { 1800 } else { 300 };
        let mut s: Vec<(Slot, f64)> = vec![];
        for l in text.lines().skip(1) {
            let (t, v) = l.split_once(',').unwrap();
            let t = t.as_bytes();
            let n =
                |a: usize, b: usize| std::str::from_utf8(&t[a..b]).unwrap().parse::<i64>().unwrap();
            let (y, m, d) = (n(0, 4), n(5, 7), n(8, 10));
            let yy = if m <= 2 { y - 1 } else { y };
            let era = yy.div_euclid(400);
            let yoe = yy - era * 400;
            let mp = (m + 9) % 12;
            let doy = (153 * mp + 2) / 5 + d - 1;
            let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
            let days = era * 146097 + doe - 719468;
            let t = days * 86400 + n(11, 13) * 3600 + n(14, 16) * 60 + n(17, 19);
            let slot = Slot::new((t / step) as u64);
            if s.last().is_none_or(|l| l.0 < slot) {
                s.push((slot, v.parse().unwrap()));
            }
        }
        let ahead = if args[0] == "1h" { Ahead::Hour } else { Ahead::Season };
        let t0 = std::time::Instant::now();
        let b = Backtest::run(&Replay {
            samples: &s,
            season: Season { slots: (86400 / step) as u64 },
            ahead,
            risk,
        })
        .unwrap();
        let el = t0.elapsed();
        let p = |n: &str, x: &Score| {
            print!("{n} {:.2}/{:.1} ", 100.0 * x.short_share, 100.0 * x.sold_of_spare)
        };
        print!(
            "{:14} n {} worst {:.0} und {:.2} pin {:.5} ",
            f.rsplit('/').next().unwrap(),
            b.forecast.slots,
            100.0 * b.forecast.worst_day_short_share,
            100.0 * b.forecast.undelivered_of_sold,
            b.forecast.pinball / b.capacity
        );
        p("OURS", &b.forecast);
        for (n, x) in &b.baselines {
            p(n.name(), x);
        }
        println!(" {} {:?}", b.beats_baselines(), el);
    }
}
