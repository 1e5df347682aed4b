//! The hash by which two requests with one idempotency key are told to be the same.

use std::fmt::Write as _;

use serde_json::Value;
use sha2::{Digest, Sha256};
use windrow_api_types::SubmitJob;
use windrow_core::BudgetCounts;

/// SHA-256 of the request in one certain form: the order of fields and spaces do not count, nor do defaults that were
/// written out. The key itself is no part of it, so that a batch item and a single submit are the same request.
pub(super) fn request_hash(request: &SubmitJob) -> [u8; 32] {
    let mut text = String::new();
    for part in [
        Some(request.workload.clone()),
        Some(request.priority.unwrap_or_default().to_string()),
        request.run_at.map(|time| time.as_micros().to_string()),
        request.budget_usd.map(|budget| budget.as_pico().to_string()),
        request.webhook_url.clone(),
        Some(request.schema_version.unwrap_or(windrow_api_types::SCHEMA_VERSION).to_string()),
    ] {
        // a length in front keeps two fields from running into each other
        match part {
            Some(part) => {
                let _ = write!(text, "{}:{part};", part.len());
            }
            None => text.push_str("-;"),
        }
    }
    // said only where it is not the default, so that keys which were used before it could be said still fit
    let counts = request.budget_counts.as_deref().and_then(BudgetCounts::of).unwrap_or_default();
    if counts != BudgetCounts::default() {
        let _ = write!(text, "counts:{}:{};", counts.compute, counts.storage);
    }
    write_sorted(&mut text, &request.spec);
    Sha256::digest(text.as_bytes()).into()
}

fn write_sorted(text: &mut String, value: &Value) {
    match value {
        Value::Object(fields) => {
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort_unstable();
            text.push('{');
            for name in names {
                let _ = write!(text, "{}:", Value::String(name.clone()));
                write_sorted(text, &fields[name]);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for item in items {
                write_sorted(text, item);
                text.push(',');
            }
            text.push(']');
        }
        plain => {
            let _ = write!(text, "{plain}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(json: &str) -> [u8; 32] {
        request_hash(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn the_order_of_fields_and_defaults_written_out_do_not_count() {
        let base = hash(r#"{"workload":"echo","spec":{"a":1,"b":{"c":[1,2],"d":null}}}"#);
        for same in [
            r#"{"spec":{"b":{"d":null,"c":[1,2]},"a":1},"workload":"echo"}"#,
            r#"{"workload":"echo","spec":{"a":1,"b":{"c":[1,2],"d":null}},"priority":"normal"}"#,
            r#"{"workload":"echo","spec":{"a":1,"b":{"c":[1,2],"d":null}},"schema_version":1}"#,
            r#"{"workload":"echo","spec":{"a":1,"b":{"c":[1,2],"d":null}},"idempotency_key":"k"}"#,
            r#"{"workload":"echo","spec":{"a":1,"b":{"c":[1,2],"d":null}},"budget_counts":["model"]}"#,
        ] {
            assert_eq!(hash(same), base, "{same}");
        }
    }

    #[test]
    fn whatever_changes_the_job_changes_the_hash() {
        let base = hash(r#"{"workload":"echo","spec":{"a":1}}"#);
        for other in [
            r#"{"workload":"ech","spec":{"a":1}}"#,
            r#"{"workload":"echo","spec":{"a":2}}"#,
            r#"{"workload":"echo","spec":{"a":"1"}}"#,
            r#"{"workload":"echo","spec":{"a":1,"b":null}}"#,
            r#"{"workload":"echo","spec":{"a":1},"priority":"high"}"#,
            r#"{"workload":"echo","spec":{"a":1},"budget_usd":"1"}"#,
            r#"{"workload":"echo","spec":{"a":1},"budget_counts":["model","compute"]}"#,
            r#"{"workload":"echo","spec":{"a":1},"budget_counts":["model","storage"]}"#,
            r#"{"workload":"echo","spec":{"a":1},"run_at":"2026-01-01T00:00:00Z"}"#,
            r#"{"workload":"echo","spec":{"a":1},"webhook_url":"https://example.org/"}"#,
        ] {
            assert_ne!(hash(other), base, "{other}");
        }
        assert_ne!(hash(r#"{"workload":"e","spec":[1,2]}"#), hash(r#"{"workload":"e","spec":[12]}"#));
        assert_ne!(hash(r#"{"workload":"e","spec":[1,2]}"#), hash(r#"{"workload":"e","spec":[2,1]}"#));
    }
}
