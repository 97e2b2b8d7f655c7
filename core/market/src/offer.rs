//! Offers: what a seller asks for its spare capacity, and how the ask follows from a forecast.
//!
//! The rule is the newsvendor's. Delivering a unit costs `c`; a unit that was sold and cannot be
//! delivered costs the penalty `pi`. Offering one more unit, with the risk `u` that it will not be
//! there, pays off from the price at which `(1 - u) * (p - c) = u * pi`, that is
//! `p = c + pi * u / (1 - u)`.
//!
//! It does not forecast: the quantiles of spare capacity are handed in.

use headroom_units::{Fraction, Price, PurchaserId, RegionId, Slot, Units};

/// Some units at one price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfferStep {
    /// The units of this step alone, not counting cheaper steps.
    pub units: Units,
    /// The lowest price, per unit and slot, they are sold at.
    pub price: Price,
}

/// Who sells. The order decides what pro-rata division leaves open.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seller {
    /// Who runs the proxy network.
    Operator,
    /// Who resells what was bought.
    Purchaser(PurchaserId),
}

/// A price-quantity curve for one region and slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Whose capacity it is.
    pub seller: Seller,
    /// Where the capacity is.
    pub region: RegionId,
    /// When it is for sale.
    pub slot: Slot,
    /// The steps by rising price.
    pub steps: Vec<OfferStep>,
}

/// What selling costs the operator, per unit and slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfferPolicy {
    /// The cost of delivering.
    pub cost: Price,
    /// The penalty for what was sold and not delivered.
    pub penalty: Price,
    /// The published floor: nothing is offered below it.
    pub reserve: Price,
}

/// The operator's offer that earns the most from an uncertain spare capacity.
///
/// `spare` holds, by rising risk, how many units (cumulative) can be offered so that they fall
/// short with that risk. Where a riskier quantity is smaller than a safer one, the safer one
/// stands. Quantities at a risk of one, or whose price is out of range, are not offered. Prices
/// are rounded up to the micro-unit; steps of one price are joined.
#[must_use]
pub fn offer_curve(
    region: RegionId,
    slot: Slot,
    spare: &[(Fraction, Units)],
    policy: &OfferPolicy,
) -> Offer {
    let mut spare = spare.to_vec();
    spare.sort_unstable();
    let mut steps: Vec<OfferStep> = Vec::new();
    let mut offered = Units::ZERO;
    for (risk, cumulative) in spare {
        let Some(price) = ask(risk, policy) else { break };
        let units = cumulative.saturating_sub(offered);
        if units.is_zero() {
            continue;
        }
        offered = cumulative;
        match steps.last_mut() {
            Some(last) if last.price == price => last.units = last.units + units,
            _ => steps.push(OfferStep { units, price }),
        }
    }
    Offer { seller: Seller::Operator, region, slot, steps }
}

/// The lowest price at which a unit with this risk is worth offering, or `None` if none is.
fn ask(risk: Fraction, policy: &OfferPolicy) -> Option<Price> {
    let short = i128::from(risk.millionths());
    let there = i128::from(Fraction::ONE.millionths()) - short;
    if there == 0 {
        return None;
    }
    let premium = (i128::from(policy.penalty.micro()) * short + there - 1) / there;
    let price = i128::from(policy.cost.micro()) + premium;
    Price::from_micro(i64::try_from(price).ok()?).map(|price| price.max(policy.reserve))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(spare: &[(u32, u64)], [cost, penalty, reserve]: [i64; 3]) -> Vec<(u64, i64)> {
        let price = |micro| Price::from_micro(micro).unwrap();
        let policy =
            OfferPolicy { cost: price(cost), penalty: price(penalty), reserve: price(reserve) };
        let spare: Vec<_> = spare
            .iter()
            .map(|&(risk, units)| {
                (Fraction::from_millionths(risk).unwrap(), Units::saturating(units))
            })
            .collect();
        let offer = offer_curve("east".parse().unwrap(), Slot::new(1), &spare, &policy);
        offer.steps.iter().map(|step| (step.units.count(), step.price.micro())).collect()
    }

    #[test]
    fn riskier_units_cost_more() {
        let spare = [(10_000, 100), (100_000, 150), (500_000, 300)];
        assert_eq!(curve(&spare, [10, 990, 0]), [(100, 20), (50, 120), (150, 1_000)]);
    }

    #[test]
    fn prices_round_up_and_stay_above_the_reserve() {
        assert_eq!(curve(&[(1, 5)], [0, 1, 0]), [(5, 1)]);
        let spare = [(10_000, 100), (20_000, 110), (500_000, 120)];
        assert_eq!(curve(&spare, [10, 990, 100]), [(110, 100), (10, 1_000)]);
    }

    #[test]
    fn quantities_never_fall_and_certain_shortfalls_are_not_offered() {
        let spare = [(0, 50), (10_000, 40), (20_000, 50), (500_000, 60), (1_000_000, 900)];
        assert_eq!(curve(&spare, [10, 990, 0]), [(50, 10), (10, 1_000)]);
        assert_eq!(curve(&[(999_999, 7)], [0, Price::MAX.micro(), 0]), []);
        assert_eq!(curve(&[], [0, 0, 0]), []);
    }
}
