//! From the files to the market's words, through the auction, and back.

use std::collections::{BTreeMap, BTreeSet};

use headroom_market::{
    Auction, Because, CallClearing, Clearing, Group, Offer, OfferStep, Order, Seller, clear_call,
};
use headroom_units::{BidId, Price, Slot, SlotRange, Units};

use crate::{
    book::{Bid, Book},
    cores,
};

/// What a call auction of two files came to.
#[derive(Debug)]
pub struct Cleared<'b, 't> {
    pub(crate) book: &'b Book<'t>,
    /// Bid, units and the region they are in, by id.
    pub(crate) fills: Vec<(u32, u64, u32)>,
    /// Region, slot, price.
    pub(crate) prices: Vec<(u32, u32, i64)>,
    /// Region, slot, seller, units, receipts.
    pub(crate) sales: Vec<(u32, u32, Seller, u64, i128)>,
    /// What the fills are worth less what the sold units ask, in micro-units.
    pub welfare: i128,
    /// What no clearing of these files can exceed, in micro-units.
    pub bound: i128,
    /// The welfare if every bid were divisible and alone, in micro-units.
    pub relaxed: i128,
    /// What the buyers pay together, in micro-units.
    pub payments: i128,
    /// What the sellers receive together, in micro-units.
    pub receipts: i128,
    /// The unit-slots for sale.
    pub offered: u64,
    /// The unit-slots sold.
    pub sold: u64,
    /// Bids that were filled in part.
    pub partly: usize,
    /// Flagged bids that are worth more than the prices and were not filled, by id.
    pub passed_over: Vec<PassedOver<'t>>,
}

/// A flagged bid that is worth more than the prices and was not filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver<'t> {
    /// Its id.
    pub id: &'t str,
    /// What a unit in all its slots is worth beyond the prices, in micro-units.
    pub surplus_micro: i64,
    /// Why.
    pub because: Because,
}

impl Cleared<'_, '_> {
    /// How many bids were filled at least in part.
    #[must_use]
    pub const fn filled(&self) -> usize {
        self.fills.len()
    }
}

/// Clears the auction, on every core.
#[must_use]
pub fn clear<'b, 't>(book: &'b Book<'t>) -> Cleared<'b, 't> {
    let orders = Orders::of(book);
    let numbers: Vec<usize> = (0..book.regions.len()).collect();
    let auctions = cores::each(numbers, |region| {
        Auction::new(&orders.offers[region], &orders.of_region(region))
    });
    let mut auctions: BTreeMap<_, _> = book.regions.iter().cloned().zip(auctions).collect();
    let call = clear_call(&mut auctions, &|auctions, step| {
        cores::each(auctions, step);
    });
    told(book, call)
}

/// The files in the market's words, by region.
struct Orders<'b, 't> {
    book: &'b Book<'t>,
    offers: Vec<Vec<Offer>>,
    /// The bids of each region, by number, and their rank among the ids.
    bids: Vec<Vec<(u32, u32)>>,
    groups: BTreeMap<&'t str, u64>,
}

impl<'b, 't> Orders<'b, 't> {
    fn of(book: &'b Book<'t>) -> Self {
        let mut offers = vec![Vec::new(); book.regions.len()];
        for ask in &book.asks {
            let region = ask.region as usize;
            let price = Price::from_micro(ask.price).expect("read within the market's limits");
            offers[region].push(Offer {
                seller: ask.seller.clone(),
                region: book.regions[region].clone(),
                slot: Slot::new(ask.slot.into()),
                steps: vec![OfferStep { units: Units::saturating(ask.units.into()), price }],
            });
        }
        let mut bids = vec![Vec::new(); book.regions.len()];
        for (&number, rank) in book.by_id.iter().zip(0..) {
            let bid = &book.bids[number as usize];
            for &region in book.regions_of(bid) {
                bids[region as usize].push((number, rank));
            }
        }
        let names = book.extras.iter().filter_map(|extras| extras.group);
        let mut groups: BTreeMap<&str, u64> = names.map(|name| (name, 0)).collect();
        groups.values_mut().zip(0..).for_each(|(number, next)| *number = next);
        Self { book, offers, bids, groups }
    }

    fn of_region(&self, region: usize) -> Vec<Order> {
        let order = |&(number, rank): &(u32, u32)| {
            let bid = &self.book.bids[number as usize];
            let slots = SlotRange::new(Slot::new(bid.first.into()), Slot::new(bid.last.into()))
                .expect("read in order and not too long");
            Order {
                id: BidId::new(rank.into()),
                slots,
                units: Units::saturating(bid.units.into()),
                limit: Price::from_micro(bid.limit).expect("read within the market's limits"),
                minimum: Units::saturating(bid.minimum.into()),
                group: self.group_of(bid, rank),
            }
        };
        self.bids[region].iter().map(order).collect()
    }

    /// A bid for any of several regions is a group of its own, if it is in no other.
    fn group_of(&self, bid: &Bid<'_>, rank: u32) -> Option<Group> {
        let extras = self.book.extras_of(bid)?;
        let number = match extras.group {
            Some(name) => *self.groups.get(name)?,
            None => self.groups.len() as u64 + u64::from(rank),
        };
        Some(Group::new(number))
    }
}

