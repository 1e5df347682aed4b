//! Probes of a worker without a database: it is as ready as the server that it works for.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;
use windrow_api_types::{Check, CheckState, Health, Ready};
use windrow_client::Client;
use windrow_config::Config;

use crate::serve::{self, Served};

/// How long the server may take to answer.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// Serves them where the configuration wants it; gives their URL.
pub(super) async fn start(config: &Config, client: Client) -> anyhow::Result<Option<(Served, String)>> {
    let Some(port) = config.worker.health_port else { return Ok(None) };
    let listener: TcpListener = serve::listen(config.server.bind, port).await?;
    let url = serve::url(&listener)?;
    let router = Router::new()
        .route("/health", get(ready))
        .route("/ready", get(ready))
        .route("/v1/health", get(alive))
        .with_state(client);
    Ok(Some((serve::serve(Some((listener, router)), None)?, url)))
}

async fn alive() -> Json<Health> {
    Json(Health { status: "ok".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() })
}

/// The server's own answer, with what is known of each workload; 503 when it can't be reached.
async fn ready(State(client): State<Client>) -> Response {
    let asked = client.request("GET".parse().expect("a method"), "/ready").timeout(PATIENCE).send().await;
    let answer = async {
        let response = asked.map_err(|error| error.without_url().to_string())?;
        let status = StatusCode::from_u16(response.status().as_u16()).map_err(|error| error.to_string())?;
        let body = response.bytes().await.map_err(|error| error.without_url().to_string())?;
        serde_json::from_slice::<Ready>(&body).map_err(|_| format!("{} is no Windrow", client.endpoint()))?;
        Ok::<_, String>((status, body))
    };
    match answer.await {
        Ok((status, body)) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(reason) => {
            let detail = Some(format!("can't reach {}: {reason}", client.endpoint()));
            let check = Check { name: "server".to_owned(), state: CheckState::Failed, detail };
            let version = env!("CARGO_PKG_VERSION").to_owned();
            let ready = Ready { ready: false, version, checks: vec![check], workloads: Vec::new() };
            (StatusCode::SERVICE_UNAVAILABLE, Json(ready)).into_response()
        }
    }
}
