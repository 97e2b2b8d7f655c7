//! What a world is made of, checked before it begins.

use std::{fmt, str::FromStr, time::Duration};

use headroom_units::RequestRate;
use thiserror::Error;

use crate::{Scenario, limits};

/// Who holds the traffic at the purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approach {
    /// Ours: leases weighted by hidden load, and budgets.
    Ledger,
    /// A proportional and integral controller on the fraction, with coin flips.
    Pi,
    /// Shedding that grows linearly between two marks, as NS1 documents it, with coin flips.
    Linear,
    /// All or nothing at the limit, as Apache Traffic Control documents it.
    Switch,
    /// A weight that is never changed.
    Static,
}

impl Approach {
    /// All of them, ours first.
    pub const ALL: [Self; 5] = [Self::Ledger, Self::Pi, Self::Linear, Self::Switch, Self::Static];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ledger => "ledger",
            Self::Pi => "pi",
            Self::Linear => "linear",
            Self::Switch => "switch",
            Self::Static => "static",
        }
    }
}

impl fmt::Display for Approach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Approach {
    type Err = WrongSettings;

    fn from_str(text: &str) -> Result<Self, WrongSettings> {
        let found = Self::ALL.into_iter().find(|approach| approach.name() == text);
        found.ok_or_else(|| {
            WrongSettings::new("controller", text, Self::ALL.map(Self::name).join(", "))
        })
    }
}

/// A setting that no world can have.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what} is {found:?}; accepted are {accepted}")]
pub struct WrongSettings {
    what: &'static str,
    found: String,
    accepted: String,
}

impl WrongSettings {
    pub(crate) fn new(
        what: &'static str,
        found: impl fmt::Display,
        accepted: impl Into<String>,
    ) -> Self {
        Self { what, found: found.to_string(), accepted: accepted.into() }
    }
}

/// What a world is made of. The default is the one of the published figures, with the product's
/// defaults where the product has the setting.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// What happens.
    pub scenario: Scenario,
    /// The load share of the heaviest hundredth of the askers.
    pub top_share: f64,
    /// How long steered answers may be cached.
    pub ttl: Duration,
    /// Requests per second of all visitors, usually.
    pub demand: f64,
    /// What was purchased.
    pub purchased: RequestRate,
    /// Resolvers, each with one cache.
    pub resolvers: usize,
    /// Client subnets that giant public resolvers ask for, each with a cache entry of its own.
    pub subnets: usize,
    /// The load share of these subnets.
    pub subnets_share: f64,
    /// The part of the resolvers that keep answers longer than they may.
    pub stretching: f64,
    /// How many times longer.
    pub stretched: u32,
    /// Edges.
    pub edges: usize,
    /// Name servers, which share one budget.
    pub name_servers: usize,
    /// How long an idle bucket of an edge saves up.
    pub burst: Duration,
    /// How long budgets are in force without renewal.
    pub budget_lifetime: Duration,
    /// How late edges' reports are.
    pub report_delay: Duration,
    /// The relative error of what reports say of each client.
    pub report_noise: f64,
    /// How long other messages are on their way.
    pub network_delay: Duration,
    /// The part of the messages that is lost.
    pub network_loss: f64,
    /// An edge that was not heard of for so long is left out of the plan.
    pub edge_timeout: Duration,
    /// So long after an edge stopped it is known to have, and fenced. The product does not do that.
    pub fence: Option<Duration>,
    /// The purchase begins so long before anything is judged.
    pub warm_up: Duration,
    /// What is judged, in seconds.
    pub seconds: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            scenario: Scenario::Steady,
            top_share: 0.36,
            ttl: Duration::from_secs(20),
            demand: 20_000.0,
            purchased: RequestRate::from_requests_per_second(6_000),
            resolvers: 1_000,
            subnets: 1_000,
            subnets_share: 0.15,
            stretching: 0.0874,
            stretched: 15,
            edges: 4,
            name_servers: 2,
            burst: Duration::from_millis(250),
            budget_lifetime: Duration::from_secs(3),
            report_delay: Duration::from_secs(10),
            report_noise: 0.3,
            network_delay: Duration::from_millis(20),
            network_loss: 0.01,
            edge_timeout: Duration::from_secs(3),
            fence: None,
            warm_up: Duration::from_secs(100),
            seconds: 600,
        }
    }
}

impl Settings {
    /// The settings, if such a world can be.
    ///
    /// # Errors
    /// The first setting that is wrong, and what would be accepted.
    pub fn checked(self) -> Result<Self, WrongSettings> {
        let share = |what, value: f64, least: f64, most: f64| {
            let accepted = format!("{least} to {most}");
            let wrong = || WrongSettings::new(what, value, accepted);
            (least..=most).contains(&value).then_some(()).ok_or_else(wrong)
        };
        share("skew", self.top_share, limits::TOP_SHARE_MIN, limits::TOP_SHARE_MAX)?;
        let ttl = (headroom_steer::limits::TTL_MIN, headroom_steer::limits::TTL_MAX);
        if !(ttl.0..=ttl.1).contains(&self.ttl) || self.ttl.subsec_nanos() > 0 {
            let accepted = format!("whole seconds from {:?} to {:?}", ttl.0, ttl.1);
            return Err(WrongSettings::new("ttl", format_args!("{:?}", self.ttl), accepted));
        }
        let (least, most) = (limits::SECONDS_MIN, limits::SECONDS_MAX);
        if !(least..=most).contains(&self.seconds) {
            return Err(WrongSettings::new("seconds", self.seconds, format!("{least} to {most}")));
        }
        share("report noise", self.report_noise, 0.0, 1.0)?;
        let long = [
            ("report delay", self.report_delay, limits::REPORT_DELAY),
            ("budget lifetime", self.budget_lifetime, limits::BUDGET_LIFETIME),
            ("edge timeout", self.edge_timeout, limits::EDGE_TIMEOUT),
            ("fence", self.fence.unwrap_or_default(), limits::FENCE),
        ];
        for (what, value, (least, most)) in long {
            if !(least..=most).contains(&value) {
                let accepted = format!("{least:?} to {most:?}");
                return Err(WrongSettings::new(what, format_args!("{value:?}"), accepted));
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worlds_that_cannot_be_are_refused_with_a_reason() {
        let usual = Settings::default;
        assert!(usual().checked().is_ok());
        for (settings, part) in [
            (Settings { top_share: 1.0, ..usual() }, "skew is \"1\"; accepted are 0.01 to 0.8"),
            (Settings { top_share: f64::NAN, ..usual() }, "skew is \"NaN\""),
            (Settings { ttl: Duration::from_millis(1_500), ..usual() }, "ttl is \"1.5s\""),
            (Settings { seconds: 5, ..usual() }, "seconds is \"5\"; accepted are 60 to"),
            (
                Settings { budget_lifetime: Duration::from_secs(1), ..usual() },
                "budget lifetime is \"1s\"; accepted are 2s to 120s",
            ),
        ] {
            let error = settings.checked().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
