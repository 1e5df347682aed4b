use axum::extract::State;
use axum::http::StatusCode;
use serde_json::json;
use uuid::Uuid;
use windrow_api_types::SubmitJob;
use windrow_app::Actor;
use windrow_core::FieldError;
use windrow_rest::{ApiError, ApiResult, ApiState, Caller, Json, Path, Problems};

use crate::routes::errors;
use crate::spec::SeedRef;
use crate::template::CompiledTemplate;
use crate::use_cases::preview::{Answers, DEFAULT_PREVIEW, MAX_PREVIEW, preview as render};
use crate::use_cases::{seeds, templates};
use crate::wire::{Preview, PreviewMode, PreviewRequest};
use crate::workload::NAME;

/// Preview a template
///
/// What it makes of the first usable seed records. Modes `render` and `offline` answer at once (200) and cost nothing.
/// Mode `model` asks the real models, and is a real job over these records: metered, held to `budget_usd`, seen in the
/// ledger like any other. It answers 202 with the job.
#[utoipa::path(
    post,
    path = "/v1/templates/{template_id}/preview",
    operation_id = "templates_preview",
    tag = "templates",
    params(("template_id" = Uuid, Path)),
    request_body = PreviewRequest,
    responses(
        (status = 200, body = Preview),
        (status = 202, description = "mode `model`: the job is on disk", body = Preview),
        Problems
    ),
)]
pub(crate) async fn preview(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(template_id): Path<Uuid>,
    Json(request): Json<PreviewRequest>,
) -> ApiResult<(StatusCode, axum::Json<Preview>)> {
    actor.may_read()?;
    let refused = |error| errors::template(error, "");
    let owner = actor.owner();
    let mut conn = state.app.read().await?;
    let found = templates::get(&mut conn, owner, template_id, request.version).await.map_err(refused)?;
    let limit = request.limit.unwrap_or(DEFAULT_PREVIEW);
    if !(1..=MAX_PREVIEW).contains(&limit) {
        let fault = FieldError::new("/limit", format!("must be from 1 to {MAX_PREVIEW}"));
        return Err(ApiError::invalid("the preview is not valid", vec![fault]));
    }
    let version = found.version.version;
    if request.mode == PreviewMode::Model {
        drop(conn);
        let made = submit(&state, &actor, &request, template_id, version, limit).await?;
        return Ok((StatusCode::ACCEPTED, axum::Json(made)));
    }
    let seed: SeedRef = request.seed.parse().map_err(|error| {
        ApiError::invalid("the preview is not valid", vec![FieldError::new("/seed", error)])
    })?;
    let data = seeds::locate(&mut conn, owner, &seed).await.map_err(|e| errors::seeds(e, "/seed"))?;
    let (pinned, document, _) = templates::resolve_found(&mut conn, owner, found).await.map_err(refused)?;
    drop(conn);
    let template = CompiledTemplate::compile(document, &pinned.fragments())
        .map_err(|faults| ApiError::invalid("the template can't be rendered", faults))?;
    let requirements = template.document().schema_requirements.clone();
    let (records, report) = seeds::sample(&state.app.parts.blob, &data, requirements, limit as usize, true)
        .await
        .map_err(|e| errors::seeds(e, "/seed"))?;
    if records.is_empty() {
        return Err(ApiError::invalid("no seed record can be used", seeds::faults(&report, "/seed")));
    }
    let answers = match request.mode {
        PreviewMode::Offline => Answers::Offline(&state.app.parts.models),
        _ => Answers::StandIns,
    };
    let records = render(&template, &records, request.random_seed.unwrap_or(0), answers).await;
    Ok((StatusCode::OK, axum::Json(Preview { mode: request.mode, version, records, job: None })))
}

/// The real thing, over the first records.
async fn submit(
    state: &ApiState,
    actor: &Actor,
    request: &PreviewRequest,
    template: Uuid,
    version: u32,
    limit: u32,
) -> ApiResult<Preview> {
    let mut spec = json!({
        "template": format!("{template}@{version}"),
        "seed": request.seed,
        "records": limit,
        "pairing": "sequential",
        "random_seed": request.random_seed.unwrap_or(0),
    });
    if let Some(model) = &request.model {
        spec["overrides"] = json!({ "model": model });
    }
    let submit = SubmitJob {
        workload: NAME.to_owned(),
        spec,
        priority: None,
        run_at: None,
        budget_usd: request.budget_usd,
        budget_counts: None,
        webhook_url: None,
        schema_version: None,
        idempotency_key: None,
    };
    let reply = state.app.submit_job(actor, submit, None).await?;
    Ok(Preview { mode: PreviewMode::Model, version, records: Vec::new(), job: Some(reply.job) })
}
