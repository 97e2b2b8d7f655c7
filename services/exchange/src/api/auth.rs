//! Who calls: a bearer token (RFC 6750), known by its hash.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, header, request::Parts},
};
use headroom_store::{TokenHash, TokenOwner};
use headroom_units::PurchaserId;

use super::problem::{ApiError, ApiResult};
use crate::start::Shared;

/// The caller of an API call.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    Operator,
    Purchaser(PurchaserId),
}

impl Caller {
    /// Allows the operator alone.
    pub(crate) fn require_operator(&self) -> ApiResult<()> {
        match self {
            Self::Operator => Ok(()),
            Self::Purchaser(_) => Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden")
                .because("this call is the operator's; your token is a purchaser's")),
        }
    }

    /// The purchaser who calls; the operator does not buy.
    pub(crate) fn require_purchaser(&self) -> ApiResult<&PurchaserId> {
        match self {
            Self::Purchaser(purchaser) => Ok(purchaser),
            Self::Operator => Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden")
                .because("this call is a purchaser's; your token is the operator's")),
        }
    }

    /// True if the caller may see what belongs to `purchaser`.
    pub(crate) fn may_see(&self, purchaser: &PurchaserId) -> bool {
        match self {
            Self::Operator => true,
            Self::Purchaser(caller) => caller == purchaser,
        }
    }

    /// The name under which the caller's idempotency keys are kept.
    pub(crate) fn tenant(&self) -> String {
        match self {
            Self::Operator => "operator".to_owned(),
            Self::Purchaser(purchaser) => format!("purchaser:{purchaser}"),
        }
    }
}

impl FromRequestParts<Arc<Shared>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> ApiResult<Self> {
        let unauthorized =
            |detail: &str| ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized").because(detail);
        let header = parts.headers.get(header::AUTHORIZATION).ok_or_else(|| {
            unauthorized("the call has no token; send `Authorization: Bearer <token>`")
        })?;
        let token = header
            .to_str()
            .ok()
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or_else(|| unauthorized("accepted is `Authorization: Bearer <token>`"))?;
        match shared.store.token_owner(&TokenHash::of(token)).await? {
            Some(TokenOwner::Operator) => Ok(Self::Operator),
            Some(TokenOwner::Purchaser(purchaser)) => Ok(Self::Purchaser(purchaser)),
            None => Err(unauthorized("the token is unknown; ask the operator for a new one")),
        }
    }
}
