use axum::extract::State;
use windrow_api_types::Run;
use windrow_core::JobId;

use crate::{ApiResult, ApiState, Caller, Path};

/// List the runs of a job
///
/// Oldest first.
#[utoipa::path(
    get,
    path = "/v1/jobs/{job_id}/runs",
    operation_id = "jobs_runs",
    tag = "jobs",
    params(("job_id" = uuid::Uuid, Path)),
    responses((status = 200, body = Vec<Run>), crate::Problems),
)]
pub(crate) async fn runs(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(job_id): Path<JobId>,
) -> ApiResult<axum::Json<Vec<Run>>> {
    Ok(axum::Json(state.app.job_runs(&actor, job_id).await?))
}
