//! Parquet: records as levels and values (<https://parquet.apache.org/docs/file-format/nestedencoding/>), without
//! values of JSON in between.
//!
//! Blocks are put in columns by several threads ([`Rows`]); encoding, compression and writing are one file's own
//! ([`ParquetFile`]).

mod column;
mod file;
mod leaf;
mod rows;
mod schema;

pub(super) use file::ParquetFile;
pub(super) use rows::Rows;
pub(super) use schema::schema;
