//! Purchasers, their tokens and their money. The operator's calls.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use headroom_market::{Account, Command, Event, Market};
use headroom_store::{TokenHash, TokenOwner};
use headroom_units::{Money, PurchaserId};
use headroom_wire::{NewCredit, NewPurchaser, Problem, PurchaserView, Text};

use super::{
    auth::Caller,
    body::{Json, json},
    path::Id,
    problem::{ApiError, ApiResult},
};
use crate::{secret, start::Shared};

/// Registers a purchaser, opens its account, and answers its token, once.
#[utoipa::path(post, path = "/v1/purchasers", tag = "purchasers", operation_id = "createPurchaser", request_body = NewPurchaser,
    responses((status = 201, body = PurchaserView), (status = "4XX", body = Problem)))]
pub(crate) async fn create(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    body: Json<NewPurchaser>,
) -> ApiResult<Response> {
    caller.require_operator()?;
    let purchaser = body.value.id.0;
    let now = headroom_clock::now();
    shared
        .book
        .execute(Command::OpenAccount { purchaser: purchaser.clone() }, now)
        .await
        .map_err(|error| ApiError::of(error, shared.config.slot_length))?;
    let token = issue_token(&shared, &purchaser).await?;
    let view = shared.book.read(|market| view(market, &purchaser)).await;
    Ok(json(StatusCode::CREATED, &PurchaserView { token: Some(token), ..view }))
}

/// Issues one more token to a purchaser; those it has stay valid.
#[utoipa::path(post, path = "/v1/purchasers/{id}/tokens", tag = "purchasers", operation_id = "createToken",
    params(("id" = String, Path)),
    responses((status = 201, body = PurchaserView), (status = "4XX", body = Problem)))]
pub(crate) async fn new_token(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Id(id): Id,
) -> ApiResult<Response> {
    caller.require_operator()?;
    let purchaser = known(&shared, &id).await?;
    let token = issue_token(&shared, &purchaser).await?;
    let view = shared.book.read(|market| view(market, &purchaser)).await;
    Ok(json(StatusCode::CREATED, &PurchaserView { token: Some(token), ..view }))
}

/// All purchasers with their balances.
#[utoipa::path(get, path = "/v1/purchasers", tag = "purchasers", operation_id = "listPurchasers",
    responses((status = 200, body = Vec<PurchaserView>), (status = "4XX", body = Problem)))]
pub(crate) async fn list(State(shared): State<Arc<Shared>>, caller: Caller) -> ApiResult<Response> {
    let views: Vec<_> = shared
        .book
        .read(|market| {
            let mine = market.purchasers().filter(|purchaser| caller.may_see(purchaser));
            mine.map(|purchaser| view(market, purchaser)).collect()
        })
        .await;
    Ok(json(StatusCode::OK, &views))
}

/// Records money that a purchaser paid in.
#[utoipa::path(post, path = "/v1/purchasers/{id}/credits", tag = "purchasers", operation_id = "creditPurchaser",
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = NewCredit,
    responses((status = 201, body = PurchaserView), (status = "4XX", body = Problem)))]
pub(crate) async fn credit(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Id(id): Id,
    body: Json<NewCredit>,
) -> ApiResult<Response> {
    caller.require_operator()?;
    if let Some(answered) = body.repetition.answered(&shared, &caller).await? {
        return Ok(answered);
    }
    let purchaser = known(&shared, &id).await?;
    let amount = Money::from_micro(body.value.amount_micro);
    let by = "operator".to_owned();
    let command = Command::Credit { purchaser: purchaser.clone(), amount, by };
    let after = |market: &Market, _: &[Event]| {
        let before = view(market, &purchaser);
        let available_micro = before.available_micro.checked_add(amount.micro())?;
        Some(PurchaserView { available_micro, ..before })
    };
    body.repetition.answer(&shared, &caller, command, StatusCode::CREATED, after).await
}

async fn known(shared: &Shared, id: &str) -> ApiResult<PurchaserId> {
    let unknown = || ApiError::not_found(format!("there is no purchaser {id:?}"));
    let purchaser: PurchaserId = id.parse().map_err(|_| unknown())?;
    let exists =
        shared.book.read(|market| market.purchasers().any(|known| *known == purchaser)).await;
    if exists { Ok(purchaser) } else { Err(unknown()) }
}

async fn issue_token(shared: &Shared, purchaser: &PurchaserId) -> ApiResult<String> {
    let token = secret::new("hr_purchaser_")?;
    let owner = TokenOwner::Purchaser(purchaser.clone());
    shared.store.add_token(&TokenHash::of(&token), &owner).await?;
    Ok(token)
}

fn view(market: &Market, purchaser: &PurchaserId) -> PurchaserView {
    let balance = |account: Account| market.ledger().balance(&account).micro();
    PurchaserView {
        id: Text(purchaser.clone()),
        available_micro: balance(Account::PurchaserAvailable(purchaser.clone())),
        held_micro: balance(Account::PurchaserHeld(purchaser.clone())),
        token: None,
    }
}
