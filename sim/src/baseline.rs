//! The ways of others: a fraction of the mapping requests, set each second from what was offered,
//! and a coin for each mapping request.

use crate::{Approach, Settings};

/// PI aims this far below the purchase.
const PI_MARGIN: f64 = 0.05;
/// Linear shedding begins at this part of the purchase and is complete at the other.
const MARKS: (f64, f64) = (0.8, 1.05);

/// Sets the fraction.
#[derive(Debug)]
pub(crate) struct Baseline {
    approach: Approach,
    fraction: f64,
    gains: (f64, f64),
    last_error: f64,
}

impl Baseline {
    /// Begins with the fraction that would be right if nothing ever changed.
    pub(crate) fn new(approach: Approach, settings: &Settings) -> Self {
        let purchased = settings.purchased.as_f64();
        // SIMC (Skogestad, 2003) for a lag of one TTL and a dead time of the reports and half a TTL.
        let gain = settings.demand / purchased;
        let lag = settings.ttl.as_secs_f64();
        let dead = settings.report_delay.as_secs_f64() + 0.5 * lag;
        let proportional = lag / (gain * 2.0 * dead);
        let integral = proportional / lag.min(8.0 * dead);
        let fraction = (purchased / settings.demand).clamp(0.0, 1.0);
        Self { approach, fraction, gains: (proportional, integral), last_error: 0.0 }
    }

    /// The part of the mapping requests that is answered with an edge.
    pub(crate) fn fraction(&self) -> f64 {
        self.fraction
    }

    /// A second has passed in which `offered` of the purchase came.
    pub(crate) fn control(&mut self, offered: f64) {
        match self.approach {
            Approach::Ledger | Approach::Static => {}
            Approach::Switch => self.fraction = if offered < 1.0 { 1.0 } else { 0.0 },
            Approach::Linear => {
                let shed = (offered - MARKS.0) / (MARKS.1 - MARKS.0);
                self.fraction = 1.0 - shed.clamp(0.0, 1.0);
            }
            Approach::Pi => {
                let error = 1.0 - PI_MARGIN - offered;
                let (proportional, integral) = self.gains;
                // In steps, so that nothing winds up at the ends.
                let change = proportional * (error - self.last_error) + integral * error;
                self.fraction = (self.fraction + change).clamp(0.0, 1.0);
                self.last_error = error;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fraction(approach: Approach, offered: &[f64]) -> f64 {
        let mut baseline = Baseline::new(approach, &Settings::default());
        offered.iter().for_each(|offered| baseline.control(*offered));
        (baseline.fraction() * 1_000.0).round() / 1_000.0
    }

    #[test]
    fn each_does_what_it_is_known_for() {
        assert_eq!([0.5, 2.0].map(|load| fraction(Approach::Static, &[load])), [0.3, 0.3]);
        assert_eq!([0.99, 1.0].map(|load| fraction(Approach::Switch, &[load])), [1.0, 0.0]);
        let linear = [0.5, 0.925, 1.2].map(|load| fraction(Approach::Linear, &[load]));
        assert_eq!(linear, [1.0, 0.5, 0.0]);
        assert!(fraction(Approach::Pi, &[1.3; 5]) < 0.3);
        assert_eq!(fraction(Approach::Pi, &[5.0; 500]), 0.0);
        assert!(fraction(Approach::Pi, &[[5.0; 500].as_slice(), &[0.0; 60]].concat()) > 0.3);
    }
}
