use axum::http::StatusCode;
use windrow_api_types::worker::{Checkpoint, Progress, SaveRequest, SavedReply};
use windrow_engine::Engine as _;

use super::Leased;
use crate::{ApiResult, Json};

/// Save what the next run goes on from
#[utoipa::path(
    post,
    path = "/v1/worker/leases/{lease_id}/checkpoint",
    operation_id = "worker_checkpoint",
    tag = "worker",
    params(("lease_id" = String, Path)),
    responses((status = 204), crate::Problems),
)]
pub(crate) async fn checkpoint(lease: Leased, Json(checkpoint): Json<Checkpoint>) -> ApiResult<StatusCode> {
    lease.engine.checkpoint(lease.run, checkpoint).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Say how far the run is
#[utoipa::path(
    post,
    path = "/v1/worker/leases/{lease_id}/progress",
    operation_id = "worker_progress",
    tag = "worker",
    params(("lease_id" = String, Path)),
    responses((status = 204), crate::Problems),
)]
pub(crate) async fn progress(lease: Leased, Json(progress): Json<Progress>) -> ApiResult<StatusCode> {
    lease.engine.progress(lease.run, progress).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Save a chunk of output, once across all runs
#[utoipa::path(
    post,
    path = "/v1/worker/leases/{lease_id}/save",
    operation_id = "worker_save",
    tag = "worker",
    params(("lease_id" = String, Path)),
    responses((status = 204), crate::Problems),
)]
pub(crate) async fn save(lease: Leased, Json(save): Json<SaveRequest>) -> ApiResult<StatusCode> {
    lease.engine.save(lease.run, save.n, save.chunk).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the chunks that are saved
#[utoipa::path(
    get,
    path = "/v1/worker/leases/{lease_id}/save",
    operation_id = "worker_saved",
    tag = "worker",
    params(("lease_id" = String, Path)),
    responses((status = 200, body = SavedReply), crate::Problems),
)]
pub(crate) async fn saved(lease: Leased) -> ApiResult<axum::Json<SavedReply>> {
    Ok(axum::Json(SavedReply { saved: lease.engine.saved(lease.run).await? }))
}
