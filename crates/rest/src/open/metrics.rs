use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::{ApiRouter, ApiState};

/// Prometheus asks for it in its own format (text exposition 0.0.4), so it is no part of the OpenAPI document.
pub(crate) fn routes() -> ApiRouter {
    ApiRouter::new().route("/metrics", get(metrics))
}

async fn metrics(State(state): State<ApiState>) -> impl IntoResponse {
    let text = state.metrics.as_ref().map(PrometheusHandle::render).unwrap_or_default();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}
