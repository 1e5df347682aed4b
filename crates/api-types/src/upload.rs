//! Uploads: objects that users put in storage through presigned URLs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use windrow_core::{Timestamp, UploadId, UploadStatus};

use crate::schema::UploadStatusSchema;

/// An object that a user wants to put.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUpload {
    /// Metadata only; it never becomes part of a path.
    #[schema(examples("poems.jsonl"))]
    pub filename: String,
    #[schema(examples("application/x-ndjson"))]
    pub content_type: String,
    /// In bytes, exactly.
    pub size: u64,
    /// Lower-case hex; checked at `complete` when it is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// What it is for: `upload`, `seed_data` or `baseline`; decides the storage prefix. `upload` unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// The workload that will read it, whose size limit counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
}

/// Where to put the bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedUpload {
    #[schema(value_type = String, format = Uuid)]
    pub id: UploadId,
    pub url: String,
    #[schema(examples("PUT"))]
    pub method: String,
    /// Must be sent with the request as they are.
    pub headers: BTreeMap<String, String>,
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// An upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Upload {
    #[schema(value_type = String, format = Uuid)]
    pub id: UploadId,
    #[schema(value_type = UploadStatusSchema)]
    pub status: UploadStatus,
    pub filename: String,
    /// As announced.
    pub content_type: String,
    /// As the bytes themselves say, once stored.
    pub detected_type: Option<String>,
    pub purpose: String,
    pub size: u64,
    /// Lower-case hex: of the bytes, once stored; before that as announced.
    pub sha256: Option<String>,
    /// Why it was rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Until when the URL is good.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub stored_at: Option<Timestamp>,
}
