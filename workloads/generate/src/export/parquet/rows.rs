//! Some rows as columns.

use serde_json::value::RawValue;

use super::column::Column;
use super::leaf::{Depth, Leaf, Texts, Values};
use crate::export::ExportError;
use crate::export::partition::created_at;
use crate::export::plan::Plan;
use crate::record::RawRecord;

/// Collects rows, to be written at once.
#[derive(Debug)]
pub(in crate::export) struct Rows {
    id: Texts,
    job_id: Texts,
    index: Vec<i64>,
    /// Microseconds since 1970.
    created_at: Vec<i64>,
    seed_data_id: Texts,
    /// None for the column that the folder's name tells.
    output: Vec<Option<Column>>,
    meta: Column,
}

impl Rows {
    pub(in crate::export) fn new(plan: &Plan) -> Self {
        let output = plan.columns.output.values().enumerate();
        Self {
            id: Texts::default(),
            job_id: Texts::default(),
            index: Vec::new(),
            created_at: Vec::new(),
            seed_data_id: Texts::default(),
            output: output
                .map(|(position, shape)| (Some(position) != plan.in_folder).then(|| Column::new(shape)))
                .collect(),
            meta: Column::meta(&plan.columns.steps),
        }
    }

    /// Appends a record, whose output is arranged in `row`.
    pub(in crate::export) fn append(
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
        self.id.push(&record.id);
        self.job_id.push(&record.job_id);
        self.index.push(index);
        self.created_at.push(created_at(record)?.as_micros());
        self.seed_data_id.push(&record.seed_data_id);
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

    /// The columns without columns below them, in the schema's order.
    pub(super) fn into_leaves(self) -> Vec<Leaf> {
        let mut leaves: Vec<Leaf> = [
            Values::Text(self.id),
            Values::Text(self.job_id),
            Values::Int(self.index),
            Values::Int(self.created_at),
            Values::Text(self.seed_data_id),
        ]
        .map(|values| Leaf::new(values, Depth::default()))
        .into();
        for column in self.output.into_iter().flatten().chain([self.meta]) {
            column.into_leaves(&mut leaves);
        }
        leaves
    }
}
