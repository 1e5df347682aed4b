use axum::extract::State;
use axum::http::StatusCode;
use windrow_api_types::{CreateUpload, CreatedUpload};

use crate::{ApiResult, ApiState, Caller, Json};

/// Announce an upload
///
/// Answers where to put the bytes; the URL is good for 15 minutes.
#[utoipa::path(
    post,
    path = "/v1/uploads",
    operation_id = "uploads_create",
    tag = "uploads",
    request_body = CreateUpload,
    responses((status = 201, body = CreatedUpload), crate::Problems),
)]
pub(crate) async fn create(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Json(body): Json<CreateUpload>,
) -> ApiResult<(StatusCode, axum::Json<CreatedUpload>)> {
    Ok((StatusCode::CREATED, axum::Json(state.app.create_upload(&actor, &body).await?)))
}
