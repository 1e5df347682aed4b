//! Seed records that a model makes from an example: a job of one step over a template that is written here.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use windrow_core::FieldError;

use super::PinnedTemplate;
use crate::template::estimate_tokens;

/// The most seed records that one job makes.
pub const MAX_SEEDS: u64 = 1_000;
/// The most characters of the instructions.
pub(super) const MAX_INSTRUCTIONS: usize = 4_000;
/// The most characters of the example as JSON: the schema that is worked out from it stands in the template too.
const MAX_EXAMPLE: usize = 8_000;

/// The name of the template, in records, ledgers and manifests.
const NAME: &str = "make-seeds";
/// The field of a record that holds the seed record: its own fields may be named like those of every record.
pub(crate) const SEED_FIELD: &str = "seed";

/// What seed records to make.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MakeSeeds {
    /// A record as they should be: every one has its fields, of the same types.
    pub example: Map<String, Value>,
    /// What they should be about, and how they should differ.
    #[serde(default)]
    pub instructions: String,
}

impl MakeSeeds {
    pub(super) fn problems(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut refuse = |field: &str, message: String| {
            errors.push(FieldError::new(format!("/make_seeds/{field}"), message));
        };
        if self.example.is_empty() {
            refuse("example", "must have at least one field".to_owned());
        }
        let size = Value::Object(self.example.clone()).to_string().chars().count();
        if size > MAX_EXAMPLE {
            refuse("example", format!("{size} characters as JSON; at most {MAX_EXAMPLE} are allowed"));
        }
        let size = self.instructions.chars().count();
        if size > MAX_INSTRUCTIONS {
            refuse("instructions", format!("{size} characters; at most {MAX_INSTRUCTIONS} are allowed"));
        }
        errors
    }

    /// The template, ready to be pinned.
    pub(crate) fn template(&self) -> PinnedTemplate {
        PinnedTemplate {
            id: NAME.to_owned(),
            name: NAME.to_owned(),
            version: 1,
            text: self.document().to_string(),
            includes: std::collections::BTreeMap::new(),
        }
    }

    fn document(&self) -> Value {
        let example = Value::Object(self.example.clone());
        // twice the example's own length: others may be longer, and JSON costs tokens of its own
        let max_tokens = (2 * estimate_tokens(&example.to_string()) + 256).clamp(512, 8_192);
        json!({"template": {
            "name": NAME,
            "schema_requirements": ["example", "themes"],
            "steps": [{
                "id": "record",
                "system": "You write realistic, varied example records. You answer with one JSON object and nothing else.",
                "prompt": PROMPT,
                "temperature": 1.0,
                "max_tokens": max_tokens,
                "output": "json",
                "schema": schema_like(&example),
            }],
            "output": {SEED_FIELD: "{{ steps.record.output }}"},
        }})
    }

    /// The one seed record that the template is rendered from.
    pub(crate) fn seed_record(&self) -> Value {
        json!({"example": self.example, "instructions": self.instructions, "themes": THEMES})
    }
}

const PROMPT: &str = "\
Here is an example record:
{{ example | tojson }}

{% if instructions %}
{{ instructions }}

{% endif %}
Write one new record with the same fields. It must not repeat the example. To make it unlike any other, let these words \
lead you to its subject, without naming them: {{ themes | choice }}, {{ themes | choice }}, {{ themes | choice }}.";

/// Drawn from to make answers differ: concrete things of many kinds of life.
const THEMES: &[&str] = &[
    "harbour",
    "orchard",
    "ledger",
    "violin",
    "snowfall",
    "bakery",
    "lighthouse",
    "apprentice",
    "desert",
    "telescope",
    "grandmother",
    "railway",
    "mosaic",
    "fever",
    "bicycle",
    "archive",
    "storm",
    "wedding",
    "chess",
    "volcano",
    "nurse",
    "glacier",
    "market",
    "letter",
    "compass",
    "theatre",
    "drought",
    "satellite",
    "ferry",
    "pottery",
    "debt",
    "festival",
    "owl",
    "factory",
    "garden",
    "lawsuit",
    "tunnel",
    "translation",
    "marathon",
    "candle",
    "refugee",
    "recipe",
    "island",
    "election",
    "clock",
    "wolf",
    "museum",
    "radio",
    "harvest",
    "bridge",
    "library",
    "mirror",
    "strike",
    "rainforest",
    "anchor",
    "school",
    "mathematics",
    "quarry",
    "tailor",
    "comet",
];

