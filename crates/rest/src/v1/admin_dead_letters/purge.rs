use axum::extract::State;
use windrow_api_types::{DeadLetterDecision, DeadLettersChanged};
use windrow_app::DeadLetterAct;

use crate::{ApiResult, ApiState, Caller, Json};

/// Discard all dead letters of a filter, whosever they are
///
/// Admins only; each is audited.
#[utoipa::path(
    post,
    path = "/v1/admin/dead-letters/purge",
    operation_id = "admin_dead_letters_purge",
    tag = "admin",
    request_body = DeadLetterDecision,
    responses((status = 200, body = DeadLettersChanged), crate::Problems),
)]
pub(crate) async fn purge(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Json(body): Json<DeadLetterDecision>,
) -> ApiResult<axum::Json<DeadLettersChanged>> {
    Ok(axum::Json(state.app.decide_everybodys_dead_letters(&actor, &body, DeadLetterAct::Discard).await?))
}
