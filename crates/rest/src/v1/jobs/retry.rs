use axum::extract::State;
use windrow_api_types::Job;
use windrow_core::JobId;

use crate::{ApiResult, ApiState, Caller, Path};

/// Put a failed job back into the queue
///
/// It goes on from what was saved; attempts start anew, run numbers go on.
#[utoipa::path(
    post,
    path = "/v1/jobs/{job_id}/retry",
    operation_id = "jobs_retry",
    tag = "jobs",
    params(("job_id" = uuid::Uuid, Path)),
    responses((status = 200, body = Job), crate::Problems),
)]
pub(crate) async fn retry(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(job_id): Path<JobId>,
) -> ApiResult<axum::Json<Job>> {
    Ok(axum::Json(state.app.retry_job(&actor, job_id).await?))
}
