//! A submit's checks that need no database.

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
    let Some(schema) = app.spec_schemas.get(&request.workload) else {
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
    let faults = schema.faults(&request.spec, MAX_FAULTS);
    if faults.is_empty() {
        return Ok(());
    }
    let in_spec = |fault: FieldError| FieldError { pointer: format!("/spec{}", fault.pointer), ..fault };
    Err(AppError::InvalidSpec(faults.into_iter().map(in_spec).collect()))
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

#[cfg(test)]
mod tests {
    use super::*;

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
