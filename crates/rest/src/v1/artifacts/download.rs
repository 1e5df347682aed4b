use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use windrow_core::ArtifactId;

use crate::{ApiResult, ApiState, Caller, Path};

/// Download an artifact
///
/// Redirects to a signed URL that is good for 45 minutes. It is made on demand and never stored.
#[utoipa::path(
    get,
    path = "/v1/artifacts/{artifact_id}/download",
    operation_id = "artifacts_download",
    tag = "artifacts",
    params(("artifact_id" = uuid::Uuid, Path)),
    responses((status = 302, description = "`Location` is the signed URL"), crate::Problems),
)]
pub(crate) async fn download(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(artifact_id): Path<ArtifactId>,
) -> ApiResult<Response> {
    let url = state.app.download_artifact(&actor, artifact_id).await?.url;
    Ok((StatusCode::FOUND, [(header::LOCATION, url), (header::CACHE_CONTROL, "no-store".to_owned())])
        .into_response())
}
