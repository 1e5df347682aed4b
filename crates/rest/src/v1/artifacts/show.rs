use axum::extract::State;
use windrow_api_types::Artifact;
use windrow_core::ArtifactId;

use crate::{ApiResult, ApiState, Caller, Path};

/// Show an artifact
#[utoipa::path(
    get,
    path = "/v1/artifacts/{artifact_id}",
    operation_id = "artifacts_show",
    tag = "artifacts",
    params(("artifact_id" = uuid::Uuid, Path)),
    responses((status = 200, body = Artifact), crate::Problems),
)]
pub(crate) async fn show(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(artifact_id): Path<ArtifactId>,
) -> ApiResult<axum::Json<Artifact>> {
    Ok(axum::Json(state.app.show_artifact(&actor, artifact_id).await?))
}
