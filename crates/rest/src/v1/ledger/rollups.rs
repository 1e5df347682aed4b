use axum::extract::State;
use windrow_api_types::{LedgerRollup, RollupQuery};

use crate::{ApiResult, ApiState, Caller, Query};

/// Sum up what you spent
///
/// By day, workload or model.
#[utoipa::path(
    get,
    path = "/v1/ledger/rollups",
    operation_id = "ledger_rollups",
    tag = "money",
    params(RollupQuery),
    responses((status = 200, body = Vec<LedgerRollup>), crate::Problems),
)]
pub(crate) async fn rollups(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Query(query): Query<RollupQuery>,
) -> ApiResult<axum::Json<Vec<LedgerRollup>>> {
    Ok(axum::Json(state.app.ledger_rollups(&actor, &query).await?))
}
