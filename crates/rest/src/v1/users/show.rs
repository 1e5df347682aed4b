use axum::extract::State;
use windrow_api_types::User;
use windrow_core::OwnerId;

use crate::{ApiResult, ApiState, Caller, Path};

/// Show a user
///
/// Admins only.
#[utoipa::path(
    get,
    path = "/v1/users/{user_id}",
    operation_id = "users_show",
    tag = "admin",
    params(("user_id" = i64, Path)),
    responses((status = 200, body = User), crate::Problems),
)]
pub(crate) async fn show(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(user_id): Path<i64>,
) -> ApiResult<axum::Json<User>> {
    Ok(axum::Json(state.app.show_user(&actor, OwnerId(user_id)).await?))
}
