use axum::extract::State;
use axum::http::StatusCode;
use windrow_core::ids::uuid_v7;
use windrow_rest::{ApiResult, ApiState, Caller, Json, Problems};

use super::{body, text_of};
use crate::routes::errors;
use crate::use_cases::templates;
use crate::wire::{TemplateBody, TemplateText};

/// Create a template
///
/// It is stored as version 1, private. The answer lists which paths of the seed record its texts use, and which of them
/// `schema_requirements` doesn't declare. Fragments that it includes are looked up when a job is submitted.
#[utoipa::path(
    post,
    path = "/v1/templates",
    operation_id = "templates_create",
    tag = "templates",
    request_body = TemplateText,
    responses((status = 201, body = TemplateBody), Problems),
)]
pub(crate) async fn create(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Json(request): Json<TemplateText>,
) -> ApiResult<(StatusCode, axum::Json<TemplateBody>)> {
    actor.may_write()?;
    let text = text_of(request.document)?;
    let parts = &state.app.parts;
    let (owner, id, now) = (actor.owner(), uuid_v7(&*parts.clock), parts.clock.now());
    let written = parts.store.unit(move |tx| {
        let text = text.clone();
        Box::pin(async move { templates::create(tx, owner, id, &text, now).await })
    });
    let found = written.await.map_err(|error| errors::template(error, "/document"))?;
    Ok((StatusCode::CREATED, axum::Json(body(found, actor.owner())?)))
}
