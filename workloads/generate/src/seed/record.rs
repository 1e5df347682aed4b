//! A seed record as templates see it.

use std::sync::Arc;

use serde_json::Value;

use crate::template::Fields;

/// A seed record, ready to be rendered from any number of times. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SeedRecord {
    number: u64,
    fields: Arc<Fields>,
}

impl SeedRecord {
    /// The record with this number (from 0, among the valid ones). What is no object has no fields.
    pub fn new(number: u64, record: &Value) -> Self {
        let fields = record.as_object().map(Fields::new).unwrap_or_default();
        Self { number, fields: Arc::new(fields) }
    }

    /// Its number among the valid records, from 0.
    pub fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn fields(&self) -> &Arc<Fields> {
        &self.fields
    }
}
