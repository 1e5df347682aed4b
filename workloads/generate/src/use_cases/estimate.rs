//! What a job would cost, from its own template, seed data and models.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use windrow_blob::BlobStore;
use windrow_core::{FieldError, OwnerId, PicoUsd};
use windrow_engine::PrepareError;
use windrow_models::{Models, Usage};
use windrow_store::Conn;

use super::pinning::pin_spec;
use super::seeds::{self, SeedData, SeedsError};
use crate::estimate::{Estimate, EstimateError, ModelFacts, Range, estimate};
use crate::seed::SeedRecord;
use crate::spec::{JobSpec, PinnedSpec};
use crate::store::lengths::{self, Answer};
use crate::template::{CompiledTemplate, TemplateDocument};

/// How many seed records are rendered.
pub const SAMPLE: usize = 100;
/// How many are at a submit, where somebody waits.
pub const SUBMIT_SAMPLE: usize = 20;
/// The longest that a submit waits for its estimate: a template may make every record slow. A tokenizer's tables, which
/// load on first use, fit in.
const SUBMIT_PATIENCE: Duration = Duration::from_secs(1);
/// The most recorded answers that are read: by an estimate, and at a submit.
const ANSWERS: u32 = 2_000;
const SUBMIT_ANSWERS: u32 = 200;
/// So many recorded answers of a step say more than a guess.
const ENOUGH_ANSWERS: usize = 20;

/// Why there is no estimate.
#[derive(Debug, thiserror::Error)]
pub enum EstimateFailure {
    /// The spec or its seed data has these faults, by JSON pointer into the spec.
    #[error("the spec is not valid")]
    Invalid(Vec<FieldError>),
    #[error(transparent)]
    Prepare(PrepareError),
    #[error(transparent)]
    Seeds(SeedsError),
}

impl From<PrepareError> for EstimateFailure {
    fn from(error: PrepareError) -> Self {
        match error {
            PrepareError::Invalid(faults) => Self::Invalid(faults),
            other => Self::Prepare(other),
        }
    }
}

/// A spec with what its job would be: first this, where the database is; then [`Planned::estimate`], without it.
#[derive(Debug)]
pub struct Planned {
    pinned: PinnedSpec,
    template: CompiledTemplate,
    seed_data: Option<SeedData>,
    lengths: Lengths,
}

/// Recorded lengths of answers in tokens, by model and step.
pub type Lengths = HashMap<(String, String), Range<u64>>;

/// Pins a spec as a submit would.
pub async fn plan(
    conn: &mut Conn,
    owner: OwnerId,
    models: &Models,
    spec: JobSpec,
) -> Result<Planned, EstimateFailure> {
    let (pinned, document) = pin_spec(conn, owner, models, spec, 0).await?;
    let fragments = pinned.template.fragments();
    let template = CompiledTemplate::compile(document, &fragments).map_err(EstimateFailure::Invalid)?;
    let seed_data = match &pinned.spec.make_seeds {
        Some(_) => None,
        None => Some(seeds::locate(conn, owner, &pinned.spec.seed).await.map_err(seed_fault)?),
    };
    let recorded = match &pinned.spec.make_seeds {
        // one template for all examples: their lengths say nothing of each other
        Some(_) => Vec::new(),
        None => lengths::of_template(conn, owner, &pinned.template.id, ANSWERS)
            .await
            .map_err(|error| EstimateFailure::Prepare(error.into()))?,
    };
    Ok(Planned { pinned, template, seed_data, lengths: measured(recorded) })
}

/// A tenth of the answers is shorter than `low`, a twentieth is longer than `high`; `likely` is their mean, because sums
/// are made of it.
fn measured(answers: Vec<Answer>) -> Lengths {
    let mut by_step: HashMap<(String, String), Vec<u64>> = HashMap::new();
    for answer in answers {
        by_step.entry((answer.model, answer.step)).or_default().push(answer.output_tokens);
    }
    by_step.retain(|_, lengths| lengths.len() >= ENOUGH_ANSWERS);
    let range = |mut lengths: Vec<u64>| {
        lengths.sort_unstable();
        let count = lengths.len();
        let mean = lengths.iter().sum::<u64>().div_ceil(count as u64);
        Range { low: lengths[count / 10], likely: mean, high: lengths[count * 19 / 20] }
    };
    by_step.into_iter().map(|(step, lengths)| (step, range(lengths))).collect()
}

/// How long earlier answers to the spec's template were, for [`at_submit`], which needs the database for nothing else.
pub async fn recorded(
    conn: &mut Conn,
    owner: OwnerId,
    models: &Models,
    pinned: &PinnedSpec,
) -> Result<Lengths, PrepareError> {
    if pinned.spec.make_seeds.is_some() || costs(models, pinned) != Some(true) {
        return Ok(Lengths::new());
    }
    Ok(measured(lengths::of_template(conn, owner, &pinned.template.id, SUBMIT_ANSWERS).await?))
}

