//! Failures as problem documents (RFC 9457).

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use headroom_market::Rejection;
use headroom_store::StoreError;
use headroom_units::SlotLength;
use headroom_wire::{PROBLEM_MEDIA_TYPE, Problem, Time};

use crate::ExchangeError;

/// A failed call.
#[derive(Debug)]
pub(crate) struct ApiError(Problem);

pub(crate) type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    /// A failure of a named kind, without a reason yet.
    pub(crate) fn new(status: StatusCode, name: &str) -> Self {
        Self(Problem::new(status.as_u16(), name, ""))
    }

    /// The same failure with its reason.
    pub(crate) fn because(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = detail.into();
        self
    }

    /// Nothing there, or nothing that the caller may see.
    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found").because(detail)
    }

    /// The request cannot be understood.
    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-request").because(detail)
    }

    /// Our fault; the log says what.
    pub(crate) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal-error")
            .because("the exchange could not do this now; nothing was changed")
    }

    /// A refusal of the market, with slots told as moments.
    pub(crate) fn of(error: ExchangeError, length: SlotLength) -> Self {
        match error {
            ExchangeError::Rejected(rejection) => rejected(&rejection, length),
            ExchangeError::Store(error) => error.into(),
            ExchangeError::KeyReused => {
                Self::new(StatusCode::CONFLICT, "idempotency-key-reused").because(error.to_string())
            }
            other => {
                tracing::error!(error = %other, "a call has failed");
                Self::internal()
            }
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "a call has failed in the store");
        Self::internal()
    }
}

impl From<ExchangeError> for ApiError {
    fn from(error: ExchangeError) -> Self {
        tracing::error!(%error, "a call has failed");
        Self::internal()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_string(&self.0).unwrap_or_default();
        let kind = HeaderValue::from_static(PROBLEM_MEDIA_TYPE);
        let mut response = (status, [(header::CONTENT_TYPE, kind)], body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

fn rejected(rejection: &Rejection, length: SlotLength) -> ApiError {
    use Rejection as R;
    let (status, name) = match rejection {
        R::UnknownAccount { .. } => (StatusCode::NOT_FOUND, "unknown-account"),
        R::AccountExists { .. } => (StatusCode::CONFLICT, "account-exists"),
        R::UnknownRegion { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "unknown-region"),
        R::GateClosed { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "gate-closed"),
        R::BeyondHorizon { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "beyond-horizon"),
        R::BelowReserve { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "below-reserve"),
        R::InsufficientFunds { .. } => (StatusCode::PAYMENT_REQUIRED, "insufficient-funds"),
        R::TooManyOpenBids { .. } => (StatusCode::TOO_MANY_REQUESTS, "too-many-open-bids"),
        R::UnknownBid { .. } | R::NotYourBid { .. } => (StatusCode::NOT_FOUND, "unknown-bid"),
        R::BidNotOpen { .. } => (StatusCode::CONFLICT, "bid-not-open"),
        R::NothingToRecall { .. } => (StatusCode::CONFLICT, "nothing-to-recall"),
        R::RecalledTooLate { .. } => (StatusCode::CONFLICT, "recalled-too-late"),
        R::UnknownContract { .. } => (StatusCode::NOT_FOUND, "unknown-contract"),
        _ => (StatusCode::UNPROCESSABLE_ENTITY, "rejected"),
    };
    let start = |slot| Time(length.start(slot));
    let detail = match rejection {
        R::GateClosed { first, first_open } => format!(
            "the slot of {} can no longer be bought; the first slot still open begins at {}",
            start(*first),
            start(*first_open)
        ),
        R::BeyondHorizon { last, last_open } => format!(
            "the slot of {} is not for sale yet; the last slot for sale begins at {}",
            start(*last),
            start(*last_open)
        ),
        R::RecalledTooLate { slot, first } => format!(
            "nothing of the slot of {} can be recalled any more, as notice has to be given; the \
             first slot that can begins at {}",
            start(*slot),
            start(*first)
        ),
        R::NothingToRecall { region, slot } => format!(
            "no interruptible contract in {region} holds the slot of {}, or those that do were \
             recalled already; firm contracts stay",
            start(*slot)
        ),
        R::NotYourBid { bid, .. } => format!("you have no bid {bid}"),
        other => other.to_string(),
    };
    ApiError::new(status, name).because(detail)
}
