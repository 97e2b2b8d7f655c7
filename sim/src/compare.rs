//! Several controllers in the same worlds.

use crate::{Approach, Figures, Second, Settings, draw::as_f64, world};

/// How one controller did.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The controller.
    pub approach: Approach,
    /// Over all seeds: means, but of the windows of a second the most, and of the time of recovery
    /// the longest.
    pub figures: Figures,
    /// The seconds of the first seed.
    pub seconds: Vec<Second>,
}

/// Runs each controller in the worlds of the seeds 1 to `seeds`. `tell` hears how many of all the
/// courses are done.
pub fn compare(
    settings: &Settings,
    approaches: &[Approach],
    seeds: u64,
    mut tell: impl FnMut(u64),
) -> Vec<Comparison> {
    let mut done = 0;
    let mut of = |approach: Approach| {
        let mut seconds = Vec::new();
        let mut all = Vec::new();
        for seed in 1..=seeds {
            let course = world::run(settings, approach, seed);
            if seed == 1 {
                seconds = course.seconds;
            }
            all.push(course.figures);
            done += 1;
            tell(done);
        }
        Comparison { approach, figures: summary(&all), seconds }
    };
    approaches.iter().map(|approach| of(*approach)).collect()
}

fn summary(all: &[Figures]) -> Figures {
    let count = as_f64(u64::try_from(all.len()).unwrap_or(0)).max(1.0);
    let mean = |of: fn(&Figures) -> f64| all.iter().map(of).sum::<f64>() / count;
    let worst = |of: fn(&Figures) -> f64| all.iter().map(of).fold(0.0, f64::max);
    let known = |of: fn(&Figures) -> Option<f64>| all.iter().filter_map(of).reduce(f64::max);
    let learned: Vec<f64> = all.iter().filter_map(|figures| figures.learned).collect();
    Figures {
        use_of_purchase: mean(|figures| figures.use_of_purchase),
        refused_share: mean(|figures| figures.refused_share),
        p99_offered_over_purchased_10s: mean(|figures| figures.p99_offered_over_purchased_10s),
        max_admitted_over_purchased_1s: worst(|figures| figures.max_admitted_over_purchased_1s),
        recovered_after: known(|figures| figures.recovered_after),
        learned: (!learned.is_empty()).then(|| crate::asker::mean(learned.into_iter())),
    }
}
