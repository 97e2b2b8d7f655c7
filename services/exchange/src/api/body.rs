//! Request bodies and idempotency keys.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use headroom_market::{Command, Event, Market};
use headroom_store::limits::IDEMPOTENCY_KEY_LEN_MAX;
use headroom_units::{Slot, SlotLength};
use headroom_wire::{
    Time,
    limits::{REQUEST_BODY_BYTES_MAX, SERIES_BODY_BYTES_MAX},
};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::{
    auth::Caller,
    problem::{ApiError, ApiResult},
};
use crate::{
    book::{CallKey, Reply},
    start::Shared,
};

/// A JSON body of shape `T`, with what identifies the call if it is repeated.
pub(crate) struct Json<T> {
    pub(crate) value: T,
    pub(crate) repetition: Repetition,
}

/// The idempotency key of a call, if it has one, and a hash of the call.
pub(crate) struct Repetition {
    key: Option<String>,
    hash: Vec<u8>,
}

impl<T: DeserializeOwned> FromRequest<Arc<Shared>> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &Arc<Shared>) -> ApiResult<Self> {
        let (parts, body) = request.into_parts();
        let max = if parts.uri.path().ends_with("/series") {
            SERIES_BODY_BYTES_MAX
        } else {
            REQUEST_BODY_BYTES_MAX
        };
        let bytes = read(body, max).await?;
        require_json(&parts.headers)?;
        if bytes.trim_ascii_start().starts_with(b"[") {
            // Would be taken for an object whose fields stand in order, without their names.
            return Err(ApiError::invalid(
                "the body is a list; accepted is an object, as it stands in /v1/openapi.json",
            ));
        }
        let value = serde_json::from_slice(&bytes).map_err(|error| {
            let status = match error.classify() {
                serde_json::error::Category::Data => StatusCode::UNPROCESSABLE_ENTITY,
                _ => StatusCode::BAD_REQUEST,
            };
            ApiError::new(status, "invalid-request")
                .because(format!("the body: {error}; what is accepted stands in /v1/openapi.json"))
        })?;
        let key = idempotency_key(&parts.headers)?;
        let mut hash = Sha256::new();
        for part in [parts.method.as_str().as_bytes(), parts.uri.path().as_bytes(), &bytes] {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        let repetition = Repetition { key, hash: hash.finalize().to_vec() };
        Ok(Self { value, repetition })
    }
}

impl Repetition {
    /// What this very call was answered before, if it was made before.
    pub(crate) async fn answered(
        &self,
        shared: &Shared,
        caller: &Caller,
    ) -> ApiResult<Option<Response>> {
        let Some(key) = self.key(caller) else {
            return Ok(None);
        };
        let length = shared.config.slot_length;
        let known = shared.book.answered(&key).await;
        Ok(known.map_err(|error| ApiError::of(error, length))?.map(replied))
    }

    /// Has a command done, and answers `status` with what `view` makes of it. Done once, however
    /// often the call is made with its key.
    pub(crate) async fn answer<T: Serialize>(
        &self,
        shared: &Shared,
        caller: &Caller,
        command: Command,
        status: StatusCode,
        view: impl FnOnce(&Market, &[Event]) -> Option<T>,
    ) -> ApiResult<Response> {
        let length = shared.config.slot_length;
        let reply = |market: &Market, events: &[Event]| {
            let body = serde_json::to_string(&view(market, events)?).ok()?;
            Some(Reply { status: status.as_u16(), body })
        };
        let now = headroom_clock::now();
        let done = shared.book.answer(command, now, self.key(caller), reply).await;
        Ok(replied(done.map_err(|error| ApiError::of(error, length))?))
    }

    fn key(&self, caller: &Caller) -> Option<CallKey> {
        let key = self.key.clone()?;
        Some(CallKey { tenant: caller.tenant(), key, request_hash: self.hash.clone() })
    }
}

fn replied(reply: Reply) -> Response {
    json_text(StatusCode::from_u16(reply.status).unwrap_or(StatusCode::OK), reply.body)
}

/// An answer in JSON.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_string(body) {
        Ok(text) => json_text(status, text),
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written");
            ApiError::internal().into_response()
        }
    }
}

fn json_text(status: StatusCode, text: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// Reads a body of at most `max` bytes. What is left of a longer one is drained by [`super::drain`].
async fn read(body: Body, max: usize) -> ApiResult<Bytes> {
    let mut kept = BytesMut::new();
    let mut frames = body.into_data_stream();
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(|_| {
            ApiError::new(StatusCode::BAD_REQUEST, "invalid-request")
                .because("the body ended before its stated length")
        })?;
        if kept.len().saturating_add(frame.len()) > max {
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large")
                .because(format!("the body is longer than the {max} bytes this call takes")));
        }
        kept.extend_from_slice(&frame);
    }
    Ok(kept.freeze())
}

/// The slot that begins at `start`.
pub(crate) fn slot_starting(start: Time, length: SlotLength) -> ApiResult<Slot> {
    length.slot_starting(start.0).ok_or_else(|| {
        let slot = length.slot_at(start.0);
        ApiError::invalid(format!(
            "no slot begins at {start}; the nearest begin at {} and {}",
            Time(length.start(slot)),
            Time(length.start(slot.next()))
        ))
    })
}

fn require_json(headers: &HeaderMap) -> ApiResult<()> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type")
            .because("accepted is `Content-Type: application/json`"))
    }
}

fn idempotency_key(headers: &HeaderMap) -> ApiResult<Option<String>> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let key = value.to_str().ok().map(str::trim).unwrap_or_default();
    let accepted = (1..=IDEMPOTENCY_KEY_LEN_MAX).contains(&key.len());
    if accepted && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(Some(key.to_owned()));
    }
    Err(ApiError::new(StatusCode::BAD_REQUEST, "invalid-request").because(format!(
        "the Idempotency-Key is not 1 to {IDEMPOTENCY_KEY_LEN_MAX} printable ASCII characters"
    )))
}
