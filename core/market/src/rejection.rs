//! Why a command was refused: what was asked, why not, and what would be accepted.

use headroom_units::{BidId, ContractId, Money, Price, PurchaserId, RegionId, Slot, SlotRange};

use crate::{BidStatus, limits};

/// A command that changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what its fields are")]
pub enum Rejection {
    /// No such purchaser.
    #[error("purchaser {purchaser} has no account; open one first")]
    UnknownAccount { purchaser: PurchaserId },
    /// The purchaser trades already.
    #[error("purchaser {purchaser} has an account already; use it, or choose another id")]
    AccountExists { purchaser: PurchaserId },
    /// A credit of nothing or less.
    #[error("a credit of {amount} is not possible; accepted are amounts above zero")]
    AmountNotPositive { amount: Money },
    /// The name of who credited is too long.
    #[error(
        "the name of who credits has {length} bytes; accepted are at most {}",
        limits::CREDITED_BY_LEN_MAX
    )]
    NameTooLong { length: usize },
    /// No market there.
    #[error("there is no market in region {region}; the regions are {known}")]
    UnknownRegion { region: RegionId, known: String },
    /// A bid for nothing.
    #[error("a bid for zero units buys nothing; accepted is 1 unit or more")]
    ZeroUnits,
    /// The first slot is running, over, or too close.
    #[error("slot {first} can no longer be bought; the first slot still open is {first_open}")]
    GateClosed { first: Slot, first_open: Slot },
    /// The last slot is too far ahead.
    #[error("slot {last} is not for sale yet; the last slot for sale now is {last_open}")]
    BeyondHorizon { last: Slot, last_open: Slot },
    /// The limit is below the published floor.
    #[error("a limit of {limit} per unit and slot is below the reserve price of {reserve}")]
    BelowReserve { limit: Price, reserve: Price },
    /// The limit over all slots is more than a price can be.
    #[error(
        "a limit of {limit} for {slots} slots is out of range; the highest for so many is {highest}"
    )]
    LimitTooHigh { limit: Price, slots: u64, highest: Money },
    /// The purchaser cannot pay what it bids.
    #[error("the bid needs {need} and {available} is available; add credit, or bid for less")]
    InsufficientFunds { need: Money, available: Money },
    /// An amount cannot be kept.
    #[error(
        "{what} is out of range: money is counted up to 4.6 million million; use smaller amounts"
    )]
    Overflow { what: &'static str },
    /// The purchaser has too many open bids.
    #[error(
        "purchaser {purchaser} has {} open bids, the most there may be; cancel one first",
        limits::OPEN_BIDS_MAX
    )]
    TooManyOpenBids { purchaser: PurchaserId },
    /// No such bid.
    #[error("{bid} does not exist; use an id that was given out when a bid was placed")]
    UnknownBid { bid: BidId },
    /// The bid is settled one way or the other.
    #[error("{bid} cannot be cancelled: it is {}; only open bids can", status_word(*status))]
    BidNotOpen { bid: BidId, status: BidStatus },
    /// The bid is someone else's.
    #[error("{bid} is not a bid of purchaser {purchaser}; only its own purchaser can cancel it")]
    NotYourBid { bid: BidId, purchaser: PurchaserId },
    /// An offer in an auction of another region.
    #[error("slot {slot} is offered in {offered}; this auction takes offers in {region} only")]
    OfferElsewhere { region: RegionId, offered: RegionId, slot: Slot },
    /// Two offers for one slot.
    #[error("slot {slot} is offered twice; an auction takes one offer per slot")]
    DuplicateOffer { slot: Slot },
    /// More offers than an auction takes.
    #[error("the auction has {count} offers; accepted are at most {}", limits::AUCTION_SLOTS_MAX)]
    TooManyOffers { count: usize },
    /// No such contract.
    #[error("{contract} does not exist; use an id that was given out when a contract was made")]
    UnknownContract { contract: ContractId },
    /// The contract does not cover the slot.
    #[error(
        "slot {slot} is not part of {contract}; its slots are {} to {}",
        slots.first(),
        slots.last()
    )]
    SlotNotInContract { contract: ContractId, slot: Slot, slots: SlotRange },
    /// The slot is still running or to come.
    #[error("slot {slot} is not over yet; it can be settled in {wait_seconds} s")]
    SlotNotOver { slot: Slot, wait_seconds: u64 },
    /// Notice has to be given.
    #[error(
        "nothing of slot {slot} can be recalled any more, as notice has to be given; the first slot \
         that can is {first}"
    )]
    RecalledTooLate { slot: Slot, first: Slot },
    /// Nothing was sold there that can be taken back.
    #[error(
        "no interruptible contract in {region} holds slot {slot}, or those that do were recalled \
         already; firm contracts stay"
    )]
    NothingToRecall { region: RegionId, slot: Slot },
    /// Each slot of a contract is settled once.
    #[error("slot {slot} of {contract} was settled already; nothing is left to settle")]
    AlreadySettled { contract: ContractId, slot: Slot },
    /// More than any contract can be due.
    #[error("the delivery to {contract} reports {count} {what}; accepted are at most {most}")]
    DeliveryOutOfRange { contract: ContractId, what: &'static str, count: u64, most: u64 },
}

const fn status_word(status: BidStatus) -> &'static str {
    match status {
        BidStatus::Open => "open",
        BidStatus::Filled => "filled",
        BidStatus::Cancelled => "cancelled already",
        BidStatus::Expired => "expired",
    }
}
