use axum::extract::State;
use uuid::Uuid;
use windrow_core::Role;
use windrow_rest::{ApiResult, ApiState, Caller, Json, Path, Problems};

use super::head;
use crate::routes::errors;
use crate::use_cases::templates;
use crate::wire::{ChangeTemplate, TemplateHead, Visibility};

/// Show a template to everybody, or to yourself alone
///
/// What others are to use takes the role `contributor`.
#[utoipa::path(
    patch,
    path = "/v1/templates/{template_id}",
    operation_id = "templates_change",
    tag = "templates",
    params(("template_id" = Uuid, Path)),
    request_body = ChangeTemplate,
    responses((status = 200, body = TemplateHead), Problems),
)]
pub(crate) async fn change(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(template_id): Path<Uuid>,
    Json(request): Json<ChangeTemplate>,
) -> ApiResult<axum::Json<TemplateHead>> {
    actor.may_write()?;
    let parts = &state.app.parts;
    let (owner, now) = (actor.owner(), parts.clock.now());
    let public = request.visibility == Visibility::Public;
    if public {
        actor.has_role(Role::Contributor)?;
    }
    let written = parts.store.unit(move |tx| {
        Box::pin(async move { templates::publish(tx, owner, template_id, public, now).await })
    });
    let changed = written.await.map_err(|error| errors::template(error, ""))?;
    Ok(axum::Json(head(changed, actor.owner())))
}
