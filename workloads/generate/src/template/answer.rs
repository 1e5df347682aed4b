//! What a model answered, read as its step's output.

use serde_json::Value;
use windrow_core::FieldError;
use windrow_json_schema::{Formats, Schema};

use super::compiled::CompiledTemplate;
use super::document::OutputKind;
use super::render::StepOutput;

/// How often a step is asked again when its answer isn't what it should be.
pub const MAX_REASKS: u32 = 2;
/// How many violations of a schema an error names.
const MAX_VIOLATIONS: usize = 3;

/// Why an answer isn't what the step asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    #[error("the answer is empty")]
    Empty,
    #[error("the answer is not valid JSON: {0}")]
    Json(String),
    #[error("the answer doesn't fit the schema: {0}")]
    Schema(String),
}

impl AnswerError {
    /// What to tell the model when it is asked again.
    pub fn instruction(&self) -> String {
        format!(
            "Your last answer can't be used: {self}. Answer again, with the JSON value only: no text around it."
        )
    }
}

/// Compiles a JSON Schema. References to other documents aren't followed.
pub(super) fn compile_schema(schema: &Value) -> Result<Schema, FieldError> {
    Schema::compile(schema, Formats::Ignored)
}

impl CompiledTemplate {
    /// Reads what a model answered to a step. A JSON answer may stand in a Markdown code block, which many models put
    /// around it.
    ///
    /// # Errors
    /// When it isn't JSON or doesn't fit the step's schema, or is empty. Worth asking again.
    ///
    /// # Panics
    /// When the template has no such step.
    pub fn read_answer(&self, step: usize, answer: &str) -> Result<StepOutput, AnswerError> {
        let answer = answer.trim();
        if answer.is_empty() {
            return Err(AnswerError::Empty);
        }
        if self.0.document.steps[step].output == OutputKind::Text {
            return Ok(StepOutput::Text(answer.to_owned()));
        }
        let value: Value = serde_json::from_str(without_fence(answer))
            .map_err(|error| AnswerError::Json(error.to_string()))?;
        if let Some(schema) = &self.0.steps[step].schema {
            let violations = schema.faults(&value, MAX_VIOLATIONS);
            let violations: Vec<String> = violations.iter().map(ToString::to_string).collect();
            if !violations.is_empty() {
                return Err(AnswerError::Schema(violations.join("; ")));
            }
        }
        Ok(StepOutput::Json(value))
    }
}

fn without_fence(answer: &str) -> &str {
    let Some(inner) = answer.strip_prefix("```").and_then(|rest| rest.strip_suffix("```")) else {
        return answer;
    };
    // The first line may name the language.
    match inner.split_once('\n') {
        Some((language, body)) if language.trim().chars().all(char::is_alphanumeric) => body.trim(),
        _ => inner.trim(),
    }
}
