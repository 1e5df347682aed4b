use axum::extract::State;
use axum::http::StatusCode;
use uuid::Uuid;
use windrow_rest::{ApiResult, ApiState, Caller, Json, Path, Problems};

use super::{body, text_of};
use crate::routes::errors;
use crate::use_cases::templates;
use crate::wire::{TemplateBody, TemplateText};

/// Add a version to a template
///
/// Versions never change. The document must have the template's own name; fork the template to give it another.
#[utoipa::path(
    post,
    path = "/v1/templates/{template_id}/versions",
    operation_id = "templates_add_version",
    tag = "templates",
    params(("template_id" = Uuid, Path)),
    request_body = TemplateText,
    responses((status = 201, body = TemplateBody), Problems),
)]
pub(crate) async fn add_version(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(template_id): Path<Uuid>,
    Json(request): Json<TemplateText>,
) -> ApiResult<(StatusCode, axum::Json<TemplateBody>)> {
    actor.may_write()?;
    let text = text_of(request.document)?;
    let parts = &state.app.parts;
    let (owner, now) = (actor.owner(), parts.clock.now());
    let written = parts.store.unit(move |tx| {
        let text = text.clone();
        Box::pin(async move { templates::add_version(tx, owner, template_id, &text, now).await })
    });
    let found = written.await.map_err(|error| errors::template(error, "/document"))?;
    Ok((StatusCode::CREATED, axum::Json(body(found, actor.owner())?)))
}
