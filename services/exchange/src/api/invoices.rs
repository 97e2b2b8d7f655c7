//! Invoices: as a document, as CSV, and as a page that prints well.

mod page;

use std::{fmt::Write as _, sync::Arc};

use axum::{
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use headroom_market::{Contract, Market, Settlement};
use headroom_units::{Money, PurchaserId, Timestamp};
use headroom_wire::{
    InvoiceFormat, InvoiceLine, InvoiceQuery, InvoiceView, Month, Problem, Text, Time,
};

use super::{
    auth::Caller,
    body::json,
    problem::{ApiError, ApiResult},
};
use crate::{ExchangeConfig, start::Shared};

/// What a purchaser owes for the slots of one month: final settlements alone.
#[utoipa::path(get, path = "/v1/invoices/{purchaser}/{month}", tag = "ledger",
    operation_id = "showInvoice",
    params(("purchaser" = String, Path), ("month" = String, Path),
           ("format" = Option<String>, Query, description = "json (the default), csv or html")),
    responses((status = 200, body = InvoiceView), (status = "4XX", body = Problem)))]
pub(crate) async fn show(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path((purchaser, month)): Path<(String, String)>,
    query: Result<Query<InvoiceQuery>, QueryRejection>,
) -> ApiResult<Response> {
    let Query(InvoiceQuery { format }) =
        query.map_err(|error| ApiError::invalid(error.body_text()))?;
    let month: Month = month.parse().map_err(ApiError::invalid)?;
    let unknown = || ApiError::not_found(format!("there is no purchaser {purchaser:?}"));
    let id: PurchaserId = purchaser.parse().map_err(|_| unknown())?;
    let now = headroom_clock::now();
    let invoice = shared
        .book
        .read(|market| {
            let known = market.purchasers().any(|known| *known == id) && caller.may_see(&id);
            known.then(|| invoice(market, &shared.config, &id, month, now))
        })
        .await
        .ok_or_else(unknown)?;
    Ok(match format {
        InvoiceFormat::Json => json(StatusCode::OK, &invoice),
        InvoiceFormat::Csv => with_type("text/csv; charset=utf-8", csv(&invoice)),
        InvoiceFormat::Html => with_type("text/html; charset=utf-8", page::html(&invoice)),
    })
}

fn with_type(kind: &'static str, text: String) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

fn invoice(
    market: &Market,
    config: &ExchangeConfig,
    purchaser: &PurchaserId,
    month: Month,
    now: Timestamp,
) -> InvoiceView {
    let length = config.slot_length;
    let within = |start: Timestamp| month.start() <= start && start < month.end();
    let mine = market.contracts().filter(|contract| contract.purchaser == *purchaser);
    let (mut lines, mut unsettled_slots) = (Vec::new(), 0);
    for contract in mine {
        let settled: Vec<&Settlement> = market
            .settlements_of(contract.id)
            .filter(|settlement| within(length.start(settlement.slot)))
            .collect();
        let due = contract.due_slots(length).filter(|slot| within(length.start(*slot))).count();
        unsettled_slots += as_u64(due.saturating_sub(settled.len()));
        lines.extend(line(contract, &settled, config));
    }
    let total = |of: fn(&InvoiceLine) -> i64| lines.iter().map(of).fold(0, i64::saturating_add);
    let (charge, refund, penalty) =
        (total(|l| l.charge_micro), total(|l| l.refund_micro), total(|l| l.penalty_micro));
    InvoiceView {
        number: format!("{purchaser}-{month}"),
        purchaser: Text(purchaser.clone()),
        month: Text(month),
        currency: config.currency.as_str().to_owned(),
        is_final: month.end() <= now && unsettled_slots == 0,
        unsettled_slots,
        lines,
        charge_micro: charge,
        refund_micro: refund,
        penalty_micro: penalty,
        total_micro: charge.saturating_sub(refund).saturating_sub(penalty),
    }
}

fn line(
    contract: &Contract,
    settled: &[&Settlement],
    config: &ExchangeConfig,
) -> Option<InvoiceLine> {
    let length = config.slot_length;
    let (first, last) = (settled.first()?, settled.last()?);
    let total = |of: fn(&Settlement) -> Money| {
        settled.iter().fold(0_i64, |sum, settlement| sum.saturating_add(of(settlement).micro()))
    };
    Some(InvoiceLine {
        contract: Text(contract.id),
        site: Text(contract.site.clone()),
        region: Text(contract.region.clone()),
        class: Text(contract.class),
        first_slot: Time(length.start(first.slot)),
        last_slot: Time(length.start(last.slot)),
        slots: as_u64(settled.len()),
        units: contract.units.count(),
        served: settled.iter().map(|s| s.delivery.served).fold(0, u64::saturating_add),
        charge_micro: total(|settlement| settlement.charge),
        refund_micro: total(|settlement| settlement.refund),
        penalty_micro: total(|settlement| settlement.penalty),
    })
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// A line for each contract. No value of it can hold a comma or a quote.
fn csv(invoice: &InvoiceView) -> String {
    let mut text = String::from(
        "invoice,contract,site,region,class,first_slot,last_slot,slots,units,served,charge_micro,\
         refund_micro,penalty_micro,currency\n",
    );
    for line in &invoice.lines {
        let InvoiceLine { contract, site, region, class, first_slot, last_slot, .. } = line;
        let _ = writeln!(
            text,
            "{},{},{},{},{},{first_slot},{last_slot},{},{},{},{},{},{},{}",
            invoice.number,
            contract.0,
            site.0,
            region.0,
            class.0,
            line.slots,
            line.units,
            line.served,
            line.charge_micro,
            line.refund_micro,
            line.penalty_micro,
            invoice.currency
        );
    }
    text
}