/// A JSON Schema that the example satisfies: same fields, same types, none empty.
fn schema_like(example: &Value) -> Value {
    match example {
        Value::Null => json!({}),
        Value::Bool(_) => json!({"type": "boolean"}),
        Value::Number(n) if n.is_f64() => json!({"type": "number"}),
        Value::Number(_) => json!({"type": "integer"}),
        Value::String(text) if text.is_empty() => json!({"type": "string"}),
        Value::String(_) => json!({"type": "string", "minLength": 1}),
        Value::Array(items) => match items.first() {
            Some(first) => json!({"type": "array", "items": schema_like(first), "minItems": 1}),
            None => json!({"type": "array"}),
        },
        Value::Object(fields) => {
            let required: Vec<&String> =
                fields.iter().filter(|(_, v)| !v.is_null()).map(|(k, _)| k).collect();
            let properties: Map<String, Value> =
                fields.iter().map(|(name, value)| (name.clone(), schema_like(value))).collect();
            json!({
                "type": "object", "properties": properties, "required": required, "additionalProperties": false,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::{CompiledTemplate, StepOutput, StepOutputs, TemplateDocument};
    use crate::{sampler::RecordSeed, seed::SeedRecord};

    fn make(example: &Value, instructions: &str) -> MakeSeeds {
        let example = example.as_object().unwrap().clone();
        MakeSeeds { example, instructions: instructions.to_owned() }
    }

    #[test]
    fn the_template_compiles_and_asks_for_records_like_the_example() {
        let make = make(
            &json!({"id": 7, "poem": {"title": "Dew", "lines": ["a", "b"]}, "score": 0.5, "note": null}),
            "About the sea.",
        );
        let document = TemplateDocument::parse(&make.template().text).unwrap();
        let compiled = CompiledTemplate::compile(document, &make.template().fragments()).unwrap();
        let seed = SeedRecord::new(0, &make.seed_record());
        let prompt = |index| {
            let draws = RecordSeed { random_seed: 1, index };
            compiled.render(0, &seed, &StepOutputs::new(), draws).unwrap().unwrap().prompt
        };
        assert!(prompt(0).contains("\"Dew\""), "{}", prompt(0));
        assert!(prompt(0).contains("About the sea."));
        assert_ne!(prompt(0), prompt(1), "records must differ");

        let answer = json!({"id": 8, "poem": {"title": "Fog", "lines": ["c"]}, "score": 1, "note": "x"});
        let output = compiled.read_answer(0, &answer.to_string()).unwrap();
        for bad in [json!({"id": "8"}), json!({"id": 8, "poem": {"title": "", "lines": ["c"]}, "score": 1})] {
            assert!(compiled.read_answer(0, &bad.to_string()).is_err(), "{bad}");
        }
        let mut outputs = StepOutputs::new();
        assert_eq!(output, StepOutput::Json(answer.clone()));
        outputs.push(&compiled, output);
        let draws = RecordSeed { random_seed: 1, index: 0 };
        assert_eq!(compiled.shape(&seed, &outputs, draws).unwrap()[SEED_FIELD], answer);
    }

    #[test]
    fn an_example_with_braces_is_no_template() {
        let make = make(&json!({"text": "{{ nothing }} {% for %}"}), "{{ steps }}");
        let document = TemplateDocument::parse(&make.template().text).unwrap();
        assert!(CompiledTemplate::compile(document, &make.template().fragments()).is_ok());
    }
}
