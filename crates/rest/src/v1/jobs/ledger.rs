use axum::extract::State;
use windrow_api_types::{LedgerQuery, LedgerRow, Page};
use windrow_core::JobId;

use crate::{ApiResult, ApiState, Caller, Path, Query};

/// List what a job cost, call by call
///
/// Its children included.
#[utoipa::path(
    get,
    path = "/v1/jobs/{job_id}/ledger",
    operation_id = "jobs_ledger",
    tag = "jobs",
    params(("job_id" = uuid::Uuid, Path), LedgerQuery),
    responses((status = 200, body = Page<LedgerRow>), crate::Problems),
)]
pub(crate) async fn ledger(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(job_id): Path<JobId>,
    Query(query): Query<LedgerQuery>,
) -> ApiResult<axum::Json<Page<LedgerRow>>> {
    Ok(axum::Json(state.app.job_ledger(&actor, job_id, &query).await?))
}
