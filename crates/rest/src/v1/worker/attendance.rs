use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use futures::stream;
use serde::Deserialize;
use windrow_engine::{Departure, LocalEngine};

use super::ChildDoor;
use crate::{ApiError, ApiResult, Query};

/// Who comes to work.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Attend {
    worker: String,
}

/// Admits a process for as long as it keeps this answer open. The kernel closes the connection of a process that dies, by
/// whatever cause, so its end is seen at once without beats.
pub(super) async fn attend(
    State(door): State<ChildDoor>,
    Query(Attend { worker }): Query<Attend>,
) -> ApiResult<Response> {
    if !door.engine.admit(&worker) {
        let detail =
            format!("a worker named {worker:?} is here already; give each process a name of its own");
        return Err(ApiError::new(StatusCode::CONFLICT, "worker_name_taken", detail));
    }
    tracing::info!(worker, "a worker process has come");
    let place = Place { engine: door.engine, worker };
    // A first byte, so that the answer's head leaves now.
    let admitted = stream::once(async { Ok::<_, std::io::Error>(Bytes::from_static(b"\n")) });
    let held = stream::once(async move {
        let _place = place;
        std::future::pending().await
    });
    Ok(Body::from_stream(admitted.chain(held)).into_response())
}

struct Place {
    engine: LocalEngine,
    worker: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let (engine, worker) = (self.engine.clone(), std::mem::take(&mut self.worker));
        tokio::spawn(async move {
            let lost = engine.dismiss(&worker, Departure::Died("the process went away")).await;
            tracing::info!(worker, lost, "a worker process has gone");
        });
    }
}
