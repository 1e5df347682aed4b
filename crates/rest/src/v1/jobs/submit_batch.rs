use axum::extract::State;
use windrow_api_types::{BatchReply, BatchRequest};

use crate::{ApiResult, ApiState, Caller, Json};

/// Submit up to 10,000 jobs
///
/// Answered item by item: a bad one fails alone.
#[utoipa::path(
    post,
    path = "/v1/jobs/batch",
    operation_id = "jobs_submit_batch",
    tag = "jobs",
    request_body = BatchRequest,
    responses((status = 200, body = BatchReply), crate::Problems),
)]
pub(crate) async fn submit_batch(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Json(body): Json<BatchRequest>,
) -> ApiResult<axum::Json<BatchReply>> {
    Ok(axum::Json(state.app.submit_batch(&actor, body).await?))
}
