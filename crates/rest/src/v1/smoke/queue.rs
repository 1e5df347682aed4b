use axum::extract::State;
use windrow_api_types::SmokeReport;
use windrow_app::Authority;

use crate::{ApiResult, ApiState, Caller};

/// Try the queue out
///
/// Admins only. Sends, receives and deletes a message that no worker and no list sees.
#[utoipa::path(
    post,
    path = "/v1/smoke/queue",
    operation_id = "smoke_queue",
    tag = "admin",
    responses((status = 200, body = SmokeReport), crate::Problems),
)]
pub(crate) async fn queue(
    State(state): State<ApiState>,
    Caller(actor): Caller,
) -> ApiResult<axum::Json<SmokeReport>> {
    Ok(axum::Json(state.app.smoke_queue(Authority::Actor(&actor)).await?))
}
