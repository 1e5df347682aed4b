use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;
use windrow_core::FieldError;
use windrow_core::ids::uuid_v7;
use windrow_rest::{ApiError, ApiResult, ApiState, Caller, Problems, Query};

use super::body;
use crate::routes::errors;
use crate::use_cases::templates;
use crate::wire::TemplateBody;

/// How a file is imported.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ImportQuery {
    /// Another name than the file says.
    #[serde(default)]
    name: Option<String>,
}

/// Import a template
///
/// The body is a file as `export` gives it: YAML or JSON. It becomes a template of your own, private.
#[utoipa::path(
    post,
    path = "/v1/templates/import",
    operation_id = "templates_import",
    tag = "templates",
    params(ImportQuery),
    request_body(content = String, content_type = "application/yaml"),
    responses((status = 201, body = TemplateBody), Problems),
)]
pub(crate) async fn import(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Query(query): Query<ImportQuery>,
    bytes: Result<Bytes, BytesRejection>,
) -> ApiResult<(StatusCode, axum::Json<TemplateBody>)> {
    actor.may_write()?;
    let bytes = bytes.map_err(|rejection| {
        let status = rejection.status();
        let large = status == StatusCode::PAYLOAD_TOO_LARGE;
        ApiError::new(status, if large { "body_too_large" } else { "unreadable_body" }, rejection.body_text())
    })?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        let fault = FieldError::new("", format!("line {line}: the file is not UTF-8"));
        ApiError::invalid("the template is not valid", vec![fault])
    })?;
    let parts = &state.app.parts;
    let (owner, id, now) = (actor.owner(), uuid_v7(&*parts.clock), parts.clock.now());
    let file = (text.to_owned(), query.name);
    let written = parts.store.unit(move |tx| {
        let (text, name) = file.clone();
        Box::pin(async move { templates::import(tx, owner, id, &text, name.as_deref(), now).await })
    });
    let made = written.await.map_err(|error| errors::template(error, ""))?;
    Ok((StatusCode::CREATED, axum::Json(body(made, actor.owner())?)))
}
