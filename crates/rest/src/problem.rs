//! Every error that leaves the API: RFC 9457 problem documents.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use windrow_api_types::{PROBLEM_JSON, Problem};
use windrow_app::AppError;
use windrow_core::{FieldError, JobError};

/// The error of every handler. Its body is a [`Problem`]; `request_id` is filled in by the outermost layer.
#[derive(Debug)]
pub struct ApiError(Box<Problem>);

/// What handlers return.
pub type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    pub fn new(status: StatusCode, code: &str, detail: impl std::fmt::Display) -> Self {
        Self(Box::new(Problem::new(status.as_u16(), code, detail.to_string())))
    }

    /// 422 with each fault by JSON pointer.
    pub fn invalid(detail: impl std::fmt::Display, errors: Vec<FieldError>) -> Self {
        let mut error = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", detail);
        error.0.errors = errors;
        error
    }

    /// Worker protocol: how the run fails because of this.
    #[must_use]
    pub(crate) fn with_job_error(mut self, error: JobError) -> Self {
        self.0.job_error = Some(error);
        self
    }

    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("no such {what}"))
    }
}

impl From<AppError> for ApiError {
    fn from(error: AppError) -> Self {
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            tracing::error!(error = ?error, code = error.code(), "the request failed");
        }
        let mut problem = Self::new(status, error.code(), &error);
        problem.0.errors = error.into_field_errors();
        problem
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let problem = self.0;
        let mut response = (status, Json(&*problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(ProblemBody(problem));
        response
    }
}

/// Kept beside the serialised body, so that a layer can complete it without parsing it again.
#[derive(Clone)]
pub(crate) struct ProblemBody(pub(crate) Box<Problem>);

/// How a handler that can be refused says so in the OpenAPI document.
#[derive(utoipa::IntoResponses)]
pub enum Problems {
    /// The request can't be read.
    #[response(status = 400, content_type = "application/problem+json")]
    BadRequest(Problem),
    /// No credential, or a bad one.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(Problem),
    /// A role or scope too low, or a disabled user.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// No such thing, or somebody else's.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(Problem),
    /// The state of things does not allow it.
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(Problem),
    /// The body, or the file that it announces, is larger than allowed.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(Problem),
    /// What was sent is not as it must be; `errors` has each fault by JSON pointer.
    #[response(status = 422, content_type = "application/problem+json")]
    Unprocessable(Problem),
    /// The database or storage can't be reached just now.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Problem),
}
