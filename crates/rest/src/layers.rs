//! What happens around every request: an id, a span, limits, and a problem document whatever goes wrong.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use tracing::Instrument;
use windrow_core::{RequestId, SharedClock, TraceParent};
use windrow_engine::spans;

use crate::ApiError;
use crate::problem::ProblemBody;
use crate::unread::read_the_rest;

/// The id of the request being served: the client's `x-request-id`, or a new one.
#[derive(Clone, Debug)]
pub struct CurrentRequestId(pub String);

/// Where the request being served stands in a trace: under what the client's `traceparent` says, or in a new trace.
#[derive(Clone, Copy, Debug)]
pub struct CurrentTrace(pub TraceParent);

/// Limits on requests.
#[derive(Clone, Debug)]
pub struct HttpLimits {
    /// The largest JSON body, in bytes.
    pub max_body_bytes: usize,
    /// The largest batch of jobs, in bytes.
    pub max_batch_bytes: usize,
    /// The longest that a request may take until its answer begins; long polls and uploads aside.
    pub timeout: Duration,
    /// Origins that browsers may call from; none allows none.
    pub cors_origins: Vec<String>,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            max_body_bytes: 1024 * 1024,
            max_batch_bytes: 64 * 1024 * 1024,
            timeout: Duration::from_secs(30),
            cors_origins: Vec::new(),
        }
    }
}

/// Paths whose answers may begin late: a worker's long poll, bytes on their way in, and the end of an upload, which reads all
/// of its object.
fn may_take_long(path: &str) -> bool {
    let ends_upload = path.strip_prefix("/v1/uploads/").is_some_and(|rest| rest.ends_with("/complete"));
    path.starts_with("/v1/worker/") || path.starts_with("/blobs/") || ends_upload
}

pub(crate) fn around<S: Clone + Send + Sync + 'static>(
    router: Router<S>,
    limits: &HttpLimits,
    clock: SharedClock,
) -> Router<S> {
    let timeout = limits.timeout;
    let mut router = router
        .fallback(|| async { ApiError::not_found("route; /openapi.json lists them") })
        .method_not_allowed_fallback(|| async {
            ApiError::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this route has no such method",
            )
        })
        .layer(DefaultBodyLimit::max(limits.max_body_bytes))
        .layer(middleware::from_fn(move |request: Request, next: Next| bound(timeout, request, next)))
        .layer(middleware::from_fn(read_the_rest))
        .layer(middleware::from_fn(move |request: Request, next: Next| {
            let clock = clock.clone();
            async move { identify(&clock, request, next).await }
        }));
    if !limits.cors_origins.is_empty() {
        router = router.layer(cors(&limits.cors_origins));
    }
    router
}

/// Ends what takes too long, and turns a panic into a 500 that tells nothing of the inside.
async fn bound(timeout: Duration, request: Request, next: Next) -> Response {
    let long = may_take_long(request.uri().path());
    let answer = std::panic::AssertUnwindSafe(next.run(request)).catch_unwind();
    let answer = if long { Ok(answer.await) } else { tokio::time::timeout(timeout, answer).await };
    match answer {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => {
            let message = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            tracing::error!(message, "a handler panicked");
            let detail = "an internal error; the log has it under the request id";
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", detail).into_response()
        }
        Err(_) => {
            let detail = format!("no answer within {} s; try again", timeout.as_secs());
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", detail).into_response()
        }
    }
}

/// Gives the request its id, a span and metrics, and writes the id into the answer and its problem document.
async fn identify(clock: &SharedClock, mut request: Request, next: Next) -> Response {
    let id = request
        .headers()
        .get("x-request-id")
        .and_then(|value| value.to_str().ok())
        .filter(|id| (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()))
        .map_or_else(|| RequestId::new(&**clock).to_string(), str::to_owned);
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let sent = traceparent(request.headers());
    let span = tracing::info_span!(
        "request",
        request_id = %id,
        trace_id = tracing::field::Empty,
        method,
        route,
        owner = tracing::field::Empty
    );
    spans::join(&span, sent);
    let trace = spans::position(&span, sent).unwrap_or_else(|| TraceParent::start(&**clock));
    span.record("trace_id", trace.trace_id());
    request.extensions_mut().insert(CurrentRequestId(id.clone()));
    request.extensions_mut().insert(CurrentTrace(trace));
    let began = clock.monotonic();
    let mut response = next.run(request).instrument(span.clone()).await;
    let took = clock.monotonic().saturating_sub(began);
    let status = response.status().as_u16();
    span.in_scope(|| tracing::debug!(status, took_ms = took.as_secs_f64() * 1000.0, "answered"));
    metrics::histogram!("windrow_http_request_seconds", "method" => method, "route" => route, "status" => status.to_string())
        .record(took.as_secs_f64());
    if let Some(ProblemBody(mut problem)) = response.extensions_mut().remove::<ProblemBody>() {
        problem.request_id.clone_from(&id);
        if let Ok(body) = serde_json::to_vec(&*problem) {
            response.headers_mut().remove(header::CONTENT_LENGTH);
            *response.body_mut() = Body::from(body);
        }
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-request-id", value);
    }
    response
}

