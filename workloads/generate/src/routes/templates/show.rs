use axum::extract::State;
use uuid::Uuid;
use windrow_rest::{ApiResult, ApiState, Caller, Path, Problems, Query};

use super::body;
use crate::routes::errors;
use crate::use_cases::templates;
use crate::wire::{TemplateBody, VersionQuery};

/// Show a template
///
/// Your own or a public one, at one version.
#[utoipa::path(
    get,
    path = "/v1/templates/{template_id}",
    operation_id = "templates_show",
    tag = "templates",
    params(("template_id" = Uuid, Path), VersionQuery),
    responses((status = 200, body = TemplateBody), Problems),
)]
pub(crate) async fn show(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(template_id): Path<Uuid>,
    Query(query): Query<VersionQuery>,
) -> ApiResult<axum::Json<TemplateBody>> {
    actor.may_read()?;
    let mut conn = state.app.read().await?;
    let found = templates::get(&mut conn, actor.owner(), template_id, query.version).await;
    drop(conn);
    let found = found.map_err(|error| errors::template(error, ""))?;
    Ok(axum::Json(body(found, actor.owner())?))
}
