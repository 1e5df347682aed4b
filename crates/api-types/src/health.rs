//! Is it alive, is it ready.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use windrow_core::Timestamp;

/// The process is alive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok`.
    pub status: String,
    pub version: String,
}

/// Whether a part works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    Ok,
    Failed,
}

/// One part that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// `database`, `storage`, `migrations`, `queue`.
    pub name: String,
    pub state: CheckState,
    /// What is wrong and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// When a workload last worked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkloadHealth {
    pub workload: String,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_success_at: Option<Timestamp>,
}

/// Whether the process can do its work: 200 when it can, 503 when it can't.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ready {
    pub ready: bool,
    pub version: String,
    pub checks: Vec<Check>,
    pub workloads: Vec<WorkloadHealth>,
}

/// One step of a smoke test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SmokeStep {
    /// `put`, `head`, `get`, `delete`, …
    pub step: String,
    pub state: CheckState,
    pub millis: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What a smoke test of the configured environment found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SmokeReport {
    pub ok: bool,
    pub steps: Vec<SmokeStep>,
}
