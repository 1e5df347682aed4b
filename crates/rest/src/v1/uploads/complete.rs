use axum::extract::State;
use windrow_api_types::Upload;
use windrow_core::UploadId;

use crate::{ApiResult, ApiState, Caller, Path};

/// Have an upload checked
///
/// Existence, size, SHA-256 and type; from then on jobs can use it, and its URL is dead.
#[utoipa::path(
    post,
    path = "/v1/uploads/{upload_id}/complete",
    operation_id = "uploads_complete",
    tag = "uploads",
    params(("upload_id" = uuid::Uuid, Path)),
    responses((status = 200, body = Upload), crate::Problems),
)]
pub(crate) async fn complete(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(upload_id): Path<UploadId>,
) -> ApiResult<axum::Json<Upload>> {
    Ok(axum::Json(state.app.complete_upload(&actor, upload_id).await?))
}
