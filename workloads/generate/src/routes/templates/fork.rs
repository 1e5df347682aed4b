use axum::extract::State;
use axum::http::StatusCode;
use uuid::Uuid;
use windrow_core::ids::uuid_v7;
use windrow_rest::{ApiResult, ApiState, Caller, Json, Path, Problems};

use super::body;
use crate::routes::errors;
use crate::use_cases::templates;
use crate::wire::{ForkTemplate, TemplateBody};

/// Fork a template
///
/// A copy of one version, your own and private.
#[utoipa::path(
    post,
    path = "/v1/templates/{template_id}/fork",
    operation_id = "templates_fork",
    tag = "templates",
    params(("template_id" = Uuid, Path)),
    request_body = ForkTemplate,
    responses((status = 201, body = TemplateBody), Problems),
)]
pub(crate) async fn fork(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(template_id): Path<Uuid>,
    Json(request): Json<ForkTemplate>,
) -> ApiResult<(StatusCode, axum::Json<TemplateBody>)> {
    actor.may_write()?;
    let parts = &state.app.parts;
    let (owner, id, now) = (actor.owner(), uuid_v7(&*parts.clock), parts.clock.now());
    let written = parts.store.unit(move |tx| {
        let ForkTemplate { version, name } = request.clone();
        Box::pin(async move {
            let source = templates::get(tx, owner, template_id, version).await?;
            templates::fork(tx, owner, &source, id, name.as_deref(), now).await
        })
    });
    let made = written.await.map_err(|error| errors::template(error, ""))?;
    Ok((StatusCode::CREATED, axum::Json(body(made, owner)?)))
}