/// What a job is likely to cost, from seed records that its submit has read: the `likely` of [`Planned::estimate`], from
/// a smaller sample. None when a model has no price, nothing renders, or it would take too long.
pub async fn at_submit(
    models: &Arc<Models>,
    pinned: PinnedSpec,
    document: TemplateDocument,
    sample: Vec<serde_json::Value>,
    lengths: Lengths,
) -> Option<PicoUsd> {
    // nothing need be rendered for what costs nothing, or can't be told
    if !costs(models, &pinned)? {
        return Some(PicoUsd::ZERO);
    }
    let models = Arc::clone(models);
    let late = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&late);
    let work = tokio::task::spawn_blocking(move || {
        let template = CompiledTemplate::compile(document, &pinned.template.fragments()).ok()?;
        let sample: Vec<SeedRecord> =
            (0..).zip(&sample).map(|(number, record)| SeedRecord::new(number, record)).collect();
        let in_time = sample.iter().take_while(|_| !stop.load(Ordering::Relaxed));
        let facts = Facts { models: &models, lengths: &lengths };
        let (steps, records, seed) = (&pinned.steps, pinned.spec.records, pinned.random_seed());
        let estimated = estimate(&template, steps, in_time, records, seed, &facts).ok()?;
        estimated.unpriced.is_empty().then_some(estimated.cost_usd.likely)
    });
    let Ok(done) = tokio::time::timeout(SUBMIT_PATIENCE, work).await else {
        // the thread ends with the record that it renders
        late.store(true, Ordering::Relaxed);
        return None;
    };
    // it is only a hint: a job isn't refused because its estimate panicked
    done.ok().flatten()
}

/// Whether any step's model costs anything; none when one has no price.
fn costs(models: &Models, pinned: &PinnedSpec) -> Option<bool> {
    let million = Usage { input_tokens: 1_000_000, output_tokens: 1_000_000, ..Usage::default() };
    let mut any = false;
    for step in pinned.steps.values() {
        let model = models.resolve(&step.model).ok()?;
        model.price()?;
        any |= model.cost(&million) > PicoUsd::ZERO;
    }
    Some(any)
}

impl Planned {
    pub fn spec(&self) -> &JobSpec {
        &self.pinned.spec
    }

    /// Renders a sample of the seed data and adds up what it would take.
    pub async fn estimate(&self, blob: &BlobStore, models: &Models) -> Result<Estimate, EstimateFailure> {
        let records = match (&self.seed_data, &self.pinned.spec.make_seeds) {
            (Some(seed), _) => {
                let requirements = self.template.document().schema_requirements.clone();
                let (records, report) =
                    seeds::sample(blob, seed, requirements, SAMPLE, false).await.map_err(seed_fault)?;
                if records.is_empty() {
                    return Err(EstimateFailure::Invalid(seeds::faults(&report, "/seed")));
                }
                records
            }
            // one record with other words drawn each time
            (None, Some(make)) => vec![make.seed_record(); 20],
            (None, None) => Vec::new(),
        };
        let sample: Vec<SeedRecord> =
            (0..).zip(&records).map(|(number, record)| SeedRecord::new(number, record)).collect();
        let spec = &self.pinned.spec;
        let (steps, seed) = (&self.pinned.steps, self.pinned.random_seed());
        estimate(
            &self.template,
            steps,
            &sample,
            spec.records,
            seed,
            &Facts { models, lengths: &self.lengths },
        )
        .map_err(|error| {
            let pointer = match &error {
                EstimateError::NoSample => "/seed",
                EstimateError::NothingRenders { .. } | EstimateError::Unpinned(_) => "/template",
            };
            EstimateFailure::Invalid(vec![FieldError::new(pointer, error)])
        })
    }
}

fn seed_fault(error: SeedsError) -> EstimateFailure {
    match error {
        fault @ (SeedsError::NotUsable(_) | SeedsError::Broken(_)) => {
            EstimateFailure::Invalid(vec![FieldError::new("/seed", fault)])
        }
        other => EstimateFailure::Seeds(other),
    }
}

/// What the configured models say of themselves, and what their answers were so far.
struct Facts<'a> {
    models: &'a Models,
    lengths: &'a Lengths,
}

impl ModelFacts for Facts<'_> {
    fn count_tokens(&self, model: &str, text: &str) -> u64 {
        // an unknown model was refused when the spec was pinned
        self.models.resolve(model).map_or(0, |model| model.count_tokens(text))
    }

    fn cost(&self, model: &str, input_tokens: u64, output_tokens: u64) -> Option<PicoUsd> {
        let model = self.models.resolve(model).ok()?;
        model.price()?;
        Some(model.cost(&Usage { input_tokens, output_tokens, ..Usage::default() }))
    }

    fn output_lengths(&self, model: &str, step: &str) -> Option<Range<u64>> {
        self.lengths.get(&(model.to_owned(), step.to_owned())).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_count_from_twenty_answers_on() {
        let answers = |count: u64| {
            let answer = |n| Answer { step: "a".to_owned(), model: "m".to_owned(), output_tokens: n };
            measured((1..=count).map(answer).collect())
        };
        assert!(answers(19).is_empty());
        let range = answers(100)[&("m".to_owned(), "a".to_owned())];
        assert_eq!(range, Range { low: 11, likely: 51, high: 96 });
    }
}
