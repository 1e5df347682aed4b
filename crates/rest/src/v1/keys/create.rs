use axum::extract::State;
use axum::http::StatusCode;
use windrow_api_types::{CreateApiKey, CreatedApiKey};

use crate::{ApiResult, ApiState, Caller, Json};

/// Make an API key
///
/// The only answer that ever shows it.
#[utoipa::path(
    post,
    path = "/v1/keys",
    operation_id = "keys_create",
    tag = "me",
    request_body = CreateApiKey,
    responses((status = 201, body = CreatedApiKey), crate::Problems),
)]
pub(crate) async fn create(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Json(body): Json<CreateApiKey>,
) -> ApiResult<(StatusCode, axum::Json<CreatedApiKey>)> {
    Ok((StatusCode::CREATED, axum::Json(state.app.create_key(&actor, &body).await?)))
}
