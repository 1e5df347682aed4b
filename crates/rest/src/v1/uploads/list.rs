use axum::extract::State;
use windrow_api_types::{Page, PageQuery, Upload};

use crate::{ApiResult, ApiState, Caller, Query};

/// List your uploads
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/v1/uploads",
    operation_id = "uploads_list",
    tag = "uploads",
    params(PageQuery),
    responses((status = 200, body = Page<Upload>), crate::Problems),
)]
pub(crate) async fn list(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Query(query): Query<PageQuery>,
) -> ApiResult<axum::Json<Page<Upload>>> {
    Ok(axum::Json(state.app.list_uploads(&actor, &query).await?))
}
