//! Jobs: submitting, looking, deciding.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use windrow_core::{JobId, JobStatus, LedgerKind, PicoUsd, Priority, Timestamp};

use crate::page::{CommaList, page_size};
use crate::problem::Problem;
use crate::run::JobFailure;
use crate::schema::{JobStatusSchema, LedgerKindSchema, PrioritySchema};

/// A wish for work.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmitJob {
    /// The kind of work.
    #[schema(examples("generate"))]
    pub workload: String,
    /// What to do, as the workload's JSON Schema says.
    #[schema(value_type = Object)]
    pub spec: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<PrioritySchema>)]
    pub priority: Option<Priority>,
    /// Not before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub run_at: Option<Timestamp>,
    /// The most that the job and its children may cost, in USD. A priced model needs one: this or the configured default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, examples("2.50"))]
    pub budget_usd: Option<PicoUsd>,
    /// What counts against the budget: `model`, which always does, and if named `compute` (worker time) and `storage` (puts
    /// and gets), at the configured prices. `["model"]` unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<LedgerKindSchema>>)]
    pub budget_counts: Option<Vec<LedgerKind>>,
    /// Is sent a signed POST when the job has ended (Standard Webhooks).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_url: Option<String>,
    /// The version of the spec's form; 1 unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<u32>,
    /// For an item of a batch, where no header can carry it. A single submit uses the header `Idempotency-Key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

/// The answer to a submit: the job, and whether an earlier request with the same key had made it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Submitted {
    #[serde(flatten)]
    pub job: Job,
    pub reused: bool,
}

/// Up to 10,000 jobs at once.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchRequest {
    /// Each on its own: a bad one fails alone. Items are read one by one, so that one of a wrong form fails alone too.
    #[schema(value_type = Vec<SubmitJob>)]
    pub jobs: Vec<Value>,
}

/// What became of one item of a batch, in the order of the request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BatchItem {
    /// What a single submit of it would have answered: 202, 200 or an error's.
    pub status: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Uuid)]
    pub id: Option<JobId>,
    pub reused: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BatchReply {
    pub accepted: usize,
    pub reused: usize,
    pub refused: usize,
    pub items: Vec<BatchItem>,
}

/// One unit of work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Job {
    pub schema_version: u32,
    #[schema(value_type = String, format = Uuid)]
    pub id: JobId,
    pub workload: String,
    /// As it was pinned at submit: versions and models resolved.
    #[schema(value_type = Object)]
    pub spec: Value,
    #[schema(value_type = JobStatusSchema)]
    pub status: JobStatus,
    /// What the job does just now, in the workload's words.
    pub stage: Option<String>,
    pub progress: JobProgress,
    #[schema(value_type = PrioritySchema)]
    pub priority: Priority,
    #[schema(value_type = Option<String>)]
    pub budget_usd: Option<PicoUsd>,
    /// What counts against the budget; null without one.
    #[serde(default)]
    #[schema(value_type = Option<Vec<LedgerKindSchema>>)]
    pub budget_counts: Option<Vec<LedgerKind>>,
    pub cost: JobCost,
    pub tokens: JobTokens,
    /// How many records the job has made so far.
    pub records: u64,
    /// The number of the latest run; 0 before the first.
    pub run: i64,
    /// How many runs failed since the last retry by a person; runs that waited, were given back, cancelled or lost don't count.
    pub attempts: u32,
    /// How many runs in a row were lost with their worker.
    pub lost: u32,
    /// The job that made this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Uuid)]
    pub parent_id: Option<JobId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child_key: Option<String>,
    /// Of the request that submitted it; every log line of its runs has the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Of the trace that it belongs to (W3C Trace Context).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(examples("4bf92f3577b34da6a3ce929d0e0e4736"))]
    pub trace_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// When the job will be tried (again), while that is in the future.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub run_at: Option<Timestamp>,
    /// When the present run will be ended for taking too long.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub timeout_at: Option<Timestamp>,
    /// When the first run started.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    pub error: Option<JobFailure>,
    /// What the workload says about its output; null until the job has ended.
    #[schema(value_type = Option<Object>)]
    pub result: Option<Value>,
    pub links: JobLinks,
}

/// How far a job is, in the workload's own units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobProgress {
    pub done: u64,
    /// Absent while it is not known.
    pub total: Option<u64>,
}

/// What a job's tree costs, in USD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobCost {
    /// What was thought likely at submit; null where the workload makes no estimates, a model has no price, or the estimate
    /// would have taken too long.
    #[schema(value_type = Option<String>)]
    pub estimate: Option<PicoUsd>,
    /// What is settled: calls of models, and worker time, puts and gets where those have a price, whether they count against
    /// the budget or not.
    #[schema(value_type = String, examples("0.0132"))]
    pub actual: PicoUsd,
    /// What is held for calls in flight, at their worst case.
    #[schema(value_type = String)]
    pub reserved: PicoUsd,
}

/// What the models counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobTokens {
    pub input: u64,
    pub output: u64,
    pub cached: u64,
}

/// Where more about a job is, relative to the API's own URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobLinks {
    #[serde(rename = "self")]
    pub this: String,
    pub runs: String,
    pub events: String,
    pub ledger: String,
    pub artifacts: String,
    pub children: String,
}

impl JobLinks {
    pub fn of(id: JobId) -> Self {
        let under = |name: &str| format!("/v1/jobs/{id}/{name}");
        Self {
            this: format!("/v1/jobs/{id}"),
            runs: under("runs"),
            events: under("events"),
            ledger: under("ledger"),
            artifacts: under("artifacts"),
            children: under("children"),
        }
    }
}

/// Which jobs to list; newest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct JobListQuery {
    /// Statuses, with commas between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, example = "queued,running")]
    pub status: Option<CommaList<JobStatus>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// Submitted at or after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Submitted before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// Whether jobs that jobs made are listed too.
    #[serde(default)]
    pub children: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// 1 to 200; 50 unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

impl JobListQuery {
    /// The page size within its bounds.
    pub fn size(&self) -> u32 {
        page_size(self.limit)
    }
}

/// How a job goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryJob {
    /// The most that the job may cost, what it has cost so far included. It must be above the job's budget, which stays as
    /// it is when this is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, examples("2.50"))]
    pub budget_usd: Option<PicoUsd>,
}

/// Why a person decides something that is audited.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Written to the audit log.
    pub reason: String,
}
