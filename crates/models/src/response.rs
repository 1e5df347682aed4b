//! What a model answered, and what it used.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::request::millis;

/// Tokens of one call, as the provider counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt, those read from the provider's cache included.
    pub input_tokens: u64,
    /// Tokens of the answer, hidden reasoning included.
    pub output_tokens: u64,
    /// How many of `input_tokens` the provider read from its cache.
    #[serde(default)]
    pub cached_input_tokens: u64,
    /// The provider did not say: these are the local upper bounds.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
}

/// Why a model stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// It was done.
    Stop,
    /// It ran into `max_tokens`: the text is cut off.
    Length,
    /// The provider's filter cut the text.
    ContentFilter,
    /// Anything else, or nothing said.
    Other,
}

/// One finished call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelResponse {
    pub text: String,
    pub usage: Usage,
    pub finish_reason: FinishReason,
    /// What to quote to the provider's support.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_request_id: Option<String>,
    /// From the request's start to the answer's last byte, waiting for limits left out. On the wire in milliseconds.
    #[serde(rename = "latency_ms", with = "millis")]
    pub latency: Duration,
}
