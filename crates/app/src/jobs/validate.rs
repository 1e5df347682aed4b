//! A submit's checks that need no database.

use jsonschema::error::ValidationErrorKind;
use jsonschema::{ValidationError, Validator};
use serde_json::Value;
use url::Url;
use windrow_api_types::{SCHEMA_VERSION, SubmitJob};
use windrow_core::{BudgetCounts, FieldError};

use crate::{App, AppError};

/// So many faults are told; a document may have thousands.
const MAX_FAULTS: usize = 50;
/// The longest webhook URL, in bytes.
const MAX_URL: usize = 2048;

/// Checks all but what the workload's own `prepare` checks.
///
/// # Errors
/// [`AppError::UnknownWorkload`], [`AppError::InvalidRequest`], [`AppError::InvalidSpec`].
pub(super) fn check(app: &App, request: &SubmitJob) -> Result<(), AppError> {
    let Some(validator) = app.validators.get(&request.workload) else {
        let known = app.parts.workloads.names().collect::<Vec<_>>().join(", ");
        return Err(AppError::UnknownWorkload { name: request.workload.chars().take(100).collect(), known });
    };
    let mut errors = Vec::new();
    if let Some(version) = request.schema_version.filter(|version| *version != SCHEMA_VERSION) {
        let message = format!("{version} is unknown; this server knows {SCHEMA_VERSION}");
        errors.push(FieldError::new("/schema_version", message));
    }
    if request.budget_usd.is_some_and(|budget| budget.as_pico() < 0) {
        errors.push(FieldError::new("/budget_usd", "must not be negative"));
    }
    if request.budget_counts.as_deref().is_some_and(|kinds| BudgetCounts::of(kinds).is_none()) {
        let message = "must name \"model\": calls of models always count";
        errors.push(FieldError::new("/budget_counts", message));
    }
    if let Some(problem) = request.webhook_url.as_deref().and_then(webhook_problem) {
        errors.push(FieldError::new("/webhook_url", problem));
    }
    if let Some(key) = request.idempotency_key.as_deref().filter(|key| !is_key(key)) {
        let message = format!("has 1 to 255 printable ASCII characters, not {}", key.len());
        errors.push(FieldError::new("/idempotency_key", message));
    }
    if !errors.is_empty() {
        return Err(AppError::InvalidRequest(errors));
    }
    let errors = spec_faults(validator, &request.spec);
    if errors.is_empty() { Ok(()) } else { Err(AppError::InvalidSpec(errors)) }
}

pub(super) fn is_key(key: &str) -> bool {
    (1..=255).contains(&key.len()) && key.bytes().all(|b| (0x20..0x7f).contains(&b))
}

fn webhook_problem(text: &str) -> Option<String> {
    let url = match Url::parse(text) {
        _ if text.len() > MAX_URL => return Some(format!("must have at most {MAX_URL} bytes")),
        Ok(url) => url,
        Err(error) => return Some(format!("is no URL: {error}")),
    };
    if !matches!(url.scheme(), "https" | "http") {
        return Some("must begin with https:// or http://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Some("must hold no user name and no password".to_owned());
    }
    None
}

/// The faults of a spec, each with the JSON pointer of the field that is wrong, missing or unknown.
fn spec_faults(validator: &Validator, spec: &Value) -> Vec<FieldError> {
    validator.iter_errors(spec).flat_map(|error| faults(&error)).take(MAX_FAULTS).collect()
}

fn faults(error: &ValidationError<'_>) -> Vec<FieldError> {
    let place = format!("/spec{}", error.instance_path().as_str());
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            vec![FieldError::new(format!("{place}/{}", escape(name)), "is missing")]
        }
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => unexpected
            .iter()
            .map(|name| {
                FieldError::new(format!("{place}/{}", escape(name)), "is no field that this spec knows")
            })
            .collect(),
        _ => vec![FieldError::new(place, shorten(&error.to_string()))],
    }
}

/// RFC 6901, section 3.
fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Messages quote the value, which may be large.
fn shorten(message: &str) -> String {
    const MAX: usize = 300;
    if message.chars().count() <= MAX {
        return message.to_owned();
    }
    let half = MAX / 2;
    let end: Vec<char> = message.chars().rev().take(half).collect();
    let start: String = message.chars().take(half).collect();
    format!("{start} … {}", end.into_iter().rev().collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pointers(schema: &Value, spec: &Value) -> Vec<String> {
        let validator = jsonschema::validator_for(schema).unwrap();
        spec_faults(&validator, spec).into_iter().map(|fault| fault.pointer).collect()
    }

    #[test]
    fn each_bad_field_is_named_by_its_pointer() {
        let schema = json!({
            "type": "object",
            "required": ["records", "a/b"],
            "additionalProperties": false,
            "properties": {
                "records": {"type": "integer", "minimum": 1},
                "a/b": {"type": "string"},
                "nested": {"type": "object", "properties": {"list": {"type": "array", "items": {"type": "string"}}}},
            },
        });
        let mut found = pointers(&schema, &json!({"records": 0, "x~y": 1, "nested": {"list": ["a", 2]}}));
        found.sort_unstable();
        assert_eq!(found, ["/spec/a~1b", "/spec/nested/list/1", "/spec/records", "/spec/x~0y"]);
        assert_eq!(pointers(&schema, &json!([])), ["/spec"]);
        assert!(pointers(&schema, &json!({"records": 1, "a/b": ""})).is_empty());
    }

    #[test]
    fn a_huge_bad_value_does_not_make_a_huge_message() {
        let schema = json!({"type": "integer"});
        let validator = jsonschema::validator_for(&schema).unwrap();
        let faults = spec_faults(&validator, &json!("x".repeat(1_000_000)));
        assert!(faults[0].message.len() < 1000);
    }

    #[test]
    fn webhooks_are_plain_urls() {
        assert_eq!(webhook_problem("https://example.org/hook?a=b"), None);
        for bad in
            ["", "example.org", "ftp://example.org/", "https://u:p@example.org/", "javascript:alert(1)"]
        {
            assert!(webhook_problem(bad).is_some(), "{bad}");
        }
        assert!(webhook_problem(&format!("https://example.org/{}", "a".repeat(3000))).is_some());
    }
}
