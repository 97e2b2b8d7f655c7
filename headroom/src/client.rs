//! Calls the API of an exchange. One call at a time, blocking; no retries, no policy.

use std::{
    fmt::Write as _,
    io::{self, BufRead, BufReader},
};

use headroom_wire::Problem;
use http::{Method, Request, Response, Uri};
use serde::{Serialize, de::DeserializeOwned};
use ureq::{Agent, Body};

use crate::limits::{ANSWER_BYTES_MAX, CALL_TIME_MAX, EXCERPT_CHARS_MAX};

/// Why a call has failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The URL is none.
    #[error("{api:?} is not the URL of an API; accepted is such as \"http://127.0.0.1:7080\"")]
    Url { api: String },
    /// The API said why.
    #[error("{}: {} (status {}){hint}", .problem.title, .problem.detail, .problem.status)]
    Refused { problem: Problem, hint: &'static str },
    /// Something answered that is not the API, or not as it should.
    #[error("{api} has answered with status {status} and no problem document: {excerpt}")]
    Strange { api: String, status: u16, excerpt: String },
    /// Nothing listens there.
    #[error(
        "nothing listens at {api}: is the exchange running (headroom all --config FILE), \
         and is --api or HEADROOM_API right?"
    )]
    NobodyThere { api: String },
    /// The call did not get through.
    #[error("the call to {api} has failed: {source}")]
    Failed { api: String, source: ureq::Error },
    /// The answer is of another shape.
    #[error("{api} has answered in an unknown form; is it of another version? {source}")]
    Shape { api: String, source: serde_json::Error },
    /// The request cannot be written.
    #[error("the request cannot be written: {0}")]
    Request(String),
}

/// The way to one API.
#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    api: String,
    token: Option<String>,
}

/// What the API answered, as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    api: String,
    text: String,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn decode<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_str(&self.text)
            .map_err(|source| ClientError::Shape { api: self.api.clone(), source })
    }
}

impl Client {
    pub(crate) fn new(api: &str, token: Option<String>) -> Result<Self, ClientError> {
        let wrong = || ClientError::Url { api: api.to_owned() };
        let uri: Uri = api.parse().map_err(|_| wrong())?;
        let host = uri.host().filter(|_| uri.scheme().is_some()).ok_or_else(wrong)?;
        let config = Agent::config_builder().http_status_as_error(false);
        let local = host == "localhost" || host == "[::1]" || host.starts_with("127.");
        // A proxy in the environment leads elsewhere than to this machine.
        let config = if local { config.proxy(None) } else { config };
        let agent = config.timeout_connect(Some(CALL_TIME_MAX)).build().into();
        Ok(Self { agent, api: api.trim_end_matches('/').to_owned(), token })
    }

    pub(crate) fn get(&self, path: &str) -> Result<Answer, ClientError> {
        self.call(self.request(Method::GET, path, ()))
    }

    pub(crate) fn delete(&self, path: &str) -> Result<Answer, ClientError> {
        self.call(self.request(Method::DELETE, path, ()))
    }

    /// Posts `body` under a new idempotency key.
    pub(crate) fn post(&self, path: &str, body: &impl Serialize) -> Result<Answer, ClientError> {
        let key = idempotency_key()?;
        let request = self.json(Method::POST, path, body)?;
        self.call(request.map(|mut request| {
            request.headers_mut().insert("idempotency-key", key);
            request
        }))
    }

    pub(crate) fn put(&self, path: &str, body: &impl Serialize) -> Result<Answer, ClientError> {
        self.call(self.json(Method::PUT, path, body)?)
    }

    /// The lines of an endless answer.
    pub(crate) fn lines(
        &self,
        path: &str,
    ) -> Result<impl Iterator<Item = io::Result<String>> + use<>, ClientError> {
        let request = self.request(Method::GET, path, ());
        let request = request.map_err(|error| ClientError::Request(error.to_string()))?;
        let response = self.agent.run(request).map_err(|source| self.failed(source))?;
        let response = self.accepted(response)?;
        let body = response.into_body().into_with_config().limit(u64::MAX).reader();
        Ok(BufReader::new(body).lines())
    }

    fn request<B>(&self, method: Method, path: &str, body: B) -> http::Result<Request<B>> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.api));
        if let Some(token) = &self.token {
            request = request.header(http::header::AUTHORIZATION, format!("Bearer {token}"));
        }
        request.body(body)
    }

    fn json(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<http::Result<Request<Vec<u8>>>, ClientError> {
        let body = serde_json::to_vec(body).map_err(|e| ClientError::Request(e.to_string()))?;
        let request = self.request(method, path, body).map(|mut request| {
            let json = http::HeaderValue::from_static("application/json");
            request.headers_mut().insert(http::header::CONTENT_TYPE, json);
            request
        });
        Ok(request)
    }

    fn call(
        &self,
        request: http::Result<Request<impl ureq::AsSendBody>>,
    ) -> Result<Answer, ClientError> {
        let request = request.map_err(|error| ClientError::Request(error.to_string()))?;
        let request =
            self.agent.configure_request(request).timeout_global(Some(CALL_TIME_MAX)).build();
        let response = self.agent.run(request).map_err(|source| self.failed(source))?;
        let text = self.text(self.accepted(response)?)?;
        Ok(Answer { api: self.api.clone(), text })
    }

    /// The response if it is a success, else what the API says against it.
    fn accepted(&self, response: Response<Body>) -> Result<Response<Body>, ClientError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = self.text(response)?;
        let Ok(problem) = serde_json::from_str::<Problem>(&text) else {
            let excerpt = text.chars().take(EXCERPT_CHARS_MAX).collect::<String>();
            let excerpt = excerpt.replace(char::is_control, " ");
            let (api, status) = (self.api.clone(), status.as_u16());
            return Err(ClientError::Strange { api, status, excerpt });
        };
        let hint = match (problem.status, &self.token) {
            (401, None) => {
                "\nhint: give --token, HEADROOM_TOKEN or --token-file; \
                 the operator's token is in operator.token of the exchange's data folder"
            }
            _ => "",
        };
        Err(ClientError::Refused { problem, hint })
    }

    fn text(&self, response: Response<Body>) -> Result<String, ClientError> {
        let body = response.into_body().into_with_config().limit(ANSWER_BYTES_MAX);
        body.read_to_string().map_err(|source| self.failed(source))
    }

    fn failed(&self, source: ureq::Error) -> ClientError {
        let api = self.api.clone();
        match &source {
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                ClientError::NobodyThere { api }
            }
            ureq::Error::ConnectionFailed => ClientError::NobodyThere { api },
            _ => ClientError::Failed { api, source },
        }
    }
}

fn idempotency_key() -> Result<http::HeaderValue, ClientError> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| ClientError::Request(format!("no random bytes: {error}")))?;
    let mut key = String::new();
    for byte in bytes {
        let _ = write!(key, "{byte:02x}");
    }
    http::HeaderValue::from_str(&key).map_err(|error| ClientError::Request(error.to_string()))
}
