//! The rules for what welfare leaves open: equal bids share, what can be traded is traded, and of
//! all prices that support the fills the lowest are taken.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
};

use super::region::{Order, Region, Slot};
use crate::book::key;

/// Divides `amount` by parts: rounded down, then one unit each to the largest remainders, of
/// equals to the lowest.
pub(super) fn divided<K: Ord + Copy>(amount: u64, parts: BTreeMap<K, u64>) -> Vec<(K, u64)> {
    let total = u128::from(parts.values().sum::<u64>()).max(1);
    let exact = |part: u64| u128::from(amount) * u128::from(part);
    let mut by_remainder: Vec<K> = parts.keys().copied().collect();
    by_remainder.sort_by_key(|who| Reverse(exact(parts[who]) % total));
    let floor = |part: u64| u64::try_from(exact(part) / total).unwrap_or(u64::MAX);
    let mut shares: BTreeMap<K, u64> =
        parts.iter().map(|(&who, &part)| (who, floor(part))).collect();
    let left = amount - shares.values().sum::<u64>().min(amount);
    for who in by_remainder.iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
        shares.entry(*who).and_modify(|share| *share += 1);
    }
    shares.into_iter().collect()
}

/// Divisible bids for the same slots with the same limit that do not share as they should.
pub(super) fn unequal<'o>(orders: &'o [Order<'_, '_>]) -> impl Iterator<Item = String> + 'o {
    let mut equal: BTreeMap<_, Vec<&Order<'_, '_>>> = BTreeMap::new();
    let open = |order: &&Order<'_, '_>| order.divisible && order.span.is_some();
    for order in orders.iter().filter(open) {
        let bid = order.bid;
        equal.entry((bid.first, bid.last, bid.limit)).or_default().push(order);
    }
    equal.retain(|_, orders| orders.len() > 1);
    equal.into_values().flat_map(|orders| {
        let amount = orders.iter().map(|order| order.filled).sum();
        let parts = orders.iter().map(|order| (key(order.bid.id), order.bid.units.into()));
        let shares: BTreeMap<_, u64> = divided(amount, parts.collect()).into_iter().collect();
        let wrong = orders.into_iter().filter_map(move |order| {
            let share = shares[&key(order.bid.id)];
            let Order { bid, filled, .. } = order;
            (share != *filled).then(|| {
                format!("bid {} got {filled} units; its pro-rata share is {share}", bid.id)
            })
        });
        wrong.collect::<Vec<_>>()
    })
}

/// Divisible bids worth exactly what they cost that could have more at no loss.
pub(super) fn untraded<'r>(region: &'r Region<'_, '_>) -> impl Iterator<Item = String> + 'r {
    // Where units are left that ask no more than the price.
    let left = |slot: &Slot<'_>| slot.sold < slot.up_to(|ask| ask <= slot.price);
    let mut without = vec![0];
    for slot in &region.slots {
        without.push(without.last().unwrap_or(&0) + u32::from(!left(slot)));
    }
    region.orders.iter().filter_map(move |order| {
        let (first, end) = order.span?;
        let level = region.surplus(order.bid)? == 0;
        let more = order.filled < order.bid.units.into();
        (order.divisible && level && more && without[first] == without[end])
            .then(|| format!("bid {} could have more units at the prices", order.bid.id))
    })
}

/// The slots whose prices could be lower and still support the fills.
///
/// The prices are the lowest if what holds them up leads from the first boundary to every other:
/// the ask of a sold unit, or of an unsold one, or a bid that is worth exactly what it costs.
pub(super) fn dearer(region: &Region<'_, '_>) -> Option<String> {
    let slots = &region.slots;
    let mut ways = vec![Vec::new(); slots.len() + 1];
    for (at, slot) in slots.iter().enumerate() {
        let mut left = slot.sold;
        let mut dearest_sold = slot.asks.first().map(|ask| ask.price);
        let mut cheapest_unsold = None;
        for ask in &slot.asks {
            let taken = left.min(ask.units.into());
            left -= taken;
            if taken > 0 {
                dearest_sold = Some(ask.price);
            }
            if taken < ask.units.into() && cheapest_unsold.is_none() {
                cheapest_unsold = Some(ask.price);
            }
        }
        if dearest_sold == Some(slot.price) {
            ways[at].push(at + 1);
        }
        if cheapest_unsold == Some(slot.price) {
            ways[at + 1].push(at);
        }
    }
    for order in &region.orders {
        let (Some((first, end)), Some(0)) = (order.span, region.surplus(order.bid)) else {
            continue;
        };
        if order.filled < order.bid.units.into() {
            ways[first].push(end);
        }
        if order.filled > 0 {
            ways[end].push(first);
        }
    }
    let mut reached = vec![false; ways.len()];
    reached[0] = true;
    let mut queue = VecDeque::from([0]);
    while let Some(at) = queue.pop_front() {
        for &to in &ways[at] {
            if !std::mem::replace(&mut reached[to], true) {
                queue.push_back(to);
            }
        }
    }
    let loose = reached.iter().position(|reached| !reached)?;
    let number = slots[loose - 1].number;
    Some(format!("the prices up to slot {number} are not the lowest that support the fills"))
}
