//! The REST door: routes, extractors, problem documents, OpenAPI. Handlers parse, call one `app` function, and map.
//!
//! No SQL and no page here. Workloads build their routes from the same parts: [`Caller`], [`Json`], [`Query`],
//! [`Path`], [`ApiError`], [`ApiState`], [`ApiRouter`], [`routes!`].

mod extract;
mod layers;
mod open;
mod openapi;
mod problem;
mod router;
mod routes;
mod unread;
mod v1;

pub use extract::{Caller, IdempotencyKey, Json, OptionalJson, Path, Query, read_json};
pub use layers::{CurrentRequestId, CurrentTrace, HttpLimits};
pub use problem::{ApiError, ApiResult, Problems};
pub use router::{ApiState, document, probes, router};
pub use routes::{ApiRouter, Documented};
pub use v1::worker::{ChildDoor, child_routes};
