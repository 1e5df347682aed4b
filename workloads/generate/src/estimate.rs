//! What a job would cost, from rendering a sample of its real seed records.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use windrow_core::PicoUsd;

use crate::sampler::RecordSeed;
use crate::seed::SeedRecord;
use crate::spec::PinnedStep;
use crate::template::{CompiledTemplate, OutputKind, RenderError, StepDocument, StepOutput, StepOutputs};

/// What the caller knows of models.
pub trait ModelFacts {
    /// How many tokens a text has for a model; an upper bound where its tokenizer is unknown.
    fn count_tokens(&self, model: &str, text: &str) -> u64;

    /// What so many tokens cost, or none for a model without a price.
    fn cost(&self, model: &str, input_tokens: u64, output_tokens: u64) -> Option<PicoUsd>;

    /// The recorded lengths of a step's answers by this model, in tokens, if there are any.
    fn output_lengths(&self, _model: &str, _step: &str) -> Option<Range<u64>> {
        None
    }
}

/// A guess with its bounds. `low` and `high` are where most jobs end up, not limits: the budget is the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range<T> {
    pub low: T,
    pub likely: T,
    pub high: T,
}

/// What one step of a job would take, all records together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepEstimate {
    pub step: String,
    pub model: String,
    pub calls: Range<u64>,
    pub input_tokens: Range<u64>,
    pub output_tokens: Range<u64>,
    /// None when the model has no price.
    pub cost_usd: Option<Range<PicoUsd>>,
}

/// What a job would take. Repeated asking (retries, answers that don't fit their schema) isn't in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    pub records: u64,
    /// How many seed records were rendered.
    pub sampled: u64,
    /// How many of these could not be rendered; such records would be rejected.
    pub failed: u64,
    /// The first reason of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    pub steps: Vec<StepEstimate>,
    pub input_tokens: Range<u64>,
    pub output_tokens: Range<u64>,
    /// Of the steps whose models have a price.
    pub cost_usd: Range<PicoUsd>,
    /// The models without a price.
    pub unpriced: Vec<String>,
}

/// Why there is no estimate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EstimateError {
    #[error("there is no seed record to estimate from")]
    NoSample,
    #[error("none of {sampled} seed records could be rendered: {first}")]
    NothingRenders { sampled: u64, first: RenderError },
    #[error("no model is pinned for step {0}")]
    Unpinned(String),
}

/// Tokens that a chat template puts around each message.
const MESSAGE_OVERHEAD: u64 = 8;

/// Estimates a job of `records` records. `models` has the pinned model of each step; `sample` may end early.
///
/// An answer's length is guessed as a quarter, half and all of its `max_tokens`, unless the caller has recorded ones;
/// a later step's prompt is rendered with an answer of the likely length in place of the one that isn't there yet.
///
/// # Errors
/// When there is no sample, none of it renders, or a step has no model.
pub fn estimate<'s>(
    template: &CompiledTemplate,
    models: &IndexMap<String, PinnedStep>,
    sample: impl IntoIterator<Item = &'s SeedRecord>,
    records: u64,
    random_seed: u64,
    facts: &dyn ModelFacts,
) -> Result<Estimate, EstimateError> {
    let mut steps = Vec::with_capacity(template.steps());
    for step in &template.document().steps {
        let pinned = models.get(&step.id).ok_or_else(|| EstimateError::Unpinned(step.id.clone()))?;
        steps.push(Step::new(step, pinned, facts));
    }
    let (mut failures, mut sampled) = (Vec::new(), 0);
    for (index, seed) in (0u64..).zip(sample) {
        let record = RecordSeed { random_seed, index };
        sampled += 1;
        match measure(template, &steps, seed, record, facts) {
            Ok(inputs) => {
                for (step, input) in steps.iter_mut().zip(inputs) {
                    step.inputs.extend(input);
                }
            }
            Err(error) => failures.push(error),
        }
    }
    if sampled == 0 {
        return Err(EstimateError::NoSample);
    }
    let failed = failures.len() as u64;
    let failure = failures.first().map(ToString::to_string);
    if failed == sampled {
        let first = failures.swap_remove(0);
        return Err(EstimateError::NothingRenders { sampled, first });
    }
    let steps: Vec<StepEstimate> =
        steps.into_iter().map(|step| step.total(records, sampled - failed, facts)).collect();
    Ok(summed(records, sampled, failed, failure, steps))
}

