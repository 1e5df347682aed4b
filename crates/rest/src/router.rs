//! All routes together, with what happens around each request.

use std::sync::Arc;

use axum::Router;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::Value;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::{Config, SwaggerUi};
use windrow_app::App;
use windrow_engine::LocalEngine;

use crate::layers::{self, HttpLimits};
use crate::{ApiRouter, open, openapi, v1};

/// What every handler can reach.
#[derive(Clone)]
pub struct ApiState {
    pub app: App,
    /// The public keys of this server's own issuer, when it is one.
    pub jwks: Option<Arc<Value>>,
    /// Serves remote workers; its runs are held by leases.
    pub engine: Option<LocalEngine>,
    /// Renders `/metrics`.
    pub metrics: Option<PrometheusHandle>,
}

/// The whole API: the platform's routes, the workloads' and the document about them.
pub fn router(state: ApiState, workloads: Vec<ApiRouter>, limits: &HttpLimits) -> Router {
    let clock = Arc::clone(&state.app.parts.clock);
    let (routes, document) = assembled(workloads, limits).split(openapi::frame);
    let served = openapi::served(document);
    let viewer = SwaggerUi::new("/docs")
        .config(Config::from("/openapi.json").try_it_out_enabled(true).persist_authorization(true));
    layers::around(routes.route("/openapi.json", served).merge(viewer), limits, clock).with_state(state)
}

/// What a process without an API answers to whoever looks after it: `/health`, `/ready`, `/v1/health`, `/metrics`.
pub fn probes(app: App, metrics: Option<PrometheusHandle>) -> Router {
    let state = ApiState { app, jwks: None, engine: None, metrics };
    open::probes().undocumented().with_state(state)
}

/// The OpenAPI document of the platform and these workloads.
pub fn document(workloads: Vec<ApiRouter>) -> OpenApi {
    assembled(workloads, &HttpLimits::default()).split(openapi::frame).1()
}

fn assembled(workloads: Vec<ApiRouter>, limits: &HttpLimits) -> ApiRouter {
    let platform = open::routes().merge(v1::routes(limits.max_batch_bytes));
    workloads.into_iter().fold(platform, ApiRouter::merge)
}
