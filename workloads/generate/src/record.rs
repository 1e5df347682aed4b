//! What a job makes: records, and rejects for the indices that failed.

mod part;
mod raw;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use uuid::Uuid;
use windrow_core::{ErrorClass, JobError, JobId, PicoUsd, Timestamp};

pub(crate) use part::Section;
pub use part::{Part, PartBuilder, PartHeader, PartLine, PartReader, record_lines};
pub use raw::RawRecord;
pub(crate) use raw::Text;

/// The fields that every record has, in their order; `meta` stands last, after the output's own fields. No output
/// field may have one of these names.
pub const RESERVED_FIELDS: [&str; 6] = ["id", "job_id", "index", "created_at", "seed_data_id", "meta"];

/// One row of the dataset.
///
/// As JSON it is one flat object: `id`, `job_id`, `index`, `created_at`, `seed_data_id`, the output's fields in the
/// template's order, `meta`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`record_id`] of the job and the index: a record that is made again after a crash has the same id.
    pub id: Uuid,
    /// The job that the user submitted, never one of its shards.
    pub job_id: JobId,
    /// From 0; unique within the job, gaps where a record was rejected or dropped as a duplicate.
    pub index: u64,
    pub created_at: Timestamp,
    /// Which seed record it was made from.
    pub seed_data_id: String,
    /// What the template's `output` shaped, or every step's output by the step's id.
    #[serde(flatten)]
    pub output: Map<String, Value>,
    /// What each step that ran used, by the step's id.
    pub meta: IndexMap<String, StepMeta>,
}

/// What one step of one record used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepMeta {
    /// The model that answered, not the alias that was asked for.
    pub model: String,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// All attempts of the step, re-asks too.
    pub cost_usd: PicoUsd,
}

/// An index that failed: it never becomes a row, it becomes a line of `rejects.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reject {
    pub index: u64,
    pub step: String,
    /// None when the step failed before a model was asked (a template that doesn't render).
    pub model: Option<String>,
    pub error: RejectError,
    /// How often the step's model was tried: retries of transient failures and re-asks too.
    pub attempts: u32,
}

/// Why a record was rejected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectError {
    /// Stable, snake_case.
    pub code: String,
    pub message: String,
    pub class: ErrorClass,
}

impl From<JobError> for RejectError {
    fn from(error: JobError) -> Self {
        Self { code: error.code.into_owned(), message: error.message, class: error.class }
    }
}

/// The id of record `index` of a job: a UUIDv8 (RFC 9562) from the first 16 bytes of
/// SHA-256(`windrow.record` ‖ job id ‖ index as 8 big-endian bytes).
pub fn record_id(job_id: JobId, index: u64) -> Uuid {
    let digest = Sha256::new()
        .chain_update(b"windrow.record")
        .chain_update(job_id.0.as_bytes())
        .chain_update(index.to_be_bytes())
        .finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// What can be wrong with a record or a part.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The record can't be written as JSON, or would have a field twice.
    #[error(
        "the output field {field:?} has the name of a field that every record has; name it otherwise in the template"
    )]
    ReservedField { field: String },
    #[error("record {index} can't be written as JSON: {source}")]
    Encode { index: u64, source: serde_json::Error },
    #[error("index {found} came where {expected} was due: a part holds each index once, in order")]
    OutOfOrder { expected: u64, found: u64 },
    #[error("the part's header is not valid: {reason}")]
    Header { reason: String },
    #[error("line {line} of the part is not valid: {source}")]
    Line { line: u64, source: serde_json::Error },
    #[error("the part ends after {found} of {expected} {what}: it is cut off or was changed")]
    Truncated { what: &'static str, expected: u64, found: u64 },
    #[error("the part has more lines than its header says")]
    TooLong,
    #[error("the part can't be read: {0}")]
    Io(#[from] std::io::Error),
}

#[cfg(test)]
mod tests;
