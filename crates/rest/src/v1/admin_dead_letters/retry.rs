use axum::extract::State;
use windrow_api_types::{Decision, Job};
use windrow_app::DeadLetterAct;
use windrow_core::JobId;

use crate::{ApiResult, ApiState, Caller, Json, Path};

/// Retry anybody's dead letter
///
/// Admins only; audited.
#[utoipa::path(
    post,
    path = "/v1/admin/dead-letters/{job_id}/retry",
    operation_id = "admin_dead_letters_retry",
    tag = "admin",
    params(("job_id" = uuid::Uuid, Path)),
    request_body = Decision,
    responses((status = 200, body = Job), crate::Problems),
)]
pub(crate) async fn retry(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(job_id): Path<JobId>,
    Json(body): Json<Decision>,
) -> ApiResult<axum::Json<Job>> {
    Ok(axum::Json(state.app.decide_anybodys_dead_letter(&actor, job_id, DeadLetterAct::Retry, &body).await?))
}
