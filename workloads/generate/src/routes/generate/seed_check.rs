use axum::extract::State;
use windrow_core::FieldError;
use windrow_rest::{ApiError, ApiResult, ApiState, Caller, Json, Problems};

use crate::routes::errors;
use crate::seed::FieldPath;
use crate::spec::{SeedRef, TemplateRef};
use crate::use_cases::{seeds, templates};
use crate::wire::{BadSeed, SeedCheck, SeedChecked};

/// Check seed data against a template
///
/// Counts the records that have every path the template requires, and names the first 20 that don't.
#[utoipa::path(
    post,
    path = "/v1/generate/seed-check",
    operation_id = "generate_seed_check",
    tag = "generate",
    request_body = SeedCheck,
    responses((status = 200, body = SeedChecked), Problems),
)]
pub(crate) async fn seed_check(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Json(request): Json<SeedCheck>,
) -> ApiResult<axum::Json<SeedChecked>> {
    actor.may_read()?;
    let template: TemplateRef = request.template.parse().map_err(|error| fault("/template", &error))?;
    let seed: SeedRef = request.seed.parse().map_err(|error| fault("/seed", &error))?;
    let mut conn = state.app.read().await?;
    let resolved = templates::resolve(&mut conn, actor.owner(), &template, "/template").await;
    let (_, document, analysis) = resolved.map_err(|error| errors::template(error, ""))?;
    let data = seeds::locate(&mut conn, actor.owner(), &seed).await.map_err(|e| errors::seeds(e, "/seed"))?;
    drop(conn);
    let requirements = document.schema_requirements;
    let look = seeds::look(&state.app.parts.blob, &data, requirements.clone()).await;
    let look = look.map_err(|error| errors::seeds(error, "/seed"))?;
    let texts = |paths: Vec<FieldPath>| paths.iter().map(ToString::to_string).collect();
    let format = look.report.format.to_string();
    let bad = look.report.bad.into_iter();
    Ok(axum::Json(SeedChecked {
        format,
        gzip: look.report.gzip,
        valid: look.report.valid,
        invalid: look.report.invalid,
        bad: bad.map(|bad| BadSeed { line: bad.line, path: bad.path, message: bad.message }).collect(),
        bytes: look.report.bytes,
        truncated: look.truncated,
        requirements: texts(requirements),
        undeclared: texts(analysis.undeclared),
    }))
}

fn fault(pointer: &str, error: &impl std::fmt::Display) -> ApiError {
    ApiError::invalid("the request is not valid", vec![FieldError::new(pointer, error)])
}
