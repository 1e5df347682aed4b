//! One stable error for every kind of storage, and the reading of `object_store`'s errors into it.

use std::error::Error as StdError;
use std::io;

use windrow_core::JobError;

use crate::key::KeyError;

/// Why a storage operation failed.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("there is no object {key}")]
    NotFound { key: String },
    #[error("the object {key} exists already")]
    AlreadyExists { key: String },
    /// The object is not the version that `If-Match` named.
    #[error("the object {key} has changed since its version was recorded")]
    Changed { key: String },
    #[error("the range asked of {key} lies outside its {size} bytes")]
    InvalidRange { key: String, size: u64 },
    #[error("the object {key} is larger than the {max} bytes allowed")]
    TooLarge { key: String, max: u64 },
    /// The disk, or the quota on it, is full: nothing was written.
    #[error("the storage is full: {key} was not written; free some space or raise the quota")]
    NoSpace { key: String },
    #[error(transparent)]
    InvalidKey(#[from] KeyError),
    #[error("{0}")]
    InvalidAttribute(String),
    /// Worth trying again later; it was already tried several times.
    #[error("the storage failed for a moment on {key}: {message}")]
    Transient { key: String, message: String },
    /// Will fail in the same way every time (permissions, a path that is no directory, a damaged sidecar).
    #[error("the storage failed on {key}: {message}")]
    Permanent { key: String, message: String },
}

/// What a caller does about a [`BlobError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobErrorClass {
    Transient,
    Permanent,
    NotFound,
    AlreadyExists,
    NoSpace,
}

impl BlobErrorClass {
    /// The label in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Permanent => "permanent",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::NoSpace => "no_space",
        }
    }
}

impl BlobError {
    pub const fn class(&self) -> BlobErrorClass {
        match self {
            Self::NotFound { .. } => BlobErrorClass::NotFound,
            Self::AlreadyExists { .. } => BlobErrorClass::AlreadyExists,
            Self::NoSpace { .. } => BlobErrorClass::NoSpace,
            Self::Transient { .. } => BlobErrorClass::Transient,
            Self::Changed { .. }
            | Self::InvalidRange { .. }
            | Self::TooLarge { .. }
            | Self::InvalidKey(_)
            | Self::InvalidAttribute(_)
            | Self::Permanent { .. } => BlobErrorClass::Permanent,
        }
    }

    pub(crate) fn from_io(key: &str, error: &io::Error) -> Self {
        Self::from_chain(key, error)
    }

    pub(crate) fn from_store(key: &str, error: &object_store::Error) -> Self {
        let key = key.to_owned();
        match error {
            object_store::Error::NotFound { .. } => Self::NotFound { key },
            object_store::Error::AlreadyExists { .. } => Self::AlreadyExists { key },
            object_store::Error::Precondition { .. } | object_store::Error::NotModified { .. } => {
                Self::Changed { key }
            }
            other => Self::from_chain(&key, other),
        }
    }

    /// Reads the innermost I/O error, which is where the operating system says what happened.
    fn from_chain(key: &str, error: &(dyn StdError + 'static)) -> Self {
        let message = full_message(error);
        let key = key.to_owned();
        match innermost_io(error).map(|io| (io.kind(), io.raw_os_error())) {
            // a file's own limit (`ulimit -f`, or the file system's) is a quota as well
            Some((
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge,
                _,
            )) => Self::NoSpace { key },
            Some((kind, code)) if is_transient(kind, code) => Self::Transient { key, message },
            _ => Self::Permanent { key, message },
        }
    }
}

/// A run that met a storage error is tried again when the storage may come back, a full disk included.
impl From<BlobError> for JobError {
    fn from(error: BlobError) -> Self {
        match error.class() {
            BlobErrorClass::Transient => Self::transient("storage_unavailable", error),
            BlobErrorClass::NoSpace => Self::transient("storage_full", error),
            BlobErrorClass::NotFound => Self::permanent("object_not_found", error),
            BlobErrorClass::AlreadyExists => Self::permanent("object_exists", error),
            BlobErrorClass::Permanent => Self::permanent("storage_failed", error),
        }
    }
}

/// For readers and writers that speak I/O errors.
impl From<BlobError> for io::Error {
    fn from(error: BlobError) -> Self {
        let kind = match error.class() {
            BlobErrorClass::NotFound => io::ErrorKind::NotFound,
            BlobErrorClass::AlreadyExists => io::ErrorKind::AlreadyExists,
            BlobErrorClass::NoSpace => io::ErrorKind::StorageFull,
            BlobErrorClass::Transient | BlobErrorClass::Permanent => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

fn innermost_io<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a io::Error> {
    chain(error).filter_map(|inner| inner.downcast_ref::<io::Error>()).last()
}

fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |inner| (*inner).source())
}

/// Each layer's text once: most layers of `object_store` repeat their source's.
fn full_message(error: &(dyn StdError + 'static)) -> String {
    let mut message = error.to_string();
    for inner in chain(error).skip(1) {
        let text = inner.to_string();
        if !message.contains(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
    }
    message
}

/// What may pass, and std has no kind for: EMFILE and ENFILE, too many open files in this process and in the system; EIO, of a disk or
/// a network's file system that failed.
const PASSING: [i32; 3] = [24, 23, 5];

fn is_transient(kind: io::ErrorKind, code: Option<i32>) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        kind,
        Kind::Interrupted
            | Kind::WouldBlock
            | Kind::TimedOut
            | Kind::ResourceBusy
            | Kind::StaleNetworkFileHandle
            | Kind::ConnectionRefused
            | Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::NetworkUnreachable
            | Kind::HostUnreachable
            | Kind::BrokenPipe
            | Kind::UnexpectedEof
            // A file system that failed is often mounted so until somebody looks after it.
            | Kind::ReadOnlyFilesystem
            // An absent object is an error of its own; this is a directory that a concurrent delete cleaned away.
            | Kind::NotFound
    ) || code.is_some_and(|code| PASSING.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(os_error: i32) -> object_store::Error {
        object_store::Error::Generic {
            store: "LocalFileSystem",
            source: Box::new(io::Error::from_raw_os_error(os_error)),
        }
    }

    #[test]
    fn the_operating_systems_error_decides_the_class() {
        // Linux errno: ENOSPC 28, EDQUOT 122, EINTR 4, EMFILE 24, EACCES 13, ENOTDIR 20.
        for (code, class) in [
            (28, BlobErrorClass::NoSpace),
            (122, BlobErrorClass::NoSpace),
            (4, BlobErrorClass::Transient),
            (24, BlobErrorClass::Transient),
            (13, BlobErrorClass::Permanent),
            (20, BlobErrorClass::Permanent),
        ] {
            let error = BlobError::from_store("outputs/x", &generic(code));
            assert_eq!(error.class(), class, "errno {code}: {error}");
            assert!(error.to_string().contains("outputs/x"));
        }
    }

    #[test]
    fn a_full_disk_is_tried_again_by_the_job_and_a_missing_object_is_not() {
        let full: JobError = BlobError::from_store("k", &generic(28)).into();
        assert_eq!((full.class, &*full.code), (windrow_core::ErrorClass::Transient, "storage_full"));
        let absent: JobError = BlobError::NotFound { key: "k".into() }.into();
        assert_eq!(absent.class, windrow_core::ErrorClass::Permanent);
    }
}
