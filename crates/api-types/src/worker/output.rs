//! What a run leaves behind: checkpoints, parts, children, objects, and its end.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use windrow_core::{ArtifactId, CallId, JobError, JobId, JobStatus, PicoUsd};

use super::Progress;

/// A part of a job's output: a contiguous range of items in one object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Part {
    /// Whose part it is: the key of the child that wrote it; empty for the job's own. Set by the engine.
    #[serde(default)]
    pub child_key: String,
    /// First and last item, both included.
    pub first: i64,
    pub last: i64,
    /// The object.
    pub key: String,
    /// Of the object's bytes, lower-case hex.
    pub sha256: String,
    /// Of the object, in bytes.
    pub size: u64,
}

/// What a run saves so that the next one goes on from there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Checkpoint {
    pub state: Value,
    /// Parts written since the last checkpoint; their objects are there already.
    #[serde(default)]
    pub parts: Vec<Part>,
    /// The keys of journalled calls that the parts cover; their journal lines are deleted.
    #[serde(default)]
    pub covered: Vec<String>,
    /// Calls of price zero since the last checkpoint, for the ledger.
    #[serde(default)]
    pub free_calls: Vec<FreeCall>,
    /// How far the run is, when that has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

/// A call that costs nothing: it needs no reservation and reaches the ledger with the next checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FreeCall {
    #[schema(value_type = String, format = Uuid)]
    pub call: CallId,
    pub step: String,
    pub model: String,
    pub price_version: String,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cached_tokens: u64,
    /// How long the model took.
    pub duration_ms: u64,
    /// The provider's id of the request.
    pub provider_request_id: Option<String>,
}

/// A child job that a run asks for. The same key twice makes one child.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NewChild {
    pub key: String,
    pub workload: String,
    pub spec: Value,
}

/// A child job, as its parent sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Child {
    #[schema(value_type = String, format = Uuid)]
    pub id: JobId,
    pub key: String,
    #[schema(value_type = String)]
    pub status: JobStatus,
    pub result: Option<Value>,
    /// The last checkpoint's state: what a child that ended early has made.
    pub state: Option<Value>,
    /// Why it failed.
    pub error_code: Option<String>,
    /// What its calls cost so far, in USD.
    #[schema(value_type = String)]
    pub cost: PicoUsd,
}

/// An object that a run has put.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoredObject {
    pub key: String,
    /// In bytes.
    pub size: u64,
    /// Lower-case hex.
    pub sha256: String,
}

/// An artifact that a job's end records: its version and the latest pointer are one transaction with the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewArtifact {
    /// Open: `jsonl`, `csv`, `parquet`, `pdf` …
    pub kind: String,
    /// The name that a download suggests.
    pub filename: String,
    pub content_type: String,
    pub object: StoredObject,
}

/// What a job hands over when it ends.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Output {
    pub result: Value,
    #[serde(default)]
    pub artifacts: Vec<NewArtifact>,
}

/// How a run ends, as the worker reports it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum RunEnd {
    Done {
        output: Output,
    },
    /// The budget is spent; the output so far is handed over.
    Partial {
        output: Output,
    },
    /// Wait for the children that were added.
    Await,
    Failed {
        #[schema(value_type = Object)]
        error: JobError,
    },
    /// Given back by a worker that stops: no attempt burnt.
    Released,
}

/// What the engine did with a run's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum EndReply {
    /// Recorded; the job's status now.
    Recorded {
        #[schema(value_type = String)]
        status: JobStatus,
    },
    /// The run was no longer the job's: nothing was written.
    Stale,
}

/// An artifact's place after its job's end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArtifactVersion {
    #[schema(value_type = String, format = Uuid)]
    pub id: ArtifactId,
    pub kind: String,
    pub version: u32,
}
