//! temporary
use headroom_forecast::*;
use headroom_units::Slot;
use std::time::Instant;
fn main() {
    let s = 288u64;
    let mut best = f64::MAX;
    let mut bf = f64::MAX;
    for _ in 0..7 {
        let mut f =
            Forecaster::new(Config { season_slots: s, history_seasons: 14, horizon_slots: 432 })
                .unwrap();
        let load = |t: u64| {
            let x = (t.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407) >> 33)
                as f64
                / 2f64.powi(31);
            100.0 + 60.0 * ((t % 288) as f64 / 288.0 * 6.28).sin() + 20.0 * x
        };
        for t in 0..s * 20 {
            f.observe(Slot::new(t), load(t)).unwrap();
        }
        for d in 20..100 {
            let t0 = Instant::now();
            for t in s * d..s * (d + 1) {
                f.observe(Slot::new(t), load(t)).unwrap();
            }
            best = best.min(t0.elapsed().as_nanos() as f64 / s as f64);
        }
        let mut acc = 0.0;
        for k in 0..200 {
            let t0 = Instant::now();
            let fc = f.forecast(f.newest().unwrap().next());
            for sl in fc.slots().iter().take(288) {
                acc += fc.quantile(sl, 0.99).unwrap();
            }
            std::hint::black_box(k);
            bf = bf.min(t0.elapsed().as_nanos() as f64);
        }
        std::hint::black_box(acc);
    }
    println!("sample {best:.0} ns, forecast of 432 with 288 quantiles {:.1} us", bf / 1000.0);
}
