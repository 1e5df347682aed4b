use axum::extract::State;
use windrow_api_types::{DeadLetterFilter, DeadLettersChanged};
use windrow_app::DeadLetterAct;

use crate::{ApiResult, ApiState, Caller, Json};

/// Retry all of your dead letters of a filter
#[utoipa::path(
    post,
    path = "/v1/dead-letters/retry",
    operation_id = "dead_letters_retry_all",
    tag = "dead letters",
    request_body = DeadLetterFilter,
    responses((status = 200, body = DeadLettersChanged), crate::Problems),
)]
pub(crate) async fn retry_all(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Json(body): Json<DeadLetterFilter>,
) -> ApiResult<axum::Json<DeadLettersChanged>> {
    Ok(axum::Json(state.app.decide_dead_letters(&actor, &body, DeadLetterAct::Retry).await?))
}
