//! The template document: what a user writes and what is stored.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use windrow_core::FieldError;

use super::parse;
use crate::export::Shape;
use crate::record::RESERVED_FIELDS;
use crate::seed::FieldPath;
use crate::spec::is_name;

/// The most steps of a template.
pub const MAX_STEPS: usize = 10;
/// The most characters of a template document, and of all its texts after YAML aliases are expanded.
pub const MAX_CHARS: usize = 50_000;
/// The output tokens of a step that names no `max_tokens`.
pub const DEFAULT_MAX_TOKENS: u32 = 1_024;

/// A template, or a fragment for other templates to include.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateDocument {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Paths that every seed record must have, non-null.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schema_requirements: Vec<FieldPath>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepDocument>,
    /// The shape of a record; absent for all steps by their ids. Texts in it are templates, at any depth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<IndexMap<String, Value>>,
    /// The text of a fragment. A document has either this or steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fragment: Option<String>,
}

/// One prompt step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepDocument {
    pub id: String,
    /// An alias (`cheap`, `tier-1`) or a model id. A job's override can supply it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    pub prompt: String,
    /// 0 to 2; the model's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    #[serde(default)]
    pub output: OutputKind,
    /// JSON Schema of the answer, when `output` is `json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// The step runs when this is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
}

/// What a step's answer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputKind {
    #[default]
    Text,
    Json,
}

impl StepDocument {
    /// The most output tokens of a call, in tokens of its model.
    pub fn max_tokens(&self) -> u32 {
        self.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS)
    }
}

impl TemplateDocument {
    /// Reads a document from YAML or JSON and checks it, but not yet the templates inside (that is [`super::analyse`]).
    ///
    /// # Errors
    /// Everything that is wrong with it, by JSON pointer and, where known, line.
    pub fn parse(text: &str) -> Result<Self, Vec<FieldError>> {
        parse::parse(text)
    }

    /// The models or aliases that the steps name, without doubles, in order.
    pub fn models(&self) -> Vec<&str> {
        let mut models: Vec<&str> = Vec::new();
        for model in self.steps.iter().filter_map(|step| step.model.as_deref()) {
            if !models.contains(&model) {
                models.push(model);
            }
        }
        models
    }

    /// The names of the record's own fields, in order: those of `output`, or the steps' ids.
    pub fn output_fields(&self) -> Vec<&str> {
        match &self.output {
            Some(output) => output.keys().map(String::as_str).collect(),
            None => self.steps.iter().map(|step| step.id.as_str()).collect(),
        }
    }

    /// Whether the template itself says that a field of the output is a list or an object.
    pub fn is_composite(&self, field: &str) -> bool {
        match &self.output {
            Some(output) => output.get(field).is_some_and(|value| value.is_array() || value.is_object()),
            None => self.steps.iter().find(|step| step.id == field).is_some_and(|step| {
                let shape = step.schema.as_ref().map(Shape::from_json_schema);
                matches!(shape, Some(Shape::List(_) | Shape::Object(_)))
            }),
        }
    }

    /// What the types don't say, by pointer below `/template`.
    pub(super) fn problems(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if !is_name(&self.name) {
            let message = "must be lower-case letters, digits, '.', '_' or '-', beginning with a letter or digit, \
                           at most 100";
            errors.push(FieldError::new("/name", message));
        }
        match (&self.fragment, self.steps.len()) {
            (None, 0) => errors.push(FieldError::new("/steps", "a template needs at least one step")),
            (Some(_), 1..) => {
                errors.push(FieldError::new(
                    "/fragment",
                    "a template has either steps or a fragment, not both",
                ));
            }
            (None, n) if n > MAX_STEPS => {
                errors.push(FieldError::new("/steps", format!("{n} steps; at most {MAX_STEPS} are allowed")));
            }
            _ => {}
        }
        for (i, path) in self.schema_requirements.iter().enumerate() {
            if path.root() == "steps" {
                let message =
                    "steps is where the answers of earlier steps are; rename the field of the seed data";
                errors.push(FieldError::new(format!("/schema_requirements/{i}"), message));
            }
        }
        let mut ids = BTreeSet::new();
        for (i, step) in self.steps.iter().enumerate() {
            let place = format!("/steps/{i}");
            if !ids.insert(step.id.as_str()) {
                let message = format!("another step is called {} too; ids are unique", step.id);
                errors.push(FieldError::new(format!("{place}/id"), message));
            }
            errors.extend(step.problems(&place));
            if self.output.is_none() {
                errors.extend(reserved(&step.id, &format!("{place}/id")));
            }
        }
        if let Some(output) = &self.output {
            if output.is_empty() {
                errors.push(FieldError::new(
                    "/output",
                    "must shape at least one field; leave it out for all steps",
                ));
            }
            for field in output.keys() {
                errors.extend(reserved(field, &format!("/output/{}", parse::escape(field))));
            }
        }
        errors
    }
}

fn reserved(field: &str, pointer: &str) -> Option<FieldError> {
    let message = match field {
        "" => "a field needs a name".to_owned(),
        _ if RESERVED_FIELDS.contains(&field) => {
            format!("{field} is a field of every record already; choose another name")
        }
        _ => return None,
    };
    Some(FieldError::new(pointer, message))
}

impl StepDocument {
    fn problems(&self, place: &str) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut refuse = |field: &str, message: &str| {
            errors.push(FieldError::new(format!("{place}/{field}"), message));
        };
        let mut bytes = self.id.bytes();
        let begins = bytes.next().is_some_and(|b| b.is_ascii_lowercase());
        if !begins
            || self.id.len() > 64
            || !bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        {
            refuse("id", "must be lower-case letters, digits and '_', beginning with a letter, at most 64");
        }
        if self.prompt.trim().is_empty() {
            refuse("prompt", "must not be empty");
        }
        if self.model.as_deref().is_some_and(|m| m.trim().is_empty()) {
            refuse("model", "must not be empty");
        }
        if self.temperature.is_some_and(|t| !(0.0..=2.0).contains(&t)) {
            refuse("temperature", "must be from 0 to 2");
        }
        if self.max_tokens == Some(0) {
            refuse("max_tokens", "must be at least 1");
        }
        match (&self.schema, self.output) {
            (Some(_), OutputKind::Text) => refuse("schema", "is for steps with output: json"),
            (Some(schema), OutputKind::Json) => {
                if let Err(error) = super::answer::compile_schema(schema) {
                    refuse("schema", &format!("is not a JSON Schema: at {error}"));
                }
            }
            (None, _) => {}
        }
        errors
    }
}
