use axum::extract::State;
use windrow_api_types::{Decision, Job};
use windrow_core::JobId;

use crate::{ApiResult, ApiState, Caller, Json, Path};

/// Approve a job
///
/// Admins only; audited.
#[utoipa::path(
    post,
    path = "/v1/jobs/{job_id}/approve",
    operation_id = "jobs_approve",
    tag = "admin",
    params(("job_id" = uuid::Uuid, Path)),
    request_body = Decision,
    responses((status = 200, body = Job), crate::Problems),
)]
pub(crate) async fn approve(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(job_id): Path<JobId>,
    Json(body): Json<Decision>,
) -> ApiResult<axum::Json<Job>> {
    Ok(axum::Json(state.app.approve_job(&actor, job_id, &body).await?))
}