fn summed(
    records: u64,
    sampled: u64,
    failed: u64,
    failure: Option<String>,
    steps: Vec<StepEstimate>,
) -> Estimate {
    let mut unpriced: Vec<String> =
        steps.iter().filter(|s| s.cost_usd.is_none()).map(|s| s.model.clone()).collect();
    unpriced.sort_unstable();
    unpriced.dedup();
    let tokens = |of: fn(&StepEstimate) -> Range<u64>| {
        steps.iter().map(of).fold(Range::default(), |a, b| a.zip(b, u64::saturating_add))
    };
    let cost = steps.iter().filter_map(|s| s.cost_usd);
    Estimate {
        records,
        sampled,
        failed,
        failure,
        input_tokens: tokens(|s| s.input_tokens),
        output_tokens: tokens(|s| s.output_tokens),
        cost_usd: cost.fold(Range::default(), |a, b| a.zip(b, PicoUsd::saturating_add)),
        steps,
        unpriced,
    }
}

impl<T> Range<T> {
    fn zip<U, V>(self, other: Range<U>, with: impl Fn(T, U) -> V) -> Range<V> {
        Range {
            low: with(self.low, other.low),
            likely: with(self.likely, other.likely),
            high: with(self.high, other.high),
        }
    }
}

/// A step while it is measured.
struct Step<'s> {
    document: &'s StepDocument,
    model: &'s str,
    /// Tokens that don't depend on the record.
    overhead: u64,
    output: Range<u64>,
    /// What stands for its answer in later prompts.
    answer: Answer,
    /// Tokens of the prompts in the sample.
    inputs: Vec<u64>,
}

enum Answer {
    Known(StepOutput),
    Unknown(String),
}

impl<'s> Step<'s> {
    fn new(document: &'s StepDocument, pinned: &'s PinnedStep, facts: &dyn ModelFacts) -> Self {
        let most = u64::from(pinned.max_tokens);
        let output = facts.output_lengths(&pinned.model, &document.id).unwrap_or(Range {
            low: most / 4,
            likely: most / 2,
            high: most,
        });
        let filler = filler(output.likely);
        let schema = document.schema.as_ref();
        let answer = match (document.output, schema) {
            (OutputKind::Text, _) => Answer::Known(StepOutput::Text(filler)),
            (OutputKind::Json, Some(schema)) => Answer::Known(StepOutput::Json(instance(schema, schema, 0))),
            (OutputKind::Json, None) => Answer::Unknown(filler),
        };
        let schema_tokens = schema.map_or(0, |s| facts.count_tokens(&pinned.model, &s.to_string()));
        let messages = 1 + u64::from(document.system.is_some());
        Self {
            document,
            model: &pinned.model,
            overhead: schema_tokens + messages * MESSAGE_OVERHEAD,
            output,
            answer,
            inputs: Vec::new(),
        }
    }

    /// Scales the measured prompts to all records.
    fn total(mut self, records: u64, rendered: u64, facts: &dyn ModelFacts) -> StepEstimate {
        self.inputs.sort_unstable();
        let ran = self.inputs.len() as u64;
        let sum: u64 = self.inputs.iter().sum();
        let share = scale(records, ran, rendered);
        // A condition may hold more often than the stand-ins for earlier answers made it hold.
        let conditional = self.document.when.is_some();
        let calls = Range { low: share, likely: share, high: if conditional { records } else { share } };
        let tenth = self.inputs.get(self.inputs.len() / 10).copied().unwrap_or(0);
        let longest = self.inputs.last().copied().unwrap_or(0);
        let input_tokens = Range {
            low: tenth.saturating_mul(calls.low),
            likely: scale(sum, calls.likely, ran),
            high: longest.saturating_mul(calls.high),
        };
        let output_tokens = self.output.zip(calls, u64::saturating_mul);
        let cost = |input, output| facts.cost(self.model, input, output);
        let cost_usd = match (
            cost(input_tokens.low, output_tokens.low),
            cost(input_tokens.likely, output_tokens.likely),
            cost(input_tokens.high, output_tokens.high),
        ) {
            (Some(low), Some(likely), Some(high)) => Some(Range { low, likely, high }),
            _ => None,
        };
        StepEstimate {
            step: self.document.id.clone(),
            model: self.model.to_owned(),
            calls,
            input_tokens,
            output_tokens,
            cost_usd,
        }
    }
}

