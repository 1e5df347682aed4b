use windrow_api_types::worker::{ClaimReply, ClaimRequest, HeartbeatReply};
use windrow_engine::Engine as _;

use super::{Leased, MAX_WAIT_MS, Worker};
use crate::{ApiResult, Json};

/// Take work
///
/// Waits up to `wait_ms` for the first lease. An empty list is no error: ask again.
#[utoipa::path(
    post,
    path = "/v1/worker/claim",
    operation_id = "worker_claim",
    tag = "worker",
    responses((status = 200, body = ClaimReply), crate::Problems),
)]
pub(crate) async fn claim(
    worker: Worker,
    Json(wish): Json<ClaimRequest>,
) -> ApiResult<axum::Json<ClaimReply>> {
    let Worker { engine, actor } = worker;
    let mut wish = ClaimRequest { wait_ms: wish.wait_ms.min(MAX_WAIT_MS), ..wish };
    if let Some(actor) = actor {
        actor.may_work_at_all()?;
        // Suspects are for this process's own children.
        wish.suspects = false;
        wish.workloads = engine.workloads_among(&wish.workloads);
        if !wish.workloads.iter().any(|workload| actor.may_work(workload).is_ok()) {
            wish.workloads.iter().try_for_each(|workload| actor.may_work(workload))?;
        }
        wish.workloads.retain(|workload| actor.may_work(workload).is_ok());
        wish.worker = Some(wish.worker.unwrap_or_else(|| actor.sub().to_owned()));
        if wish.workloads.is_empty() {
            return Ok(axum::Json(ClaimReply::default()));
        }
    }
    let leases = engine.claim(&wish).await?;
    Ok(axum::Json(ClaimReply { leases }))
}

/// Keep a lease alive
///
/// A lease that nobody renews for 30 s is over. The answer says whether the run must stop.
#[utoipa::path(
    post,
    path = "/v1/worker/leases/{lease_id}/heartbeat",
    operation_id = "worker_heartbeat",
    tag = "worker",
    params(("lease_id" = String, Path)),
    responses((status = 200, body = HeartbeatReply), crate::Problems),
)]
pub(crate) async fn heartbeat(lease: Leased) -> ApiResult<axum::Json<HeartbeatReply>> {
    let stop = lease.engine.renew(lease.run).await?;
    Ok(axum::Json(HeartbeatReply { stop }))
}
