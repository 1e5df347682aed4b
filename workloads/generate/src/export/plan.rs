//! What an export will write, settled before the first row.

use ::parquet::schema::types::TypePtr;
use indexmap::IndexSet;
use serde_json::value::RawValue;

use super::partition::{Folders, PartitionBy};
use super::{Columns, ExportError, Format, Options, parquet};
use crate::record::{RESERVED_FIELDS, RawRecord};

/// The columns before the output's own.
pub(super) const LEADING: [&str; 5] = ["id", "job_id", "index", "created_at", "seed_data_id"];

/// The formats, the columns in order, the layout.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) formats: Vec<Format>,
    pub(super) columns: Columns,
    pub(super) partition: PartitionBy,
    pub(super) folders: Folders,
    pub(super) skip: std::collections::HashSet<u64>,
    /// The output column that Parquet leaves out because the folders' names tell it; it stays, under another name, when
    /// some records are in the folder that doesn't.
    pub(super) in_folder: Option<usize>,
    pub(super) schema: TypePtr,
}

impl Plan {
    pub(super) fn new(options: Options) -> Result<Self, ExportError> {
        let Options { formats, partition, folders, columns, skip, .. } = options;
        let formats: IndexSet<Format> = formats.into_iter().collect();
        if formats.is_empty() {
            return Err(ExportError::NoFormat);
        }
        let told = check_partition(&partition, &columns)?;
        let (in_folder, renamed) = if folders.fallback().is_empty() { (told, None) } else { (None, told) };
        let schema = schema(&columns, in_folder, renamed)?;
        let formats = formats.into_iter().collect();
        Ok(Self { formats, columns, partition, folders, skip, in_folder, schema })
    }

    /// Finds the record's value for each output column, in the columns' order.
    pub(super) fn arrange<'a>(
        &self,
        record: &RawRecord<'a>,
        row: &mut Vec<Option<&'a RawValue>>,
    ) -> Result<(), ExportError> {
        row.clear();
        row.resize(self.columns.output.len(), None);
        for (expected, (name, value)) in record.output.iter().enumerate() {
            // mostly, the fields stand in the columns' order
            let position = match self.columns.output.get_index(expected) {
                Some((column, _)) if column == name => expected,
                _ => self.columns.output.get_index_of(&**name).ok_or_else(|| ExportError::UnknownColumn {
                    column: name.to_string(),
                    index: record.index,
                })?,
            };
            if row[position].replace(*value).is_some() {
                return Err(ExportError::DuplicateField { column: name.to_string(), index: record.index });
            }
        }
        Ok(())
    }

    /// Where a folder's file goes.
    pub(super) fn path(format: Format, folder: Option<&str>) -> String {
        match folder {
            None => format!("data.{format}"),
            Some(folder) => format!("{format}/{folder}/part-00000.{format}"),
        }
    }
}

/// The position of the column whose values name the folders.
fn check_partition(partition: &PartitionBy, columns: &Columns) -> Result<Option<usize>, ExportError> {
    let refuse =
        |field: &str, reason: String| Err(ExportError::Partition { field: field.to_owned(), reason });
    match partition {
        PartitionBy::None => Ok(None),
        PartitionBy::Date if columns.output.contains_key("date") => {
            refuse("date", "the records have a field of that name already".to_owned())
        }
        PartitionBy::Date => Ok(None),
        PartitionBy::Field(name) => match columns.output.get_full(name) {
            Some((position, ..)) => Ok(Some(position)),
            None => {
                let known: Vec<&str> = columns.output.keys().map(String::as_str).collect();
                refuse(name, format!("the records have no such field, only: {}", known.join(", ")))
            }
        },
    }
}

/// The name of the column with the values of the field that the folders are named after, for the records in the folder
/// that doesn't tell them. Readers take the field's own name from the folders.
pub(super) fn value_column(columns: &Columns, field: &str) -> String {
    let mut name = format!("{field}_value");
    while columns.output.contains_key(&name) || RESERVED_FIELDS.contains(&name.as_str()) {
        name.push('_');
    }
    name
}

fn schema(
    columns: &Columns,
    in_folder: Option<usize>,
    renamed: Option<usize>,
) -> Result<TypePtr, ExportError> {
    let renamed = renamed.and_then(|position| {
        let (name, _) = columns.output.get_index(position)?;
        Some((position, value_column(columns, name)))
    });
    let output = columns.output.iter().enumerate().filter(|(position, _)| Some(*position) != in_folder);
    let output = output.map(|(position, (name, shape))| match &renamed {
        Some((renamed, other)) if *renamed == position => (other.as_str(), shape),
        _ => (name.as_str(), shape),
    });
    Ok(parquet::schema(output, &columns.steps)?)
}
