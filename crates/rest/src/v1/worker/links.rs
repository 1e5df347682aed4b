use windrow_api_types::worker::{AnnouncedObject, ObjectLink, ObjectName, StoredObject, WantedObject};

use super::Leased;
use crate::{ApiResult, Json};

/// Get a link that reads an object from storage itself
///
/// For what a run may read: its owner's objects and the shared ones. The link needs no login and is good for 15 minutes.
#[utoipa::path(
    post,
    path = "/v1/worker/leases/{lease_id}/objects/download-link",
    operation_id = "worker_object_download_link",
    tag = "worker",
    params(("lease_id" = String, Path)),
    responses((status = 200, body = ObjectLink), crate::Problems),
)]
pub(crate) async fn download(
    lease: Leased,
    Json(wanted): Json<WantedObject>,
) -> ApiResult<axum::Json<ObjectLink>> {
    Ok(axum::Json(lease.engine.download_link(lease.run, &wanted).await?))
}

/// Get a link that puts an object into storage itself
///
/// It takes one object of at most the announced size, and replaces none; it is good for 15 minutes. Then `…/objects/complete` answers
/// what an artifact or a part of the run names.
#[utoipa::path(
    post,
    path = "/v1/worker/leases/{lease_id}/objects/upload-link",
    operation_id = "worker_object_upload_link",
    tag = "worker",
    params(("lease_id" = String, Path)),
    responses((status = 200, body = ObjectLink), crate::Problems),
)]
pub(crate) async fn upload(
    lease: Leased,
    Json(announced): Json<AnnouncedObject>,
) -> ApiResult<axum::Json<ObjectLink>> {
    Ok(axum::Json(lease.engine.upload_link(lease.run, &announced).await?))
}

/// Learn size and sha256 of an object that was put through a link
///
/// Doing it twice gives the same answer; 404 when nothing was put.
#[utoipa::path(
    post,
    path = "/v1/worker/leases/{lease_id}/objects/complete",
    operation_id = "worker_object_complete",
    tag = "worker",
    params(("lease_id" = String, Path)),
    responses((status = 200, body = StoredObject), crate::Problems),
)]
pub(crate) async fn complete(
    lease: Leased,
    Json(put): Json<ObjectName>,
) -> ApiResult<axum::Json<StoredObject>> {
    Ok(axum::Json(lease.engine.complete_object(lease.run, &put.key).await?))
}
