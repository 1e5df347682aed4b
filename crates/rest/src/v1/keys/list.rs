use axum::extract::State;
use windrow_api_types::ApiKey;

use crate::{ApiResult, ApiState, Caller};

/// List your API keys
#[utoipa::path(
    get,
    path = "/v1/keys",
    operation_id = "keys_list",
    tag = "me",
    responses((status = 200, body = Vec<ApiKey>), crate::Problems),
)]
pub(crate) async fn list(
    State(state): State<ApiState>,
    Caller(actor): Caller,
) -> ApiResult<axum::Json<Vec<ApiKey>>> {
    Ok(axum::Json(state.app.list_keys(&actor).await?))
}
