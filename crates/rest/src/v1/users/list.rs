use axum::extract::State;
use windrow_api_types::{Page, User, UserQuery};

use crate::{ApiResult, ApiState, Caller, Query};

/// List users
///
/// Admins only.
#[utoipa::path(
    get,
    path = "/v1/users",
    operation_id = "users_list",
    tag = "admin",
    params(UserQuery),
    responses((status = 200, body = Page<User>), crate::Problems),
)]
pub(crate) async fn list(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Query(query): Query<UserQuery>,
) -> ApiResult<axum::Json<Page<User>>> {
    Ok(axum::Json(state.app.list_users(&actor, &query).await?))
}
