//! What goes over the wire: requests, responses, problems, pages. The server, the typed client and the tests share it.
//!
//! Plain data with serde and OpenAPI schemas. This crate knows no database, no HTTP server and no client. Requests refuse
//! unknown fields, so that a misspelt option is an error and not silence; responses may gain fields.
//! Money is a string of decimal USD, times are RFC 3339 in UTC with milliseconds, ids are UUIDs.

pub mod artifact;
pub mod audit;
pub mod dead_letter;
pub mod event;
pub mod health;
pub mod job;
pub mod key;
pub mod ledger;
pub mod page;
pub mod problem;
pub mod run;
pub mod schema;
pub mod trace;
pub mod upload;
pub mod user;
pub mod webhook;
pub mod worker;

pub use artifact::{Artifact, ArtifactGroup, ArtifactQuery};
pub use audit::{AuditEntry, AuditQuery};
pub use dead_letter::{
    DeadLetter, DeadLetterDecision, DeadLetterFilter, DeadLetterQuery, DeadLettersChanged,
};
pub use event::{Event, EventQuery};
pub use health::{Check, CheckState, Health, Ready, SmokeReport, SmokeStep, WorkloadHealth};
pub use job::{
    BatchItem, BatchReply, BatchRequest, Decision, Job, JobCost, JobLinks, JobListQuery, JobProgress,
    JobTokens, RetryJob, SubmitJob, Submitted,
};
pub use key::{ApiKey, CreateApiKey, CreatedApiKey};
pub use ledger::{
    LedgerQuery, LedgerRollup, LedgerRow, RollupBy, RollupQuery, SettleUnconfirmed, UnconfirmedCall,
};
pub use page::{CommaList, MAX_PAGE, Page, PageQuery};
pub use problem::{PROBLEM_JSON, Problem};
pub use run::{JobFailure, Run};
pub use trace::{Trace, TracedJob};
pub use upload::{CreateUpload, CreatedUpload, Upload};
pub use user::{ChangeUser, Me, User, UserQuery};
pub use webhook::{WebhookPayload, WebhookSecret};

/// The version that specs, messages, checkpoints, events and results carry. An unknown one is a permanent error.
pub const SCHEMA_VERSION: u32 = 1;
