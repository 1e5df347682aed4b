use axum::extract::State;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use windrow_api_types::{SubmitJob, Submitted};
use windrow_app::SubmitReply;

use crate::{ApiResult, ApiState, Caller, IdempotencyKey, Json};

/// Submit a job
///
/// Answers once the job is on disk. With `Idempotency-Key`, equal requests make one job: the repeat answers 200 with
/// `Idempotency-Replayed: true`, another body under the same key 409.
#[utoipa::path(
    post,
    path = "/v1/jobs",
    operation_id = "jobs_submit",
    tag = "jobs",
    params(("idempotency-key" = Option<String>, Header, description = "1 to 255 printable ASCII characters")),
    request_body = SubmitJob,
    responses(
        (status = 202, description = "the job is on disk", body = Submitted),
        (status = 200, description = "an earlier request with this key had made the job", body = Submitted),
        crate::Problems
    ),
)]
pub(crate) async fn submit(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<SubmitJob>,
) -> ApiResult<Response> {
    let SubmitReply { job, reused } = state.app.submit_job(&actor, body, key.as_deref()).await?;
    let status = if reused { StatusCode::OK } else { StatusCode::ACCEPTED };
    let mut response = (status, axum::Json(Submitted { job, reused })).into_response();
    if reused {
        response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}
