//! A template with every expression parsed once, shared by all records of a job.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use minijinja::Environment;
use windrow_core::FieldError;
use windrow_json_schema::Schema;

use super::analysis::analyse_usage;
use super::answer::compile_schema;
use super::document::{StepDocument, TemplateDocument};
use super::environment::environment;
use super::shape::Shape;
use super::walk::single_expression;

/// The texts of fragments, by the name in the include.
pub type Fragments = BTreeMap<String, String>;

/// The name of the value that an expression of its own is kept under while it is computed.
pub(super) const VALUE: &str = "__windrow_value";

/// A template that is ready to render. Cheap to clone and to share between threads.
#[derive(Clone)]
pub struct CompiledTemplate(pub(super) Arc<Compiled>);

pub(super) struct Compiled {
    pub(super) env: Environment<'static>,
    pub(super) document: TemplateDocument,
    pub(super) steps: Vec<CompiledStep>,
    pub(super) shape: Option<Vec<(String, Shape)>>,
    /// Functions that the template calls: a field of the seed record by the same name must not hide them.
    pub(super) calls: Arc<BTreeSet<String>>,
}

pub(super) struct CompiledStep {
    pub(super) id: Arc<str>,
    /// Names of templates in the environment.
    pub(super) prompt: String,
    pub(super) system: Option<String>,
    pub(super) when: Option<Text>,
    pub(super) schema: Option<Schema>,
}

/// A text in the environment, by its name.
pub(super) enum Text {
    /// One expression, which keeps its type.
    Value(String),
    /// Anything else, which becomes a text.
    Text(String),
}

impl std::fmt::Debug for CompiledTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("CompiledTemplate").field(&self.0.document.name).finish()
    }
}

impl CompiledTemplate {
    /// Compiles a template with the fragments it includes.
    ///
    /// # Errors
    /// Everything that would keep it from rendering, by JSON pointer: syntax, unknown filters, functions and steps,
    /// missing includes.
    pub fn compile(document: TemplateDocument, fragments: &Fragments) -> Result<Self, Vec<FieldError>> {
        let (analysis, usage) = analyse_usage(&document, fragments);
        let mut errors = analysis.into_problems();
        if document.fragment.is_some() {
            errors.push(FieldError::new("/template/fragment", "a fragment can be included, but not run"));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut env = environment();
        for (name, text) in fragments {
            // A fragment that isn't included is not checked, and not needed.
            if usage.includes.contains_key(name) {
                add(&mut env, name.clone(), text.clone(), "/template")?;
            }
        }
        let mut texts = Texts { env, errors: Vec::new() };
        let steps = document.steps.iter().enumerate().map(|(i, step)| texts.step(i, step)).collect();
        let shape = document.output.as_ref().map(|output| {
            output.iter().map(|(field, value)| (field.clone(), texts.shape(field, value))).collect()
        });
        let Texts { env, errors } = texts;
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self(Arc::new(Compiled { env, document, steps, shape, calls: Arc::new(usage.calls) })))
    }

    /// The document it was compiled from.
    pub fn document(&self) -> &TemplateDocument {
        &self.0.document
    }

    /// How many steps it has.
    pub fn steps(&self) -> usize {
        self.0.steps.len()
    }

    /// The step at a position, from 0.
    pub fn step(&self, step: usize) -> Option<&StepDocument> {
        self.0.document.steps.get(step)
    }
}

fn add(
    env: &mut Environment<'static>,
    name: String,
    text: String,
    pointer: &str,
) -> Result<(), Vec<FieldError>> {
    env.add_template_owned(name, text).map_err(|error| vec![FieldError::new(pointer, error)])
}

/// Puts the texts of a document into an environment.
pub(super) struct Texts {
    env: Environment<'static>,
    errors: Vec<FieldError>,
}

impl Texts {
    fn add(&mut self, name: &str, text: &str, pointer: &str) -> String {
        if let Err(errors) = add(&mut self.env, name.to_owned(), text.to_owned(), pointer) {
            self.errors.extend(errors);
        }
        name.to_owned()
    }

    /// A text whose value matters, not only how it reads.
    pub(super) fn value(&mut self, name: &str, text: &str, pointer: &str) -> Text {
        match single_expression(text) {
            Some(expression) => {
                let source = format!("{{% set {VALUE} = ({expression}) %}}");
                Text::Value(self.add(name, &source, pointer))
            }
            None => Text::Text(self.add(name, text, pointer)),
        }
    }

    fn step(&mut self, i: usize, step: &StepDocument) -> CompiledStep {
        let name = |part: &str| format!("step {}, {part}", step.id);
        let pointer = |part: &str| format!("/template/steps/{i}/{part}");
        if let Some(when) = step.when.as_deref()
            && !when.contains("{{")
            && !when.contains("{%")
            && !matches!(when.trim(), "true" | "false")
        {
            let message = "write the condition as {{ expression }}";
            self.errors.push(FieldError::new(pointer("when"), message));
        }
        CompiledStep {
            id: step.id.as_str().into(),
            prompt: self.add(&name("prompt"), &step.prompt, &pointer("prompt")),
            system: step.system.as_deref().map(|text| self.add(&name("system"), text, &pointer("system"))),
            when: step.when.as_deref().map(|text| self.value(&name("when"), text, &pointer("when"))),
            schema: step.schema.as_ref().and_then(|schema| compile_schema(schema).ok()),
        }
    }

    fn shape(&mut self, field: &str, value: &serde_json::Value) -> Shape {
        let pointer = format!("/template/output/{}", super::parse::escape(field));
        Shape::compile(self, &format!("output {field}"), &pointer, value)
    }
}
