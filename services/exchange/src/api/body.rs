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
use headroom_store::{Answered, limits::IDEMPOTENCY_KEY_LEN_MAX};
use headroom_wire::limits::{REQUEST_BODY_BYTES_MAX, SERIES_BODY_BYTES_MAX};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::{
    auth::Caller,
    problem::{ApiError, ApiResult},
};
use crate::{limits::DRAINED_BODY_BYTES_MAX, start::Shared};

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
        let value = serde_json::from_slice(&bytes).map_err(|error| {
            let status = match error.classify() {
                serde_json::error::Category::Data => StatusCode::UNPROCESSABLE_ENTITY,
                _ => StatusCode::BAD_REQUEST,
            };
            ApiError::new(status, "invalid-request").because(format!("the body: {error}"))
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
        let Some(key) = &self.key else {
            return Ok(None);
        };
        match shared.store.answered(&caller.tenant(), key).await? {
            None => Ok(None),
            Some(answered) if answered.request_hash == self.hash => {
                let status = StatusCode::from_u16(answered.status).unwrap_or(StatusCode::OK);
                Ok(Some(json_text(status, answered.body)))
            }
            Some(_) => Err(ApiError::new(StatusCode::CONFLICT, "idempotency-key-reused")
                .because("this idempotency key was used for another call; choose a new one")),
        }
    }

    /// What is to be stored with the events, so that a repeated call gets the same answer.
    pub(crate) fn answer(
        &self,
        caller: &Caller,
        status: StatusCode,
        body: &impl Serialize,
    ) -> Option<Answered> {
        let key = self.key.clone()?;
        let body = serde_json::to_string(body).ok()?;
        let (tenant, request_hash) = (caller.tenant(), self.hash.clone());
        Some(Answered { tenant, key, request_hash, status: status.as_u16(), body })
    }
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

/// Reads a body of at most `max` bytes. What is longer is read to its end, up to a limit, and
/// thrown away: a caller that is still sending would never see the refusal.
async fn read(body: Body, max: usize) -> ApiResult<Bytes> {
    let mut kept = BytesMut::new();
    let mut seen = 0_usize;
    let mut frames = body.into_data_stream();
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(|_| {
            ApiError::new(StatusCode::BAD_REQUEST, "invalid-request")
                .because("the body ended before its stated length")
        })?;
        seen = seen.saturating_add(frame.len());
        if seen <= max {
            kept.extend_from_slice(&frame);
        } else {
            kept.clear();
        }
        if seen > DRAINED_BODY_BYTES_MAX {
            break;
        }
    }
    if seen > max {
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large")
            .because(format!("the body is longer than the {max} bytes this call takes")));
    }
    Ok(kept.freeze())
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
