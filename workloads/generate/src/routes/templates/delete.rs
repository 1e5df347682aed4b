use axum::extract::State;
use axum::http::StatusCode;
use uuid::Uuid;
use windrow_rest::{ApiResult, ApiState, Caller, Path, Problems};

use crate::routes::errors;
use crate::use_cases::templates;

/// Delete a template
///
/// Refused while a job that has not ended uses it. Jobs that have ended keep what they were pinned to.
#[utoipa::path(
    delete,
    path = "/v1/templates/{template_id}",
    operation_id = "templates_delete",
    tag = "templates",
    params(("template_id" = Uuid, Path)),
    responses((status = 204, description = "it is gone"), Problems),
)]
pub(crate) async fn delete(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(template_id): Path<Uuid>,
) -> ApiResult<StatusCode> {
    actor.may_write()?;
    let parts = &state.app.parts;
    let (owner, now) = (actor.owner(), parts.clock.now());
    let written = parts
        .store
        .unit(move |tx| Box::pin(async move { templates::delete(tx, owner, template_id, now).await }));
    written.await.map_err(|error| errors::template(error, ""))?;
    Ok(StatusCode::NO_CONTENT)
}
