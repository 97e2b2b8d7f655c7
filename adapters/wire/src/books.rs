//! The books as they are shown: accounts, recalls.

use headroom_units::ContractId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{ChainHash, Text, Time};

/// The books.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LedgerView {
    /// The currency of all amounts.
    pub currency: String,
    /// Every account with its balance; for a purchaser, its own.
    pub accounts: Vec<AccountView>,
    /// The sum over all accounts: always 0.
    pub sum_micro: i64,
    /// Charged so far.
    pub charged_micro: i64,
    /// Refunded so far.
    pub refunded_micro: i64,
    /// Paid as penalties so far.
    pub penalties_micro: i64,
    /// How long a slot is, in seconds.
    pub slot_seconds: u64,
    /// How many events the log behind the books has.
    pub events: u64,
    /// The head of the log's hash chain: who keeps it can later tell whether the log still leads
    /// to it.
    #[schema(value_type = String)]
    pub head: Text<ChainHash>,
}

/// One account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AccountView {
    /// Its id.
    pub id: String,
    /// Its balance.
    pub balance_micro: i64,
}

/// Which part of the event log is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct LogQuery {
    /// The events after this one; from the first on if not given.
    #[serde(default)]
    pub after: u64,
}

/// What the operator needs back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRecall {
    /// The start of the slot in which it is needed.
    #[schema(value_type = String)]
    pub slot: Time,
    /// How many units.
    pub units: u64,
}

/// What was recalled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecallView {
    /// The units of all that was recalled: more than asked for, as whole contracts are recalled, or
    /// less, if there was no more.
    pub units: u64,
    /// The contracts, in the order in which they were recalled.
    pub contracts: Vec<RecalledView>,
}

/// A contract that was recalled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecalledView {
    /// Its id.
    #[schema(value_type = String)]
    pub contract: Text<ContractId>,
    /// Its units.
    pub units: u64,
    /// When it ends.
    #[schema(value_type = String)]
    pub ends_at: Time,
    /// What its purchaser got back at once; the rest of the slot in which it ends is refunded when
    /// that is settled.
    pub released_micro: i64,
}
