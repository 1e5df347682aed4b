//! A seed record as templates see it.

use minijinja::Value as TemplateValue;
use serde_json::Value;

use crate::template::template_value;

/// A seed record, ready to be rendered from any number of times. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SeedRecord {
    number: u64,
    value: TemplateValue,
}

impl SeedRecord {
    /// The record with this number (from 0, among the valid ones).
    pub fn new(number: u64, record: &Value) -> Self {
        Self { number, value: template_value(record) }
    }

    /// Its number among the valid records, from 0.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The record as a template value: a map.
    pub fn value(&self) -> &TemplateValue {
        &self.value
    }
}
