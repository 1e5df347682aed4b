use axum::extract::State;
use windrow_api_types::{AuditEntry, AuditQuery, Page};

use crate::{ApiResult, ApiState, Caller, Query};

/// Read the audit log
///
/// Admins only; newest first.
#[utoipa::path(
    get,
    path = "/v1/audit",
    operation_id = "audit_list",
    tag = "admin",
    params(AuditQuery),
    responses((status = 200, body = Page<AuditEntry>), crate::Problems),
)]
pub(crate) async fn list(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Query(query): Query<AuditQuery>,
) -> ApiResult<axum::Json<Page<AuditEntry>>> {
    Ok(axum::Json(state.app.list_audit(&actor, &query).await?))
}