fn told<'b, 't>(book: &'b Book<'t>, call: CallClearing) -> Cleared<'b, 't> {
    let mut cleared = Cleared {
        book,
        fills: Vec::new(),
        prices: Vec::new(),
        sales: Vec::new(),
        welfare: call.welfare,
        bound: call.bound,
        relaxed: call.relaxed,
        payments: 0,
        receipts: 0,
        offered: 0,
        sold: 0,
        partly: 0,
        passed_over: Vec::new(),
    };
    let mut prices = cheapest(book);
    let mut passed_over = BTreeMap::new();
    for ((clearing, prices), region) in call.regions.values().zip(&mut prices).zip(0..) {
        cleared.add_region(region, clearing, prices);
        for (&id, rejected) in &clearing.rejected {
            let told = passed_over.entry(id).or_insert((rejected.surplus_micro, rejected.because));
            told.0 = rejected.surplus_micro.max(told.0);
        }
    }
    beyond(book, &mut prices);
    for (prices, region) in prices.into_iter().zip(0..) {
        cleared.prices.extend(prices.into_iter().map(|(slot, price)| (region, slot, price)));
    }
    cleared.fills.sort_unstable();
    for (rank, units, _) in &mut cleared.fills {
        *rank = book.by_id[*rank as usize];
        let asked = u64::from(book.bids[*rank as usize].units);
        cleared.partly += usize::from(*units < asked);
    }
    // Filled in one region, a bid for any of several is not passed over in another.
    let filled: BTreeSet<u32> = cleared.fills.iter().map(|(number, ..)| *number).collect();
    let passed_over = passed_over.into_iter().filter_map(|(id, (surplus_micro, because))| {
        let number = book.by_id[rank(id) as usize];
        let id = book.bids[number as usize].id;
        (!filled.contains(&number)).then_some(PassedOver { id, surplus_micro, because })
    });
    cleared.passed_over = passed_over.collect();
    cleared
}

fn rank(id: BidId) -> u32 {
    u32::try_from(id.number()).expect("ranks were made from 32 bits")
}

fn small(slot: Slot) -> u32 {
    u32::try_from(slot.number()).expect("slots were read from 32 bits")
}

/// The prices of the slots of one region.
type Prices = BTreeMap<u32, i64>;

/// The cheapest ask of each slot with something for sale: its price where nothing is sold.
fn cheapest(book: &Book<'_>) -> Vec<Prices> {
    let mut prices = vec![Prices::new(); book.regions.len()];
    for ask in book.asks.iter().filter(|ask| ask.units > 0) {
        let cheapest = prices[ask.region as usize].entry(ask.slot).or_insert(ask.price);
        *cheapest = ask.price.min(*cheapest);
    }
    prices
}

/// Adds prices for slots in which nothing is for sale: the lowest at which nobody wants them. Who
/// asks for several of them counts at the first.
fn beyond(book: &Book<'_>, prices: &mut [Prices]) {
    let costs: Vec<Costs> = prices.iter().map(Costs::of).collect();
    for bid in &book.bids {
        for &region in book.regions_of(bid) {
            let (cost, Some(slot)) = costs[region as usize].of_bid(bid) else { continue };
            let price = prices[region as usize].entry(slot).or_insert(0);
            *price = (bid.value() - cost).max(*price);
        }
    }
}

impl Cleared<'_, '_> {
    fn add_region(&mut self, region: u32, clearing: &Clearing, prices: &mut Prices) {
        for (&slot, cleared) in &clearing.slots {
            if let Some(price) = cleared.price {
                prices.insert(small(slot), price.micro());
            }
            self.offered += cleared.offered.count();
            self.sold += cleared.sold.count();
        }
        let costs = Costs::of(prices);
        for (&id, &units) in &clearing.fills {
            let bid = &self.book.bids[self.book.by_id[rank(id) as usize] as usize];
            let (cost, _) = costs.of_bid(bid);
            self.payments += i128::from(cost) * i128::from(units.count());
            self.fills.push((rank(id), units.count(), region));
        }
        for ((slot, seller), sale) in &clearing.sales {
            self.receipts += sale.receipts_micro;
            let (slot, units) = (small(*slot), sale.units.count());
            self.sales.push((region, slot, seller.clone(), units, sale.receipts_micro));
        }
    }
}

/// Prices of some slots, summed up.
struct Costs {
    slots: Vec<u32>,
    /// The prices of the slots before each; one more than there are slots.
    sums: Vec<i64>,
}

impl Costs {
    fn of(prices: &Prices) -> Self {
        let mut sums = vec![0];
        for price in prices.values() {
            sums.push(sums.last().unwrap_or(&0) + price);
        }
        Self { slots: prices.keys().copied().collect(), sums }
    }

    /// What a unit costs in those slots of a bid that have a price, and the first that has none.
    fn of_bid(&self, bid: &Bid<'_>) -> (i64, Option<u32>) {
        let (first, end) = (self.before(bid.first), self.before(bid.last + 1));
        let gap = if (end - first) as u64 == u64::from(bid.last - bid.first) + 1 {
            None
        } else {
            bid.slots().zip(first..).find(|(slot, at)| self.slots.get(*at) != Some(slot))
        };
        (self.sums[end] - self.sums[first], gap.map(|(slot, _)| slot))
    }

    /// How many slots with a price there are before one.
    fn before(&self, slot: u32) -> usize {
        // Where there are no gaps the number says it.
        let guess = slot.saturating_sub(self.slots.first().copied().unwrap_or(0)) as usize;
        match self.slots.get(guess) {
            Some(found) if *found == slot => guess,
            _ => self.slots.partition_point(|other| *other < slot),
        }
    }
}
