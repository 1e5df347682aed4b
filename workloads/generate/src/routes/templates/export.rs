use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use uuid::Uuid;
use windrow_rest::{ApiResult, ApiState, Caller, Path, Problems, Query};

use crate::routes::errors;
use crate::use_cases::templates;
use crate::wire::VersionQuery;

/// Export a template
///
/// A YAML file that can be imported elsewhere.
#[utoipa::path(
    get,
    path = "/v1/templates/{template_id}/export",
    operation_id = "templates_export",
    tag = "templates",
    params(("template_id" = Uuid, Path), VersionQuery),
    responses((status = 200, body = String, content_type = "application/yaml"), Problems),
)]
pub(crate) async fn export(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(template_id): Path<Uuid>,
    Query(query): Query<VersionQuery>,
) -> ApiResult<Response> {
    actor.may_read()?;
    let mut conn = state.app.read().await?;
    let refused = |error| errors::template(error, "");
    let found =
        templates::get(&mut conn, actor.owner(), template_id, query.version).await.map_err(refused)?;
    drop(conn);
    let yaml = templates::yaml(&found.version.document).map_err(refused)?;
    // a template's name has no character that a header would need to escape
    let name = format!("attachment; filename=\"{}@{}.yaml\"", found.template.name, found.version.version);
    let headers =
        [(header::CONTENT_TYPE, "application/yaml".to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, yaml).into_response())
}
