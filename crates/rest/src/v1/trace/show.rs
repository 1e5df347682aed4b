use axum::extract::State;
use windrow_api_types::Trace;

use crate::{ApiResult, ApiState, Caller, Path};

/// Show what a request set going
///
/// Its jobs, their runs, its audit lines, and its log lines where the installation keeps them.
#[utoipa::path(
    get,
    path = "/v1/trace/{request_id}",
    operation_id = "trace_show",
    tag = "operations",
    params(("request_id" = String, Path)),
    responses((status = 200, body = Trace), crate::Problems),
)]
pub(crate) async fn show(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(request_id): Path<String>,
) -> ApiResult<axum::Json<Trace>> {
    Ok(axum::Json(state.app.trace(&actor, &request_id).await?))
}
