//! The prompts of one record.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, LazyLock};

use minijinja::value::{Enumerator, Object};
use minijinja::{Environment, Error, ErrorKind, State, Value};
use serde_json::{Value as Json, json};

use super::compiled::{CompiledTemplate, Text, VALUE};
use super::environment::{FUEL, MAX_RENDERED};
use super::value::{Fields, template_value};
use crate::sampler::{Draws, Purpose, RecordSeed};
use crate::seed::SeedRecord;

/// What a step gave.
#[derive(Clone, Debug, PartialEq)]
pub enum StepOutput {
    Text(String),
    Json(Json),
    /// Its condition was false.
    Skipped,
}

/// What the steps of one record gave so far, in their order.
#[derive(Clone, Debug, Default)]
pub struct StepOutputs {
    ids: Vec<Arc<str>>,
    json: Vec<Json>,
    values: Vec<Value>,
}

/// What to ask a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedStep {
    pub system: Option<String>,
    pub prompt: String,
}

/// Why a text of a template can't be rendered for a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    #[error("{place}: the template takes more than {FUEL} steps to render; does it loop too long?")]
    Fuel { place: String },
    #[error("{place}: the text is larger than {MAX_RENDERED} bytes")]
    TooLarge { place: String },
    /// The seed record lacks something, usually.
    #[error("{place}, line {line}: {message}; require it in schema_requirements, or give it a default")]
    Undefined { place: String, line: usize, message: String },
    #[error("{place}: {message}")]
    Other { place: String, message: String },
}

impl RenderError {
    pub(super) fn other(place: &str, message: impl Into<String>) -> Self {
        Self::Other { place: place.to_owned(), message: message.into() }
    }
}

impl StepOutputs {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many steps have given something.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// What each step gave, as JSON: a text, a value, or null when it was skipped.
    pub fn json(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.ids.iter().map(AsRef::as_ref).zip(&self.json)
    }

    /// Adds what the next step of `template` gave. More outputs than steps are ignored.
    pub fn push(&mut self, template: &CompiledTemplate, output: StepOutput) {
        let Some(step) = template.0.steps.get(self.len()) else { return };
        let skipped = output == StepOutput::Skipped;
        let json = match output {
            StepOutput::Text(text) => Json::String(text),
            StepOutput::Json(value) => value,
            StepOutput::Skipped => Json::Null,
        };
        let value = Value::from_object(StepValue { output: template_value(&json), skipped });
        self.push_value(Arc::clone(&step.id), json, value);
    }

    fn push_value(&mut self, id: Arc<str>, json: Json, value: Value) {
        self.ids.push(id);
        self.json.push(json);
        self.values.push(value);
    }

    /// Adds an output that stands for one that isn't known yet: any field of it exists.
    pub(crate) fn push_unknown(&mut self, template: &CompiledTemplate, filler: &str) {
        let Some(step) = template.0.steps.get(self.len()) else { return };
        let output = Value::from_object(Unknown(filler.to_owned()));
        let value = Value::from_object(StepValue { output, skipped: false });
        self.push_value(Arc::clone(&step.id), json!(filler), value);
    }
}

/// `steps` in a template.
#[derive(Debug)]
struct Steps {
    ids: Vec<Arc<str>>,
    values: Vec<Value>,
}

impl Object for Steps {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        let at = self.ids.iter().position(|id| &**id == key)?;
        self.values.get(at).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.ids.iter().map(|id| Value::from(Arc::clone(id))).collect())
    }
}

/// `steps.ID` in a template.
#[derive(Debug)]
struct StepValue {
    output: Value,
    skipped: bool,
}

impl Object for StepValue {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        match key {
            "output" => Some(self.output.clone()),
            "skipped" => Some(Value::from(self.skipped)),
            _ => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&["output", "skipped"])
    }
}

/// An output of unknown shape: every field of it is unknown too, and it reads as its filler.
#[derive(Debug)]
struct Unknown(String);

impl Object for Unknown {
    fn get_value(self: &Arc<Self>, _key: &Value) -> Option<Value> {
        Some(Value::from_object(Self(self.0.clone())))
    }

