//! How the types of `windrow-core` look in the OpenAPI document. Nothing else uses these; core stays free of OpenAPI.
#![allow(dead_code)]

use utoipa::ToSchema;

/// Where a job is in its life.
#[derive(ToSchema)]
#[schema(as = JobStatus, rename_all = "snake_case")]
pub enum JobStatusSchema {
    PendingApproval,
    Queued,
    Running,
    Waiting,
    Completed,
    Failed,
    BudgetExceeded,
    Cancelled,
    Rejected,
}

/// How one run ended, or how a job ended without a run.
#[derive(ToSchema)]
#[schema(as = RunOutcome, rename_all = "snake_case")]
pub enum RunOutcomeSchema {
    Completed,
    Retried,
    Failed,
    BudgetExceeded,
    Cancelled,
    Rejected,
    Lost,
    Released,
    Awaited,
}

/// What kind of failure it was.
#[derive(ToSchema)]
#[schema(as = ErrorClass, rename_all = "snake_case")]
pub enum ErrorClassSchema {
    Transient,
    Permanent,
    Budget,
    Cancelled,
    Lost,
}

/// How urgent a job is.
#[derive(ToSchema)]
#[schema(as = Priority, rename_all = "snake_case")]
pub enum PrioritySchema {
    High,
    Normal,
    Low,
}

/// What a user may do.
#[derive(ToSchema)]
#[schema(as = Role, rename_all = "snake_case")]
pub enum RoleSchema {
    Consumer,
    Contributor,
    Admin,
}

/// Whether a user is let in.
#[derive(ToSchema)]
#[schema(as = UserStatus, rename_all = "snake_case")]
pub enum UserStatusSchema {
    Active,
    Disabled,
}

/// Where an upload is in its life.
#[derive(ToSchema)]
#[schema(as = UploadStatus, rename_all = "snake_case")]
pub enum UploadStatusSchema {
    Pending,
    Stored,
    Rejected,
    Expired,
}

/// What a ledger row was spent on.
#[derive(ToSchema)]
#[schema(as = LedgerKind, rename_all = "snake_case")]
pub enum LedgerKindSchema {
    Model,
    Compute,
    Storage,
}

/// One thing that is wrong with what was sent.
#[derive(ToSchema)]
#[schema(as = FieldError)]
pub struct FieldErrorSchema {
    /// Where, as a JSON pointer (RFC 6901); empty for the whole document.
    #[schema(examples("/spec/records"))]
    pub pointer: String,
    /// What is wrong and what would be right.
    pub message: String,
}
