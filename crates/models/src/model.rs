//! One model: what it costs, how it counts, and how it is called.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::{Counter, Histogram};
use tokio::sync::SemaphorePermit;
use windrow_core::{PicoUsd, SharedClock};

use crate::breaker::{Breaker, Health, Pass};
use crate::error::ModelError;
use crate::limits::Gate;
use crate::price::Price;
use crate::provider::ModelProvider;
use crate::request::ModelRequest;
use crate::response::{ModelResponse, Usage};
use crate::settings::Limits;
use crate::tokens::{TokenBound, Tokenizer};

/// A provider keeps the request's timeout itself; this much later the call is cut off whatever the provider does.
const TIMEOUT_GRACE: Duration = Duration::from_secs(5);

/// A resolved model. Everybody who resolves the same id shares one, and with it the limits.
pub struct Model {
    pub(crate) id: String,
    pub(crate) provider: Arc<dyn ModelProvider>,
    pub(crate) price: Option<Price>,
    pub(crate) price_version: String,
    pub(crate) max_output_tokens: Option<u64>,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) limits: Limits,
    /// Of requests that name none.
    pub(crate) timeout: Duration,
    pub(crate) gate: Gate,
    pub(crate) breaker: Arc<Breaker>,
    pub(crate) clock: SharedClock,
    pub(crate) meters: OnceLock<Meters>,
}

/// Handles of the metrics of finished calls, looked up once: a call is counted without a search.
pub(crate) struct Meters {
    calls: Counter,
    input: Counter,
    output: Counter,
    cached: Counter,
    latency: Histogram,
}

/// Room for one call: a slot, a share of the rate limits and the breaker's consent. Dropping it gives back the slot.
#[derive(Debug)]
pub struct Admission<'a> {
    model: &'a Model,
    pass: Pass<'a>,
    _slot: SemaphorePermit<'a>,
    _near: Option<SemaphorePermit<'a>>,
}

/// A turn that comes soon: what a call needs first, such as its reservation, is done now without taking any of a slot's time.
/// Dropping it gives the turn to the next.
#[derive(Debug)]
pub struct Approach<'a> {
    model: &'a Model,
    near: SemaphorePermit<'a>,
}

impl<'a> Approach<'a> {
    /// [`Model::admit`], for whoever has come near.
    ///
    /// # Errors
    /// As there.
    pub async fn admit(self, request: &ModelRequest) -> Result<Admission<'a>, ModelError> {
        let admission = self.model.admit(request).await?;
        Ok(Admission { _near: Some(self.near), ..admission })
    }
}

impl Model {
    /// The resolved id: what is pinned, journalled and written to the ledger. It resolves to this model again.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The request as it is sent: a provider is asked for the resolved model, whatever alias the request was written with, and
    /// told how long to take.
    pub fn addressed(&self, mut request: ModelRequest) -> ModelRequest {
        if request.model != self.id {
            self.id.clone_into(&mut request.model);
        }
        request.timeout.get_or_insert(self.timeout);
        request
    }

    fn is_addressed(&self, request: &ModelRequest) -> bool {
        request.model == self.id && request.timeout.is_some()
    }

    /// The provider's name in the configuration.
    pub fn provider(&self) -> &str {
        self.provider.name()
    }

    /// What a token costs; `None` for a model without a known price (`allow_unpriced`).
    pub const fn price(&self) -> Option<&Price> {
        self.price.as_ref()
    }

    /// Where the price comes from, for ledger rows: [`TABLE_VERSION`](crate::price::TABLE_VERSION) of the built-in tables,
    /// [`Price::own_version`] of an operator's own, `unpriced`.
    pub fn price_version(&self) -> &str {
        &self.price_version
    }

    /// Whether its calls can cost anything: then a budget is needed.
    pub fn is_priced(&self) -> bool {
        self.price.is_some_and(|price| !price.is_free())
    }

    pub const fn limits(&self) -> Limits {
        self.limits
    }

    pub const fn tokenizer(&self) -> Tokenizer {
        self.tokenizer
    }

    /// The longest answer the model can give, in tokens, where the price table says it.
    pub const fn max_output_tokens(&self) -> Option<u64> {
        self.max_output_tokens
    }

    /// Tokens of a text by this model's tokenizer, or its UTF-8 bytes as an upper bound. The first count loads the
    /// tokenizer's tables.
    pub fn count_tokens(&self, text: &str) -> u64 {
        self.tokenizer.count(text)
    }

    /// The most tokens that a call can use.
    pub fn token_bound(&self, request: &ModelRequest) -> TokenBound {
        self.tokenizer.bound(request)
    }

    /// The most that a call can cost: what is reserved before it.
    pub fn worst_case(&self, request: &ModelRequest) -> PicoUsd {
        let Some(price) = self.price.filter(|price| !price.is_free()) else { return PicoUsd::ZERO };
        let bound = self.token_bound(request);
        price.worst_case(bound.input, bound.output)
    }

    /// What a call with this usage costs.
    pub fn cost(&self, usage: &Usage) -> PicoUsd {
        self.price.map_or(PicoUsd::ZERO, |price| price.cost(usage))
    }

