use axum::extract::State;
use windrow_api_types::ArtifactGroup;
use windrow_core::JobId;

use crate::{ApiResult, ApiState, Caller, Path};

/// List the artifacts of a job
///
/// The latest version of each kind and the five before it.
#[utoipa::path(
    get,
    path = "/v1/jobs/{job_id}/artifacts",
    operation_id = "jobs_artifacts",
    tag = "artifacts",
    params(("job_id" = uuid::Uuid, Path)),
    responses((status = 200, body = Vec<ArtifactGroup>), crate::Problems),
)]
pub(crate) async fn artifacts(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(job_id): Path<JobId>,
) -> ApiResult<axum::Json<Vec<ArtifactGroup>>> {
    Ok(axum::Json(state.app.job_artifacts(&actor, job_id).await?))
}
