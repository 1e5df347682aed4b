//! One record: its steps in order, each a rendered prompt and a model's answer.

use indexmap::IndexMap;
use windrow_core::{ErrorClass, JobId, PicoUsd};
use windrow_engine::{CallAnswer, JobContext, RunError};
use windrow_models::{Message, ModelRequest};

use super::seeds::Seeds;
use super::shard::Again;
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
    /// Of a reject whose reason are answers.
    pub(super) blame: Blame,
}

/// Answers that made a record fail, and would again. Empty where a model did not answer at all.
#[derive(Default)]
pub(super) struct Blame {
    pub(super) steps: Vec<String>,
    /// The keys of these calls.
    pub(super) calls: Vec<String>,
    pub(super) usage: IndexMap<String, ModelUsage>,
}

/// A call that was answered.
struct Answered {
    key: String,
    step: String,
    model: String,
    usage: ModelUsage,
}

/// A step that failed for good.
struct StepFailure {
    step: String,
    model: Option<String>,
    error: RejectError,
    attempts: u32,
    /// Whose answers are the reason.
    blamed: Vec<String>,
}

/// Makes the record of one index. `again` says how often a job was failed by the answers to a step, which is then asked with
/// another seed.
///
/// # Errors
/// Only what stops the run; what fails the record is a reject.
pub(super) async fn make(
    ctx: &JobContext,
    recipe: &Recipe,
    index: u64,
    again: Vec<Again>,
) -> Result<Finished, RunError> {
    let seed = &recipe.seeds.record(ctx, recipe.sampler.assign(index).seed_record).await?;
    let draws = RecordSeed { random_seed: recipe.pinned.random_seed(), index };
    let mut making = Making {
        ctx,
        recipe,
        index,
        seed,
        draws,
        again,
        outputs: StepOutputs::new(),
        meta: IndexMap::new(),
        calls: Vec::new(),
    };
    let outcome = match making.steps().await? {
        Ok(()) => making.shaped().map_err(|failure| *failure),
        Err(failure) => Err(failure),
    };
    let mut blamed = Vec::new();
    let outcome = outcome.map_err(|failure| {
        blamed = failure.blamed;
        let StepFailure { step, model, error, attempts, .. } = failure;
        Reject { index, step, model, error, attempts }
    });
    let (blamed_calls, blamed_usage) = sums(making.calls.iter().filter(|call| blamed.contains(&call.step)));
    let (calls, usage) = sums(making.calls.iter());
    let blame = Blame { steps: blamed, calls: blamed_calls, usage: blamed_usage };
    Ok(Finished { outcome, calls, usage, blame })
}

struct Making<'a> {
    ctx: &'a JobContext,
    recipe: &'a Recipe,
    index: u64,
    seed: &'a SeedRecord,
    draws: RecordSeed,
    again: Vec<Again>,
    outputs: StepOutputs,
    meta: IndexMap<String, StepMeta>,
    calls: Vec<Answered>,
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
                Err(error) => return Ok(Err(self.template_failure(&step.id, &error))),
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
        let again = self.again.iter().find(|again| again.step == *id).map_or(0, |again| again.times);
        request.seed = request.seed.map(|seed| other_seed(seed, again));
        let mut tries = 0;
        let mut meta = StepMeta {
            model: request.model.clone(),
            input_tokens: 0,
            output_tokens: 0,
            cost_usd: PicoUsd::ZERO,
        };
        for ask in 0..=MAX_REASKS {
            // what was answered so far stands in the journal
            self.ctx.check_stop()?;
            let key = format!("{}/{id}/{ask}", self.index);
            let answer = match self.ctx.call_counting(&key, id, &request, &mut tries).await {
                Ok(answer) => answer,
                Err(RunError::Failed(error)) => {
                    let model = Some(request.model.clone());
                    return Ok(Err(StepFailure {
                        step: id.clone(),
                        model,
                        error: error.into(),
                        attempts: tries,
                        blamed: Vec::new(),
                    }));
                }
                Err(stopped) => return Err(stopped),
            };
            add_usage(&mut meta, &answer);
            let usage = ModelUsage {
                calls: 1,
                input_tokens: answer.response.usage.input_tokens,
                output_tokens: answer.response.usage.output_tokens,
                cost_usd: answer.cost,
            };
            self.calls.push(Answered { key, step: id.clone(), model: answer.model, usage });
            let error = match template.read_answer(position, &answer.response.text) {
                Ok(output) => {
                    self.meta.insert(id.clone(), meta);
                    return Ok(Ok(output));
                }
                Err(error) => error,
            };
            if ask == MAX_REASKS {
                return Ok(Err(StepFailure::answer(id, &request.model, &error, tries)));
            }
            request.messages.push(Message::assistant(answer.response.text));
            request.messages.push(Message::user(error.instruction()));
            // the same seed would give the same wrong answer
            request.seed = request.seed.map(|seed| seed.wrapping_add(1));
        }
        unreachable!("the last ask returns")
    }

    /// A template fails by what it was given: by any answer so far.
    fn template_failure(&self, step: &str, error: &RenderError) -> StepFailure {
        let code = "template_error".to_owned();
        let error = RejectError { code, message: error.to_string(), class: ErrorClass::Permanent };
        StepFailure {
            step: step.to_owned(),
            model: None,
            error,
            attempts: 1,
            blamed: self.meta.keys().cloned().collect(),
        }
    }

    fn shaped(&mut self) -> Result<Box<Record>, Box<StepFailure>> {
        let output = self
            .recipe
            .template
            .shape(self.seed, &self.outputs, self.draws)
            .map_err(|error| Box::new(self.template_failure("output", &error)))?;
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

/// The seed of a step whose answers failed a job so often: none that was asked with before, re-asks included.
fn other_seed(seed: u64, times: u32) -> u64 {
    (seed + u64::from(times) * u64::from(MAX_REASKS + 1)) % SEEDS
}

/// 31 bits: what every provider that takes a seed can hold.
const SEEDS: u64 = 1 << 31;

/// The keys of calls, and what they used by model.
fn sums<'a>(calls: impl Iterator<Item = &'a Answered>) -> (Vec<String>, IndexMap<String, ModelUsage>) {
    let (mut keys, mut models) = (Vec::new(), IndexMap::<String, ModelUsage>::new());
    for call in calls {
        keys.push(call.key.clone());
        let sum = models.entry(call.model.clone()).or_default();
        sum.calls += call.usage.calls;
        sum.input_tokens += call.usage.input_tokens;
        sum.output_tokens += call.usage.output_tokens;
        sum.cost_usd = sum.cost_usd.saturating_add(call.usage.cost_usd);
    }
    (keys, models)
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
        seed: Some(draws.draws(purpose).below(SEEDS)),
        timeout: None,
        traceparent: None,
    }
}

impl StepFailure {
    fn answer(step: &str, model: &str, error: &AnswerError, attempts: u32) -> Self {
        let code = "bad_answer".to_owned();
        let error = RejectError { code, message: error.to_string(), class: ErrorClass::Permanent };
        let (step, model) = (step.to_owned(), Some(model.to_owned()));
        Self { blamed: vec![step.clone()], step, model, error, attempts }
    }
}

fn add_usage(meta: &mut StepMeta, answer: &CallAnswer) {
    meta.model.clone_from(&answer.model);
    meta.input_tokens += answer.response.usage.input_tokens;
    meta.output_tokens += answer.response.usage.output_tokens;
    meta.cost_usd = meta.cost_usd.saturating_add(answer.cost);
}
