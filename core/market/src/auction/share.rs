//! The division of a whole number among those who have a part in it: pro rata, exact in integers.

use headroom_units::Units;

/// Divides `amount` by the `parts` (each with who it belongs to): everyone gets the whole units of
/// the exact share, and what is left goes, one unit each, to the largest remainders, then to the
/// lowest `Who`. `amount` is at most the sum of the parts, and nobody gets more than the part.
pub(super) fn pro_rata<Who: Ord + Clone>(amount: i64, parts: &[(Who, i64)]) -> Vec<(Who, i64)> {
    let total: i128 = parts.iter().map(|&(_, part)| i128::from(part)).sum();
    if amount == 0 || total == 0 {
        return Vec::new();
    }
    if let [(who, _)] = parts {
        return vec![(who.clone(), amount)];
    }
    if i128::from(amount) == total {
        return parts.to_vec();
    }
    let mut shares: Vec<(i128, &Who, i128)> = parts
        .iter()
        .map(|(who, part)| {
            let exact = i128::from(amount) * i128::from(*part);
            (exact % total, who, exact / total)
        })
        .collect();
    let whole: i128 = shares.iter().map(|&(_, _, share)| share).sum();
    shares.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    let mut left = i128::from(amount) - whole;
    let mut divided = Vec::with_capacity(shares.len());
    for (_, who, share) in shares {
        let extra = left.min(1);
        left -= extra;
        let share = i64::try_from(share + extra).expect("a share is at most the amount");
        if share > 0 {
            divided.push((who.clone(), share));
        }
    }
    divided
}

pub(super) fn units(count: i64) -> Units {
    Units::saturating(u64::try_from(count).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::pro_rata;

    #[test]
    fn shares_are_exact_and_the_largest_remainder_goes_first() {
        assert_eq!(pro_rata(7, &[('a', 5), ('b', 5), ('c', 4)]), [('a', 3), ('b', 2), ('c', 2)]);
        assert_eq!(pro_rata(1, &[('a', 1), ('b', 2)]), [('b', 1)]);
        assert_eq!(pro_rata(3, &[('a', 1), ('b', 2)]), [('a', 1), ('b', 2)]);
        assert_eq!(pro_rata(0, &[('a', 1)]), []);
        assert_eq!(pro_rata::<char>(0, &[]), []);
        let most = i64::MAX / 4;
        assert_eq!(
            pro_rata(most, &[('a', most), ('b', most)]).iter().map(|s| s.1).sum::<i64>(),
            most
        );
    }
}
