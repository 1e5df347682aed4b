use axum::extract::State;
use windrow_app::AppError;
use windrow_core::FieldError;
use windrow_rest::{ApiResult, ApiState, Caller, Json, Problems};

use crate::routes::errors;
use crate::spec::JobSpec;
use crate::use_cases::estimate;
use crate::wire::{Estimate, EstimateRequest};

/// Estimate a job
///
/// Tokens and cost (low, likely, high) from rendering a sample of the real seed records, beside the budget. Nothing is
/// stored and no model is asked.
#[utoipa::path(
    post,
    path = "/v1/generate/estimate",
    operation_id = "generate_estimate",
    tag = "generate",
    request_body = EstimateRequest,
    responses((status = 200, body = Estimate), Problems),
)]
pub(crate) async fn estimate(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Json(request): Json<EstimateRequest>,
) -> ApiResult<axum::Json<Estimate>> {
    actor.may_read()?;
    let under_spec = |fault: FieldError| FieldError { pointer: format!("/spec{}", fault.pointer), ..fault };
    let spec = JobSpec::from_value(request.spec)
        .map_err(|faults| AppError::InvalidSpec(faults.into_iter().map(under_spec).collect()))?;
    let parts = &state.app.parts;
    let mut conn = state.app.read().await?;
    let planned = estimate::plan(&mut conn, actor.owner(), &parts.models, spec).await;
    drop(conn);
    let planned = planned.map_err(errors::estimate)?;
    let estimated = planned.estimate(&parts.blob, &parts.models).await.map_err(errors::estimate)?;
    let budget = request.budget_usd.or(planned.spec().budget_usd).or(parts.settings.default_budget);
    Ok(axum::Json(Estimate::of(estimated, budget)))
}
