use axum::extract::State;
use windrow_api_types::{Artifact, ArtifactQuery, Page};

use crate::{ApiResult, ApiState, Caller, Query};

/// List your artifacts
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/v1/artifacts",
    operation_id = "artifacts_list",
    tag = "artifacts",
    params(ArtifactQuery),
    responses((status = 200, body = Page<Artifact>), crate::Problems),
)]
pub(crate) async fn list(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Query(query): Query<ArtifactQuery>,
) -> ApiResult<axum::Json<Page<Artifact>>> {
    Ok(axum::Json(state.app.list_artifacts(&actor, &query).await?))
}
