//! The built-in model: free, without a network, reproducible. It rehearses templates, budgets and exports.
//!
//! It is an n-gram model of words, and its id says so. It is trained on a small corpus of the project's own and, anew for each
//! request, on the request's text, so that its sentences are about what was asked. It understands nothing. Temperature is part of
//! the seed and shapes nothing else. Its tokens are words and marks.

mod budget;
mod instance;
mod leaf;
mod ngram;
mod pattern;
pub(crate) mod words;

use std::time::Duration;

use async_trait::async_trait;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use windrow_core::SharedClock;

use crate::error::ModelError;
use crate::provider::ModelProvider;
use crate::request::ModelRequest;
use crate::response::{FinishReason, ModelResponse, Usage};
use crate::structured::check_value;
use budget::{Budget, Fault};
use instance::{Instances, Style};
use ngram::Prose;

/// The provider's name, and the short name of its one model.
pub const PROVIDER: &str = "offline";

/// The model's id.
pub const MODEL_ID: &str = "offline/ngram-v1";

/// A free answer has this many words and marks, unless `max_tokens` is less.
const ANSWER_LENGTH: std::ops::RangeInclusive<usize> = 24..=72;

/// So many instances of a schema are drawn before it is given up: keywords such as `not` are only checked, never aimed at.
const DRAWS: usize = 8;

/// The provider `offline`.
#[derive(Debug)]
pub struct Offline {
    clock: SharedClock,
}

impl Offline {
    /// Trains nothing yet: the corpus is read by the first call.
    pub const fn new(clock: SharedClock) -> Self {
        Self { clock }
    }

    /// The answer to `request`, always the same for the same request.
    ///
    /// # Errors
    /// `offline_schema_unsupported`: no instance of the schema was found, or it would be too large.
    pub fn answer(request: &ModelRequest) -> Result<(String, FinishReason), ModelError> {
        let mut rng = ChaCha8Rng::from_seed(request.digest());
        let prose = Prose::new(request.messages.iter().map(|message| message.content.as_str()));
        let room = usize::try_from(request.max_tokens).unwrap_or(usize::MAX);
        match &request.response_schema {
            Some(schema) => {
                let text = instance(schema, &prose, &mut rng, room)?;
                Ok(cut(text, room))
            }
            None => {
                let mut text = String::new();
                let length = rng.random_range(ANSWER_LENGTH);
                let whole = prose.write(&mut rng, length, room, &mut text);
                Ok((text, if whole { FinishReason::Stop } else { FinishReason::Length }))
            }
        }
    }
}

#[async_trait]
impl ModelProvider for Offline {
    fn name(&self) -> &str {
        PROVIDER
    }

    async fn complete(&self, request: &ModelRequest) -> Result<ModelResponse, ModelError> {
        let started = self.clock.monotonic();
        let (text, finish_reason) = match request.response_schema {
            Some(_) => aside(request.clone()).await?,
            // a sentence or three, quicker than a change of thread
            None => Self::answer(request)?,
        };
        let tokens = |text: &str| u64::try_from(words::count(text)).unwrap_or(u64::MAX);
        let usage = Usage {
            input_tokens: request.messages.iter().map(|message| tokens(&message.content)).sum(),
            output_tokens: tokens(&text),
            ..Usage::default()
        };
        let latency: Duration = self.clock.monotonic().saturating_sub(started);
        Ok(ModelResponse { text, usage, finish_reason, provider_request_id: None, latency })
    }
}

/// The answer, made on a thread where long work may be done.
async fn aside(request: ModelRequest) -> Result<(String, FinishReason), ModelError> {
    match tokio::task::spawn_blocking(move || Offline::answer(&request)).await {
        Ok(answer) => answer,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(ModelError::transient("offline_stopped", "the process ends")),
        },
    }
}

/// A valid instance of `schema` as JSON: the first in the usual style that fits `room`, else a sparse one.
fn instance(
    schema: &Value,
    prose: &Prose<'_>,
    rng: &mut ChaCha8Rng,
    room: usize,
) -> Result<String, ModelError> {
    let mut fault = String::new();
    'draws: for draw in 0..DRAWS {
        for style in [Style::Usual, Style::Sparse] {
            let value = match Instances::new(schema, prose, style, Budget::USUAL).draw(rng) {
                Ok(value) => value,
                Err(Fault::Other(reason)) => {
                    fault = reason;
                    continue;
                }
                Err(Fault::TooLarge) => {
                    let Budget { values, bytes } = Budget::USUAL;
                    fault = format!(
                        "an answer would have more than {values} JSON values or {} MiB of text",
                        bytes >> 20
                    );
                    // another draw would hardly be smaller, and each takes its time
                    if style == Style::Sparse {
                        break 'draws;
                    }
                    continue;
                }
            };
            if let Err(reason) = check_value(schema, &value) {
                fault = reason;
                continue;
            }
            let text = value.to_string();
            // The last chance: a model that has no more room breaks off too.
            if words::count(&text) <= room || (style == Style::Sparse && draw + 1 == DRAWS) {
                return Ok(text);
            }
        }
    }
    if fault.is_empty() {
        fault = "every instance found is longer than max_tokens".to_owned();
    }
    let message =
        format!("the offline model found no valid instance of the schema; try it with a real model. {fault}");
    Err(ModelError::permanent("offline_schema_unsupported", message).user_fault())
}

/// Breaks a text off after `room` tokens, as a real model does.
fn cut(mut text: String, room: usize) -> (String, FinishReason) {
    match words::end_of(&text, room) {
        Some(end) => {
            text.truncate(end);
            (text, FinishReason::Length)
        }
        None => (text, FinishReason::Stop),
    }
}
