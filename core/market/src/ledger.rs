//! The ledger: double entry, in micro-units. Every posting moves an amount from one account to
//! another, so all balances together are always zero.
//!
//! It keeps balances, not postings: the postings follow from the market's events, which are kept.

use std::{collections::BTreeMap, fmt};

use headroom_units::{Money, PurchaserId};

/// Where money can be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Account {
    /// The world outside; minus what purchasers paid in.
    External,
    /// What a purchaser can bid with.
    PurchaserAvailable(PurchaserId),
    /// What is held for a purchaser's open bids and unsettled contracts.
    PurchaserHeld(PurchaserId),
    /// What the operator earned: charges less refunds.
    OperatorRevenue,
    /// Minus the penalties the operator paid.
    OperatorPenalties,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::External => f.write_str("external"),
            Self::PurchaserAvailable(purchaser) => write!(f, "purchaser:{purchaser}:available"),
            Self::PurchaserHeld(purchaser) => write!(f, "purchaser:{purchaser}:held"),
            Self::OperatorRevenue => f.write_str("operator:revenue"),
            Self::OperatorPenalties => f.write_str("operator:penalties"),
        }
    }
}

/// One movement of money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posting {
    /// Where the money leaves.
    pub from: Account,
    /// Where it arrives.
    pub to: Account,
    /// How much; more than zero.
    pub amount: Money,
}

/// The balance of every account that was ever posted to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger {
    balances: BTreeMap<Account, Money>,
}

impl Ledger {
    /// Moves the amount, on both accounts or on neither: a posting that is not above zero or
    /// whose balances could not be kept changes nothing. The market never makes one.
    pub fn post(&mut self, posting: &Posting) {
        let Posting { from, to, amount } = posting;
        if *amount <= Money::ZERO || from == to {
            return;
        }
        let left = self.balance(from).checked_sub(*amount);
        let arrived = self.balance(to).checked_add(*amount);
        if let (Some(left), Some(arrived)) = (left, arrived) {
            self.balances.insert(from.clone(), left);
            self.balances.insert(to.clone(), arrived);
        }
    }

    /// What is on the account; zero if it was never posted to.
    #[must_use]
    pub fn balance(&self, account: &Account) -> Money {
        self.balances.get(account).copied().unwrap_or(Money::ZERO)
    }

    /// Every account that was ever posted to, with its balance.
    pub fn accounts(&self) -> impl Iterator<Item = (&Account, Money)> {
        self.balances.iter().map(|(account, balance)| (account, *balance))
    }

    /// All balances together, in micro-units: zero.
    #[must_use]
    pub fn sum(&self) -> i128 {
        self.balances.values().map(|balance| i128::from(balance.micro())).sum()
    }

    /// Everything that ever came to the purchasers, as credit or as penalty, in micro-units.
    pub(crate) fn inflow_micro(&self) -> i128 {
        let out = |account| i128::from(self.balance(account).micro());
        -(out(&Account::External) + out(&Account::OperatorPenalties))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(ledger: &mut Ledger, from: Account, to: Account, micro: i64) {
        ledger.post(&Posting { from, to, amount: Money::from_micro(micro) });
    }

    #[test]
    fn accounts_have_names() {
        let shop: PurchaserId = "shop".parse().unwrap();
        let names = [
            Account::External,
            Account::PurchaserAvailable(shop.clone()),
            Account::PurchaserHeld(shop),
            Account::OperatorRevenue,
            Account::OperatorPenalties,
        ]
        .map(|account| account.to_string());
        assert_eq!(
            names,
            [
                "external",
                "purchaser:shop:available",
                "purchaser:shop:held",
                "operator:revenue",
                "operator:penalties"
            ]
        );
    }

    #[test]
    fn a_posting_changes_both_accounts_or_none() {
        let mut ledger = Ledger::default();
        post(&mut ledger, Account::External, Account::OperatorRevenue, i64::MAX);
        assert_eq!(ledger.balance(&Account::External), Money::from_micro(-i64::MAX));
        let before = ledger.clone();
        post(&mut ledger, Account::OperatorPenalties, Account::OperatorRevenue, 1);
        post(&mut ledger, Account::External, Account::OperatorPenalties, 2);
        post(&mut ledger, Account::External, Account::OperatorPenalties, 0);
        post(&mut ledger, Account::OperatorRevenue, Account::External, -5);
        assert_eq!(ledger, before);
        assert_eq!(ledger.sum(), 0);
    }
}
