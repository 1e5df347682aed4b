//! From a request id to what it set going.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use windrow_core::{JobId, JobStatus, Timestamp};

use crate::audit::AuditEntry;
use crate::run::Run;
use crate::schema::JobStatusSchema;

/// A job that a request submitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TracedJob {
    #[schema(value_type = String, format = Uuid)]
    pub id: JobId,
    pub workload: String,
    #[schema(value_type = JobStatusSchema)]
    pub status: JobStatus,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    pub runs: Vec<Run>,
}

/// All that one request set going.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Trace {
    pub request_id: String,
    pub jobs: Vec<TracedJob>,
    /// Empty for who isn't an admin.
    pub audit: Vec<AuditEntry>,
    /// The log lines that are kept of the request and of its jobs' runs, oldest first, each a flat object with `ts`,
    /// `level` and `message`. For who isn't an admin, those of their own request and jobs. Absent where the installation
    /// keeps none: what collects its processes' standard error has them under `request_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    pub log: Option<Vec<Value>>,
}
