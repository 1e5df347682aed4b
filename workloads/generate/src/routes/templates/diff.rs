use axum::extract::State;
use uuid::Uuid;
use windrow_rest::{ApiResult, ApiState, Caller, Path, Problems, Query};

use crate::routes::errors;
use crate::use_cases::templates;
use crate::wire::{DiffQuery, TemplateDiff};

/// Compare two versions of a template
///
/// As a unified diff of their texts.
#[utoipa::path(
    get,
    path = "/v1/templates/{template_id}/diff",
    operation_id = "templates_diff",
    tag = "templates",
    params(("template_id" = Uuid, Path), DiffQuery),
    responses((status = 200, body = TemplateDiff), Problems),
)]
pub(crate) async fn diff(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(template_id): Path<Uuid>,
    Query(query): Query<DiffQuery>,
) -> ApiResult<axum::Json<TemplateDiff>> {
    actor.may_read()?;
    let mut conn = state.app.read().await?;
    let refused = |error| errors::template(error, "");
    let from =
        templates::get(&mut conn, actor.owner(), template_id, Some(query.from)).await.map_err(refused)?;
    let to = templates::get(&mut conn, actor.owner(), template_id, query.to).await.map_err(refused)?;
    drop(conn);
    Ok(axum::Json(TemplateDiff {
        from: from.version.version,
        to: to.version.version,
        diff: templates::diff(&from, &to),
    }))
}
