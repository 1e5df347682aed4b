use axum::extract::State;
use windrow_api_types::{Page, PageQuery, UnconfirmedCall};

use crate::{ApiResult, ApiState, Caller, Query};

/// List calls that left and were never answered
///
/// Admins only. Each is booked at its worst case.
#[utoipa::path(
    get,
    path = "/v1/ledger/unconfirmed",
    operation_id = "ledger_unconfirmed",
    tag = "admin",
    params(PageQuery),
    responses((status = 200, body = Page<UnconfirmedCall>), crate::Problems),
)]
pub(crate) async fn unconfirmed(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Query(query): Query<PageQuery>,
) -> ApiResult<axum::Json<Page<UnconfirmedCall>>> {
    Ok(axum::Json(state.app.list_unconfirmed(&actor, &query).await?))
}
