//! The HTTP API under `/v1`. Every answer that is not a success is a problem document (RFC 9457).

mod auth;
mod bids;
mod body;
mod contracts;
mod drain;
mod invoices;
mod ledger;
mod live;
mod openapi;
mod path;
mod problem;
mod purchasers;
mod purges;
mod recalls;
mod regions;
mod servers;
mod sites;

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{delete, get, post, put},
};
use problem::ApiError;

use crate::{limits::REQUEST_TIME_MAX, start::Shared};

/// All routes.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/purchasers", post(purchasers::create).get(purchasers::list))
        .route("/v1/purchasers/{id}/credits", post(purchasers::credit))
        .route("/v1/purchasers/{id}/tokens", post(purchasers::new_token))
        .route("/v1/sites", post(sites::create).get(sites::list))
        .route("/v1/sites/{id}", get(sites::show))
        .route("/v1/sites/{id}/verify", post(sites::verify))
        .route("/v1/sites/{id}/purges", post(purges::create))
        .route("/v1/sites/{id}/servers", get(servers::show).put(servers::report))
        .route("/v1/regions", get(regions::list))
        .route("/v1/regions/{id}/series", put(regions::import_series))
        .route("/v1/regions/{id}/recalls", post(recalls::create))
        .route("/v1/headroom", get(regions::headroom))
        .route("/v1/bids", post(bids::place).get(bids::list))
        .route("/v1/bids/{id}", get(bids::show))
        .route("/v1/bids/{id}", delete(bids::cancel))
        .route("/v1/contracts", get(contracts::list))
        .route("/v1/contracts/{id}", get(contracts::show))
        .route("/v1/contracts/{id}/meters", get(contracts::meters))
        .route("/v1/ledger", get(ledger::show))
        .route("/v1/ledger/events", get(ledger::events))
        .route("/v1/invoices/{purchaser}/{month}", get(invoices::show))
        .route("/v1/plan", get(regions::plan))
        .route("/v1/meters", get(live::now))
        .route("/v1/live", get(live::events))
        .route("/v1/openapi.json", get(openapi::document))
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .fallback(async || {
            ApiError::not_found("there is nothing at this path; see /v1/openapi.json")
        })
        .method_not_allowed_fallback(async || {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed")
                .because("this path does not take this method; see /v1/openapi.json")
        })
        .layer(middleware::from_fn(drain::drain_body))
        .layer(middleware::from_fn(answer_in_time))
        // Bodies are limited where they are read, so that the refusal is a problem document.
        .layer(DefaultBodyLimit::disable())
        .with_state(shared)
}

/// Cuts off callers that send too slowly; live views are streams and answer at once.
async fn answer_in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIME_MAX, next.run(request)).await {
        Ok(mut response) => {
            let headers = response.headers_mut();
            headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
            response
        }
        Err(_) => ApiError::new(StatusCode::REQUEST_TIMEOUT, "request-timeout")
            .because("the request took longer than 30 s to arrive and be answered")
            .into_response(),
    }
}

/// Whether new work is welcome: not while the process drains.
async fn readyz(State(shared): State<Arc<Shared>>) -> (StatusCode, &'static str) {
    if shared.draining.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &shared.registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            ApiError::internal().into_response()
        }
    }
}
