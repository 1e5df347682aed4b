use windrow_api_types::worker::{CompleteRequest, EndReply, FailRequest, RunEnd};
use windrow_engine::Engine as _;

use super::Leased;
use crate::{ApiResult, Json};

/// End a run well
///
/// `done`; `partial` when the budget is spent; `await` to sleep until the children have ended.
#[utoipa::path(
    post,
    path = "/v1/worker/leases/{lease_id}/complete",
    operation_id = "worker_complete",
    tag = "worker",
    params(("lease_id" = String, Path)),
    responses((status = 200, body = EndReply), crate::Problems),
)]
pub(crate) async fn complete(
    lease: Leased,
    Json(end): Json<CompleteRequest>,
) -> ApiResult<axum::Json<EndReply>> {
    let end = match end {
        CompleteRequest::Done { output } => RunEnd::Done { output },
        CompleteRequest::Partial { output } => RunEnd::Partial { output },
        CompleteRequest::Await => RunEnd::Await,
    };
    finish(lease, end).await
}

/// End a run with an error
///
/// Its class decides what follows: `transient` is tried again by the retry policy, `permanent` is final.
#[utoipa::path(
    post,
    path = "/v1/worker/leases/{lease_id}/fail",
    operation_id = "worker_fail",
    tag = "worker",
    params(("lease_id" = String, Path)),
    responses((status = 200, body = EndReply), crate::Problems),
)]
pub(crate) async fn fail(lease: Leased, Json(fail): Json<FailRequest>) -> ApiResult<axum::Json<EndReply>> {
    finish(lease, RunEnd::Failed { error: fail.error }).await
}

/// Give a run back
///
/// It starts again elsewhere from its last checkpoint; no attempt is burnt.
#[utoipa::path(
    post,
    path = "/v1/worker/leases/{lease_id}/release",
    operation_id = "worker_release",
    tag = "worker",
    params(("lease_id" = String, Path)),
    responses((status = 200, body = EndReply), crate::Problems),
)]
pub(crate) async fn release(lease: Leased) -> ApiResult<axum::Json<EndReply>> {
    finish(lease, RunEnd::Released).await
}

async fn finish(lease: Leased, end: RunEnd) -> ApiResult<axum::Json<EndReply>> {
    Ok(axum::Json(lease.engine.end(lease.run, end).await?))
}
