use axum::extract::State;
use windrow_api_types::Job;
use windrow_core::JobId;

use crate::{ApiResult, ApiState, Caller, Path};

/// Show a job
#[utoipa::path(
    get,
    path = "/v1/jobs/{job_id}",
    operation_id = "jobs_show",
    tag = "jobs",
    params(("job_id" = uuid::Uuid, Path)),
    responses((status = 200, body = Job), crate::Problems),
)]
pub(crate) async fn show(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(job_id): Path<JobId>,
) -> ApiResult<axum::Json<Job>> {
    Ok(axum::Json(state.app.show_job(&actor, job_id).await?))
}
