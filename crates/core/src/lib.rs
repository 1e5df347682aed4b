//! The words of the platform as types: ids, money, job status and its transitions, error classes, retry policy, clock.
//!
//! Pure: this crate knows no runtime, database, file system or network. Time comes in through [`Clock`], randomness
//! through arguments. Everything else in the workspace may depend on it; it depends on nothing of the workspace.

#[cfg(test)]
mod any_text;
pub mod budget;
pub mod clock;
pub mod error;
pub mod ids;
pub mod money;
pub mod owner;
pub mod retry;
pub mod status;
pub mod trace;

pub use budget::BudgetCounts;
pub use clock::{Clock, SharedClock, SystemClock, TestClock, Timestamp};
pub use error::{ErrorClass, FieldError, JobError};
pub use ids::{
    ApiKeyId, ArtifactId, BudgetId, CallId, JobId, JobSeq, OwnerId, RequestId, RunNo, UploadId, WorkerId,
};
pub use money::PicoUsd;
pub use owner::{LedgerKind, Role, Scope, UploadStatus, UserStatus};
pub use retry::RetryPolicy;
pub use status::{JobStatus, Priority, RunOutcome};
pub use trace::TraceParent;
