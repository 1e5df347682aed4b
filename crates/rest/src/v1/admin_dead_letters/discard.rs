use axum::extract::State;
use windrow_api_types::{Decision, Job};
use windrow_app::DeadLetterAct;
use windrow_core::JobId;

use crate::{ApiResult, ApiState, Caller, Json, Path};

/// Decide that anybody's dead letter needs no further attention
///
/// Admins only; audited.
#[utoipa::path(
    post,
    path = "/v1/admin/dead-letters/{job_id}/discard",
    operation_id = "admin_dead_letters_discard",
    tag = "admin",
    params(("job_id" = uuid::Uuid, Path)),
    request_body = Decision,
    responses((status = 200, body = Job), crate::Problems),
)]
pub(crate) async fn discard(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(job_id): Path<JobId>,
    Json(body): Json<Decision>,
) -> ApiResult<axum::Json<Job>> {
    Ok(axum::Json(
        state.app.decide_anybodys_dead_letter(&actor, job_id, DeadLetterAct::Discard, &body).await?,
    ))
}
