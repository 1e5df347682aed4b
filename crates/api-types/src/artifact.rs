//! Artifacts: output objects of jobs, with versions.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use windrow_core::{ArtifactId, JobId, Timestamp};

/// One version of an output object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Artifact {
    #[schema(value_type = String, format = Uuid)]
    pub id: ArtifactId,
    #[schema(value_type = String, format = Uuid)]
    pub job_id: JobId,
    /// `jsonl`, `csv`, `parquet`, `pdf`, …
    pub kind: String,
    /// Counted from 1 within the job tree (or resource) and kind.
    pub version: u32,
    pub latest: bool,
    /// The name that a download suggests.
    pub filename: String,
    pub content_type: String,
    pub size: u64,
    /// Lower-case hex.
    pub sha256: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// From then on it may be removed, unless it is the latest.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// Answers with a redirect to a signed URL, good for 45 minutes.
    pub download: String,
}

/// The latest version of one kind and the five before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArtifactGroup {
    pub kind: String,
    pub latest: Artifact,
    pub earlier: Vec<Artifact>,
}

/// Which artifacts.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ArtifactQuery {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// 1 to 200; 50 unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}
