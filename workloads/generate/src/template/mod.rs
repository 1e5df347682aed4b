//! Prompt templates: the document, what it uses, and its rendering.
//!
//! [`TemplateDocument::parse`] reads YAML or JSON; [`analyse`] says which seed paths, fragments and models it uses;
//! [`CompiledTemplate::compile`] parses every expression once; [`CompiledTemplate::render`] then makes the prompts of a
//! record from its seed record, the steps before, and the record's own random numbers.

mod analysis;
mod answer;
mod compiled;
mod complexity;
mod document;
mod environment;
mod filters;
mod parse;
mod render;
mod shape;
mod text;
mod value;
mod walk;

pub use analysis::{Analysis, IncludeUse, analyse};
pub use answer::{AnswerError, MAX_REASKS};
pub use compiled::{CompiledTemplate, Fragments};
pub use document::{DEFAULT_MAX_TOKENS, MAX_CHARS, MAX_STEPS, OutputKind, StepDocument, TemplateDocument};
pub use environment::FUEL;
pub use parse::pointer_of;
pub use render::{RenderError, RenderedStep, StepOutput, StepOutputs};
pub use text::estimate_tokens;
pub(crate) use value::Fields;

#[cfg(test)]
mod tests;
