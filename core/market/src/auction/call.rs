//! The call auction of several regions. Regions are independent but for groups of orders of which
//! at most one is filled and that are in more than one of them: an order for any of several
//! regions is such a group.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use headroom_units::RegionId;

use super::{
    Auction, Because, Clearing, Group,
    region::{Standing, surplus},
};
use crate::limits::MOVES_MAX;

/// The result of a call auction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CallClearing {
    /// What came out in each region.
    pub regions: BTreeMap<RegionId, Clearing>,
    /// The welfare of all regions, in micro-units.
    pub welfare: i128,
    /// What no clearing of these offers and orders can exceed, in micro-units.
    pub bound: i128,
    /// The welfare if every order were divisible and alone, in micro-units.
    pub relaxed: i128,
}

/// A step that is taken in each of several auctions, in any order or at the same time.
pub type Step<'s> = &'s (dyn Fn(&mut Auction) + Sync);

/// Takes a step in one auction after the other. A caller with threads may do better.
pub fn in_turn(auctions: Vec<&mut Auction>, step: Step<'_>) {
    auctions.into_iter().for_each(step);
}

/// Clears the auctions of several regions together. `each` takes a step in each of the auctions:
/// [`in_turn`], or something that uses more cores; the result is the same.
///
/// Groups that have orders in several regions are decided first: the relaxed prices say in which
/// region a group gains the most; the others are left out, and a group moves while that brings
/// more welfare. Then each region settles its own flagged orders.
pub fn clear_call(
    auctions: &mut BTreeMap<RegionId, Auction>,
    each: &dyn Fn(Vec<&mut Auction>, Step<'_>),
) -> CallClearing {
    let all = |auctions: &mut BTreeMap<RegionId, Auction>, step: Step<'_>| {
        each(auctions.values_mut().collect(), step);
    };
    all(auctions, &|auction| {
        auction.readmit_all();
        auction.relax();
    });
    let linked = linked(auctions);
    if !linked.is_empty() {
        place(auctions, &linked, each);
    }
    all(auctions, &|auction| {
        auction.settle();
        auction.conclude();
    });
    conclude(auctions)
}

fn conclude(auctions: &mut BTreeMap<RegionId, Auction>) -> CallClearing {
    let mut call = CallClearing::default();
    // Of what the orders of a group could gain, only one can come true.
    let (mut gains, mut filled) = (BTreeMap::new(), BTreeSet::new());
    for (region, auction) in auctions.iter_mut() {
        let Some(outcome) = auction.outcome.take() else { continue };
        call.welfare += outcome.clearing.welfare;
        call.relaxed += auction.relaxed();
        call.bound += outcome.alone;
        for (group, gain) in outcome.gains {
            let most = gains.entry(group).or_insert(0);
            *most = gain.max(*most);
        }
        filled.extend(outcome.filled);
        call.regions.insert(region.clone(), outcome.clearing);
    }
    call.bound = call.relaxed.min(call.bound + gains.values().sum::<i128>());
    for rejected in call.regions.values_mut().flat_map(|clearing| clearing.rejected.values_mut()) {
        if rejected.group.is_some_and(|group| filled.contains(&group)) {
            rejected.because = Because::Exclusive;
        }
    }
    call
}

/// The groups that have orders in more than one region, with where they are.
type Linked = BTreeMap<Group, Vec<Member>>;

/// An order of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    region: RegionId,
    line: usize,
}

fn linked(auctions: &BTreeMap<RegionId, Auction>) -> Linked {
    let mut groups = Linked::new();
    for (region, auction) in auctions {
        for &line in auction.flagged.keys() {
            let Some(group) = auction.book.lines[line].flag.and_then(|flag| flag.group) else {
                continue;
            };
            let member = Member { region: region.clone(), line };
            groups.entry(group).or_default().push(member);
        }
    }
    groups.retain(|_, members| members.iter().any(|member| member.region != members[0].region));
    groups
}

