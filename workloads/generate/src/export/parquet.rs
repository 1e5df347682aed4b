//! Rows as record batches, and the settings of the Parquet files that they go to.

use std::sync::Arc;

use arrow_array::builder::{Int64Builder, StringBuilder, TimestampMicrosecondBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use serde_json::value::RawValue;

use super::arrow::Column;
use super::partition::created_at;
use super::plan::Plan;
use super::{Columns, ExportError};
use crate::record::RawRecord;

/// Rows a row group.
pub(super) const ROW_GROUP_ROWS: usize = 16_384;

/// zstd level 1 (what pyarrow writes too), row groups of bounded size, dictionaries only where values repeat by their
/// nature: generated texts don't, and trying to find out costs more than it saves.
pub(super) fn properties(columns: &Columns) -> WriterProperties {
    let repeating = |path: Vec<String>| ColumnPath::new(path);
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("windrow ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_dictionary_enabled(false)
        .set_column_dictionary_enabled(repeating(vec!["job_id".to_owned()]), true)
        .set_column_dictionary_enabled(repeating(vec!["seed_data_id".to_owned()]), true)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS));
    for step in &columns.steps {
        let model = vec!["meta".to_owned(), step.clone(), "model".to_owned()];
        builder = builder.set_column_dictionary_enabled(repeating(model), true);
    }
    builder.build()
}

/// Collects rows for one record batch.
pub(super) struct Rows {
    id: StringBuilder,
    job_id: StringBuilder,
    index: Int64Builder,
    created_at: TimestampMicrosecondBuilder,
    seed_data_id: StringBuilder,
    /// None for the column that the folder's name tells.
    output: Vec<Option<Column>>,
    meta: Column,
}

impl Rows {
    pub(super) fn new(plan: &Plan) -> Self {
        let output = plan.columns.output.values().enumerate();
        Self {
            id: StringBuilder::new(),
            job_id: StringBuilder::new(),
            index: Int64Builder::new(),
            created_at: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
            seed_data_id: StringBuilder::new(),
            output: output
                .map(|(position, shape)| (Some(position) != plan.in_folder).then(|| Column::new(shape)))
                .collect(),
            meta: Column::meta(&plan.columns.steps),
        }
    }

    pub(super) fn append(
        &mut self,
        plan: &Plan,
        record: &RawRecord<'_>,
        row: &[Option<&RawValue>],
    ) -> Result<(), ExportError> {
        let unfit = |column: &str, reason: String| ExportError::Unfit {
            column: column.to_owned(),
            index: record.index,
            reason,
        };
        let index =
            i64::try_from(record.index).map_err(|_| unfit("index", "it is beyond 2^63".to_owned()))?;
        self.id.append_value(&record.id);
        self.job_id.append_value(&record.job_id);
        self.index.append_value(index);
        self.created_at.append_value(created_at(record)?.as_micros());
        self.seed_data_id.append_value(&record.seed_data_id);
        for (position, (column, value)) in self.output.iter_mut().zip(row).enumerate() {
            let (Some(column), value) = (column, value) else { continue };
            match value {
                None => column.append_null(),
                Some(value) => column.append(value).map_err(|error| {
                    let name = plan.columns.output.get_index(position).map_or("", |(name, _)| name);
                    unfit(name, error.to_string())
                })?,
            }
        }
        self.meta.append(record.meta).map_err(|error| unfit("meta", error.to_string()))
    }

    pub(super) fn finish(self, plan: &Plan) -> Result<RecordBatch, ExportError> {
        let Self { mut id, mut job_id, mut index, mut created_at, mut seed_data_id, output, meta } = self;
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(id.finish()),
            Arc::new(job_id.finish()),
            Arc::new(index.finish()),
            Arc::new(created_at.finish()),
            Arc::new(seed_data_id.finish()),
        ];
        for column in output.into_iter().flatten().chain([meta]) {
            let field = plan.schema.field(arrays.len());
            arrays.push(column.finish(field.data_type())?);
        }
        Ok(RecordBatch::try_new(plan.schema.clone(), arrays)?)
    }
}
