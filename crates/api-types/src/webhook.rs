//! What a webhook receives (Standard Webhooks, <https://www.standardwebhooks.com>).

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use windrow_core::Timestamp;

/// What an owner's webhooks are signed with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookSecret {
    /// As receivers configure it (Standard Webhooks, symmetric).
    #[schema(examples("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))]
    pub secret: String,
}

/// The body of a webhook; its id, time and signature are in the headers `webhook-id`, `webhook-timestamp` and
/// `webhook-signature`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WebhookPayload {
    /// `job.completed`, `job.failed`, `job.budget_exceeded`, `job.cancelled`, `job.rejected`.
    #[serde(rename = "type")]
    pub kind: String,
    #[schema(value_type = String, format = DateTime)]
    pub timestamp: Timestamp,
    /// The job's id, workload, status, result, error, cost, records, trace id and links.
    #[schema(value_type = Object)]
    pub data: Value,
}
