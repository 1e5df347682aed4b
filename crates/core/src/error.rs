//! What can end a run badly, and who is at fault.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::status::text_enum;

text_enum! {
    /// What kind of failure ended a run; it decides what happens next.
    ErrorClass {
        /// Worth trying again later (a 503, a timeout, a stall).
        Transient = "transient",
        /// Will fail in the same way every time: failed now.
        Permanent = "permanent",
        /// The budget has no room for the next call.
        Budget = "budget",
        /// A person asked for it.
        Cancelled = "cancelled",
        /// The worker died, or lost its lease.
        Lost = "lost",
    }
}

/// Why a run failed: a class that decides what happens next, a stable code for programs, a message for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct JobError {
    pub class: ErrorClass,
    /// Stable, snake_case.
    pub code: Cow<'static, str>,
    /// What went wrong and what to do about it. Without U+0000, which PostgreSQL's texts can't hold.
    #[serde(deserialize_with = "without_nul")]
    pub message: String,
    /// Whether the fault is the user's own (an encrypted file, an absent field): then it is failed, but no alarm.
    #[serde(default)]
    pub user_fault: bool,
    /// A provider's `Retry-After`, in milliseconds: it wins over the retry policy's delay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl JobError {
    pub fn new(class: ErrorClass, code: impl Into<Cow<'static, str>>, message: impl fmt::Display) -> Self {
        Self {
            class,
            code: code.into(),
            message: replace_nul(message.to_string()),
            user_fault: false,
            retry_after_ms: None,
        }
    }

    pub fn transient(code: impl Into<Cow<'static, str>>, message: impl fmt::Display) -> Self {
        Self::new(ErrorClass::Transient, code, message)
    }

    pub fn permanent(code: impl Into<Cow<'static, str>>, message: impl fmt::Display) -> Self {
        Self::new(ErrorClass::Permanent, code, message)
    }

    /// A permanent error whose cause is what the user gave us.
    pub fn user(code: impl Into<Cow<'static, str>>, message: impl fmt::Display) -> Self {
        Self { user_fault: true, ..Self::permanent(code, message) }
    }

    pub fn cancelled() -> Self {
        Self::new(ErrorClass::Cancelled, "cancelled", "the job was cancelled")
    }

    pub fn budget(message: impl fmt::Display) -> Self {
        Self::new(ErrorClass::Budget, "budget_exceeded", message)
    }

    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after_ms = Some(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        self
    }
}

fn without_nul<'de, D: Deserializer<'de>>(message: D) -> Result<String, D::Error> {
    String::deserialize(message).map(replace_nul)
}

fn replace_nul(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

/// One thing that is wrong with a document that a user sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// Where, as a JSON pointer (RFC 6901); empty for the whole document.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl FieldError {
    pub fn new(pointer: impl Into<String>, message: impl fmt::Display) -> Self {
        Self { pointer: pointer.into(), message: message.to_string() }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.pointer.is_empty() { "(document)" } else { &self.pointer };
        write!(f, "{place}: {}", self.message)
    }
}
