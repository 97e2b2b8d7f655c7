//! How uneven the askers are.

/// More than this deviation, one asker is the whole world.
const SIGMA_END: f64 = 12.0;

/// Weights exp(σ·z) of these standard normal draws, of which the heaviest hundredth carries `share`
/// of `sum`; all are alike if they would have to be more even than that.
///
/// The share rises with σ, which is found by bisection for the very draws of a world: what is drawn
/// from a heavy-tailed distribution differs from it, the more so the fewer are drawn. For a million
/// askers σ comes near Φ⁻¹(share) + Φ⁻¹(0.99).
pub(crate) fn weights(normals: &[f64], share: f64, sum: f64) -> Vec<f64> {
    let mut sorted = normals.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let (mut low, mut high) = (0.0, SIGMA_END);
    for _ in 0..50 {
        let middle = f64::midpoint(low, high);
        if top_share(&sorted, middle) < share {
            low = middle;
        } else {
            high = middle;
        }
    }
    lognormal(normals, f64::midpoint(low, high), sum)
}

/// Weights exp(σ·z) that add up to `sum`.
pub(crate) fn lognormal(normals: &[f64], sigma: f64, sum: f64) -> Vec<f64> {
    let weights = || normals.iter().map(|normal| (sigma * normal).exp());
    let drawn: f64 = weights().sum();
    weights().map(|weight| weight / drawn * sum).collect()
}

/// What the first hundredth carries.
fn top_share(sorted: &[f64], sigma: f64) -> f64 {
    let sum = |part: &[f64]| part.iter().map(|normal| (sigma * normal).exp()).sum::<f64>();
    sum(&sorted[..sorted.len().div_ceil(100)]) / sum(sorted).max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Draw;

    #[test]
    fn the_heaviest_hundredth_carries_what_was_asked_for() {
        for seed in 0..5 {
            let mut draw = Draw::new(seed);
            let normals: Vec<f64> = (0..1_000).map(|_| draw.normal()).collect();
            for share in [0.0924, 0.3721, 0.5689] {
                let mut weights = weights(&normals, share, 3.0);
                assert!((weights.iter().sum::<f64>() - 3.0).abs() < 1e-9);
                weights.sort_by(|a, b| b.total_cmp(a));
                let found = weights[..10].iter().sum::<f64>() / 3.0;
                assert!((found - share).abs() < 1e-6, "{share}: {found}");
            }
        }
    }

    #[test]
    fn of_many_askers_the_deviation_is_that_of_the_distribution() {
        let mut draw = Draw::new(1);
        let normals: Vec<f64> = (0..200_000).map(|_| draw.normal()).collect();
        let weights = weights(&normals, 0.0924, 1.0);
        let sigma = (weights[0] / weights[1]).ln() / (normals[0] - normals[1]);
        assert!((sigma - 1.0).abs() < 0.02, "{sigma}");
    }
}
