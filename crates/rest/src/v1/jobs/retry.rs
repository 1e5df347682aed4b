use axum::extract::State;
use windrow_api_types::{Job, RetryJob};
use windrow_core::JobId;

use crate::{ApiResult, ApiState, Caller, OptionalJson, Path};

/// Put a failed job back into the queue
///
/// It goes on from what was saved; attempts start anew, run numbers go on. A job that exceeded its budget needs a larger
/// one. Raising a budget is audited, and above what a submit needs an admin's approval for only an admin can.
#[utoipa::path(
    post,
    path = "/v1/jobs/{job_id}/retry",
    operation_id = "jobs_retry",
    tag = "jobs",
    params(("job_id" = uuid::Uuid, Path)),
    request_body = Option<RetryJob>,
    responses((status = 200, body = Job), crate::Problems),
)]
pub(crate) async fn retry(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(job_id): Path<JobId>,
    OptionalJson(body): OptionalJson<RetryJob>,
) -> ApiResult<axum::Json<Job>> {
    Ok(axum::Json(state.app.retry_job(&actor, job_id, &body).await?))
}
