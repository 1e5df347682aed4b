//! One record: its steps in order, each a rendered prompt and a model's answer.

use indexmap::IndexMap;
use windrow_core::{ErrorClass, JobId, PicoUsd};
use windrow_engine::{CallAnswer, JobContext, RunError};
use windrow_models::{Message, ModelRequest};

use super::seeds::Seeds;
use crate::export::ModelUsage;
use crate::record::{RESERVED_FIELDS, Record, Reject, RejectError, StepMeta, record_id};
use crate::sampler::{Purpose, RecordSeed, Sampler};
use crate::seed::SeedRecord;
use crate::spec::{PinnedSpec, PinnedStep};
use crate::template::{
    AnswerError, CompiledTemplate, MAX_REASKS, OutputKind, RenderError, RenderedStep, StepOutput, StepOutputs,
};

/// What all records of a shard share.
pub(super) struct Recipe {
    pub(super) pinned: PinnedSpec,
    pub(super) template: CompiledTemplate,
    /// The job that the user submitted.
    pub(super) job: JobId,
    pub(super) sampler: Sampler,
    pub(super) seeds: Seeds,
}

/// What became of an index.
pub(super) struct Finished {
    pub(super) outcome: Result<Box<Record>, Reject>,
    /// The keys of its journalled calls.
    pub(super) calls: Vec<String>,
    /// What all its calls used, those of a failed step too.
    pub(super) usage: IndexMap<String, ModelUsage>,
}

/// A step that failed for good.
struct StepFailure {
    step: String,
    model: Option<String>,
    error: RejectError,
    attempts: u32,
}

/// Makes the record of one index.
///
/// # Errors
/// Only what stops the run; what fails the record is a reject.
pub(super) async fn make(ctx: &JobContext, recipe: &Recipe, index: u64) -> Result<Finished, RunError> {
    let seed = &recipe.seeds.record(ctx, recipe.sampler.assign(index).seed_record).await?;
    let draws = RecordSeed { random_seed: recipe.pinned.random_seed(), index };
    let mut making = Making {
        ctx,
        recipe,
        index,
        seed,
        draws,
        outputs: StepOutputs::new(),
        meta: IndexMap::new(),
        calls: Vec::new(),
        usage: IndexMap::new(),
    };
    let outcome = match making.steps().await? {
        Ok(()) => making.shaped(),
        Err(failure) => Err(failure),
    };
    let outcome = outcome.map_err(|failure| Reject {
        index,
        step: failure.step,
        model: failure.model,
        error: failure.error,
        attempts: failure.attempts,
    });
    Ok(Finished { outcome, calls: making.calls, usage: making.usage })
}

struct Making<'a> {
    ctx: &'a JobContext,
    recipe: &'a Recipe,
    index: u64,
    seed: &'a SeedRecord,
    draws: RecordSeed,
    outputs: StepOutputs,
    meta: IndexMap<String, StepMeta>,
    calls: Vec<String>,
    usage: IndexMap<String, ModelUsage>,
}

