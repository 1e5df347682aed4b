//! Why a use case refuses or fails, and who is at fault.

use windrow_auth::AuthError;
use windrow_blob::{BlobError, GrantError};
use windrow_core::{FieldError, JobId, Role, Scope};
use windrow_store::StoreError;

/// Each variant has one stable code and one HTTP status. The message says what went wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    // ----- who is asking
    #[error(transparent)]
    Unauthenticated(AuthError),
    #[error("the user {0:?} is disabled; an admin can enable it again")]
    UserDisabled(String),
    #[error("this needs the role {needs}, and you are {has}")]
    RoleTooLow { needs: Role, has: Role },
    #[error("this API key lacks the scope {needs}")]
    ScopeMissing { needs: Scope },

    // ----- what is asked for
    /// Also what belongs to somebody else: the two can't be told apart.
    #[error("there is no {what} {id}")]
    NotFound { what: &'static str, id: String },
    #[error("the cursor is none that a page of this list gave; start without one")]
    BadCursor,
    #[error("{0}")]
    BadEventId(String),
    #[error("an idempotency key has 1 to 255 printable ASCII characters")]
    BadIdempotencyKey,
    #[error("the request is not valid{}", first(.0))]
    InvalidRequest(Vec<FieldError>),
    #[error("the spec is not valid{}", first(.0))]
    InvalidSpec(Vec<FieldError>),
    #[error("there is no workload {name:?}; there are: {known}")]
    UnknownWorkload { name: String, known: String },
    #[error("{items} jobs are more than the {max} that one batch may have")]
    BatchTooLarge { items: usize, max: usize },
    #[error("{size} bytes are more than the {max} allowed")]
    UploadTooLarge { size: u64, max: u64 },

    // ----- what stands in the way
    #[error("this idempotency key was used for another request, which made the job {job}; use a new key")]
    IdempotencyConflict { job: JobId },
    #[error("{0}")]
    JobState(String),
    #[error("the job is a child: retry its root job {root}")]
    ChildJob { root: JobId },
    #[error("this is the last active admin; make another one first")]
    LastAdmin,
    #[error("nothing was put at the upload's URL yet; PUT the bytes, then complete it")]
    UploadMissing,
    #[error("the upload is {0}: its URL takes nothing any more")]
    UploadClosed(windrow_core::UploadStatus),
    #[error("the upload has expired; create a new one")]
    UploadExpired,
    #[error("the upload was rejected: {0}; create a new one")]
    UploadRejected(String),
    #[error("the object has changed since it was verified")]
    ObjectChanged,
    #[error("something stands under {0} already, and the link replaces nothing")]
    ObjectExists(String),
    #[error("the call {0} is not unconfirmed: there is nothing to settle")]
    CallNotUnconfirmed(String),

    // ----- signed links
    #[error("{0}")]
    LinkInvalid(String),
    #[error("the link has expired; ask for a new one")]
    LinkExpired,
    #[error("{0}")]
    LinkMismatch(String),
    #[error("the range lies outside the object's {size} bytes")]
    RangeNotSatisfiable { size: u64 },
    #[error("the body broke off: {0}")]
    BodyBroken(String),

    // ----- the environment
    #[error("the database can't do this just now: {0}; try again")]
    DatabaseUnavailable(StoreError),
    #[error("the storage can't do this just now: {0}; try again")]
    StorageUnavailable(String),
    #[error("the storage is full")]
    StorageFull,

    // ----- this program
    #[error("an error inside Windrow; the log has more under this request's id")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn first(errors: &[FieldError]) -> String {
    match errors {
        [] => String::new(),
        [one] => format!(": {one}"),
        [one, rest @ ..] => format!(": {one} (and {} more)", rest.len()),
    }
}

impl AppError {
    pub fn not_found(what: &'static str, id: impl std::fmt::Display) -> Self {
        Self::NotFound { what, id: id.to_string() }
    }

    /// One fault of a request.
    pub fn invalid(pointer: impl Into<String>, message: impl std::fmt::Display) -> Self {
        Self::InvalidRequest(vec![FieldError::new(pointer, message)])
    }

    pub fn internal(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Internal(Box::new(error))
    }

