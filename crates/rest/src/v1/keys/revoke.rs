use axum::extract::State;
use windrow_api_types::ApiKey;
use windrow_core::ApiKeyId;

use crate::{ApiResult, ApiState, Caller, Path};

/// Revoke an API key
///
/// Works at once.
#[utoipa::path(
    delete,
    path = "/v1/keys/{key_id}",
    operation_id = "keys_revoke",
    tag = "me",
    params(("key_id" = uuid::Uuid, Path)),
    responses((status = 200, body = ApiKey), crate::Problems),
)]
pub(crate) async fn revoke(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(key_id): Path<ApiKeyId>,
) -> ApiResult<axum::Json<ApiKey>> {
    Ok(axum::Json(state.app.revoke_key(&actor, key_id).await?))
}
