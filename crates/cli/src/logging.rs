//! Log lines: JSON for machines in `uat` and `prod`, readable ones in `local`. Always on standard error: standard
//! output belongs to results.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;
use windrow_config::{Config, LogFormat};

/// Begins to log, for the rest of the process. `quiet` logs warnings only, unless a level was set: for commands whose
/// output a person reads.
pub(crate) fn start(config: &Config, quiet: bool) {
    let level = match config.log.level.as_str() {
        "info" if quiet => "warn",
        level => level,
    };
    // sqlx tells every statement at debug and slow ones at warn: the store's own spans say it better
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(coloured())
        .with_span_events(FmtSpan::NONE);
    let started = match config.log_format() {
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(true).with_span_list(true).try_init()
        }
        LogFormat::Pretty => lines.with_target(false).try_init(),
    };
    // a second start in one process (tests, the demo) keeps the first
    drop(started);
}

/// Only where a person looks on, and wants colours (<https://no-color.org>).
fn coloured() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
}
