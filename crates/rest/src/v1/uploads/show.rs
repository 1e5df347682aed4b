use axum::extract::State;
use windrow_api_types::Upload;
use windrow_core::UploadId;

use crate::{ApiResult, ApiState, Caller, Path};

/// Show an upload
#[utoipa::path(
    get,
    path = "/v1/uploads/{upload_id}",
    operation_id = "uploads_show",
    tag = "uploads",
    params(("upload_id" = uuid::Uuid, Path)),
    responses((status = 200, body = Upload), crate::Problems),
)]
pub(crate) async fn show(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(upload_id): Path<UploadId>,
) -> ApiResult<axum::Json<Upload>> {
    Ok(axum::Json(state.app.show_upload(&actor, upload_id).await?))
}
