use windrow_api_types::worker::{JournalReply, MoneyReply, MoneyRequest};
use windrow_engine::Engine as _;

use super::Leased;
use crate::{ApiResult, Json};

/// Reserve the worst case of model calls
///
/// Settles first, then reserves, in one transaction. A call may leave when its reservation is `granted`.
#[utoipa::path(
    post,
    path = "/v1/worker/leases/{lease_id}/reserve",
    operation_id = "worker_reserve",
    tag = "worker",
    params(("lease_id" = String, Path)),
    responses((status = 200, body = MoneyReply), crate::Problems),
)]
pub(crate) async fn reserve(
    lease: Leased,
    Json(money): Json<MoneyRequest>,
) -> ApiResult<axum::Json<MoneyReply>> {
    exchange(lease, money).await
}

/// Settle what model calls cost
///
/// Works after the lease is gone, too: money is never forgotten.
#[utoipa::path(
    post,
    path = "/v1/worker/leases/{lease_id}/settle",
    operation_id = "worker_settle",
    tag = "worker",
    params(("lease_id" = String, Path)),
    responses((status = 200, body = MoneyReply), crate::Problems),
)]
pub(crate) async fn settle(
    lease: Leased,
    Json(money): Json<MoneyRequest>,
) -> ApiResult<axum::Json<MoneyReply>> {
    exchange(lease, money).await
}

async fn exchange(lease: Leased, money: MoneyRequest) -> ApiResult<axum::Json<MoneyReply>> {
    let reserved = lease.engine.money(lease.run, &money.settle, &money.reserve).await?;
    Ok(axum::Json(MoneyReply { reserved }))
}

/// Read the answers that earlier runs paid for
#[utoipa::path(
    get,
    path = "/v1/worker/leases/{lease_id}/journal",
    operation_id = "worker_journal",
    tag = "worker",
    params(("lease_id" = String, Path)),
    responses((status = 200, body = JournalReply), crate::Problems),
)]
pub(crate) async fn journal(lease: Leased) -> ApiResult<axum::Json<JournalReply>> {
    Ok(axum::Json(JournalReply { entries: lease.engine.journal(lease.run).await? }))
}
