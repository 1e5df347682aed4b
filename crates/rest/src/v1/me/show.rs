use axum::extract::State;
use windrow_api_types::Me;

use crate::{ApiResult, ApiState, Caller};

/// Who am I
#[utoipa::path(
    get,
    path = "/v1/me",
    operation_id = "me_show",
    tag = "me",
    responses((status = 200, body = Me), crate::Problems),
)]
pub(crate) async fn show(State(state): State<ApiState>, Caller(actor): Caller) -> ApiResult<axum::Json<Me>> {
    Ok(axum::Json(state.app.me(&actor).await?))
}