    /// The HTTP status and the stable code.
    const fn mapped(&self) -> (u16, &'static str) {
        match self {
            // a code for each reason; 503 when it is not the caller's fault
            Self::Unauthenticated(why) => (if why.is_unavailable() { 503 } else { 401 }, why.code()),
            Self::UserDisabled(_) => (403, "user_disabled"),
            Self::RoleTooLow { .. } => (403, "role_too_low"),
            Self::ScopeMissing { .. } => (403, "scope_missing"),
            Self::NotFound { .. } => (404, "not_found"),
            Self::BadCursor => (400, "bad_cursor"),
            Self::BadEventId(_) => (400, "bad_event_id"),
            Self::BadIdempotencyKey => (400, "invalid_idempotency_key"),
            Self::InvalidRequest(_) => (422, "invalid_request"),
            Self::InvalidSpec(_) => (422, "invalid_spec"),
            Self::UnknownWorkload { .. } => (422, "unknown_workload"),
            Self::BatchTooLarge { .. } => (413, "batch_too_large"),
            Self::UploadTooLarge { .. } => (413, "upload_too_large"),
            Self::IdempotencyConflict { .. } => (409, "idempotency_conflict"),
            Self::JobState(_) => (409, "job_state"),
            Self::ChildJob { .. } => (409, "child_job"),
            Self::LastAdmin => (409, "last_admin"),
            Self::UploadMissing => (409, "upload_missing"),
            Self::UploadClosed(_) => (409, "upload_closed"),
            Self::UploadExpired => (410, "upload_expired"),
            Self::UploadRejected(_) => (422, "upload_rejected"),
            Self::ObjectChanged => (409, "object_changed"),
            Self::ObjectExists(_) => (409, "object_exists"),
            Self::CallNotUnconfirmed(_) => (409, "call_not_unconfirmed"),
            Self::LinkInvalid(_) => (403, "link_invalid"),
            Self::LinkExpired => (403, "link_expired"),
            Self::LinkMismatch(_) => (400, "link_mismatch"),
            Self::RangeNotSatisfiable { .. } => (416, "range_not_satisfiable"),
            Self::BodyBroken(_) => (400, "body_broken"),
            Self::DatabaseUnavailable(_) => (503, "database_unavailable"),
            Self::StorageUnavailable(_) => (503, "storage_unavailable"),
            Self::StorageFull => (507, "storage_full"),
            Self::Internal(_) => (500, "internal"),
        }
    }

    /// Stable, snake_case.
    pub const fn code(&self) -> &'static str {
        self.mapped().1
    }

    /// The HTTP status.
    pub const fn status(&self) -> u16 {
        self.mapped().0
    }

    /// The faults by JSON pointer, where there are any.
    pub fn into_field_errors(self) -> Vec<FieldError> {
        match self {
            Self::InvalidRequest(errors) | Self::InvalidSpec(errors) => errors,
            _ => Vec::new(),
        }
    }
}

impl From<StoreError> for AppError {
    fn from(error: StoreError) -> Self {
        if let StoreError::BadText(_) = error {
            return Self::invalid("", "a text holds the character U+0000, which can't be kept; leave it out");
        }
        match error.fault() {
            windrow_store::Fault::Environment => Self::DatabaseUnavailable(error),
            // a duplicate or a refused value that a use case knows is mapped there: here it is a surprise
            windrow_store::Fault::Caller | windrow_store::Fault::Program => Self::internal(error),
        }
    }
}

impl From<AuthError> for AppError {
    fn from(error: AuthError) -> Self {
        Self::Unauthenticated(error)
    }
}

impl From<BlobError> for AppError {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::NotFound { key } => Self::not_found("object", key),
            BlobError::Changed { .. } | BlobError::AlreadyExists { .. } => Self::ObjectChanged,
            BlobError::InvalidRange { size, .. } => Self::RangeNotSatisfiable { size },
            BlobError::TooLarge { max, .. } => Self::UploadTooLarge { size: max.saturating_add(1), max },
            BlobError::NoSpace { .. } => Self::StorageFull,
            BlobError::Transient { message, .. } => Self::StorageUnavailable(message),
            other => Self::internal(other),
        }
    }
}

impl From<GrantError> for AppError {
    fn from(error: GrantError) -> Self {
        match error {
            GrantError::Expired => Self::LinkExpired,
            GrantError::Malformed(_) | GrantError::Tampered | GrantError::WrongMethod { .. } => {
                Self::LinkInvalid(error.to_string())
            }
            GrantError::WrongContentType { .. } => Self::LinkMismatch(error.to_string()),
            GrantError::TooLarge { max } => Self::UploadTooLarge { size: max.saturating_add(1), max },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn codes_are_stable_distinct_and_snake_case() {
        let all = [
            AppError::Unauthenticated(AuthError::Missing),
            AppError::UserDisabled(String::new()),
            AppError::RoleTooLow { needs: Role::Admin, has: Role::Consumer },
            AppError::ScopeMissing { needs: Scope::Admin },
            AppError::not_found("job", 1),
            AppError::BadCursor,
            AppError::InvalidRequest(Vec::new()),
            AppError::InvalidSpec(Vec::new()),
            AppError::LastAdmin,
            AppError::UploadMissing,
            AppError::LinkExpired,
            AppError::StorageFull,
        ];
        let codes: HashSet<&str> = all.iter().map(AppError::code).collect();
        assert_eq!(codes.len(), all.len());
        assert!(codes.iter().all(|code| code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
        assert!(all.iter().all(|error| (400..600).contains(&error.status())));
    }

    #[test]
    fn a_request_with_faults_names_the_first_and_counts_the_rest() {
        let faults = vec![FieldError::new("/spec/a", "is missing"), FieldError::new("/spec/b", "is missing")];
        let error = AppError::InvalidSpec(faults.clone());
        assert_eq!(error.to_string(), "the spec is not valid: /spec/a: is missing (and 1 more)");
        assert_eq!(error.into_field_errors(), faults);
    }
}
