//! The record's own fields, shaped from what the steps gave.

use serde_json::{Map, Value as Json};

use super::compiled::{CompiledTemplate, Text, Texts};
use super::render::{DrawSource, RenderError, StepOutputs};
use super::value::json_value;
use crate::sampler::{Purpose, RecordSeed};
use crate::seed::SeedRecord;

/// A field of the output, or a part of one.
pub(super) enum Shape {
    /// Something that isn't a text: it stands in every record as it is.
    Literal(Json),
    Text(Text),
    List(Vec<Shape>),
    Object(Vec<(String, Shape)>),
}

impl Shape {
    pub(super) fn compile(texts: &mut Texts, name: &str, pointer: &str, value: &Json) -> Self {
        match value {
            Json::String(text) => Self::Text(texts.value(name, text, pointer)),
            Json::Array(items) => Self::List(
                items
                    .iter()
                    .enumerate()
                    .map(|(i, item)| {
                        Self::compile(texts, &format!("{name}[{i}]"), &format!("{pointer}/{i}"), item)
                    })
                    .collect(),
            ),
            Json::Object(fields) => Self::Object(
                fields
                    .iter()
                    .map(|(field, value)| {
                        let pointer = format!("{pointer}/{}", super::parse::escape(field));
                        (field.clone(), Self::compile(texts, &format!("{name}.{field}"), &pointer, value))
                    })
                    .collect(),
            ),
            literal => Self::Literal(literal.clone()),
        }
    }

    fn render(&self, rendering: &Rendering<'_>) -> Result<Json, RenderError> {
        match self {
            Self::Literal(value) => Ok(value.clone()),
            Self::Text(Text::Text(name)) => rendering.text(name).map(Json::String),
            Self::Text(Text::Value(name)) => rendering.value(name),
            Self::List(items) => {
                items.iter().map(|item| item.render(rendering)).collect::<Result<_, _>>().map(Json::Array)
            }
            Self::Object(fields) => fields
                .iter()
                .map(|(name, field)| Ok((name.clone(), field.render(rendering)?)))
                .collect::<Result<_, _>>()
                .map(Json::Object),
        }
    }
}

struct Rendering<'r> {
    template: &'r CompiledTemplate,
    seed: &'r SeedRecord,
    outputs: &'r StepOutputs,
    source: DrawSource,
}

impl Rendering<'_> {
    fn text(&self, name: &str) -> Result<String, RenderError> {
        self.template.render_text(name, self.seed, self.outputs, self.source)
    }

    fn value(&self, name: &str) -> Result<Json, RenderError> {
        let value = self.template.compute(name, self.seed, self.outputs, self.source)?;
        json_value(&value).map_err(|message| RenderError::other(name, message))
    }
}

impl CompiledTemplate {
    /// The record's own fields, after all steps: as `output` shapes them, or each step's output by its id (null for a
    /// step that was skipped).
    ///
    /// # Errors
    /// When a text of `output` can't be rendered.
    pub fn shape(
        &self,
        seed: &SeedRecord,
        outputs: &StepOutputs,
        record: RecordSeed,
    ) -> Result<Map<String, Json>, RenderError> {
        let Some(shape) = &self.0.shape else {
            return Ok(outputs.json().map(|(id, value)| (id.to_owned(), value.clone())).collect());
        };
        let mut fields = Map::with_capacity(shape.len());
        for (position, (name, shape)) in (0u32..).zip(shape) {
            let source = DrawSource::new(record, Purpose::Output { field: position });
            let rendering = Rendering { template: self, seed, outputs, source };
            fields.insert(name.clone(), shape.render(&rendering)?);
        }
        Ok(fields)
    }
}
