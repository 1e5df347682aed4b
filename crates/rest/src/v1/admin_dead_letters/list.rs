use axum::extract::State;
use windrow_api_types::{DeadLetter, DeadLetterQuery, Page};

use crate::{ApiResult, ApiState, Caller, Query};

/// List everybody's dead letters
///
/// Admins only.
#[utoipa::path(
    get,
    path = "/v1/admin/dead-letters",
    operation_id = "admin_dead_letters_list",
    tag = "admin",
    params(DeadLetterQuery),
    responses((status = 200, body = Page<DeadLetter>), crate::Problems),
)]
pub(crate) async fn list(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Query(query): Query<DeadLetterQuery>,
) -> ApiResult<axum::Json<Page<DeadLetter>>> {
    Ok(axum::Json(state.app.list_all_dead_letters(&actor, &query).await?))
}
