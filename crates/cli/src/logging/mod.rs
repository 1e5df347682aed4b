//! Log lines: JSON for machines in `uat` and `prod`, readable ones in `local`. Always on standard error: standard
//! output belongs to results. Beside an embedded database they are kept, too ([`kept`]), for `windrow trace`; and spans
//! leave as OTLP where that is set ([`otlp`]).

pub(crate) mod kept;
mod lines;
#[cfg(feature = "otlp")]
mod otlp;

use std::io::IsTerminal as _;
use std::path::Path;

use anyhow::Context as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};
use windrow_config::{Config, DatabaseTarget, LogFormat};
use windrow_core::SystemClock;

use kept::KeptLog;
use lines::JsonLines;

type Lines = Box<dyn Layer<Registry> + Send + Sync>;

/// What a kept log has beyond what is printed: each request's and each run's end, so that a trace of an undisturbed job
/// is not empty.
const ALSO_KEPT: &str = "windrow_rest=debug,windrow_runtime=debug";

/// Begins to log for a command whose output a person reads: warnings only, unless a level was set.
pub(crate) fn quiet(config: &Config) {
    let level = match config.log.level.as_str() {
        "info" => "warn",
        level => level,
    };
    begin(vec![printed(config, level)]);
}

/// Begins to log for a process that serves, with all that was configured for its log and its spans. `beside`: the
/// configured data directory is where the installation is.
///
/// # Errors
/// Spans can't be exported as configured.
pub(crate) fn serving(config: &Config, beside: bool) -> anyhow::Result<()> {
    let level = config.log.level.as_str();
    let mut layers = vec![printed(config, level)];
    if let Some(dir) = kept_in(config).filter(|_| beside) {
        match KeptLog::begin(&dir, config.log.keep) {
            Ok(kept) => {
                let lines = JsonLines::new(config.otlp.service_name.clone(), SystemClock::shared(), kept);
                layers.push(lines.with_filter(filter(&format!("{ALSO_KEPT},{level}"))).boxed());
            }
            // the data directory may not be usable at all: whoever opens it says so better
            Err(error) => eprint_once(&dir, &error),
        }
    }
    layers.extend(exported(config).context("traces can't be sent over OTLP")?);
    begin(layers);
    Ok(())
}

/// Where the log of an installation with an embedded database is kept; none where processes on several machines share a
/// database, each with a log of its own that other tools collect.
pub(crate) fn kept_in(config: &Config) -> Option<std::path::PathBuf> {
    let embedded = matches!(config.database(), DatabaseTarget::Sqlite { .. });
    (embedded && config.log.keep > 0).then(|| config.data_dir.join("log"))
}

/// Has what was logged reach its places before the process ends; takes a few seconds at most.
pub(crate) fn finish() {
    kept::flush();
    #[cfg(feature = "otlp")]
    otlp::flush();
}

fn begin(layers: Vec<Lines>) {
    // a second start in one process (tests, the demo) keeps the first
    drop(tracing_subscriber::registry().with(layers).try_init());
}

fn printed(config: &Config, level: &str) -> Lines {
    match config.log_format() {
        LogFormat::Json => {
            let service = config.otlp.service_name.clone();
            JsonLines::new(service, SystemClock::shared(), lines::StandardError)
                .with_filter(filter(level))
                .boxed()
        }
        LogFormat::Pretty => tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(coloured())
            .with_target(false)
            .with_filter(filter(level))
            .boxed(),
    }
}

fn filter(level: &str) -> EnvFilter {
    EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"))
}

#[cfg(feature = "otlp")]
fn exported(config: &Config) -> anyhow::Result<Option<Lines>> {
    config.otlp.endpoint.as_ref().map(|endpoint| otlp::begin(&config.otlp, endpoint)).transpose()
}

#[cfg(not(feature = "otlp"))]
fn exported(config: &Config) -> anyhow::Result<Option<Lines>> {
    anyhow::ensure!(
        config.otlp.endpoint.is_none(),
        "OTEL_EXPORTER_OTLP_ENDPOINT is set, but this program was built without the feature `otlp`"
    );
    Ok(None)
}

#[allow(clippy::print_stderr, reason = "there is no log yet")]
fn eprint_once(dir: &Path, error: &std::io::Error) {
    eprintln!("the log can't be kept in {}: {error}", dir.display());
}

/// Only where a person looks on, and wants colours (<https://no-color.org>).
fn coloured() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
}
