use axum::extract::State;
use uuid::Uuid;
use windrow_rest::{ApiResult, ApiState, Caller, Path, Problems};

use crate::routes::errors;
use crate::use_cases::templates;
use crate::wire::VersionHead;

/// List a template's versions
///
/// Newest first, at most 1,000.
#[utoipa::path(
    get,
    path = "/v1/templates/{template_id}/versions",
    operation_id = "templates_versions",
    tag = "templates",
    params(("template_id" = Uuid, Path)),
    responses((status = 200, body = Vec<VersionHead>), Problems),
)]
pub(crate) async fn versions(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(template_id): Path<Uuid>,
) -> ApiResult<axum::Json<Vec<VersionHead>>> {
    actor.may_read()?;
    let mut conn = state.app.read().await?;
    let found = templates::versions(&mut conn, actor.owner(), template_id).await;
    let rows = found.map_err(|error| errors::template(error, ""))?;
    let heads = rows.into_iter().map(|row| VersionHead {
        version: row.version,
        sha256: row.sha256,
        created_at: row.created_at,
    });
    Ok(axum::Json(heads.collect()))
}
