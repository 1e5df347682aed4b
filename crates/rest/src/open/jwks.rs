use axum::extract::State;
use serde_json::Value;

use crate::{ApiError, ApiResult, ApiState};

/// The keys of this server's own issuer (auth mode `local`)
#[utoipa::path(get, path = "/.well-known/jwks.json", operation_id = "jwks", tag = "operations", security(()),
    responses((status = 200, body = Object), crate::Problems))]
pub(crate) async fn jwks(State(state): State<ApiState>) -> ApiResult<axum::Json<Value>> {
    let keys =
        state.jwks.as_deref().cloned().ok_or_else(|| ApiError::not_found("local issuer on this server"))?;
    Ok(axum::Json(keys))
}