/// Decides for each linked group which of its orders takes part: first where it gains the most at
/// the relaxed prices, as if nobody else moved. Then groups that would gain more elsewhere move, if
/// that brings more welfare; if not, the half of them that would gain the most is tried.
fn place(
    auctions: &mut BTreeMap<RegionId, Auction>,
    linked: &Linked,
    each: &dyn Fn(Vec<&mut Auction>, Step<'_>),
) {
    let first = moves(auctions, linked, &BTreeMap::new());
    let mut chosen: BTreeMap<Group, usize> =
        first.iter().map(|wish| (wish.group, wish.to)).collect();
    seat(auctions, linked, &chosen, each);
    let mut welfare: i128 = auctions.values().map(Auction::welfare).sum();
    let mut wishes = moves(auctions, linked, &chosen);
    for _ in 0..MOVES_MAX {
        if wishes.is_empty() {
            return;
        }
        let mut moved = chosen.clone();
        moved.extend(wishes.iter().map(|wish| (wish.group, wish.to)));
        let before = seat(auctions, linked, &moved, each);
        let reached = auctions.values().map(Auction::welfare).sum();
        if reached > welfare {
            (chosen, welfare) = (moved, reached);
            wishes = moves(auctions, linked, &chosen);
        } else {
            auctions.extend(before);
            wishes.truncate(wishes.len() / 2);
        }
    }
}

/// Lets the chosen order of each linked group take part, and no other, and clears the regions where
/// that changes something. Returns those regions as they were.
fn seat(
    auctions: &mut BTreeMap<RegionId, Auction>,
    linked: &Linked,
    chosen: &BTreeMap<Group, usize>,
    each: &dyn Fn(Vec<&mut Auction>, Step<'_>),
) -> BTreeMap<RegionId, Auction> {
    let mut before = BTreeMap::new();
    for (group, members) in linked {
        for (number, member) in members.iter().enumerate() {
            let here = chosen.get(group) == Some(&number);
            let standing = if here { Standing::In } else { Standing::Elsewhere };
            let Some(auction) = auctions.get_mut(&member.region) else { continue };
            if auction.flagged.get(&member.line) != Some(&standing) {
                before.entry(member.region.clone()).or_insert_with(|| auction.clone());
                auction.set_standing(member.line, standing);
            }
        }
    }
    let changed = auctions.iter_mut().filter(|(region, _)| before.contains_key(region));
    each(changed.map(|(_, auction)| auction).collect(), &Auction::search);
    before
}

/// Where a group would go.
struct Wish {
    /// What it would gain more than where it is, in micro-units.
    more: i128,
    group: Group,
    to: usize,
}

/// The groups that would gain more elsewhere at the prices as they are, those that would gain the
/// most first. Of equal places the first by region and line.
fn moves(
    auctions: &BTreeMap<RegionId, Auction>,
    linked: &Linked,
    chosen: &BTreeMap<Group, usize>,
) -> Vec<Wish> {
    let regions: BTreeSet<&RegionId> = linked.values().flatten().map(|m| &m.region).collect();
    let costs: BTreeMap<&RegionId, Vec<i64>> =
        regions.into_iter().map(|region| (region, auctions[region].current_costs())).collect();
    let gain = |member: &Member| {
        let line = &auctions[&member.region].book.lines[member.line];
        i128::from(surplus(line, &costs[&member.region])) * i128::from(line.units)
    };
    let mut wishes: Vec<Wish> = Vec::new();
    for (&group, members) in linked {
        let gains: Vec<i128> = members.iter().map(gain).collect();
        let best = (0..gains.len()).max_by_key(|&number| (gains[number], Reverse(number)));
        let Some(to) = best else { continue };
        match chosen.get(&group) {
            None => wishes.push(Wish { more: gains[to], group, to }),
            // Who gains nothing anywhere may stay.
            Some(&at) if gains[to] > gains[at].max(0) => {
                wishes.push(Wish { more: gains[to] - gains[at].max(0), group, to });
            }
            Some(_) => {}
        }
    }
    wishes.sort_by_key(|wish| (Reverse(wish.more), wish.group));
    wishes
}
