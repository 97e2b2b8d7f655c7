//! How much of each hint goes into a prediction: least squares that forget.
//!
//! With a ridge towards a first guess, so that hints that say the same do not fight, and with
//! little said by errors that are far out. It does not know what the hints mean.

use crate::limits::HINTS;

/// A linear prediction and what it was learnt from.
#[derive(Debug, Clone)]
pub(crate) struct Regression {
    guess: [f64; HINTS],
    ridge: f64,
    keep: f64,
    weights: [f64; HINTS],
    /// Products of hints; the lower half.
    squares: [[f64; HINTS]; HINTS],
    /// Products of hints and outcomes.
    products: [f64; HINTS],
}

impl Regression {
    /// It begins with `guess`, which counts as `ridge` does, and forgets over `memory` samples.
    pub(crate) fn new(guess: [f64; HINTS], ridge: f64, memory: f64) -> Self {
        Self {
            guess,
            ridge,
            keep: (-1.0 / memory).exp(),
            weights: guess,
            squares: [[0.0; HINTS]; HINTS],
            products: [0.0; HINTS],
        }
    }

    /// The same with less memory of what was learnt: as much as `samples` hold.
    pub(crate) fn weighing(&self, samples: f64, memory: f64) -> Self {
        let part = (samples / memory).min(1.0);
        let mut lighter = self.clone();
        lighter.squares.iter_mut().flatten().for_each(|square| *square *= part);
        lighter.products.iter_mut().for_each(|product| *product *= part);
        lighter
    }

    /// What `hints` let expect.
    pub(crate) fn predict(&self, hints: &[f64; HINTS]) -> f64 {
        dot(&self.weights, hints)
    }

    /// Learns that `hints` were followed by `outcome`; it counts with `weight`.
    pub(crate) fn learn(&mut self, hints: &[f64; HINTS], outcome: f64, weight: f64) {
        for row in 0..HINTS {
            for column in 0..=row {
                let square = &mut self.squares[row][column];
                *square = *square * self.keep + weight * hints[row] * hints[column];
            }
            self.products[row] = self.products[row] * self.keep + weight * hints[row] * outcome;
        }
    }

    /// Takes what was learnt into predictions: solves the normal equations by Cholesky's method.
    pub(crate) fn solve(&mut self) {
        let mut root = self.squares;
        let mut solution = self.products;
        for row in 0..HINTS {
            root[row][row] += self.ridge;
            solution[row] += self.ridge * self.guess[row];
        }
        for row in 0..HINTS {
            for column in 0..=row {
                let product = dot_first(&root[row], &root[column], column);
                let rest = root[row][column] - product;
                root[row][column] = if row == column {
                    rest.max(f64::EPSILON).sqrt()
                } else {
                    rest / root[column][column]
                };
            }
        }
        for row in 0..HINTS {
            let known = dot_first(&root[row], &solution, row);
            solution[row] = (solution[row] - known) / root[row][row];
        }
        for row in (0..HINTS).rev() {
            let known: f64 = (row + 1..HINTS).map(|below| root[below][row] * solution[below]).sum();
            solution[row] = (solution[row] - known) / root[row][row];
        }
        self.weights = solution;
    }
}

fn dot(a: &[f64; HINTS], b: &[f64; HINTS]) -> f64 {
    dot_first(a, b, HINTS)
}

fn dot_first(a: &[f64; HINTS], b: &[f64; HINTS], count: usize) -> f64 {
    a.iter().zip(b).take(count).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_the_weights_and_keeps_the_guess_where_nothing_is_said() {
        let mut regression = Regression::new([0.5, 0.5, 0.0, 0.0, 0.25], 0.01, 1e9);
        for n in 0..200_u32 {
            let x = f64::from(n % 7) - 3.0;
            let y = f64::from(n % 5) - 2.0;
            regression.learn(&[x, y, x + y, 0.0, 0.0], 2.0 * x - y, 1.0);
        }
        regression.solve();
        let error = regression.predict(&[1.0, 2.0, 3.0, 0.0, 0.0]);
        assert!(error.abs() < 1e-3, "{error}");
        assert!((regression.predict(&[0.0, 0.0, 0.0, 0.0, 1.0]) - 0.25).abs() < 1e-9);
    }
}
