use axum::extract::State;
use axum::http::StatusCode;
use windrow_api_types::SettleUnconfirmed;
use windrow_core::CallId;

use crate::{ApiResult, ApiState, Caller, Json, Path};

/// Settle an unconfirmed call by the provider's bill
///
/// Admins only; audited.
#[utoipa::path(
    post,
    path = "/v1/ledger/unconfirmed/{call_id}/settle",
    operation_id = "ledger_settle",
    tag = "admin",
    params(("call_id" = uuid::Uuid, Path)),
    request_body = SettleUnconfirmed,
    responses((status = 204), crate::Problems),
)]
pub(crate) async fn settle(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(call_id): Path<CallId>,
    Json(body): Json<SettleUnconfirmed>,
) -> ApiResult<StatusCode> {
    state.app.settle_unconfirmed(&actor, call_id, &body).await?;
    Ok(StatusCode::NO_CONTENT)
}
