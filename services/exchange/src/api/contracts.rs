//! Contracts, and what was delivered of them.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use headroom_market::{Contract, Market, Settlement, Stage};
use headroom_units::{ContractId, SlotLength};
use headroom_wire::{
    ContractMetersView, ContractSecondView, ContractView, Problem, SettlementView, StageView, Text,
    Time,
};

use super::{
    auth::Caller,
    body::json,
    path::Id,
    problem::{ApiError, ApiResult},
};
use crate::{reconcile::settle, start::Shared};

/// The caller's contracts, newest first.
#[utoipa::path(get, path = "/v1/contracts", tag = "contracts", operation_id = "listContracts",
    responses((status = 200, body = Vec<ContractView>), (status = "4XX", body = Problem)))]
pub(crate) async fn list(State(shared): State<Arc<Shared>>, caller: Caller) -> ApiResult<Response> {
    let length = shared.config.slot_length;
    let mut views: Vec<_> = shared
        .book
        .read(|market| {
            let mine = market.contracts().filter(|contract| caller.may_see(&contract.purchaser));
            mine.map(|contract| view(market, contract, length)).collect()
        })
        .await;
    views.reverse();
    Ok(json(StatusCode::OK, &views))
}

/// One contract with its settlements.
#[utoipa::path(get, path = "/v1/contracts/{id}", tag = "contracts", operation_id = "showContract",
    params(("id" = String, Path)),
    responses((status = 200, body = ContractView), (status = "4XX", body = Problem)))]
pub(crate) async fn show(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Id(id): Id,
) -> ApiResult<Response> {
    let (contract, view) = find(&shared, &caller, &id).await?;
    let indicative = indicative(&shared, &contract).await?;
    Ok(json(StatusCode::OK, &ContractView { indicative, ..view }))
}

/// What the edges and name servers counted of a contract, second by second.
#[utoipa::path(get, path = "/v1/contracts/{id}/meters", tag = "contracts", operation_id = "showContractMeters",
    params(("id" = String, Path)),
    responses((status = 200, body = ContractMetersView), (status = "4XX", body = Problem)))]
pub(crate) async fn meters(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Id(id): Id,
) -> ApiResult<Response> {
    let (contract, _) = find(&shared, &caller, &id).await?;
    let length = shared.config.slot_length;
    let (from, until) = (length.start(contract.slots.first()), length.end(contract.slots.last()));
    // Traffic outside its slots would be a fault: it is shown if there is any.
    let margin = length.duration();
    let (earlier, later) = (from.before(margin), until.after(margin));
    let seconds = shared.store.contract_seconds(contract.id, earlier, later).await?;
    let place = (&contract.site, &contract.region);
    let mapping = shared.store.mapping(place, from, until).await?;
    let view = ContractMetersView {
        mapping_requests: mapping.mapping_requests,
        mapped_to_edges: mapping.mapped_to_edges,
        seconds: seconds
            .iter()
            .map(|second| ContractSecondView {
                second: Time(second.second),
                offered: second.delivered.offered,
                served: second.delivered.served,
                refused: second.delivered.refused,
                available_millirequests: second.delivered.available_millirequests,
            })
            .collect(),
    };
    Ok(json(StatusCode::OK, &view))
}

/// What is over and not settled yet, as it would be settled now.
async fn indicative(shared: &Shared, contract: &Contract) -> ApiResult<Vec<SettlementView>> {
    let length = shared.config.slot_length;
    let due = shared.book.read(|market| market.unsettled(headroom_clock::now())).await;
    let due = due.into_iter().filter(|(id, _)| *id == contract.id);
    let mut views = Vec::new();
    for (id, slot) in due {
        let delivery = settle::delivery(shared, id, contract.units, slot).await?;
        let settlement =
            shared.book.read(|market| market.would_settle(contract, slot, delivery)).await;
        views.extend(settlement.map(|settlement| settlement_view(&settlement, length)));
    }
    Ok(views)
}

async fn find(shared: &Shared, caller: &Caller, id: &str) -> ApiResult<(Contract, ContractView)> {
    let unknown = || ApiError::not_found(format!("you have no contract {id:?}"));
    let contract: ContractId = id.parse().map_err(|_| unknown())?;
    let length = shared.config.slot_length;
    shared
        .book
        .read(|market| {
            let mine = market.contract(contract).filter(|held| caller.may_see(&held.purchaser));
            mine.map(|contract| (contract.clone(), view(market, contract, length)))
        })
        .await
        .ok_or_else(unknown)
}

fn view(market: &Market, contract: &Contract, length: SlotLength) -> ContractView {
    let stages = market.stages_of(contract.id);
    ContractView {
        id: Text(contract.id),
        bid: Text(contract.bid),
        purchaser: Text(contract.purchaser.clone()),
        site: Text(contract.site.clone()),
        region: Text(contract.region.clone()),
        first_slot: Time(length.start(contract.slots.first())),
        last_slot: Time(length.start(contract.slots.last())),
        units: contract.units.count(),
        class: Text(contract.class),
        prices_micro: contract.prices.iter().map(|price| price.micro()).collect(),
        stage: Text(stages.last().map_or(Stage::Sold, |entered| entered.stage)),
        stages: stages
            .iter()
            .map(|entered| StageView { stage: Text(entered.stage), at: Time(entered.at) })
            .collect(),
        ends_at: Time(contract.ends(length)),
        settlements: market
            .settlements_of(contract.id)
            .map(|settlement| settlement_view(settlement, length))
            .collect(),
        indicative: Vec::new(),
    }
}

fn settlement_view(settlement: &Settlement, length: SlotLength) -> SettlementView {
    SettlementView {
        slot: Time(length.start(settlement.slot)),
        served: settlement.delivery.served,
        refused: settlement.delivery.refused,
        undelivered_millirequests: settlement.undelivered_millirequests,
        charge_micro: settlement.charge.micro(),
        refund_micro: settlement.refund.micro(),
        penalty_micro: settlement.penalty.micro(),
    }
}
