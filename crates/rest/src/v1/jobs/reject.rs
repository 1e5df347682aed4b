use axum::extract::State;
use windrow_api_types::{Decision, Job};
use windrow_core::JobId;

use crate::{ApiResult, ApiState, Caller, Json, Path};

/// Reject a job that waits for approval
///
/// Admins only; audited.
#[utoipa::path(
    post,
    path = "/v1/jobs/{job_id}/reject",
    operation_id = "jobs_reject",
    tag = "admin",
    params(("job_id" = uuid::Uuid, Path)),
    request_body = Decision,
    responses((status = 200, body = Job), crate::Problems),
)]
pub(crate) async fn reject(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(job_id): Path<JobId>,
    Json(body): Json<Decision>,
) -> ApiResult<axum::Json<Job>> {
    Ok(axum::Json(state.app.reject_job(&actor, job_id, &body).await?))
}
