use axum::extract::State;
use windrow_api_types::Job;
use windrow_app::DeadLetterAct;
use windrow_core::JobId;

use crate::{ApiResult, ApiState, Caller, Path};

/// Retry one of your dead letters
#[utoipa::path(
    post,
    path = "/v1/dead-letters/{job_id}/retry",
    operation_id = "dead_letters_retry",
    tag = "dead letters",
    params(("job_id" = uuid::Uuid, Path)),
    responses((status = 200, body = Job), crate::Problems),
)]
pub(crate) async fn retry(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(job_id): Path<JobId>,
) -> ApiResult<axum::Json<Job>> {
    Ok(axum::Json(state.app.decide_dead_letter(&actor, job_id, DeadLetterAct::Retry).await?))
}
