//! Random draws from one seeded source.

use std::time::Duration;

/// The only source of chance in a world.
#[derive(Debug)]
pub(crate) struct Draw(fastrand::Rng);

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// A source of its own, which follows from this one.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.0.fork())
    }

    /// Evenly from 0 to 1, without 1.
    pub(crate) fn even(&mut self) -> f64 {
        self.0.f64()
    }

    /// True with `probability`.
    pub(crate) fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.even() < probability
    }

    /// One of `count` things.
    pub(crate) fn one_of(&mut self, count: usize) -> usize {
        self.0.usize(0..count.max(1))
    }

    /// The time until the next event of a Poisson process with `rate` events per second.
    pub(crate) fn wait(&mut self, rate: f64) -> Duration {
        if rate <= 0.0 {
            return Duration::MAX;
        }
        let seconds = -(1.0 - self.even()).ln() / rate;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// A standard normal value (Box and Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.even()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.even()).cos()
    }

    /// `count` with a relative error of standard deviation `noise`, never below zero.
    pub(crate) fn noisy(&mut self, count: u64, noise: f64) -> u64 {
        if noise <= 0.0 || count == 0 {
            return count;
        }
        let noisy = as_f64(count) * (1.0 + noise * self.normal()).max(0.0);
        // Rounded at random, so that small counts are not lost on the average.
        let (whole, rest) = (noisy.floor(), noisy.fract());
        as_count(whole) + u64::from(self.happens(rest))
    }
}

/// A count as a number with a fraction.
#[expect(clippy::cast_precision_loss, reason = "what is counted here stays far below 2^53")]
pub(crate) fn as_f64(count: u64) -> f64 {
    count as f64
}

/// The whole part of a number that is no less than zero.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float to integer casts saturate, and what is counted here is small"
)]
pub(crate) fn as_count(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_have_the_means_they_should() {
        let mut draw = Draw::new(1);
        let n = 100_000;
        let mean = |f: &mut dyn FnMut() -> f64| (0..n).map(|_| f()).sum::<f64>() / f64::from(n);
        let waited = mean(&mut || draw.wait(4.0).as_secs_f64());
        assert!((waited - 0.25).abs() < 0.005, "{waited}");
        let square = mean(&mut || draw.normal().powi(2));
        assert!((square - 1.0).abs() < 0.02, "{square}");
        let noisy = mean(&mut || as_f64(draw.noisy(3, 0.3)));
        assert!((noisy - 3.0).abs() < 0.02, "{noisy}");
    }

    #[test]
    fn what_never_comes_is_waited_for_without_end() {
        assert_eq!(Draw::new(1).wait(0.0), Duration::MAX);
    }
}
