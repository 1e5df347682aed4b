use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use windrow_api_types::{Health, Ready};

use crate::ApiState;

/// Alive
///
/// The process runs and answers. Asks nothing of the database.
#[utoipa::path(get, path = "/v1/health", operation_id = "health_v1", tag = "operations", security(()),
    responses((status = 200, body = Health)))]
pub(crate) async fn alive_v1(State(state): State<ApiState>) -> axum::Json<Health> {
    axum::Json(state.app.health())
}

/// Ready, under the name that load balancers ask for
#[utoipa::path(get, path = "/health", operation_id = "health", tag = "operations", security(()),
    responses((status = 200, body = Ready), (status = 503, body = Ready)))]
pub(crate) async fn alive(state: State<ApiState>) -> Response {
    ready(state).await
}

/// Ready
///
/// 503 when the database, storage or queue can't be reached, or a migration is pending.
#[utoipa::path(get, path = "/ready", operation_id = "ready", tag = "operations", security(()),
    responses((status = 200, body = Ready), (status = 503, body = Ready)))]
pub(crate) async fn ready(State(state): State<ApiState>) -> Response {
    let ready = state.app.ready().await;
    let status = if ready.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(ready)).into_response()
}
