//! What a template makes of the first seed records, before a job is paid for.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use windrow_models::Models;

use crate::run::record::request;
use crate::sampler::RecordSeed;
use crate::seed::SeedRecord;
use crate::spec::PinnedStep;
use crate::template::{CompiledTemplate, RenderedStep, StepDocument, StepOutput, StepOutputs};

/// The most records of one preview.
pub const MAX_PREVIEW: u32 = 20;
/// How many there are when nobody says.
pub const DEFAULT_PREVIEW: u32 = 3;

/// Where the answers come from.
#[derive(Clone, Copy, Debug)]
pub enum Answers<'a> {
    /// Nowhere: later steps see a stand-in for each.
    StandIns,
    /// The built-in offline model, which is free.
    Offline(&'a Models),
}

/// What one seed record becomes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PreviewRecord {
    /// Of the record, from 0; the seed record has the same.
    pub index: u64,
    pub steps: Vec<PreviewStep>,
    /// The record's own fields; absent when there are no answers or a step failed.
    #[schema(value_type = Option<Object>)]
    pub output: Option<Map<String, Value>>,
    /// Why there is nothing more: the record would be rejected with this.
    pub error: Option<String>,
}

/// What one step asks and, where a model was asked, is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PreviewStep {
    pub id: String,
    /// Its condition is false for this record.
    pub skipped: bool,
    pub system: Option<String>,
    pub prompt: Option<String>,
    /// The model that answered.
    pub model: Option<String>,
    #[schema(value_type = Option<Object>)]
    pub answer: Option<Value>,
}

/// Renders the template for each of `seeds`, as a job with this `random_seed` would for its first records when seed
/// records are paired sequentially.
pub async fn preview(
    template: &CompiledTemplate,
    seeds: &[Value],
    random_seed: u64,
    answers: Answers<'_>,
) -> Vec<PreviewRecord> {
    let mut records = Vec::with_capacity(seeds.len());
    for (index, seed) in (0..).zip(seeds) {
        let seed = SeedRecord::new(index, seed);
        let draws = RecordSeed { random_seed, index };
        records.push(record(template, &seed, draws, answers).await);
    }
    records
}

async fn record(
    template: &CompiledTemplate,
    seed: &SeedRecord,
    draws: RecordSeed,
    answers: Answers<'_>,
) -> PreviewRecord {
    let mut record = PreviewRecord { index: draws.index, steps: Vec::new(), output: None, error: None };
    let mut outputs = StepOutputs::new();
    for (position, step) in template.document().steps.iter().enumerate() {
        let rendered = match template.render(position, seed, &outputs, draws) {
            Ok(rendered) => rendered,
            Err(error) => {
                record.error = Some(error.to_string());
                return record;
            }
        };
        let mut shown = PreviewStep::of(step, rendered.as_ref());
        let Some(rendered) = rendered else {
            outputs.push(template, StepOutput::Skipped);
            record.steps.push(shown);
            continue;
        };
        match answers {
            Answers::StandIns => outputs.push_unknown(template, &format!("[the answer of step {}]", step.id)),
            Answers::Offline(models) => {
                match ask(template, position, rendered, draws, models, &mut shown).await {
                    Ok(output) => outputs.push(template, output),
                    Err(error) => record.error = Some(error),
                }
            }
        }
        record.steps.push(shown);
        if record.error.is_some() {
            return record;
        }
    }
    match template.shape(seed, &outputs, draws) {
        Ok(output) => record.output = matches!(answers, Answers::Offline(_)).then_some(output),
        Err(error) => record.error = Some(error.to_string()),
    }
    record
}

impl PreviewStep {
    fn of(step: &StepDocument, rendered: Option<&RenderedStep>) -> Self {
        Self {
            id: step.id.clone(),
            skipped: rendered.is_none(),
            system: rendered.and_then(|r| r.system.clone()),
            prompt: rendered.map(|r| r.prompt.clone()),
            model: None,
            answer: None,
        }
    }
}

/// Asks the offline model, whatever model the step names.
async fn ask(
    template: &CompiledTemplate,
    position: usize,
    rendered: RenderedStep,
    draws: RecordSeed,
    models: &Models,
    shown: &mut PreviewStep,
) -> Result<StepOutput, String> {
    let step = &template.document().steps[position];
    let model = models.resolve(OFFLINE).map_err(|error| error.to_string())?;
    let pinned = PinnedStep {
        model: model.id().to_owned(),
        temperature: step.temperature,
        max_tokens: step.max_tokens(),
    };
    let response = model.call(&request(template, position, &pinned, rendered, draws)).await;
    let response = response.map_err(|error| error.to_string())?;
    shown.model = Some(pinned.model);
    let read = template.read_answer(position, &response.text);
    shown.answer = Some(match &read {
        Ok(StepOutput::Json(value)) => value.clone(),
        _ => Value::String(response.text),
    });
    read.map_err(|error| error.to_string())
}

/// The name of the built-in model.
pub const OFFLINE: &str = "offline";

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::Arc;
    use windrow_core::SystemClock;
    use windrow_models::ModelsSettings;

    fn template() -> CompiledTemplate {
        let text = "template:
  name: t
  schema_requirements: [topic]
  steps:
    - {id: outline, model: premium, prompt: 'Outline {{ topic }}', output: json, schema: {type: object, properties: {title: {type: string, minLength: 1}}, required: [title]}}
    - {id: long, model: premium, prompt: 'More', when: '{{ topic == \"x\" }}'}
    - {id: text, model: premium, prompt: 'Write {{ steps.outline.output.title }}', max_tokens: 30}
  output:
    title: '{{ steps.outline.output.title }}'
";
        let document = crate::template::TemplateDocument::parse(text).unwrap();
        CompiledTemplate::compile(document, &Default::default()).unwrap()
    }

    #[tokio::test]
    async fn prompts_are_shown_without_any_model() {
        let seeds = [json!({"topic": "rain"}), json!({"topic": null})];
        let records = preview(&template(), &seeds, 7, Answers::StandIns).await;
        assert_eq!(records[0].steps[0].prompt.as_deref(), Some("Outline rain"));
        assert!(records[0].steps[1].skipped);
        assert_eq!(records[0].steps[2].prompt.as_deref(), Some("Write [the answer of step outline]"));
        assert_eq!((&records[0].output, &records[0].error), (&None, &None));
    }

    #[tokio::test]
    async fn the_offline_model_answers_for_every_model_and_for_free() {
        let models = Arc::new(Models::new(ModelsSettings::default(), SystemClock::shared()).unwrap());
        let records = preview(&template(), &[json!({"topic": "rain"})], 7, Answers::Offline(&models)).await;
        let record = &records[0];
        assert_eq!(record.error, None);
        let title = record.output.as_ref().unwrap()["title"].as_str().unwrap();
        assert!(!title.is_empty());
        assert_eq!(record.steps[2].prompt, Some(format!("Write {title}")));
        assert!(record.steps[2].model.as_deref().unwrap().starts_with("offline"));
    }
}
