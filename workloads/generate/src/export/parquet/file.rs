//! A Parquet file that is being written, row group by row group.

use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use super::leaf::Leaf;
use super::rows::Rows;
use crate::export::plan::Plan;
use crate::export::sink::HashedFile;
use crate::export::{Columns, ExportError};

/// A row group is written when it holds so much. Readers want large ones, memory small ones.
const ROW_GROUP_BYTES: usize = 32 << 20;

pub(in crate::export) struct ParquetFile {
    path: String,
    writer: SerializedFileWriter<HashedFile>,
    /// The leaves of the next row group, of each time that rows came.
    held: Vec<Vec<Leaf>>,
    held_bytes: usize,
}

impl ParquetFile {
    pub(in crate::export) fn create(
        file: HashedFile,
        path: String,
        plan: &Plan,
    ) -> Result<Self, ExportError> {
        let properties = Arc::new(properties(&plan.columns));
        match SerializedFileWriter::new(file, plan.schema.clone(), properties) {
            Ok(writer) => Ok(Self { path, writer, held: Vec::new(), held_bytes: 0 }),
            Err(source) => Err(ExportError::Parquet { path, source }),
        }
    }

    pub(in crate::export) fn append(&mut self, rows: Rows) -> Result<(), ExportError> {
        let leaves = rows.into_leaves();
        self.held_bytes += leaves.iter().map(Leaf::bytes).sum::<usize>();
        self.held.push(leaves);
        if self.held_bytes >= ROW_GROUP_BYTES { self.flush() } else { Ok(()) }
    }

    /// About what waits in memory for its row group to be full.
    pub(in crate::export) const fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Writes what waits as a row group.
    pub(in crate::export) fn flush(&mut self) -> Result<(), ExportError> {
        if self.held.is_empty() {
            return Ok(());
        }
        self.held_bytes = 0;
        let held = std::mem::take(&mut self.held);
        write_row_group(&mut self.writer, held)
            .map_err(|source| ExportError::Parquet { path: self.path.clone(), source })
    }

    /// See [`crate::export::SinkFile::park`].
    pub(in crate::export) fn park(&mut self) -> Result<(), ExportError> {
        self.writer.inner_mut().park()
    }

    /// Writes what waits, and the file's end.
    pub(in crate::export) fn finish(mut self) -> Result<HashedFile, ExportError> {
        self.flush()?;
        let Self { path, writer, .. } = self;
        writer.into_inner().map_err(|source| ExportError::Parquet { path, source })
    }
}

fn write_row_group(
    writer: &mut SerializedFileWriter<HashedFile>,
    held: Vec<Vec<Leaf>>,
) -> Result<(), ParquetError> {
    let mut group = writer.next_row_group()?;
    let mut held: Vec<_> = held.into_iter().map(Vec::into_iter).collect();
    while let Some(mut column) = group.next_column()? {
        for leaves in &mut held {
            leaves.next().expect("a leaf for each column of the schema").write(column.untyped())?;
        }
        column.close()?;
    }
    group.close().map(drop)
}

/// zstd level 1 (what pyarrow writes too), dictionaries only where values repeat by their nature: generated texts don't,
/// and trying to find out costs more than it saves.
fn properties(columns: &Columns) -> WriterProperties {
    let path = |names: &[&str]| ColumnPath::new(names.iter().map(|name| (*name).to_owned()).collect());
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("windrow ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_dictionary_enabled(false)
        .set_column_dictionary_enabled(path(&["job_id"]), true)
        .set_column_dictionary_enabled(path(&["seed_data_id"]), true)
        .set_statistics_enabled(EnabledStatistics::Chunk);
    for step in &columns.steps {
        builder = builder.set_column_dictionary_enabled(path(&["meta", step, "model"]), true);
    }
    builder.build()
}