impl Making<'_> {
    async fn steps(&mut self) -> Result<Result<(), StepFailure>, RunError> {
        let template = &self.recipe.template;
        for (position, step) in template.document().steps.iter().enumerate() {
            let output = match template.render(position, self.seed, &self.outputs, self.draws) {
                Ok(None) => StepOutput::Skipped,
                Ok(Some(rendered)) => match self.answer(position, rendered).await? {
                    Ok(output) => output,
                    Err(failure) => return Ok(Err(failure)),
                },
                Err(error) => return Ok(Err(StepFailure::template(&step.id, &error))),
            };
            self.outputs.push(template, output);
        }
        Ok(Ok(()))
    }

    /// Asks the step's model, and asks again (with what was wrong) when the answer is not what the step wants.
    async fn answer(
        &mut self,
        position: usize,
        rendered: RenderedStep,
    ) -> Result<Result<StepOutput, StepFailure>, RunError> {
        let template = &self.recipe.template;
        let id = &template.document().steps[position].id;
        let pinned = &self.recipe.pinned.steps[position];
        let mut request = request(template, position, pinned, rendered, self.draws);
        let mut meta = StepMeta {
            model: request.model.clone(),
            input_tokens: 0,
            output_tokens: 0,
            cost_usd: PicoUsd::ZERO,
        };
        for ask in 0..=MAX_REASKS {
            let key = format!("{}/{id}/{ask}", self.index);
            let answer = match self.ctx.call(&key, id, &request).await {
                Ok(answer) => answer,
                Err(RunError::Failed(error)) => {
                    let model = Some(request.model.clone());
                    return Ok(Err(StepFailure {
                        step: id.clone(),
                        model,
                        error: error.into(),
                        attempts: ask + 1,
                    }));
                }
                Err(stopped) => return Err(stopped),
            };
            self.calls.push(key);
            add_usage(&mut meta, &answer);
            let usage = self.usage.entry(answer.model).or_default();
            usage.calls += 1;
            usage.input_tokens += answer.response.usage.input_tokens;
            usage.output_tokens += answer.response.usage.output_tokens;
            usage.cost_usd = usage.cost_usd.saturating_add(answer.cost);
            let error = match template.read_answer(position, &answer.response.text) {
                Ok(output) => {
                    self.meta.insert(id.clone(), meta);
                    return Ok(Ok(output));
                }
                Err(error) => error,
            };
            if ask == MAX_REASKS {
                return Ok(Err(StepFailure::answer(id, &request.model, &error)));
            }
            request.messages.push(Message::assistant(answer.response.text));
            request.messages.push(Message::user(error.instruction()));
            // the same seed would give the same wrong answer
            request.seed = request.seed.map(|seed| seed.wrapping_add(1));
        }
        unreachable!("the last ask returns")
    }

    fn shaped(&mut self) -> Result<Box<Record>, StepFailure> {
        let output = self
            .recipe
            .template
            .shape(self.seed, &self.outputs, self.draws)
            .map_err(|error| StepFailure::template("output", &error))?;
        debug_assert!(!output.keys().any(|key| RESERVED_FIELDS.contains(&key.as_str())));
        Ok(Box::new(Record {
            id: record_id(self.recipe.job, self.index),
            job_id: self.recipe.job,
            index: self.index,
            created_at: self.ctx.now(),
            seed_data_id: self.seed.number().to_string(),
            output,
            meta: std::mem::take(&mut self.meta),
        }))
    }
}

/// What to ask the model of step `position`, so that the same record asks the same in every run.
pub(crate) fn request(
    template: &CompiledTemplate,
    position: usize,
    pinned: &PinnedStep,
    rendered: RenderedStep,
    draws: RecordSeed,
) -> ModelRequest {
    let step = &template.document().steps[position];
    let mut messages: Vec<Message> = rendered.system.into_iter().map(Message::system).collect();
    messages.push(Message::user(rendered.prompt));
    let purpose = Purpose::Model { step: u32::try_from(position).unwrap_or(u32::MAX) };
    let response_schema = match step.output {
        OutputKind::Json => step.schema.clone(),
        OutputKind::Text => None,
    };
    ModelRequest {
        model: pinned.model.clone(),
        messages,
        temperature: pinned.temperature,
        max_tokens: pinned.max_tokens,
        response_schema,
        // 31 bits: what every provider that takes a seed can hold
        seed: Some(draws.draws(purpose).below(1 << 31)),
        timeout: ModelRequest::default_timeout(),
        traceparent: None,
    }
}

impl StepFailure {
    fn template(step: &str, error: &RenderError) -> Self {
        let code = "template_error".to_owned();
        let error = RejectError { code, message: error.to_string(), class: ErrorClass::Permanent };
        Self { step: step.to_owned(), model: None, error, attempts: 1 }
    }

    fn answer(step: &str, model: &str, error: &AnswerError) -> Self {
        let code = "bad_answer".to_owned();
        let error = RejectError { code, message: error.to_string(), class: ErrorClass::Permanent };
        Self { step: step.to_owned(), model: Some(model.to_owned()), error, attempts: MAX_REASKS + 1 }
    }
}

fn add_usage(meta: &mut StepMeta, answer: &CallAnswer) {
    meta.model.clone_from(&answer.model);
    meta.input_tokens += answer.response.usage.input_tokens;
    meta.output_tokens += answer.response.usage.output_tokens;
    meta.cost_usd = meta.cost_usd.saturating_add(answer.cost);
}
