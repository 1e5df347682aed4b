//! Seed files: JSON (an array or one object), JSONL, CSV with a header row, and gzip of each, told apart by their
//! bytes. Everything is streamed: memory holds one record at a time, whatever the size of the file.
//!
//! [`SeedReader`] yields records; [`validate`] checks a whole file against a template's requirements; [`normalise`]
//! also writes the valid records as JSONL and remembers where each one is ([`SeedIndex`]), so that a worker can read
//! record `k` by a ranged read.

mod csv;
mod index;
mod json;
mod path;
mod reader;
mod record;
mod source;
mod validate;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use index::{IndexError, SeedIndex};
pub use path::{FieldPath, PathError, Segment};
pub use reader::SeedReader;
pub use record::SeedRecord;
pub use validate::{MAX_BAD_RECORDS, SeedReport, normalise, unmet, validate};

/// What a seed file may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeedLimits {
    /// The longest record, in bytes of the uncompressed file.
    pub max_record_bytes: usize,
    /// The largest file, in uncompressed bytes: gzip can expand a thousandfold.
    pub max_total_bytes: u64,
    /// The most records. Each run of a shard holds the index of them all, 4 bytes a record.
    pub max_records: u64,
}

impl Default for SeedLimits {
    fn default() -> Self {
        Self { max_record_bytes: 8 << 20, max_total_bytes: 64 << 30, max_records: 1 << 26 }
    }
}

/// What a seed file was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeedFormat {
    Json,
    Jsonl,
    Csv,
}

impl std::fmt::Display for SeedFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Json => "json",
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
        })
    }
}

/// One record of a seed file.
#[derive(Clone, Debug, PartialEq)]
pub struct SeedRow {
    /// The line on which it begins, from 1, in the uncompressed file.
    pub line: u64,
    /// The byte at which it begins, from 0, in the uncompressed file.
    pub offset: u64,
    /// Always an object.
    pub record: Value,
}

/// A record that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadRecord {
    /// The line on which it begins, from 1.
    pub line: u64,
    /// The path that is at fault, where it is one field's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What is wrong and what would be right.
    pub message: String,
}

impl std::fmt::Display for BadRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.path {
            // most messages name the path already
            Some(path) if !self.message.contains(path.as_str()) => {
                write!(f, "line {}: {path}: {}", self.line, self.message)
            }
            _ => write!(f, "line {}: {}", self.line, self.message),
        }
    }
}

/// Why a seed file, or one record of it, can't be read.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// One record is bad; reading goes on with the next one.
    #[error("{0}")]
    Record(BadRecord),
    /// The file is broken from here on.
    #[error("line {line}: {message}")]
    Broken { line: u64, message: String },
    /// The source failed, or the sink did; the file may be fine.
    #[error("the seed data can't be read: {0}")]
    Io(#[from] std::io::Error),
}

impl SeedError {
    fn record(line: u64, message: impl Into<String>) -> Self {
        Self::Record(BadRecord { line, path: None, message: message.into() })
    }

    fn broken(line: u64, message: impl Into<String>) -> Self {
        Self::Broken { line, message: message.into() }
    }
}

#[cfg(test)]
mod tests;
