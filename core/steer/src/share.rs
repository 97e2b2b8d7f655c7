//! An edge's part of a contract's capacity.

use headroom_units::RequestRate;

/// The share an edge may use without being told: half of an equal part. The other half is handed
/// out by demand in budgets that expire, so that an edge that hears nothing falls back to this
/// without anyone exceeding the contract.
#[must_use]
pub(crate) fn safe_share(contract: RequestRate, edges: usize) -> RequestRate {
    let parts = u64::try_from(edges).unwrap_or(u64::MAX).saturating_mul(2).max(1);
    RequestRate::from_millirequests_per_second(contract.millirequests_per_second() / parts)
}

/// Water-filling (max-min fairness): gives each demand what it asks above `floor`, the smallest
/// first, until `total` is used; what is left when all are content is spread evenly.
///
/// The shares add up to `total` exactly. A floor that does not fit is lowered to an even part.
#[must_use]
pub(crate) fn water_fill(total: u64, floor: u64, demands: &[u64]) -> Vec<u64> {
    let count = u64::try_from(demands.len()).unwrap_or(u64::MAX);
    if count == 0 {
        return Vec::new();
    }
    let floor = floor.min(total / count);
    let mut order: Vec<usize> = (0..demands.len()).collect();
    order.sort_by_key(|&index| (demands[index], index));
    let mut shares = vec![floor; demands.len()];
    let mut left = total - floor * count;
    for (position, &index) in order.iter().enumerate() {
        let sharers = count - u64::try_from(position).unwrap_or(count);
        let wanted = demands[index].saturating_sub(floor);
        let given = wanted.min(left / sharers);
        shares[index] += given;
        left -= given;
    }
    let (each, mut rest) = (left / count, left % count);
    for share in &mut shares {
        *share += each + u64::from(rest > 0);
        rest = rest.saturating_sub(1);
    }
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_demands_are_met_and_the_rest_is_divided() {
        assert_eq!(water_fill(100, 10, &[20, 500, 600]), [20, 40, 40]);
        assert_eq!(water_fill(100, 10, &[0, 0]), [50, 50]);
        assert_eq!(water_fill(100, 10, &[30, 10]), [60, 40]);
        assert_eq!(water_fill(3, 10, &[5, 5]), [1, 2]);
        assert!(water_fill(100, 10, &[]).is_empty());
    }

    proptest! {
        #[test]
        fn the_shares_add_up_to_the_total(
            total in 0u64..1_000_000,
            floor in 0u64..1_000,
            demands in prop::collection::vec(0u64..1_000_000, 1..20),
        ) {
            let shares = water_fill(total, floor, &demands);
            prop_assert_eq!(shares.iter().sum::<u64>(), total);
            let floor = floor.min(total / demands.len() as u64);
            prop_assert!(shares.iter().all(|share| *share >= floor));
        }
    }
}
