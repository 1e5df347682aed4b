//! JSON as template values: converted once, then shared.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use minijinja::Value;
use minijinja::value::{Enumerator, Object, ObjectRepr};
use serde_json::{Map, Value as Json};

/// A JSON value as a template value. An object or list prints as JSON, so that a prompt can quote an earlier answer.
pub fn template_value(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(value) => Value::from(*value),
        Json::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(value), _) => Value::from(value),
            (None, Some(value)) => Value::from(value),
            (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => Value::from_object(List(items.iter().map(template_value).collect())),
        Json::Object(fields) => Value::from_object(Fields::new(fields)),
    }
}

/// A JSON object.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    fields: Vec<(Arc<str>, Value)>,
    /// Where each field is, when there are many.
    places: Option<HashMap<Arc<str>, usize>>,
}

/// Up to this many fields, comparing names one after another is faster than hashing one.
const FEW: usize = 12;

impl Fields {
    pub(crate) fn new(object: &Map<String, Json>) -> Self {
        let fields: Vec<(Arc<str>, Value)> =
            object.iter().map(|(name, value)| (Arc::from(name.as_str()), template_value(value))).collect();
        let places = (fields.len() > FEW)
            .then(|| fields.iter().enumerate().map(|(place, (name, _))| (Arc::clone(name), place)).collect());
        Self { fields, places }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        match &self.places {
            Some(places) => places.get(name).and_then(|place| self.fields.get(*place)),
            None => self.fields.iter().find(|(field, _)| **field == *name),
        }
        .map(|(_, value)| value)
    }
}

impl Object for Fields {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get(key.as_str()?).cloned()
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        self.get(key).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.fields.iter().map(|(name, _)| Value::from(Arc::clone(name))).collect())
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.fields.len())
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_json(&Value::from_dyn_object(Arc::clone(self)), f)
    }
}

/// A JSON list.
#[derive(Debug)]
struct List(Vec<Value>);

impl Object for List {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.get(key.as_usize()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.0.len())
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_json(&Value::from_dyn_object(Arc::clone(self)), f)
    }
}

fn write_json(value: &Value, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(&serde_json::to_string(value).map_err(|_| fmt::Error)?)
}

/// A template value as JSON, for the fields of a record.
///
/// # Errors
/// What the value is, when JSON can't hold it (an undefined value, a function).
pub(super) fn json_value(value: &Value) -> Result<Json, String> {
    serde_json::to_value(value)
        .map_err(|error| format!("{} can't be a field of a record: {error}", value.kind()))
}
