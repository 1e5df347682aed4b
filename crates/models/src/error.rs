//! Why a call failed, what it cost, and whether to try again.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use windrow_core::{ErrorClass, JobError, RetryPolicy};

use crate::response::Usage;

/// A failed call.
///
/// Money: the caller settles its reservation by [`ModelError::billing`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ModelError {
    /// `Transient` or `Permanent`.
    pub class: ErrorClass,
    /// Stable, snake_case, begins with `model_`.
    pub code: Cow<'static, str>,
    /// What went wrong and what to do about it.
    pub message: String,
    /// How long the provider asked to be left alone, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Whether the request may have left this process.
    pub sent: bool,
    /// What the provider is known to have billed: nothing, when it refused; the usage, when it said one. `None` with
    /// `sent`: nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billed: Option<Usage>,
    /// Whether the cause is what the user gave us (a prompt too long, a schema the provider can't take).
    #[serde(default)]
    pub user_fault: bool,
    /// Whether it says something about the provider's health; the circuit breaker counts these only.
    #[serde(default)]
    pub provider_fault: bool,
}

/// What becomes of the reservation of a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Billing {
    /// Nothing left the process: release it.
    NotSent,
    /// The provider's own word: settle it with this usage (zero for a refusal).
    Billed(Usage),
    /// It may have been billed: book the worst case as unconfirmed.
    Unknown,
}

/// Whether a failed call is worth another attempt. Every attempt reserves money anew, so the loop is the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAdvice {
    /// Ask again after this long.
    RetryAfter(Duration),
    /// It would fail in the same way, or has failed often enough.
    GiveUp,
}

impl ModelError {
    /// A permanent error before anything was sent.
    pub fn permanent(code: &'static str, message: impl fmt::Display) -> Self {
        Self {
            class: ErrorClass::Permanent,
            code: Cow::Borrowed(code),
            message: message.to_string(),
            retry_after_ms: None,
            sent: false,
            billed: None,
            user_fault: false,
            provider_fault: false,
        }
    }

    /// A transient error before anything was sent.
    pub fn transient(code: &'static str, message: impl fmt::Display) -> Self {
        Self { class: ErrorClass::Transient, ..Self::permanent(code, message) }
    }

    /// The request may have left the process, and what it cost is unknown.
    #[must_use]
    pub fn sent(self) -> Self {
        Self { sent: true, ..self }
    }

    /// The request left the process, and this is what it cost.
    #[must_use]
    pub fn billed(self, usage: Usage) -> Self {
        Self { sent: true, billed: Some(usage), ..self }
    }

    #[must_use]
    pub fn with_retry_after(self, after: Option<Duration>) -> Self {
        let retry_after_ms = after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        Self { retry_after_ms, ..self }
    }

    #[must_use]
    pub fn user_fault(self) -> Self {
        Self { user_fault: true, ..self }
    }

    #[must_use]
    pub fn provider_fault(self) -> Self {
        Self { provider_fault: true, ..self }
    }

    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after_ms.map(Duration::from_millis)
    }

    /// What becomes of the call's reservation.
    pub fn billing(&self) -> Billing {
        match (self.sent, self.billed) {
            (false, _) => Billing::NotSent,
            (true, Some(usage)) => Billing::Billed(usage),
            (true, None) => Billing::Unknown,
        }
    }

    /// Whether and when to ask again after the `attempt`-th failed attempt (counted from 1). `unit` is a random number
    /// in [0, 1); a provider's `Retry-After` wins over the jitter.
    pub fn advice(&self, policy: &RetryPolicy, attempt: u32, unit: f64) -> RetryAdvice {
        if self.class == ErrorClass::Transient && policy.allows_another(attempt) {
            RetryAdvice::RetryAfter(policy.delay(attempt, unit, self.retry_after()))
        } else {
            RetryAdvice::GiveUp
        }
    }
}

impl From<ModelError> for JobError {
    fn from(error: ModelError) -> Self {
        Self {
            class: error.class,
            code: error.code,
            message: error.message,
            user_fault: error.user_fault,
            retry_after_ms: error.retry_after_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_follows_class_attempts_and_the_providers_wish() {
        let policy = RetryPolicy::default();
        let busy = ModelError::transient("model_rate_limited", "busy")
            .with_retry_after(Some(Duration::from_secs(9)));
        assert_eq!(busy.advice(&policy, 1, 0.5), RetryAdvice::RetryAfter(Duration::from_secs(9)));
        assert_eq!(busy.advice(&policy, policy.max_attempts, 0.5), RetryAdvice::GiveUp);
        let down = ModelError::transient("model_unavailable", "down");
        assert_eq!(down.advice(&policy, 2, 0.5), RetryAdvice::RetryAfter(Duration::from_secs(2)));
        let wrong = ModelError::permanent("model_bad_request", "no");
        assert_eq!(wrong.advice(&policy, 1, 0.5), RetryAdvice::GiveUp);
    }

    #[test]
    fn billing_never_forgets_what_may_have_been_sent() {
        let error = ModelError::transient("model_timeout", "late");
        assert_eq!(error.billing(), Billing::NotSent);
        assert_eq!(error.clone().sent().billing(), Billing::Unknown);
        assert_eq!(error.billed(Usage::default()).billing(), Billing::Billed(Usage::default()));
    }

    #[test]
    fn it_survives_the_wire() {
        let error = ModelError::transient("model_timeout", "late")
            .sent()
            .with_retry_after(Some(Duration::from_millis(1500)));
        let json = serde_json::to_string(&error).unwrap();
        assert_eq!(serde_json::from_str::<ModelError>(&json).unwrap(), error);
        assert_eq!(JobError::from(error).retry_after_ms, Some(1500));
    }
}
