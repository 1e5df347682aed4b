use axum::http::StatusCode;
use windrow_api_types::worker::{AddChildrenRequest, ChildrenQuery, ChildrenReply, PartsQuery, PartsReply};
use windrow_engine::Engine as _;

use super::Leased;
use crate::{ApiResult, Json, Query};

/// Make child jobs
///
/// At most 500 a request; a key that is there already is left as it is.
#[utoipa::path(
    post,
    path = "/v1/worker/leases/{lease_id}/children",
    operation_id = "worker_add_children",
    tag = "worker",
    params(("lease_id" = String, Path)),
    responses((status = 204), crate::Problems),
)]
pub(crate) async fn add_children(
    lease: Leased,
    Json(new): Json<AddChildrenRequest>,
) -> ApiResult<StatusCode> {
    lease.engine.add_children(lease.run, new.children).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List child jobs, in the order in which they were made
#[utoipa::path(
    get,
    path = "/v1/worker/leases/{lease_id}/children",
    operation_id = "worker_children",
    tag = "worker",
    params(("lease_id" = String, Path), ChildrenQuery),
    responses((status = 200, body = ChildrenReply), crate::Problems),
)]
pub(crate) async fn children(
    lease: Leased,
    Query(page): Query<ChildrenQuery>,
) -> ApiResult<axum::Json<ChildrenReply>> {
    let children = lease.engine.children(lease.run, page.after, page.limit).await?;
    Ok(axum::Json(ChildrenReply { children }))
}

/// List parts of the job and its children, in order
#[utoipa::path(
    get,
    path = "/v1/worker/leases/{lease_id}/parts",
    operation_id = "worker_parts",
    tag = "worker",
    params(("lease_id" = String, Path), PartsQuery),
    responses((status = 200, body = PartsReply), crate::Problems),
)]
pub(crate) async fn parts(
    lease: Leased,
    Query(page): Query<PartsQuery>,
) -> ApiResult<axum::Json<PartsReply>> {
    let after = page.after_first.map(|first| (first, page.after_key.unwrap_or_default()));
    let parts = lease.engine.parts(lease.run, after, page.limit).await?;
    Ok(axum::Json(PartsReply { parts }))
}
