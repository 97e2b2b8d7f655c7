//! The books: all of them for the operator, its own for a purchaser.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use headroom_market::{Account, Market, Settlement};
use headroom_units::Money;
use headroom_wire::{AccountView, LedgerView, Problem};

use super::{auth::Caller, body::json, problem::ApiResult};
use crate::start::Shared;

/// The accounts with their balances, and what was charged, refunded and paid as penalties.
#[utoipa::path(get, path = "/v1/ledger", tag = "ledger", operation_id = "showLedger",
    responses((status = 200, body = LedgerView), (status = "4XX", body = Problem)))]
pub(crate) async fn show(State(shared): State<Arc<Shared>>, caller: Caller) -> ApiResult<Response> {
    let currency = shared.config.currency.as_str().to_owned();
    let view = shared.book.read(|market| view(market, &caller, currency)).await;
    Ok(json(StatusCode::OK, &view))
}

fn view(market: &Market, caller: &Caller, currency: String) -> LedgerView {
    let visible = |account: &Account| match account {
        Account::PurchaserAvailable(purchaser) | Account::PurchaserHeld(purchaser) => {
            caller.may_see(purchaser)
        }
        Account::External | Account::OperatorRevenue | Account::OperatorPenalties => {
            matches!(caller, Caller::Operator)
        }
    };
    let accounts = market
        .ledger()
        .accounts()
        .filter(|(account, _)| visible(account))
        .map(|(account, balance)| AccountView {
            id: account.to_string(),
            balance_micro: balance.micro(),
        })
        .collect();
    let mine: Vec<&Settlement> = market
        .contracts()
        .filter(|contract| caller.may_see(&contract.purchaser))
        .flat_map(|contract| market.settlements_of(contract.id))
        .collect();
    let total = |of: fn(&Settlement) -> Money| {
        mine.iter().fold(0_i64, |sum, settlement| sum.saturating_add(of(settlement).micro()))
    };
    LedgerView {
        currency,
        accounts,
        sum_micro: i64::try_from(market.ledger().sum()).unwrap_or(i64::MAX),
        charged_micro: total(|settlement| settlement.charge),
        refunded_micro: total(|settlement| settlement.refund),
        penalties_micro: total(|settlement| settlement.penalty),
    }
}
