//! The demo's calls of the API, as an operator or a purchaser would make them.

use std::sync::Arc;

use anyhow::Context;
use serde::{Serialize, de::DeserializeOwned};

use crate::client::{Answer, Client, ClientError};

/// The API with one caller's token, from async code. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    base: String,
    client: Arc<Client>,
}

impl Api {
    pub(crate) fn new(base: &str, token: &str) -> anyhow::Result<Self> {
        let client = Arc::new(Client::new(base, Some(token.to_owned()))?);
        Ok(Self { base: base.to_owned(), client })
    }

    /// The same API with another caller's token.
    pub(crate) fn with_token(&self, token: &str) -> anyhow::Result<Self> {
        Self::new(&self.base, token)
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let at = path.to_owned();
        self.call(path, move |client| client.get(&at)).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: impl Serialize + Send + 'static,
    ) -> anyhow::Result<T> {
        let at = path.to_owned();
        self.call(path, move |client| client.post(&at, &body)).await
    }

    pub(crate) async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: impl Serialize + Send + 'static,
    ) -> anyhow::Result<T> {
        let at = path.to_owned();
        self.call(path, move |client| client.put(&at, &body)).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        path: &str,
        call: impl FnOnce(&Client) -> Result<Answer, ClientError> + Send + 'static,
    ) -> anyhow::Result<T> {
        let client = Arc::clone(&self.client);
        let answer = tokio::task::spawn_blocking(move || call(&client))
            .await
            .context("an API call was cut off")?
            .with_context(|| format!("calling {path}"))?;
        Ok(answer.decode()?)
    }
}
