//! How wrong the predictor was, by distance.
//!
//! An error is a factor: what was measured over what was predicted, both with a floor added. Only
//! predictions made without knowing the sample are counted. It keeps factors, not their reasons.

use crate::series::Series;

/// The past errors of all distances.
#[derive(Debug, Clone)]
pub(crate) struct Residuals {
    /// In rising order of distance.
    buckets: Vec<Bucket>,
}

/// The past errors of one distance, which stands for all from the next smaller one.
#[derive(Debug, Clone)]
struct Bucket {
    distance: u64,
    by_slot: Series<f64>,
    sorted: Vec<f64>,
}

impl Residuals {
    /// Room for `capacity` slots of errors at distances that cover 1 to `furthest`.
    pub(crate) fn new(capacity: u64, furthest: u64) -> Self {
        let bucket =
            |distance| Bucket { distance, by_slot: Series::new(capacity), sorted: Vec::new() };
        Self { buckets: distances(furthest).into_iter().map(bucket).collect() }
    }

    /// The distances whose errors are kept.
    pub(crate) fn distances(&self) -> impl Iterator<Item = u64> + use<> {
        self.buckets.iter().map(|bucket| bucket.distance).collect::<Vec<_>>().into_iter()
    }

    /// Counts an error made at `distance` about `slot`.
    pub(crate) fn add(&mut self, distance: u64, slot: u64, factor: f64) {
        if let Some(bucket) = self.buckets.iter_mut().find(|b| b.distance == distance) {
            bucket.add(slot, factor);
        }
    }

    /// The number of the bucket that answers for `distance`: the nearest that is not shorter.
    pub(crate) fn bucket_for(&self, distance: u64) -> Option<usize> {
        let index = self.buckets.partition_point(|bucket| bucket.distance < distance);
        (index < self.buckets.len()).then_some(index)
    }

    /// The errors of one bucket, smallest first.
    pub(crate) fn sorted(&self, bucket: usize) -> &[f64] {
        &self.buckets[bucket].sorted
    }
}

impl Bucket {
    fn add(&mut self, slot: u64, factor: f64) {
        for old in self.by_slot.set(slot, factor) {
            let index = self.sorted.partition_point(|x| x.total_cmp(&old).is_lt());
            self.sorted.remove(index);
        }
        let index = self.sorted.partition_point(|x| x.total_cmp(&factor).is_lt());
        self.sorted.insert(index, factor);
    }
}

/// 1, 2, 3, 4, 6, 8, 12, … up to the first that is not below `furthest`.
fn distances(furthest: u64) -> Vec<u64> {
    let mut distances = vec![1];
    let mut power: u64 = 2;
    while distances.last().is_some_and(|last| *last < furthest) {
        distances.push(power);
        if power < furthest {
            distances.push(power + power / 2);
        }
        power = power.saturating_mul(2);
    }
    distances
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_grow_and_cover_the_horizon() {
        assert_eq!(distances(1), [1]);
        assert_eq!(distances(2), [1, 2]);
        assert_eq!(distances(12), [1, 2, 3, 4, 6, 8, 12]);
        assert_eq!(distances(13), [1, 2, 3, 4, 6, 8, 12, 16]);
    }

    #[test]
    fn a_bucket_stays_sorted_as_it_forgets() {
        let mut residuals = Residuals::new(3, 4);
        for (slot, factor) in [(0, 1.5), (1, 0.5), (2, 1.0), (3, 0.7)] {
            residuals.add(2, slot, factor);
        }
        assert_eq!(residuals.sorted(1), [0.5, 0.7, 1.0]);
        assert_eq!(residuals.bucket_for(3), Some(2));
        assert_eq!(residuals.bucket_for(5), None);
    }
}
