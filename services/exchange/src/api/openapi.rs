//! The API as an OpenAPI document.

use axum::{http::StatusCode, response::Response};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use super::{
    bids, body::json, contracts, invoices, ledger, live, problem::ApiResult, purchasers, purges,
    recalls, regions, servers, sites,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Headroom",
        description = "Buy and sell the unused capacity of a content delivery network.",
        version = "1"
    ),
    paths(
        purchasers::create,
        purchasers::list,
        purchasers::credit,
        purchasers::new_token,
        sites::create,
        sites::list,
        sites::show,
        sites::verify,
        servers::show,
        servers::report,
        purges::create,
        regions::list,
        regions::headroom,
        regions::import_series,
        recalls::create,
        regions::plan,
        bids::place,
        bids::list,
        bids::show,
        bids::cancel,
        contracts::list,
        contracts::show,
        contracts::meters,
        invoices::show,
        ledger::show,
        ledger::events,
        live::now,
        live::events,
    ),
    modifiers(&BearerToken),
    security(("token" = []))
)]
struct ApiDocument;

struct BearerToken;

impl Modify for BearerToken {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// The OpenAPI document of this API.
pub(crate) async fn document() -> ApiResult<Response> {
    Ok(json(StatusCode::OK, &ApiDocument::openapi()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_documented() {
        let document = serde_json::to_value(ApiDocument::openapi()).unwrap();
        let source = include_str!("mod.rs");
        let routes = source
            .lines()
            .filter_map(|line| line.trim().strip_prefix(".route(\"")?.split('"').next())
            .filter(|path| path.starts_with("/v1/") && *path != "/v1/openapi.json");
        let mut count = 0;
        for route in routes {
            assert!(document["paths"].get(route).is_some(), "{route} is not documented");
            count += 1;
        }
        assert!(count > 15, "only {count} routes were found");
    }
}
