use axum::extract::State;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use windrow_api_types::{SubmitJob, Submitted};
use windrow_rest::{ApiResult, ApiState, Caller, IdempotencyKey, Json, Problems};

use crate::wire::MakeSeedRecords;
use crate::workload::NAME;

/// Make seed records
///
/// A model writes 1 to 1,000 records like an example. It is a job like any other, with its budget; its artifact of the
/// kind `seed` is JSONL that can be uploaded as seed data.
#[utoipa::path(
    post,
    path = "/v1/generate/seed",
    operation_id = "generate_make_seeds",
    tag = "generate",
    params(("idempotency-key" = Option<String>, Header, description = "1 to 255 printable ASCII characters")),
    request_body = MakeSeedRecords,
    responses(
        (status = 202, description = "the job is on disk", body = Submitted),
        (status = 200, description = "an earlier request with this key had made the job", body = Submitted),
        Problems
    ),
)]
pub(crate) async fn make_seeds(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    IdempotencyKey(key): IdempotencyKey,
    Json(request): Json<MakeSeedRecords>,
) -> ApiResult<Response> {
    let submit = SubmitJob {
        workload: NAME.to_owned(),
        spec: request.spec(),
        priority: None,
        run_at: None,
        budget_usd: request.budget_usd,
        budget_counts: None,
        webhook_url: None,
        schema_version: None,
        idempotency_key: None,
    };
    let reply = state.app.submit_job(&actor, submit, key.as_deref()).await?;
    let status = if reply.reused { StatusCode::OK } else { StatusCode::ACCEPTED };
    let body = Submitted { job: reply.job, reused: reply.reused };
    let mut response = (status, axum::Json(&body)).into_response();
    if reply.reused {
        response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}
