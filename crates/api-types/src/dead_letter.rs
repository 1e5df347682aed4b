//! Dead letters: jobs that failed for good and wait for a person.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use windrow_core::{JobId, OwnerId, Timestamp};

use crate::page::page_size;
use crate::run::JobFailure;

/// A job that ran out of attempts, or killed its workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetter {
    #[schema(value_type = String, format = Uuid)]
    pub job_id: JobId,
    #[schema(value_type = i64)]
    pub owner: OwnerId,
    pub workload: String,
    pub runs: i64,
    pub attempts: u32,
    /// Whether it was given up for killing its workers.
    pub poison: bool,
    pub error: Option<JobFailure>,
    #[schema(value_type = String, format = DateTime)]
    pub submitted_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub died_at: Timestamp,
}

/// Which dead letters to list; latest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeadLetterQuery {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// Died at or after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Died before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// 1 to 200; 50 unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

impl DeadLetterQuery {
    /// The page size within its bounds.
    pub fn size(&self) -> u32 {
        page_size(self.limit)
    }
}

/// Which dead letters to retry, discard or purge: all that fit.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadLetterFilter {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
}

/// Which of everybody's dead letters an admin retries or purges, and why.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadLetterDecision {
    /// All of them unless told.
    #[serde(default)]
    pub filter: DeadLetterFilter,
    /// Written to the audit log.
    pub reason: String,
}

/// How many dead letters an operation changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadLettersChanged {
    pub changed: u64,
}
