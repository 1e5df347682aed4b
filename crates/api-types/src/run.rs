//! Runs: attempts at a job.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use windrow_core::{ErrorClass, RunOutcome, Timestamp};

use crate::schema::{ErrorClassSchema, RunOutcomeSchema};

/// Why a run or a job failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobFailure {
    #[schema(value_type = ErrorClassSchema)]
    pub class: ErrorClass,
    /// Stable, snake_case.
    pub code: String,
    /// What went wrong and what to do about it.
    pub message: String,
    /// Whether the cause is what the user gave.
    pub user_fault: bool,
}

/// One attempt at a job by one worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Run {
    /// Counted from 1; 0 for an end without a run.
    pub run: i64,
    /// Absent while it runs.
    #[schema(value_type = Option<RunOutcomeSchema>)]
    pub outcome: Option<RunOutcome>,
    pub stage: Option<String>,
    pub done: u64,
    pub total: Option<u64>,
    /// The worker's name: host and process, or an ECS task's ARN.
    pub worker: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// When the next run may start.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub retry_at: Option<Timestamp>,
    pub error: Option<JobFailure>,
}
