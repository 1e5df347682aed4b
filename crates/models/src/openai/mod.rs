//! Any server that speaks OpenAI's chat completions: OpenAI, vLLM, Ollama, llama.cpp, LiteLLM
//! (<https://platform.openai.com/docs/api-reference/chat/create>). A thin client, because raw usage, headers and exact failure
//! classes are needed.

mod retry_after;
mod status;
mod wire;

use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, Response, redirect};
use url::Url;
use windrow_core::SharedClock;

use crate::error::ModelError;
use crate::model::late;
use crate::provider::ModelProvider;
use crate::request::ModelRequest;
use crate::response::{ModelResponse, Usage};
use crate::settings::{ApiKey, ProviderSettings};
use crate::tokens::Tokenizer;

/// Idle connections kept to one server: as many as the default limit allows calls at once, so that none is opened anew.
const IDLE_CONNECTIONS: usize = 256;

/// A server that takes longer to accept a connection is as good as down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest answer that is read. A hundred thousand tokens are about half a megabyte.
const LONGEST_BODY: usize = 16 << 20;

/// One OpenAI-compatible server.
#[derive(Debug)]
pub struct OpenAi {
    name: String,
    endpoint: Url,
    api_key: Option<ApiKey>,
    clock: SharedClock,
    /// Made by the first call: reading the system's root certificates takes time and memory that an idle process does
    /// not pay.
    client: OnceLock<Result<Client, String>>,
}

impl OpenAi {
    /// Connects to nobody yet.
    ///
    /// # Errors
    /// Why the base URL or the key can't be used.
    pub fn new(name: &str, settings: &ProviderSettings, clock: SharedClock) -> Result<Self, String> {
        let endpoint = endpoint(&settings.base_url)?;
        if let Some(key) = &settings.api_key {
            bearer(key)?;
        }
        let api_key = settings.api_key.clone();
        Ok(Self { name: name.to_owned(), endpoint, api_key, clock, client: OnceLock::new() })
    }

    fn client(&self) -> Result<&Client, ModelError> {
        let made = self.client.get_or_init(|| {
            Client::builder()
                .pool_max_idle_per_host(IDLE_CONNECTIONS)
                .pool_idle_timeout(Duration::from_secs(60))
                .connect_timeout(CONNECT_TIMEOUT)
                .tcp_nodelay(true)
                // A redirect would carry prompt and key to another host.
                .redirect(redirect::Policy::none())
                .user_agent(concat!("windrow/", env!("CARGO_PKG_VERSION")))
                .build()
                .map_err(|error| cause_of(&error))
        });
        made.as_ref()
            .map_err(|cause| ModelError::permanent("model_client", format!("no HTTP client: {cause}")))
    }

    async fn send(&self, request: &ModelRequest) -> Result<Response, ModelError> {
        let body = wire::ChatRequest::new(request, self.bare(&request.model));
        let body = serde_json::to_vec(&body).map_err(|error| {
            ModelError::permanent("model_bad_request", format!("the request is not JSON: {error}"))
                .user_fault()
        })?;
        let mut call = self.client()?.post(self.endpoint.clone()).timeout(request.patience());
        call = call.header("content-type", "application/json").body(body);
        if let Some(traceparent) = request.traceparent {
            call = call.header("traceparent", traceparent.to_string());
        }
        if let Some(key) = &self.api_key {
            call = call
                .header("authorization", bearer(key).map_err(|e| ModelError::permanent("model_auth", e))?);
        }
        call.send().await.map_err(|error| self.unanswered(&error, request))
    }

