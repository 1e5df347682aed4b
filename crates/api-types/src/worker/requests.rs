//! Bodies of the worker protocol's requests and answers that are not plain data of a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use windrow_core::{JobError, JobId, Timestamp, UploadId};

use super::{Child, JournalEntry, Lease, NewChild, Output, Part, Reserve, Reserved, Settle, StopReason};

/// `POST /v1/worker/claim` answers with the leases handed out; none when there was no work in time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClaimReply {
    pub leases: Vec<Lease>,
}

/// `POST /v1/worker/leases/{id}/heartbeat` answers whether the run must stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeartbeatReply {
    pub stop: Option<StopReason>,
}

/// `POST /v1/worker/leases/{id}/reserve`: settles first, then reserves, in one transaction.
/// `POST /v1/worker/leases/{id}/settle` is the same with nothing to reserve; it works after the lease is gone too.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MoneyRequest {
    #[serde(default)]
    pub settle: Vec<Settle>,
    #[serde(default)]
    pub reserve: Vec<Reserve>,
}

/// One answer for each of `reserve`, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MoneyReply {
    pub reserved: Vec<Reserved>,
}

/// `GET /v1/worker/leases/{id}/journal`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JournalReply {
    pub entries: Vec<JournalEntry>,
}

/// `POST /v1/worker/leases/{id}/save`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SaveRequest {
    /// The chunk's number: saved once, whatever is repeated.
    pub n: i64,
    pub chunk: Value,
}

/// `GET /v1/worker/leases/{id}/save`: the numbers of the chunks that are saved already, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SavedReply {
    pub saved: Vec<i64>,
}

/// `POST /v1/worker/leases/{id}/complete`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum CompleteRequest {
    Done {
        output: Output,
    },
    /// The budget is spent; the output so far.
    Partial {
        output: Output,
    },
    /// Wait for the children that were added.
    Await,
}

/// `POST /v1/worker/leases/{id}/fail`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FailRequest {
    #[schema(value_type = Object)]
    pub error: JobError,
}

/// `POST /v1/worker/leases/{id}/children`: at most 500.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AddChildrenRequest {
    pub children: Vec<NewChild>,
}

/// `GET /v1/worker/leases/{id}/children`: in the order in which they were made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
pub struct ChildrenQuery {
    /// The last child that was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Uuid)]
    #[param(value_type = Option<String>, format = Uuid)]
    pub after: Option<JobId>,
    /// At most 1,000.
    pub limit: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChildrenReply {
    pub children: Vec<Child>,
}

/// `GET /v1/worker/leases/{id}/parts`: of the job and its children, in order of first item and key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
pub struct PartsQuery {
    /// First item and object key of the last part that was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_first: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_key: Option<String>,
    /// At most 1,000.
    pub limit: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PartsReply {
    pub parts: Vec<Part>,
}

/// `GET` or `PUT /v1/worker/leases/{id}/objects`: the object's bytes are the body. A `GET` names the key, or an upload of the job's
/// owner, and may ask for a range in the usual header; a `PUT` names prefix and name, and the key is the server's to make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
pub struct ObjectQuery {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, format = Uuid)]
    #[schema(value_type = Option<String>, format = Uuid)]
    pub upload: Option<UploadId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// `POST /v1/worker/leases/{id}/objects/download-link`: an object by its key, or an upload of the job's owner by its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WantedObject {
    Key(String),
    #[schema(value_type = String, format = Uuid)]
    Upload(UploadId),
}

/// `POST /v1/worker/leases/{id}/objects/complete`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ObjectName {
    /// As the upload link gave it.
    pub key: String,
}

/// `POST /v1/worker/leases/{id}/objects/upload-link`: an object that the worker is about to put.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AnnouncedObject {
    /// `checkpoints`, `outputs`, `artifacts` or `generated`.
    pub prefix: String,
    /// Unique within the run.
    pub name: String,
    pub content_type: String,
    /// In bytes: the most that the link takes.
    pub size: u64,
}

/// A request that storage itself answers; it needs no login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ObjectLink {
    pub key: String,
    pub url: String,
    #[schema(examples("PUT"))]
    pub method: String,
    /// Must be sent with the request as they are.
    pub headers: BTreeMap<String, String>,
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}
