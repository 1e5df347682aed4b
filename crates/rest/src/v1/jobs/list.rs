use axum::extract::State;
use windrow_api_types::{Job, JobListQuery, Page};

use crate::{ApiResult, ApiState, Caller, Query};

/// List your jobs
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/v1/jobs",
    operation_id = "jobs_list",
    tag = "jobs",
    params(JobListQuery),
    responses((status = 200, body = Page<Job>), crate::Problems),
)]
pub(crate) async fn list(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Query(query): Query<JobListQuery>,
) -> ApiResult<axum::Json<Page<Job>>> {
    Ok(axum::Json(state.app.list_jobs(&actor, &query).await?))
}
