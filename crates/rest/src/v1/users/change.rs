use axum::extract::State;
use windrow_api_types::{ChangeUser, User};
use windrow_app::Authority;
use windrow_core::OwnerId;

use crate::{ApiResult, ApiState, Caller, Json, Path};

/// Change a user's role or status
///
/// Admins only; audited; works on the user's very next request. The last active admin stays one.
#[utoipa::path(
    patch,
    path = "/v1/users/{user_id}",
    operation_id = "users_change",
    tag = "admin",
    params(("user_id" = i64, Path)),
    request_body = ChangeUser,
    responses((status = 200, body = User), crate::Problems),
)]
pub(crate) async fn change(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(user_id): Path<i64>,
    Json(body): Json<ChangeUser>,
) -> ApiResult<axum::Json<User>> {
    Ok(axum::Json(state.app.change_user(Authority::Actor(&actor), OwnerId(user_id), &body).await?))
}
