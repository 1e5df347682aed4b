//! Errors as RFC 9457 problem details.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use windrow_core::{FieldError, JobError};

use crate::schema::FieldErrorSchema;

/// The content type of a [`Problem`].
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What every error of the API looks like (RFC 9457, `application/problem+json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: `code` says which problem it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// The HTTP status in words.
    #[schema(examples("Unprocessable Content"))]
    pub title: String,
    /// The HTTP status.
    #[schema(examples(422))]
    pub status: u16,
    /// What went wrong here, and what to do about it.
    pub detail: String,
    /// Stable, snake_case: for programs.
    #[schema(examples("invalid_spec"))]
    pub code: String,
    /// The `x-request-id` of the request; every log line of it has the same.
    pub request_id: String,
    /// Each fault of what was sent, by JSON pointer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<FieldErrorSchema>)]
    pub errors: Vec<FieldError>,
    /// Worker protocol: how the run fails because of this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub job_error: Option<JobError>,
}

impl Problem {
    pub fn new(status: u16, code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".to_owned(),
            title: title(status).to_owned(),
            status,
            detail: detail.into(),
            code: code.into(),
            request_id: String::new(),
            errors: Vec::new(),
            job_error: None,
        }
    }

    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    #[must_use]
    pub fn with_job_error(mut self, error: JobError) -> Self {
        self.job_error = Some(error);
        self
    }

    #[must_use]
    pub fn with_request_id(mut self, request_id: impl Into<String>) -> Self {
        self.request_id = request_id.into();
        self
    }
}

/// Reason phrases of RFC 9110, section 15, and RFC 6585.
const fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        422 => "Unprocessable Content",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Error",
    }
}