/// A request's method as a metric's label: one of the nine that are registered for general use (RFC 9110, 9.1; RFC 5789), or
/// `other`. HTTP lets any token be a method, and each value of a label is kept for as long as the process lives.
fn method_label(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

/// For requests of this machine's own workers: puts what is done for a run under that run's span. Those that belong to no
/// run, such as beats, are nobody's news.
pub(crate) async fn join_trace(request: Request, next: Next) -> Response {
    let Some(sent) = traceparent(request.headers()) else { return next.run(request).await };
    let span = tracing::debug_span!("request", path = request.uri().path());
    spans::join(&span, Some(sent));
    next.run(request).instrument(span).await
}

/// What the client says of its trace. Two headers, or one that can't be read, are as good as none: the standard then
/// asks for a new trace.
fn traceparent(headers: &HeaderMap) -> Option<TraceParent> {
    let mut sent = headers.get_all("traceparent").iter();
    let (one, None) = (sent.next()?, sent.next()) else { return None };
    one.to_str().ok()?.parse().ok()
}

fn cors(origins: &[String]) -> CorsLayer {
    let layer = CorsLayer::new()
        .allow_methods(tower_http::cors::Any)
        // a wildcard would not cover Authorization: https://fetch.spec.whatwg.org/#cors-non-wildcard-request-header-name
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(
            ["x-request-id", "idempotency-replayed", "etag"].map(header::HeaderName::from_static),
        );
    if origins.iter().any(|origin| origin == "*") {
        return layer.allow_origin(AllowOrigin::any());
    }
    layer.allow_origin(
        origins.iter().filter_map(|origin| origin.parse::<HeaderValue>().ok()).collect::<Vec<_>>(),
    )
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tower::ServiceExt as _;
    use windrow_core::TestClock;

    use super::*;

    const SENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    /// Where the request stands that these headers make.
    async fn trace_of(headers: &[&str]) -> TraceParent {
        let told = |trace: axum::Extension<CurrentTrace>| async move { trace.0.0.to_string() };
        let router = around(Router::new().route("/", get(told)), &HttpLimits::default(), TestClock::shared());
        let mut request = Request::builder().uri("/");
        for header in headers {
            request = request.header("traceparent", *header);
        }
        let response = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let body = axum::body::to_bytes(response.into_body(), 1000).await.unwrap();
        std::str::from_utf8(&body).unwrap().parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_reads_much_may_take_long_and_nothing_else() {
        let slow = || async { tokio::time::sleep(Duration::from_secs(3600)).await };
        let routes = Router::new().fallback(slow);
        let router =
            routes.layer(middleware::from_fn(|request, next| bound(Duration::from_secs(30), request, next)));
        for (path, status) in [
            ("/v1/uploads/0199/complete", 200),
            ("/blobs/uploads/a", 200),
            ("/v1/worker/claim", 200),
            ("/v1/uploads/0199", 503),
            ("/v1/jobs/complete", 503),
        ] {
            let request = Request::builder().uri(path).body(Body::empty()).unwrap();
            assert_eq!(router.clone().oneshot(request).await.unwrap().status().as_u16(), status, "{path}");
        }
    }

    #[tokio::test]
    async fn made_up_methods_and_paths_share_one_label() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let router =
            around(Router::new().route("/", get(|| async {})), &HttpLimits::default(), TestClock::shared());
        let guard = metrics::set_default_local_recorder(&recorder);
        for n in 0..50 {
            for (method, path) in
                [("GET", "/".to_owned()), ("PATCH", "/".to_owned()), (&*format!("M{n}"), format!("/{n}"))]
            {
                let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
                router.clone().oneshot(request).await.unwrap();
            }
        }
        drop(guard);
        let text = recorder.handle().render();
        let counted = text.lines().filter(|line| line.starts_with("windrow_http_request_seconds_count"));
        let mut counted: Vec<&str> = counted.collect();
        counted.sort_unstable();
        assert_eq!(
            counted,
            [
                r#"windrow_http_request_seconds_count{method="GET",route="/",status="200"} 50"#,
                r#"windrow_http_request_seconds_count{method="PATCH",route="/",status="405"} 50"#,
                r#"windrow_http_request_seconds_count{method="other",route="unmatched",status="404"} 50"#,
            ]
        );
    }

    #[tokio::test]
    async fn a_request_is_part_of_the_clients_trace_or_begins_one() {
        assert_eq!(trace_of(&[SENT]).await.to_string(), SENT);
        let new = [
            trace_of(&[]).await,
            trace_of(&["nonsense"]).await,
            trace_of(&[&SENT.replace("00-4", "ff-4")]).await,
            trace_of(&[SENT, SENT]).await,
        ];
        for trace in new {
            assert_ne!(trace.trace_id(), SENT[3..35], "{trace}");
        }
    }
}
