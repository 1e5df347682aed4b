use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use windrow_core::JobId;
use windrow_rest::{ApiResult, ApiState, Caller, Path, Problems};

use crate::routes::errors;
use crate::use_cases::records;

/// Download what a job has made so far
///
/// The checkpointed records as JSONL, in the order of their indices, while the job runs or after it. There are gaps where
/// a shard is not so far yet, and where records were rejected; duplicates are still in it.
#[utoipa::path(
    get,
    path = "/v1/generate/{job_id}/records",
    operation_id = "generate_records",
    tag = "generate",
    params(("job_id" = uuid::Uuid, Path)),
    responses((status = 200, body = String, content_type = "application/x-ndjson"), Problems),
)]
pub(crate) async fn records(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(job_id): Path<JobId>,
) -> ApiResult<Response> {
    actor.may_read()?;
    let mut conn = state.app.read().await?;
    let job = records::find(&mut conn, actor.owner(), job_id).await.map_err(errors::records)?;
    drop(conn);
    let parts = &state.app.parts;
    let lines = records::stream(parts.store.db().clone(), parts.blob.clone(), job);
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{job_id}.jsonl\"")),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((headers, Body::from_stream(lines)).into_response())
}
