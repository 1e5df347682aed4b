//! From records to files: JSONL, CSV and Parquet, whole or partitioned, with a manifest and a dataset card.
//!
//! [`Exporter`] takes the parts' lines in the order of their indices and writes all formats in one pass. Memory is
//! bounded by blocks of a few MiB and by Parquet's row group, whatever the number of records. It calculates and blocks
//! (call it where blocking is allowed), and reaches the world only through the [`Sink`] that it is given.

mod block;
mod card;
mod columns;
mod csv;
mod exporter;
mod files;
mod json_schema;
mod manifest;
mod parquet;
mod partition;
mod plan;
mod shape;
mod sink;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use card::{DATASET_CARD, README, dataset_card, write_documents};
pub use columns::Columns;
pub use exporter::{Exporter, Options};
pub use files::{Exported, ExportedFile};
pub use manifest::{MANIFEST, Manifest, ModelUsage, ShortfallReason, TemplateRef};
pub use partition::{FALLBACK, FallbackReason, Folders, MAX_FOLDERS, PartitionBy};
pub use shape::{MAX_DEPTH, MAX_FIELDS, Shape};
pub use sink::{Chunk, ChunkSink, Directory, Sink, SinkFile, write_document};

/// A format that a dataset can be had in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One record a line, as the parts hold it.
    Jsonl,
    /// RFC 4180 with a header row; lists and objects as JSON.
    Csv,
    /// Typed columns, zstd.
    Parquet,
}

impl Format {
    pub const ALL: [Self; 3] = [Self::Jsonl, Self::Csv, Self::Parquet];

    /// Its name, which is also the extension of its files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }

    /// Its media type. JSON Lines has none that is registered; the common one is used.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Jsonl => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Format {
    type Err = ExportError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|format| format.as_str() == text)
            .ok_or_else(|| ExportError::UnknownFormat { found: text.to_owned() })
    }
}

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("{found:?} is no format of a dataset; there are jsonl, csv and parquet")]
    UnknownFormat { found: String },
    #[error("an export needs at least one format")]
    NoFormat,
    #[error("a record's line is not valid: {0}")]
    Record(#[from] serde_json::Error),
    #[error("a part is not valid: {0}")]
    Part(#[from] crate::record::RecordError),
    #[error("record {found} came after record {last}: parts are exported in the order of their indices")]
    OutOfOrder { last: u64, found: u64 },
    #[error("record {index} has the field {column:?} twice")]
    DuplicateField { column: String, index: u64 },
    #[error(
        "record {index} has the field {column:?}, which the columns of this export don't have: observe all parts"
    )]
    UnknownColumn { column: String, index: u64 },
    #[error(
        "record {index} doesn't fit the column {column:?}: {reason}: observe all parts before the export"
    )]
    Unfit { column: String, index: u64, reason: String },
    #[error("the dataset can't be partitioned by {field:?}: {reason}")]
    Partition { field: String, reason: String },
    #[error("{path} can't be written: {source}")]
    Write { path: String, source: std::io::Error },
    #[error("{path} can't be written as Parquet: {source}")]
    Parquet { path: String, source: ::parquet::errors::ParquetError },
    #[error("the dataset's columns are none that Parquet can have: {0}")]
    ParquetSchema(#[from] ::parquet::errors::ParquetError),
    #[error("the export has failed before")]
    Failed,
    #[error("a thread of the export ended without an answer; its panic stands in the log")]
    Panicked,
}

#[cfg(test)]
mod tests;