    /// Waits until the call's turn comes soon; few calls have come so far at once. None where a rate is limited and the wait can't
    /// be foreseen.
    pub async fn approach(&self) -> Option<Approach<'_>> {
        Some(Approach { model: self, near: self.gate.approach().await? })
    }

    /// Waits for room for one call, without sending anything. Money is best reserved before this by those who have an
    /// [`Approach`], by others between this and [`Admission::send`]: then nothing is reserved while the call waits for long.
    ///
    /// # Errors
    /// `model_circuit_open` (transient, not sent, with a time to wait), or `model_bad_request` for a request no provider
    /// could take.
    pub async fn admit(&self, request: &ModelRequest) -> Result<Admission<'_>, ModelError> {
        let admitted = self.wait_for_room(request).await;
        admitted.inspect_err(|error| self.count(&error.code))
    }

    async fn wait_for_room(&self, request: &ModelRequest) -> Result<Admission<'_>, ModelError> {
        check(request)?;
        self.breaker.check().map_err(|wait| self.circuit_open(wait))?;
        let slot = self.gate.enter(|| self.tokenizer.estimate(request)).await;
        let pass = self.breaker.enter().map_err(|wait| self.circuit_open(wait))?;
        Ok(Admission { model: self, pass, _slot: slot, _near: None })
    }

    /// One attempt, within the model's limits: [`Model::admit`], then [`Admission::send`].
    ///
    /// # Errors
    /// See [`ModelError`]; [`ModelError::billing`] says what becomes of the reservation.
    pub async fn call(&self, request: &ModelRequest) -> Result<ModelResponse, ModelError> {
        self.admit(request).await?.send(request).await
    }

    fn circuit_open(&self, wait: Duration) -> ModelError {
        let message = format!(
            "the provider {} has failed repeatedly and is left alone for {} ms",
            self.provider.name(),
            wait.as_millis()
        );
        ModelError::transient("model_circuit_open", message).with_retry_after(Some(wait))
    }

    fn meters(&self) -> &Meters {
        self.meters.get_or_init(|| {
            let tokens = |kind: &'static str| {
                metrics::counter!("windrow_model_tokens_total", "model" => self.id.clone(), "kind" => kind)
            };
            Meters {
                calls: self.calls("ok"),
                input: tokens("input"),
                output: tokens("output"),
                cached: tokens("cached_input"),
                latency: metrics::histogram!("windrow_model_latency_seconds", "model" => self.id.clone()),
            }
        })
    }

    fn calls(&self, outcome: &str) -> Counter {
        metrics::counter!("windrow_model_calls_total", "model" => self.id.clone(), "outcome" => outcome.to_owned())
    }

    fn count(&self, outcome: &str) {
        self.calls(outcome).increment(1);
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Model");
        shown
            .field("id", &self.id)
            .field("price", &self.price)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Admission<'_> {
    /// Makes the one attempt that was admitted.
    ///
    /// # Errors
    /// See [`ModelError`].
    pub async fn send(self, request: &ModelRequest) -> Result<ModelResponse, ModelError> {
        let model = self.model;
        let started = model.clock.monotonic();
        let request = if model.is_addressed(request) {
            Cow::Borrowed(request)
        } else {
            Cow::Owned(model.addressed(request.clone()))
        };
        let limit = request.patience().saturating_add(TIMEOUT_GRACE);
        let attempt = tokio::time::timeout(limit, model.provider.complete(&request));
        let outcome = attempt.await.unwrap_or_else(|_| Err(late(&request)));
        self.pass.end(health(&outcome));
        match &outcome {
            Ok(response) => {
                let meters = model.meters();
                meters.calls.increment(1);
                meters.input.increment(response.usage.input_tokens);
                meters.output.increment(response.usage.output_tokens);
                meters.cached.increment(response.usage.cached_input_tokens);
                meters.latency.record(response.latency);
            }
            Err(error) => {
                let took = model.clock.monotonic().saturating_sub(started);
                tracing::debug!(model = %model.id, %error, took_ms = took.as_millis(), "model call failed");
                model.count(&error.code);
            }
        }
        outcome
    }
}

fn health(outcome: &Result<ModelResponse, ModelError>) -> Health {
    match outcome {
        Ok(_) => Health::Alive,
        Err(error) if error.provider_fault => Health::Failing,
        Err(error) if error.sent => Health::Alive,
        Err(_) => Health::Unknown,
    }
}

/// The error of a call that took longer than it may.
pub(crate) fn late(request: &ModelRequest) -> ModelError {
    let message = format!("no answer within {} ms", request.patience().as_millis());
    ModelError::transient("model_timeout", message).sent().provider_fault()
}

/// What no provider could take is refused before anything is sent.
fn check(request: &ModelRequest) -> Result<(), ModelError> {
    let fault = if request.messages.is_empty() {
        "the request has no message"
    } else if request.max_tokens == 0 {
        "max_tokens must be at least 1"
    } else if request.temperature.is_some_and(|temperature| !(0.0..=2.0).contains(&temperature)) {
        "temperature must be between 0 and 2"
    } else {
        return Ok(());
    };
    Err(ModelError::permanent("model_bad_request", fault).user_fault())
}
