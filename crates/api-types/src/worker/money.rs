//! Reserving and settling what model calls cost, and the journal of answers that are paid for.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use windrow_core::{CallId, PicoUsd};

/// A reservation of a call's worst case, made before the request leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reserve {
    /// Made by the worker, so that a repeated request is recognised.
    #[schema(value_type = String, format = Uuid)]
    pub call: CallId,
    /// The most that the call may cost, in USD.
    #[schema(value_type = String, example = "0.0125")]
    pub worst: PicoUsd,
    pub model: String,
    /// Which step of the workload asks.
    pub step: String,
}

/// What became of a reserved call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Settle {
    #[schema(value_type = String, format = Uuid)]
    pub call: CallId,
    pub model: String,
    pub step: String,
    #[serde(flatten)]
    pub result: SettleResult,
}

/// How a reserved call ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum SettleResult {
    /// Billed: books the cost and journals the answer in one transaction.
    Settled(Box<Bill>),
    /// It left, and no answer came: booked at its worst case.
    Unconfirmed,
    /// The process knows that nothing left, or that the provider refused it without cost.
    Released,
}

/// What the provider says that a call used, and what that costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Bill {
    /// In USD, by the provider's own usage.
    #[schema(value_type = String, example = "0.0031")]
    pub cost: PicoUsd,
    /// Of the price table that `cost` was worked out with.
    pub price_version: String,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cached_tokens: u64,
    /// How long the model took.
    pub duration_ms: u64,
    /// The provider's id of the request.
    pub provider_request_id: Option<String>,
    /// The answer; none when the provider billed a call that failed.
    pub journal: Option<JournalLine>,
}

/// A paid answer on its way into the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JournalLine {
    /// Names the call within the job: record, step, re-ask.
    pub key: String,
    /// Of the whole request: an answer to another question is never replayed.
    pub request_hash: String,
    /// The answer, as the worker wants it back.
    pub response: Value,
}

/// What became of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reserved {
    /// The call may leave.
    Granted,
    /// No room while other calls of the tree are in flight: ask again when one has settled.
    Wait,
    /// No room and none in flight, or the budget is closed: the job ends `budget_exceeded`.
    Exceeded,
}

/// An answer that was paid for, by a run that may be dead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JournalEntry {
    pub key: String,
    pub request_hash: String,
    pub response: Value,
    /// In USD.
    #[schema(value_type = String)]
    pub cost: PicoUsd,
}
