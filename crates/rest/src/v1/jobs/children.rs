use axum::extract::State;
use windrow_api_types::{Job, Page, PageQuery};
use windrow_core::JobId;

use crate::{ApiResult, ApiState, Caller, Path, Query};

/// List the jobs that a job made
#[utoipa::path(
    get,
    path = "/v1/jobs/{job_id}/children",
    operation_id = "jobs_children",
    tag = "jobs",
    params(("job_id" = uuid::Uuid, Path), PageQuery),
    responses((status = 200, body = Page<Job>), crate::Problems),
)]
pub(crate) async fn children(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(job_id): Path<JobId>,
    Query(query): Query<PageQuery>,
) -> ApiResult<axum::Json<Page<Job>>> {
    Ok(axum::Json(state.app.job_children(&actor, job_id, &query).await?))
}
