use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{ApiState, Caller};

/// A kind of work.
#[derive(Serialize, ToSchema)]
pub(crate) struct WorkloadInfo {
    name: String,
    /// The JSON Schema of its spec.
    #[schema(value_type = Object)]
    spec_schema: Value,
}

/// List the kinds of work that this server knows
#[utoipa::path(
    get,
    path = "/v1/workloads",
    operation_id = "workloads_list",
    tag = "jobs",
    responses((status = 200, body = Vec<WorkloadInfo>), crate::Problems),
)]
pub(crate) async fn list(
    State(state): State<ApiState>,
    Caller(_actor): Caller,
) -> axum::Json<Vec<WorkloadInfo>> {
    let registry = &state.app.parts.workloads;
    let info = |name: &str| {
        registry
            .get(name)
            .map(|workload| WorkloadInfo { name: name.to_owned(), spec_schema: workload.spec_schema() })
    };
    axum::Json(registry.names().filter_map(info).collect())
}