/// `amount · part / whole`, rounded up; 0 when `whole` is.
fn scale(amount: u64, part: u64, whole: u64) -> u64 {
    if whole == 0 {
        return 0;
    }
    let scaled = (u128::from(amount) * u128::from(part)).div_ceil(u128::from(whole));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// The tokens of each step's prompt for one seed record; none for a step that doesn't run.
fn measure(
    template: &CompiledTemplate,
    steps: &[Step<'_>],
    seed: &SeedRecord,
    record: RecordSeed,
    facts: &dyn ModelFacts,
) -> Result<Vec<Option<u64>>, RenderError> {
    let mut outputs = StepOutputs::new();
    let mut inputs = Vec::with_capacity(steps.len());
    for (i, step) in steps.iter().enumerate() {
        let Some(rendered) = template.render(i, seed, &outputs, record)? else {
            inputs.push(None);
            outputs.push(template, StepOutput::Skipped);
            continue;
        };
        let system = rendered.system.map_or(0, |text| facts.count_tokens(step.model, &text));
        inputs.push(Some(step.overhead + system + facts.count_tokens(step.model, &rendered.prompt)));
        match &step.answer {
            Answer::Known(output) => outputs.push(template, output.clone()),
            Answer::Unknown(filler) => outputs.push_unknown(template, filler),
        }
    }
    template.shape(seed, &outputs, record)?;
    Ok(inputs)
}

/// A text of about so many tokens, in sentences.
fn filler(tokens: u64) -> String {
    const SENTENCE: &str = "The answer stands here. ";
    const TOKENS: u64 = 5;
    let sentences = usize::try_from((tokens / TOKENS).clamp(1, 10_000)).unwrap_or(1);
    SENTENCE.repeat(sentences).trim_end().to_owned()
}

/// How deep an example of a schema goes; a schema may contain itself.
const MAX_INSTANCE_DEPTH: usize = 8;

/// A value that looks like what a schema describes, to be rendered in place of an answer.
fn instance(root: &Value, schema: &Value, depth: usize) -> Value {
    let known = ["const", "default"].iter().find_map(|key| schema.get(key));
    let listed = || ["enum", "examples"].iter().find_map(|key| schema.get(key)?.get(0));
    if let Some(value) = known.or_else(listed) {
        return value.clone();
    }
    if depth >= MAX_INSTANCE_DEPTH {
        return Value::Null;
    }
    let referred =
        schema.get("$ref").and_then(Value::as_str).and_then(|r| root.pointer(r.strip_prefix('#')?));
    let branch = || ["anyOf", "oneOf", "allOf"].iter().find_map(|key| schema.get(key)?.get(0));
    if let Some(other) = referred.or_else(branch) {
        return instance(root, other, depth + 1);
    }
    let kind = schema.get("type").map(|kind| kind.get(0).unwrap_or(kind)).and_then(Value::as_str);
    let properties = schema.get("properties").and_then(Value::as_object);
    match (kind, properties) {
        (Some("object") | None, Some(properties)) => {
            let fields = properties.iter().map(|(name, s)| (name.clone(), instance(root, s, depth + 1)));
            Value::Object(fields.collect())
        }
        (Some("object"), None) => Value::Object(Map::new()),
        (Some("array"), _) => {
            let item = schema.get("items").map_or(Value::Null, |s| instance(root, s, depth + 1));
            let count = schema.get("minItems").and_then(Value::as_u64).unwrap_or(2).clamp(1, 20);
            Value::Array(vec![item; usize::try_from(count).unwrap_or(1)])
        }
        (Some("integer" | "number"), _) => schema.get("minimum").cloned().unwrap_or_else(|| 1.into()),
        (Some("boolean"), _) => Value::Bool(true),
        (Some("null"), _) => Value::Null,
        _ => Value::String(filler(15)),
    }
}

#[cfg(test)]
mod tests;
