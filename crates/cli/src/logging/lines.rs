//! One JSON object a line, flat: what a tool that collects logs searches for stands at the top (`request_id`, `trace_id`,
//! `job_id`, `run`), whichever span it came from.

use std::fmt::Debug;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, Scope};
use windrow_core::SharedClock;

/// Where lines go. Each ends with a line feed.
pub(super) trait LineSink: Send + Sync + 'static {
    fn write(&self, line: Vec<u8>);
}

pub(super) struct StandardError;

impl LineSink for StandardError {
    fn write(&self, line: Vec<u8>) {
        // a log that nobody can read any more is no reason to stop
        let _ = std::io::Write::write_all(&mut std::io::stderr().lock(), &line);
    }
}

pub(super) struct JsonLines<S> {
    service: String,
    clock: SharedClock,
    sink: S,
}

impl<S: LineSink> JsonLines<S> {
    pub(super) fn new(service: String, clock: SharedClock, sink: S) -> Self {
        Self { service, clock, sink }
    }
}

/// What was recorded of a span.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, value.to_string().into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format!("{value:?}").into());
    }
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }
}

impl<S, T> Layer<T> for JsonLines<S>
where
    S: LineSink,
    T: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, T>) {
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        // another of these layers may have been here
        if extensions.get_mut::<Fields>().is_none() {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            extensions.insert(fields);
        }
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, T>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            record.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, T>) {
        let metadata = event.metadata();
        let mut line = Map::new();
        line.insert("ts".to_owned(), self.clock.now().to_string().into());
        line.insert("level".to_owned(), metadata.level().as_str().into());
        line.insert("service".to_owned(), self.service.as_str().into());
        line.insert("target".to_owned(), metadata.target().into());
        let mut own = Fields::default();
        event.record(&mut own);
        if let Some(message) = own.0.shift_remove("message") {
            line.insert("message".to_owned(), message);
        }
        for span in context.event_scope(event).into_iter().flat_map(Scope::from_root) {
            if let Some(fields) = span.extensions().get::<Fields>() {
                line.extend(fields.0.iter().map(|(name, value)| (name.clone(), value.clone())));
            }
        }
        line.extend(own.0);
        if let Ok(mut bytes) = serde_json::to_vec(&line) {
            bytes.push(b'\n');
            self.sink.write(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<Value>>>);

    impl LineSink for Heard {
        fn write(&self, line: Vec<u8>) {
            assert_eq!(line.last(), Some(&b'\n'));
            self.0.lock().unwrap().push(serde_json::from_slice(&line).unwrap());
        }
    }

    #[test]
    fn a_line_has_what_its_spans_know_at_the_top() {
        let heard = Heard::default();
        let lines = JsonLines::new("test".to_owned(), windrow_core::TestClock::shared(), heard.clone());
        let subscriber = tracing_subscriber::registry().with(lines);
        tracing::subscriber::with_default(subscriber, || {
            let outer = tracing::info_span!("request", request_id = "r-1", owner = tracing::field::Empty);
            outer.record("owner", 7);
            let _outer = outer.entered();
            let _inner = tracing::info_span!("run", run = 2, nothing = None::<String>).entered();
            tracing::warn!(attempt = 3, "it {}", "failed");
        });
        let line = heard.0.lock().unwrap().remove(0);
        assert_eq!(
            line,
            serde_json::json!({"ts": "2026-01-01T00:00:00.000Z", "level": "WARN", "service": "test", "target": module_path!(), "message": "it failed",
                "request_id": "r-1", "owner": 7, "run": 2, "attempt": 3})
        );
    }
}
