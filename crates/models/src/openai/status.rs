//! What an HTTP status that is no success means.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;
use windrow_core::ErrorClass;

use crate::error::ModelError;
use crate::response::Usage;

/// The error for a status and its body.
///
/// A refusal costs nothing: providers bill answers only. That holds for every status the model's own server gives; what
/// a gateway in front of it says about a server that it lost (408, 502, 504, Cloudflare's 520 to 527) leaves the bill unknown.
pub(super) fn failure(status: StatusCode, body: &[u8], retry_after: Option<Duration>) -> ModelError {
    let said = Said::read(body);
    let (class, code) = classify(status, &said);
    let message = format!("the provider answered {status}{}", said.suffix());
    let error = if class == ErrorClass::Transient {
        ModelError::transient(code, message)
    } else {
        ModelError::permanent(code, message)
    };
    let error = match status.as_u16() {
        408 | 499 | 502 | 504 | 520..=527 => error.sent(),
        _ => error.billed(Usage::default()),
    };
    let error =
        if status.is_server_error() || status.as_u16() == 408 { error.provider_fault() } else { error };
    let error = if matches!(status.as_u16(), 400 | 413 | 422) { error.user_fault() } else { error };
    error.with_retry_after(retry_after)
}

fn classify(status: StatusCode, said: &Said) -> (ErrorClass, &'static str) {
    use ErrorClass::{Permanent, Transient};
    match status.as_u16() {
        429 if said.code == "insufficient_quota" => (Permanent, "model_quota_exhausted"),
        429 => (Transient, "model_rate_limited"),
        401 | 403 => (Permanent, "model_auth"),
        404 => (Permanent, "model_not_found"),
        400 | 413 if said.code == "context_length_exceeded" => (Permanent, "model_context_exceeded"),
        408 => (Transient, "model_timeout"),
        409 | 425 => (Transient, "model_unavailable"),
        400..=499 => (Permanent, "model_bad_request"),
        501 | 505 => (Permanent, "model_bad_endpoint"),
        500..=599 => (Transient, "model_unavailable"),
        _ => (Permanent, "model_bad_endpoint"),
    }
}

/// What the body says: `{"error": {"message", "code", "type"}}`, or whatever else a server writes.
pub(super) struct Said {
    pub(super) message: String,
    code: String,
}

impl Said {
    pub(super) fn read(body: &[u8]) -> Self {
        let json: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let error = json.get("error").unwrap_or(&json);
        let field = |name: &str| error.get(name).and_then(Value::as_str).map(str::to_owned);
        let message = field("message").or_else(|| error.as_str().map(str::to_owned));
        let message = message.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
        let code = field("code").or_else(|| field("type")).unwrap_or_default();
        Self { message: message.trim().chars().take(500).collect(), code }
    }

    pub(super) fn suffix(&self) -> String {
        if self.message.is_empty() { String::new() } else { format!(": {}", self.message) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Billing;

    fn failed(status: u16, body: &str) -> ModelError {
        failure(StatusCode::from_u16(status).unwrap(), body.as_bytes(), None)
    }

    #[test]
    fn statuses_have_their_class_code_and_bill() {
        let nothing = Billing::Billed(Usage::default());
        for (status, body, class, code, bill) in [
            (429, "{}", "transient", "model_rate_limited", nothing),
            (
                429,
                r#"{"error": {"code": "insufficient_quota"}}"#,
                "permanent",
                "model_quota_exhausted",
                nothing,
            ),
            (401, "", "permanent", "model_auth", nothing),
            (404, "", "permanent", "model_not_found", nothing),
            (
                400,
                r#"{"error": {"code": "context_length_exceeded"}}"#,
                "permanent",
                "model_context_exceeded",
                nothing,
            ),
            (422, "", "permanent", "model_bad_request", nothing),
            (408, "", "transient", "model_timeout", Billing::Unknown),
            (500, "", "transient", "model_unavailable", nothing),
            (503, "", "transient", "model_unavailable", nothing),
            (529, "", "transient", "model_unavailable", nothing),
            (504, "", "transient", "model_unavailable", Billing::Unknown),
            (524, "", "transient", "model_unavailable", Billing::Unknown),
            (302, "", "permanent", "model_bad_endpoint", nothing),
        ] {
            let error = failed(status, body);
            let seen = (error.class.to_string(), &*error.code, error.billing(), error.provider_fault);
            assert_eq!(
                seen,
                (class.to_owned(), code, bill, status >= 500 || status == 408),
                "{status} {body}"
            );
        }
    }

    #[test]
    fn the_servers_own_words_are_kept_short() {
        assert!(
            failed(400, r#"{"error": {"message": "bad seed"}}"#).message.ends_with("Bad Request: bad seed")
        );
        assert!(failed(400, r#"{"error": "bad seed"}"#).message.ends_with(": bad seed"));
        assert!(failed(502, "<html>oops").message.ends_with(": <html>oops"));
        assert!(failed(500, &"é".repeat(9_000)).message.chars().count() < 600);
    }

    proptest::proptest! {
        #[test]
        fn any_body_of_any_status_is_an_error_with_a_short_text(
            status in 100u16..1000,
            body in r#"\PC{0,200}|\{"error": ?(\{"(message|code|type)": ?("\PC{0,50}"|[0-9]{1,5}|null)\}|"\PC{0,50}"|\[\])\}"#
        ) {
            let error = failed(status, &body);
            proptest::prop_assert!(error.to_string().chars().count() < 2_000);
        }
    }
}
