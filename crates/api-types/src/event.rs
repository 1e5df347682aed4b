//! Events: a job's history, line by line.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use windrow_core::{JobId, Timestamp};

/// One line of a job's history. Events come in the order of their ids; progress has none, as only the latest is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    pub schema_version: u32,
    /// `event.run.phase`: what a reader has seen, for `Last-Event-ID`. Absent on progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(examples("0.1.1"))]
    pub id: Option<String>,
    #[schema(value_type = String, format = Uuid)]
    pub job_id: JobId,
    /// Whose job it is.
    #[schema(value_type = i64)]
    pub owner: windrow_core::OwnerId,
    pub trace_id: Option<String>,
    /// `submitted`, `started`, `ended`, `progress`, `cancel_requested`, `approved`, … or a workload's own.
    #[serde(rename = "type")]
    pub kind: String,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    #[schema(value_type = Object)]
    pub payload: Value,
}

/// Which events.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// Only what came after this event id; the header `Last-Event-ID` says the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}
