use axum::extract::State;
use windrow_api_types::SmokeReport;
use windrow_app::Authority;

use crate::{ApiResult, ApiState, Caller};

/// Try storage out
///
/// Admins only. Puts, reads and deletes an object.
#[utoipa::path(
    post,
    path = "/v1/smoke/storage",
    operation_id = "smoke_storage",
    tag = "admin",
    responses((status = 200, body = SmokeReport), crate::Problems),
)]
pub(crate) async fn storage(
    State(state): State<ApiState>,
    Caller(actor): Caller,
) -> ApiResult<axum::Json<SmokeReport>> {
    Ok(axum::Json(state.app.smoke_storage(Authority::Actor(&actor)).await?))
}
