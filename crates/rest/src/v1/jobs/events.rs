use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt as _};
use windrow_api_types::{Event, EventQuery};
use windrow_app::AppError;
use windrow_core::JobId;

use crate::{ApiResult, ApiState, Caller, Path, Query};

/// A comment is sent so often, so that proxies keep a quiet stream open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Follow a job's history
///
/// With `Accept: text/event-stream`, server-sent events from the one after `Last-Event-ID` on; the stream ends when the
/// job has. Otherwise a JSON array of what there is after `after`.
#[utoipa::path(
    get,
    path = "/v1/jobs/{job_id}/events",
    operation_id = "jobs_events",
    tag = "jobs",
    params(("job_id" = uuid::Uuid, Path), EventQuery, ("last-event-id" = Option<String>, Header)),
    responses(
        (status = 200, content((Vec<Event> = "application/json"), (Event = "text/event-stream"))),
        crate::Problems
    ),
)]
pub(crate) async fn events(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(job_id): Path<JobId>,
    Query(query): Query<EventQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let header = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let after = header(HeaderName::from_static("last-event-id")).map(str::to_owned).or(query.after);
    let streamed = header(header::ACCEPT).is_some_and(|accept| accept.contains("text/event-stream"));
    if !streamed {
        return Ok(axum::Json(state.app.job_events(&actor, job_id, after.as_deref()).await?).into_response());
    }
    let events = state.app.watch_job(&actor, job_id, after.as_deref()).await?;
    let stream = frames(events);
    let mut response = Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// A failure in the middle ends the stream; the watcher comes back with the last id that it saw.
fn frames(
    events: impl Stream<Item = Result<Event, AppError>> + Send + 'static,
) -> impl Stream<Item = Result<sse::Event, AppError>> + Send + 'static {
    events.map(|event| {
        let event = event.inspect_err(|error| tracing::warn!(%error, "a watched job's events end early"))?;
        let frame = sse::Event::default().event(&event.kind).json_data(&event).map_err(AppError::internal)?;
        Ok(match &event.id {
            Some(id) => frame.id(id),
            None => frame,
        })
    })
}
