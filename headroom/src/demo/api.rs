//! The demo's calls of the API, as an operator or a purchaser would make them.

use std::sync::Arc;

use anyhow::{Context, bail};
use headroom_wire::Problem;
use serde::{Serialize, de::DeserializeOwned};

/// The API with one caller's token. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    base: Arc<str>,
    token: Arc<str>,
    agent: ureq::Agent,
}

impl Api {
    pub(crate) fn new(base: &str, token: &str) -> Self {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        Self { base: base.into(), token: token.into(), agent }
    }

    /// The same API with another caller's token.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { token: token.into(), ..self.clone() }
    }

    pub(crate) async fn get<T: DeserializeOwned + Send + 'static>(
        &self,
        path: &str,
    ) -> anyhow::Result<T> {
        let (api, path) = (self.clone(), path.to_owned());
        blocking(move || {
            let request = api.agent.get(format!("{}{path}", api.base));
            read(&path, request.header("authorization", format!("Bearer {}", api.token)).call())
        })
        .await
    }

    pub(crate) async fn post<T: DeserializeOwned + Send + 'static>(
        &self,
        path: &str,
        body: impl Serialize + Send + 'static,
    ) -> anyhow::Result<T> {
        let (api, path) = (self.clone(), path.to_owned());
        blocking(move || {
            let request = api.agent.post(format!("{}{path}", api.base));
            let request = request.header("authorization", format!("Bearer {}", api.token));
            read(&path, request.send_json(body))
        })
        .await
    }

    pub(crate) async fn put<T: DeserializeOwned + Send + 'static>(
        &self,
        path: &str,
        body: impl Serialize + Send + 'static,
    ) -> anyhow::Result<T> {
        let (api, path) = (self.clone(), path.to_owned());
        blocking(move || {
            let request = api.agent.put(format!("{}{path}", api.base));
            let request = request.header("authorization", format!("Bearer {}", api.token));
            read(&path, request.send_json(body))
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(call).await.context("an API call was cut off")?
}

fn read<T: DeserializeOwned>(
    path: &str,
    answer: Result<http::Response<ureq::Body>, ureq::Error>,
) -> anyhow::Result<T> {
    let mut answer = answer.with_context(|| format!("the API does not answer at {path}"))?;
    if answer.status().is_success() {
        return answer.body_mut().read_json().with_context(|| format!("the answer of {path}"));
    }
    let problem: Problem = answer.body_mut().read_json().context("a problem document")?;
    bail!("{path} is refused: {}: {}", problem.title, problem.detail)
}
