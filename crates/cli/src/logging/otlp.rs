//! Spans over OTLP/HTTP (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>), under the standard's own names
//! (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>). The SDK reads the finer settings by itself, such as
//! `OTEL_TRACES_SAMPLER`, `OTEL_BSP_*` and `OTEL_RESOURCE_ATTRIBUTES`.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use percent_encoding::percent_decode_str;
use tokio::runtime::Handle;
use tracing::{Level, Metadata, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::filter_fn;
use url::Url;
use windrow_config::OtlpSection;
use windrow_core::TraceParent;
use windrow_engine::spans::{self, Tracer};

use super::Lines;

/// For one request to the collector.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How long the process waits at its end for a collector to take the last spans.
const PATIENCE: Duration = Duration::from_secs(3);

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// Has spans leave from now on, in batches, from a thread of their own. What a collector doesn't take is dropped.
pub(super) fn begin(section: &OtlpSection, endpoint: &Url) -> anyhow::Result<Lines> {
    let client = Client {
        http: reqwest::Client::builder().timeout(TIMEOUT).build().context("no HTTP client")?,
        runtime: Handle::current(),
        failing: AtomicBool::new(false),
    };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(format!("{}/v1/traces", endpoint.as_str().trim_end_matches('/')))
        .with_timeout(TIMEOUT)
        .with_headers(headers(section)?)
        .build()?;
    let resource = Resource::builder()
        .with_service_name(section.service_name.clone())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
    let tracer = provider.tracer("windrow");
    let _the_first_stays = PROVIDER.set(provider);
    spans::install(Box::new(Exporting));
    let layer = tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false);
    Ok(layer.with_filter(filter_fn(is_ours)).boxed())
}

/// Sends what is left, for as long as [`PATIENCE`] lasts.
pub(super) fn flush() {
    if let Some(provider) = PROVIDER.get()
        && let Err(error) = provider.shutdown_with_timeout(PATIENCE)
    {
        tracing::debug!(%error, "the last spans were not sent");
    }
}

/// The platform's own spans, and what it tells in them.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    let least = if metadata.is_span() { Level::DEBUG } else { Level::INFO };
    metadata.target().starts_with("windrow") && *metadata.level() <= least
}

/// `name=value` pairs separated by commas, percent-encoded as in W3C Baggage.
fn headers(section: &OtlpSection) -> anyhow::Result<HashMap<String, String>> {
    let Some(text) = &section.headers else { return Ok(HashMap::new()) };
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').context("a pair has no =")?;
        let value = percent_decode_str(value.trim()).decode_utf8().context("a value is no UTF-8")?;
        Ok((name.trim().to_owned(), value.into_owned()))
    };
    let pairs = text.expose().split(',').filter(|pair| !pair.trim().is_empty()).map(pair);
    pairs.collect::<anyhow::Result<_>>().context("OTEL_EXPORTER_OTLP_HEADERS is not NAME=VALUE,NAME=VALUE")
}

struct Exporting;

impl Tracer for Exporting {
    fn join(&self, span: &Span, parent: TraceParent) {
        let flags = if parent.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
        let (trace, at) =
            (TraceId::from_bytes(parent.trace_bytes()), SpanId::from_bytes(parent.span_bytes()));
        let parent = SpanContext::new(trace, at, flags, true, TraceState::NONE);
        // a span that is not exported has no parent to be told
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }

    fn position(&self, span: &Span) -> Option<TraceParent> {
        let context = span.context();
        let span = context.span();
        let at = span.span_context();
        TraceParent::of(at.trace_id().to_bytes(), at.span_id().to_bytes(), at.is_sampled())
    }
}

/// The workspace's HTTP client, on the process's own runtime: the exporter's thread has none.
#[derive(Debug)]
struct Client {
    http: reqwest::Client,
    runtime: Handle,
    failing: AtomicBool,
}

impl Client {
    /// The first failure is a warning; those after it are no news.
    fn report(&self, problem: Option<&str>) {
        match (problem, self.failing.swap(problem.is_some(), Ordering::Relaxed)) {
            (Some(problem), false) => {
                tracing::warn!(problem, "the OTLP collector takes no spans; they are dropped");
            }
            (None, true) => tracing::info!("the OTLP collector takes spans again"),
            _ => {}
        }
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (http, request) = (self.http.clone(), reqwest::Request::try_from(request)?);
        let exchange = async move {
            let answer = http.execute(request).await.map_err(reqwest::Error::without_url)?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            Ok::<_, reqwest::Error>((status, headers, answer.bytes().await?))
        };
        let (status, headers, body) = match self.runtime.spawn(exchange).await? {
            Ok(answer) => answer,
            Err(error) => {
                self.report(Some(&error.to_string()));
                return Err(error.into());
            }
        };
        self.report((!status.is_success()).then(|| status.to_string()).as_deref());
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}