    fn render(self: &Arc<Self>, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where the random numbers of one render begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct DrawSource {
    record: RecordSeed,
    purpose: Purpose,
}

impl DrawSource {
    /// A name that no template can write: identifiers have no NUL.
    pub(super) const KEY: &str = "\0draws";

    pub(super) const fn new(record: RecordSeed, purpose: Purpose) -> Self {
        Self { record, purpose }
    }

    pub(super) fn draws(self) -> Draws {
        self.record.draws(self.purpose)
    }
}

impl Default for DrawSource {
    fn default() -> Self {
        Self::new(RecordSeed { random_seed: 0, index: 0 }, Purpose::Pairing)
    }
}

impl Object for DrawSource {}

/// What names mean in a template: `steps`, and the fields of the seed record.
#[derive(Debug)]
struct Root {
    seed: Arc<Fields>,
    steps: Value,
    source: DrawSource,
    calls: Arc<BTreeSet<String>>,
}

impl Object for Root {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        match key {
            "steps" => Some(self.steps.clone()),
            _ if self.calls.contains(key) => None,
            _ => match self.seed.get(key) {
                Some(value) => Some(value.clone()),
                // The name has a NUL, which no field of a seed record has.
                None if key == DrawSource::KEY => Some(Value::from_object(self.source)),
                None => None,
            },
        }
    }
}

static NO_STEPS: LazyLock<Value> =
    LazyLock::new(|| Value::from_object(Steps { ids: Vec::new(), values: Vec::new() }));

/// Keeps the first bytes of a text, and refuses the rest.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_RENDERED {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl CompiledTemplate {
    /// What to ask the model of step `step` (from 0) for a record; none when the step's condition is false. `outputs`
    /// holds what the steps before gave. The same arguments give the same texts, in any process and any order.
    ///
    /// # Errors
    /// When a text can't be rendered: the record lacks something, or the template runs too long.
    ///
    /// # Panics
    /// When the template has no such step.
    pub fn render(
        &self,
        step: usize,
        seed: &SeedRecord,
        outputs: &StepOutputs,
        record: RecordSeed,
    ) -> Result<Option<RenderedStep>, RenderError> {
        let compiled = &self.0.steps[step];
        // A template has at most MAX_STEPS steps.
        let position = u32::try_from(step).unwrap_or(u32::MAX);
        if let Some(when) = &compiled.when {
            let source = DrawSource::new(record, Purpose::When { step: position });
            let holds = match when {
                Text::Value(name) => self.compute(name, seed, outputs, source)?.is_true(),
                Text::Text(name) => {
                    let text = self.render_text(name, seed, outputs, source)?;
                    !matches!(text.trim().to_ascii_lowercase().as_str(), "" | "false" | "none" | "0")
                }
            };
            if !holds {
                return Ok(None);
            }
        }
        let system = match &compiled.system {
            Some(name) => {
                let source = DrawSource::new(record, Purpose::System { step: position });
                Some(self.render_text(name, seed, outputs, source)?)
            }
            None => None,
        };
        let source = DrawSource::new(record, Purpose::Prompt { step: position });
        let prompt = self.render_text(&compiled.prompt, seed, outputs, source)?;
        Ok(Some(RenderedStep { system, prompt }))
    }

    fn root(&self, seed: &SeedRecord, outputs: &StepOutputs, source: DrawSource) -> Value {
        let steps = if outputs.is_empty() {
            NO_STEPS.clone()
        } else {
            Value::from_object(Steps { ids: outputs.ids.clone(), values: outputs.values.clone() })
        };
        Value::from_object(Root {
            seed: Arc::clone(seed.fields()),
            steps,
            source,
            calls: Arc::clone(&self.0.calls),
        })
    }

    /// Renders one text by its name in the environment.
    pub(super) fn render_text(
        &self,
        name: &str,
        seed: &SeedRecord,
        outputs: &StepOutputs,
        source: DrawSource,
    ) -> Result<String, RenderError> {
        let root = self.root(seed, outputs, source);
        let bytes = run(&self.0.env, name, &root, |_| ());
        let (bytes, ()) = bytes.map_err(|error| self.explain(name, &root, &error))?;
        String::from_utf8(bytes).map_err(|_| RenderError::other(name, "the text is not valid UTF-8"))
    }

    /// Computes the value of one expression by its name in the environment.
    pub(super) fn compute(
        &self,
        name: &str,
        seed: &SeedRecord,
        outputs: &StepOutputs,
        source: DrawSource,
    ) -> Result<Value, RenderError> {
        let root = self.root(seed, outputs, source);
        let value = run(&self.0.env, name, &root, |state| state.lookup(VALUE));
        let (_, value) = value.map_err(|error| self.explain(name, &root, &error))?;
        value
            .filter(|value| !value.is_undefined())
            .ok_or_else(|| RenderError::other(name, "the expression has no value: it is undefined"))
    }

    /// An error with the name of what is undefined. The interpreter keeps track of names in debug mode only, so the
    /// text is rendered again; it gives the same error, because it is rendered from the same things.
    fn explain(&self, name: &str, root: &Value, error: &Error) -> RenderError {
        let place = name.to_owned();
        if is_too_large(error) {
            return RenderError::TooLarge { place };
        }
        match error.kind() {
            ErrorKind::OutOfFuel => RenderError::Fuel { place },
            ErrorKind::UndefinedError => {
                let mut env = self.0.env.clone();
                env.set_debug(true);
                let again = run(&env, name, root, |_| ()).err();
                let error = again.as_ref().unwrap_or(error);
                let message = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
                RenderError::Undefined { place, line: error.line().unwrap_or(0), message }
            }
            _ => RenderError::other(name, error.to_string()),
        }
    }
}

/// Renders, and takes from the state at the end what `take` wants of it.
fn run<T>(
    env: &Environment<'_>,
    name: &str,
    root: &Value,
    take: impl FnOnce(&State<'_, '_>) -> T,
) -> Result<(Vec<u8>, T), Error> {
    let mut bounded = Bounded(Vec::with_capacity(1024));
    let captured = env.get_template(name)?.render_captured_to(root.clone(), &mut bounded)?;
    let taken = take(captured.state());
    drop(captured);
    Ok((bounded.0, taken))
}

fn is_too_large(error: &Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::FileTooLarge) {
            return true;
        }
        cause = error.source();
    }
    false
}
