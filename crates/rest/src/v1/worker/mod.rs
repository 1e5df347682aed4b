//! The worker protocol: whoever may work takes leases, and does with them what a run may do.
//!
//! The same handlers serve two doors: `/v1/worker` for programs with a worker key, and `/local/worker` on a process's own socket for
//! the children that it started, where being able to connect is the permission.

mod attendance;
mod checkpoint;
mod claim;
mod ends;
mod links;
mod money;
mod objects;
mod tree;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequestParts};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware;
use axum::routing::{get, post};
use windrow_app::Actor;
use windrow_engine::remote::codes;
use windrow_engine::{EngineError, LocalEngine, RunRef};

use crate::layers::join_trace;
use crate::{ApiError, ApiRouter, ApiState, Caller, Path, routes};

/// The largest JSON body of a run: a checkpoint's state, an answer for the journal, a result.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// The longest that a claim is kept waiting, in milliseconds.
const MAX_WAIT_MS: u64 = 30_000;

/// Serves a process's own children, whom it admits and dismisses itself, and other processes of its machine, which come through
/// `/local/worker/attendance`.
#[derive(Clone)]
pub struct ChildDoor {
    pub engine: LocalEngine,
}

/// The routes of `/v1/worker`.
pub(crate) fn routes() -> ApiRouter {
    let bodies = ApiRouter::new()
        .routes(routes!(claim::claim))
        .routes(routes!(claim::heartbeat))
        .routes(routes!(checkpoint::checkpoint))
        .routes(routes!(checkpoint::progress))
        .routes(routes!(checkpoint::save, checkpoint::saved))
        .routes(routes!(money::reserve))
        .routes(routes!(money::settle))
        .routes(routes!(money::journal))
        .routes(routes!(tree::add_children, tree::children))
        .routes(routes!(tree::parts))
        .routes(routes!(links::download))
        .routes(routes!(links::upload))
        .routes(routes!(links::complete))
        .routes(routes!(ends::complete))
        .routes(routes!(ends::fail))
        .routes(routes!(ends::release))
        .layer(DefaultBodyLimit::max(MAX_BODY));
    let objects =
        ApiRouter::new().routes(routes!(objects::put, objects::get)).layer(DefaultBodyLimit::disable());
    bodies.merge(objects)
}

/// The same for the children of this process, under `/local/worker`.
pub fn child_routes(door: ChildDoor) -> Router {
    let bodies = Router::new()
        .route("/attendance", get(attendance::attend))
        .route("/claim", post(claim::claim))
        .route("/leases/{lease_id}/heartbeat", post(claim::heartbeat))
        .route("/leases/{lease_id}/checkpoint", post(checkpoint::checkpoint))
        .route("/leases/{lease_id}/progress", post(checkpoint::progress))
        .route("/leases/{lease_id}/save", post(checkpoint::save).get(checkpoint::saved))
        .route("/leases/{lease_id}/reserve", post(money::reserve))
        .route("/leases/{lease_id}/settle", post(money::settle))
        .route("/leases/{lease_id}/journal", get(money::journal))
        .route("/leases/{lease_id}/children", post(tree::add_children).get(tree::children))
        .route("/leases/{lease_id}/parts", get(tree::parts))
        .route("/leases/{lease_id}/complete", post(ends::complete))
        .route("/leases/{lease_id}/fail", post(ends::fail))
        .route("/leases/{lease_id}/release", post(ends::release))
        .layer(DefaultBodyLimit::max(MAX_BODY));
    let objects = Router::new()
        .route("/leases/{lease_id}/objects", get(objects::get).put(objects::put))
        .layer(DefaultBodyLimit::disable());
    let routes = Router::new().nest("/local/worker", bodies.merge(objects)).with_state(door);
    routes.layer(middleware::from_fn(join_trace))
}

/// Somebody who may work, and the engine that serves them.
pub(crate) struct Worker {
    engine: LocalEngine,
    /// None: a child of this process, which may do all.
    actor: Option<Actor>,
}

impl FromRequestParts<ApiState> for Worker {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let Caller(actor) = Caller::from_request_parts(parts, state).await?;
        let engine = state.engine.clone().ok_or_else(|| {
            let detail = "this process serves no remote workers";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "no_engine", detail)
        })?;
        Ok(Self { engine, actor: Some(actor) })
    }
}

impl FromRequestParts<ChildDoor> for Worker {
    type Rejection = ApiError;

    async fn from_request_parts(_parts: &mut Parts, door: &ChildDoor) -> Result<Self, ApiError> {
        Ok(Self { engine: door.engine.clone(), actor: None })
    }
}

/// A lease that the caller may act on.
pub(crate) struct Leased {
    engine: LocalEngine,
    run: RunRef,
}

impl<S> FromRequestParts<S> for Leased
where
    S: Send + Sync,
    Worker: FromRequestParts<S, Rejection = ApiError>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Worker { engine, actor } = Worker::from_request_parts(parts, state).await?;
        let Path(run): Path<String> = Path::from_request_parts(parts, state).await?;
        let nobodys = || ApiError::not_found("lease");
        let run: RunRef = run.parse().map_err(|_| nobodys())?;
        if let Some(actor) = actor {
            // Whoever may work for nobody learns of no lease; whoever may learns that one is gone.
            actor.may_work_at_all().map_err(|_| nobodys())?;
            let workload = engine.workload_of(run).await?;
            actor.may_work(&workload).map_err(|_| nobodys())?;
        }
        Ok(Self { engine, run })
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        let (status, code) = match &error {
            EngineError::Stale => codes::STALE,
            EngineError::WorkerDead => codes::WORKER_DEAD,
            EngineError::TurnedAway(_) => codes::TURNED_AWAY,
            EngineError::NotFound(_) => codes::NO_OBJECT,
            EngineError::Invalid(_) => codes::INVALID,
            EngineError::Job(_) => codes::JOB,
            EngineError::Unavailable(_) => codes::UNAVAILABLE,
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        match error {
            EngineError::NotFound(key) => Self::new(status, code, key),
            EngineError::Job(error) => Self::new(status, code, &error).with_job_error(error),
            error => Self::new(status, code, error),
        }
    }
}