    /// Without the provider's own prefix.
    fn bare<'a>(&self, model: &'a str) -> &'a str {
        model.strip_prefix(&self.name).and_then(|rest| rest.strip_prefix(':')).unwrap_or(model)
    }

    /// No complete answer arrived.
    fn unanswered(&self, error: &reqwest::Error, request: &ModelRequest) -> ModelError {
        let host = self.endpoint.host_str().unwrap_or_default();
        if error.is_builder() {
            return ModelError::permanent("model_client", cause_of(error));
        }
        if error.is_connect() {
            let message = format!("cannot connect to {host}: {}", cause_of(error));
            return ModelError::transient("model_unreachable", message).provider_fault();
        }
        if error.is_timeout() {
            return late(request);
        }
        let message =
            format!("the connection to {host} broke before the answer was whole: {}", cause_of(error));
        ModelError::transient("model_connection_lost", message).sent().provider_fault()
    }

    /// Reads the answer whole, up to [`LONGEST_BODY`].
    async fn body(&self, mut response: Response, request: &ModelRequest) -> Result<Vec<u8>, ModelError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unanswered(&error, request))? {
            if body.len() + chunk.len() > LONGEST_BODY {
                let message = format!("the answer is longer than {} MiB", LONGEST_BODY >> 20);
                return Err(ModelError::permanent("model_malformed_answer", message).sent());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// The local upper bounds, for a server that says no usage.
    fn estimated(&self, request: &ModelRequest) -> Usage {
        let bound = Tokenizer::for_model(self.bare(&request.model)).bound(request);
        Usage {
            input_tokens: bound.input,
            output_tokens: bound.output,
            cached_input_tokens: 0,
            estimated: true,
        }
    }
}

#[async_trait]
impl ModelProvider for OpenAi {
    fn name(&self) -> &str {
        &self.name
    }

    async fn complete(&self, request: &ModelRequest) -> Result<ModelResponse, ModelError> {
        let started = self.clock.monotonic();
        let response = self.send(request).await?;
        let status = response.status();
        let retry_after = retry_after::read(response.headers(), self.clock.now());
        let request_id = request_id(response.headers());
        let body = self.body(response, request).await;
        if !status.is_success() {
            // The status says it all; an error's body that breaks off changes nothing.
            return Err(status::failure(status, &body.unwrap_or_default(), retry_after));
        }
        let answer = wire::read(&body?)?;
        let usage = answer.usage.unwrap_or_else(|| {
            tracing::debug!(provider = %self.name, "the answer says no usage; the local upper bound stands for it");
            self.estimated(request)
        });
        Ok(ModelResponse {
            text: answer.text.map_err(|error| error.billed(usage))?,
            usage,
            finish_reason: answer.finish_reason,
            provider_request_id: request_id.or(answer.id),
            latency: self.clock.monotonic().saturating_sub(started),
        })
    }
}

/// `…/chat/completions` under the API's root. A bare host means its `/v1`, as all these servers have it.
fn endpoint(base: &Url) -> Result<Url, String> {
    if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
        return Err(format!("{base} is not an http(s) URL such as https://api.openai.com/v1"));
    }
    let root = match base.path().trim_end_matches('/') {
        "" => "/v1",
        root => root.strip_suffix("/chat/completions").unwrap_or(root),
    };
    let mut endpoint = base.clone();
    endpoint.set_path(&format!("{root}/chat/completions"));
    Ok(endpoint)
}

fn bearer(key: &ApiKey) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", key.reveal()))
        .map_err(|_| "the API key has characters that no HTTP header can carry".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

fn request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get("x-request-id").or_else(|| headers.get("request-id"))?;
    id.to_str().ok().filter(|id| !id.is_empty() && id.len() <= 200).map(str::to_owned)
}

/// The innermost cause: `reqwest`'s own text says only that sending failed. The URL is left out; it may hold a secret.
fn cause_of(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_an_api_root_or_a_bare_host() {
        for (base, expected) in [
            ("http://localhost:8080", "http://localhost:8080/v1/chat/completions"),
            ("https://api.openai.com/v1/", "https://api.openai.com/v1/chat/completions"),
            ("https://host/v1beta/openai", "https://host/v1beta/openai/chat/completions"),
            ("https://host/v1/chat/completions", "https://host/v1/chat/completions"),
            ("https://host/v1?api-version=1", "https://host/v1/chat/completions?api-version=1"),
        ] {
            assert_eq!(endpoint(&base.parse().unwrap()).unwrap().as_str(), expected);
        }
        assert!(endpoint(&"file:///etc".parse().unwrap()).unwrap_err().contains("http(s)"));
        assert!(bearer(&ApiKey::new("a\nb")).is_err());
    }
}
