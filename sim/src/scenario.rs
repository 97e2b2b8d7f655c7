//! What happens in a world.

use std::{fmt, str::FromStr};

use crate::WrongSettings;

/// When it happens, as a part of the time that is judged.
const BEGINS: f64 = 0.4;
/// How long what is broken stays broken, in seconds.
const BROKEN_SECONDS: f64 = 60.0;
/// A day is this long: 24 times as steep as a real one.
const DAY_SECONDS: f64 = 3_600.0;

/// A course of demand, or a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Demand stays as it is.
    Steady,
    /// Demand doubles from one moment to the next.
    Step,
    /// Demand trebles within ten seconds and falls back over some minutes.
    Flash,
    /// Demand swings by a quarter, once in an hour: what is judged is the rising part.
    Diurnal,
    /// Half of the edges and one name server hear nothing from the exchange and tell it nothing.
    Partition,
    /// One edge stops: who is mapped to it gets no answer.
    EdgeLoss,
    /// The exchange stops, and another begins with nothing known.
    ExchangeLoss,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Steady,
        Self::Step,
        Self::Flash,
        Self::Diurnal,
        Self::Partition,
        Self::EdgeLoss,
        Self::ExchangeLoss,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Step => "step",
            Self::Flash => "flash",
            Self::Diurnal => "diurnal",
            Self::Partition => "partition",
            Self::EdgeLoss => "edge-loss",
            Self::ExchangeLoss => "exchange-loss",
        }
    }

    /// When it happens, of so many seconds that are judged.
    #[must_use]
    pub fn begins(self, seconds: f64) -> f64 {
        (seconds * BEGINS).floor()
    }

    /// Demand at `at` of `seconds`, as a multiple of what is usual.
    pub(crate) fn demand(self, at: f64, seconds: f64) -> f64 {
        let since = at - self.begins(seconds);
        match self {
            Self::Step if since >= 0.0 => 2.0,
            Self::Flash if since >= 0.0 => {
                1.0 + 2.0 * (since / 10.0).min(1.0) * (-(since - 10.0).max(0.0) / 60.0).exp()
            }
            Self::Diurnal => {
                let phase = (at - 0.5 * seconds) / DAY_SECONDS;
                1.0 + 0.25 * (std::f64::consts::TAU * phase).sin()
            }
            _ => 1.0,
        }
    }

    /// Whether something is broken at `at` of `seconds`.
    pub(crate) fn is_broken(self, at: f64, seconds: f64) -> bool {
        let since = at - self.begins(seconds);
        let breaks = matches!(self, Self::Partition | Self::EdgeLoss | Self::ExchangeLoss);
        breaks && (0.0..BROKEN_SECONDS).contains(&since)
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scenario {
    type Err = WrongSettings;

    fn from_str(text: &str) -> Result<Self, WrongSettings> {
        let found = Self::ALL.into_iter().find(|scenario| scenario.name() == text);
        found.ok_or_else(|| {
            WrongSettings::new("scenario", text, Self::ALL.map(Self::name).join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_begins_within_what_is_judged_and_ends() {
        assert_eq!(Scenario::Step.demand(239.0, 600.0), 1.0);
        assert_eq!(Scenario::Step.demand(240.0, 600.0), 2.0);
        assert!((Scenario::Flash.demand(250.0, 600.0) - 3.0).abs() < 1e-9);
        assert!(Scenario::Flash.demand(599.0, 600.0) < 1.1);
        let broken = |at| Scenario::EdgeLoss.is_broken(at, 600.0);
        assert_eq!([239.0, 240.0, 299.0, 300.0].map(broken), [false, true, true, false]);
        assert!(!Scenario::Steady.is_broken(240.0, 600.0));
    }

    #[test]
    fn names_are_read_back_and_others_refused() {
        for scenario in Scenario::ALL {
            assert_eq!(scenario.name().parse::<Scenario>(), Ok(scenario));
        }
        let error = "flood".parse::<Scenario>().unwrap_err();
        assert!(error.to_string().contains("steady, step"), "{error}");
    }
}
