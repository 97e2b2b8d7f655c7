//! The books: all of them for the operator, its own for a purchaser.

use std::sync::Arc;

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use headroom_market::{Account, Market, Settlement};
use headroom_units::Money;
use headroom_wire::{AccountView, ChainHash, LedgerView, LogQuery, Problem, Text};

use super::{
    auth::Caller,
    body::json,
    problem::{ApiError, ApiResult},
};
use crate::{ExchangeConfig, limits::LOG_LINES_MAX, start::Shared};

/// The accounts with their balances, and what was charged, refunded and paid as penalties.
#[utoipa::path(get, path = "/v1/ledger", tag = "ledger", operation_id = "showLedger",
    responses((status = 200, body = LedgerView), (status = "4XX", body = Problem)))]
pub(crate) async fn show(State(shared): State<Arc<Shared>>, caller: Caller) -> ApiResult<Response> {
    let log = shared.book.head().await;
    let view = shared.book.read(|market| view(market, &caller, &shared.config, log)).await;
    Ok(json(StatusCode::OK, &view))
}

/// The event log behind the books with its hash chain, a line of JSON for each event: the next
/// after `after`, at most 5,000. No line is the end.
#[utoipa::path(get, path = "/v1/ledger/events", tag = "ledger", operation_id = "listLedgerEvents",
    params(("after" = Option<u64>, Query)),
    responses((status = 200, body = String, content_type = "application/x-ndjson"),
              (status = "4XX", body = Problem)))]
pub(crate) async fn events(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    query: Result<Query<LogQuery>, QueryRejection>,
) -> ApiResult<Response> {
    caller.require_operator()?;
    let Query(query) = query.map_err(|error| ApiError::invalid(error.body_text()))?;
    let mut text = String::new();
    for line in shared.store.log_lines(query.after, LOG_LINES_MAX).await? {
        let line = serde_json::to_string(&line).map_err(|error| {
            tracing::error!(%error, "an event cannot be written");
            ApiError::internal()
        })?;
        text.push_str(&line);
        text.push('\n');
    }
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], text).into_response())
}

fn view(
    market: &Market,
    caller: &Caller,
    config: &ExchangeConfig,
    (events, head): (u64, ChainHash),
) -> LedgerView {
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
        currency: config.currency.as_str().to_owned(),
        accounts,
        sum_micro: i64::try_from(market.ledger().sum()).unwrap_or(i64::MAX),
        charged_micro: total(|settlement| settlement.charge),
        refunded_micro: total(|settlement| settlement.refund),
        penalties_micro: total(|settlement| settlement.penalty),
        slot_seconds: config.slot_length.seconds(),
        events,
        head: Text(head),
    }
}
