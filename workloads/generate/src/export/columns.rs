//! The columns of a dataset: known from the template's schemas, widened by what the records hold.

use indexmap::{IndexMap, IndexSet};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::shape::Shape;
use crate::record::{RawRecord, Record};

/// The output's columns and the steps that `meta` tells about.
///
/// An export is in two passes: first the columns of all parts are merged (they come with each [`crate::record::Part`]
/// and are small; or the parts are observed again), then the rows are written. So a value that doesn't fit what came
/// before widens its column beforehand, by the rules of [`Shape`], instead of being lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Columns {
    /// The output's fields, in order.
    pub output: IndexMap<String, Shape>,
    /// The steps, in order.
    pub steps: IndexSet<String>,
}

impl Columns {
    /// The columns that a template declares: its output fields with the JSON Schema of each where there is one, and
    /// its steps. With them an export without a single record still has its columns, in the template's order.
    pub fn declare<'a>(
        output: impl IntoIterator<Item = (&'a str, Option<&'a Value>)>,
        steps: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let shape = |schema: Option<&Value>| schema.map(Shape::from_json_schema).unwrap_or_default();
        Self {
            output: output.into_iter().map(|(name, schema)| (name.to_owned(), shape(schema))).collect(),
            steps: steps.into_iter().map(str::to_owned).collect(),
        }
    }

    /// Widens to hold the record.
    pub fn observe(&mut self, record: &Record) {
        for (name, value) in &record.output {
            let shape = entry(&mut self.output, name);
            shape.observe(value).expect("a value in memory can always be read");
        }
        for step in record.meta.keys() {
            self.add_step(step);
        }
    }

    /// Widens to hold the record.
    ///
    /// # Errors
    /// When `meta` isn't an object.
    pub fn observe_raw(&mut self, record: &RawRecord<'_>) -> Result<(), serde_json::Error> {
        for (name, value) in &record.output {
            entry(&mut self.output, name).observe(*value)?;
        }
        let steps: IndexMap<String, IgnoredAny> = serde_json::from_str(record.meta.get())?;
        for step in steps.keys() {
            self.add_step(step);
        }
        Ok(())
    }

    /// Widens to hold all that `other` holds; its columns come after this one's.
    pub fn merge(&mut self, other: &Self) {
        for (name, shape) in &other.output {
            entry(&mut self.output, name).merge(shape);
        }
        for step in &other.steps {
            self.add_step(step);
        }
    }

    fn add_step(&mut self, step: &str) {
        if !self.steps.contains(step) {
            self.steps.insert(step.to_owned());
        }
    }
}

/// The column of that name, new if need be; a name is copied only then.
fn entry<'c>(columns: &'c mut IndexMap<String, Shape>, name: &str) -> &'c mut Shape {
    let position = columns.get_index_of(name).unwrap_or_else(|| {
        columns.insert(name.to_owned(), Shape::Null);
        columns.len() - 1
    });
    &mut columns[position]
}
