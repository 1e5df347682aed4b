use axum::extract::State;
use windrow_api_types::Job;
use windrow_core::JobId;

use crate::{ApiResult, ApiState, Caller, Path};

/// Cancel a job
///
/// A queued job at once, a running one within a second; what it saved is kept. Its children are cancelled with it.
#[utoipa::path(
    post,
    path = "/v1/jobs/{job_id}/cancel",
    operation_id = "jobs_cancel",
    tag = "jobs",
    params(("job_id" = uuid::Uuid, Path)),
    responses((status = 200, body = Job), crate::Problems),
)]
pub(crate) async fn cancel(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(job_id): Path<JobId>,
) -> ApiResult<axum::Json<Job>> {
    Ok(axum::Json(state.app.cancel_job(&actor, job_id).await?))
}
