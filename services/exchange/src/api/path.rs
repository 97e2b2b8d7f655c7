//! The id in the path of a call.

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};

use super::problem::ApiError;

/// The `{id}` of a path, as it was sent.
pub(crate) struct Id(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(id)| Self(id))
            .map_err(|_| ApiError::not_found("there is no such id: ids are text of a-z, 0-9 and -"))
    }
}
