//! A run of a shard: records with bounded concurrency, written as parts in the order of their indices.

use std::collections::BTreeMap;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use windrow_api_types::worker::Output;
use windrow_core::{FieldError, JobError, JobId};
use windrow_engine::{JobContext, Outcome, RunError, Stop};

use super::record::{self, Finished, Recipe};
use super::seeds::Seeds;
use super::writer::Writer;
use super::{PlannedSeed, ShardSpec};
use crate::export::ModelUsage;
use crate::sampler::Sampler;
use crate::spec::PinnedSpec;
use crate::template::{CompiledTemplate, TemplateDocument};

/// How many times the concurrency a record may be ahead of the oldest one in flight.
const WINDOW: u64 = 4;

/// The share of failed records is looked at from this many on.
const ERROR_RATE_FROM: u64 = 50;
/// How many different errors a failed job lists, and how many a shard tells apart.
const COMMON_ERRORS: usize = 5;
const MAX_ERRORS: usize = 50;
const OTHER_ERRORS: &str = "other errors";

/// The checkpoint of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ShardState {
    /// The indices before this one are written.
    pub(super) next: u64,
    pub(super) tally: Tally,
}

/// What was made so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    pub(super) records: u64,
    pub(super) rejects: u64,
    /// Rejects by what went wrong: the error's code and message.
    pub(super) errors: BTreeMap<String, u64>,
    /// Rejects for want of money.
    pub(super) unaffordable: u64,
    /// What all calls used, by model.
    pub(super) models: IndexMap<String, ModelUsage>,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.rejects += other.rejects;
        self.unaffordable += other.unaffordable;
        self.add_usage(&other.models);
        for (error, count) in &other.errors {
            self.count_error(error.clone(), *count);
        }
    }

    /// Errors are counted by their text, and texts can differ for ever: past so many the rest is counted together.
    pub(super) fn count_error(&mut self, error: String, count: u64) {
        let known = self.errors.len() < MAX_ERRORS || self.errors.contains_key(&error);
        let error = if known { error } else { OTHER_ERRORS.to_owned() };
        *self.errors.entry(error).or_default() += count;
    }

    /// The error of a job of which more than `limit` failed, with the commonest reasons. Records that found no room in
    /// the budget did not fail.
    pub(super) fn excess(&self, limit: f64) -> Option<JobError> {
        let failed = self.rejects.saturating_sub(self.unaffordable);
        let seen = self.records + failed;
        #[expect(clippy::cast_precision_loss, reason = "a job has at most 30,000,000 attempts")]
        let rate = failed as f64 / seen as f64;
        if seen < ERROR_RATE_FROM || rate <= limit {
            return None;
        }
        let mut errors: Vec<(&String, &u64)> = self.errors.iter().collect();
        errors.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let common: Vec<String> =
            errors.iter().take(COMMON_ERRORS).map(|(error, count)| format!("{count} × {error}")).collect();
        let detail = format!(
            "{failed} of {seen} records failed, more than max_error_rate {limit} allows: {}",
            common.join("; ")
        );
        Some(JobError::user("too_many_errors", detail))
    }

    pub(super) fn add_usage(&mut self, models: &IndexMap<String, ModelUsage>) {
        for (model, used) in models {
            let sum = self.models.entry(model.clone()).or_default();
            sum.calls += used.calls;
            sum.input_tokens += used.input_tokens;
            sum.output_tokens += used.output_tokens;
            sum.cost_usd = sum.cost_usd.saturating_add(used.cost_usd);
        }
    }
}

pub(super) async fn run(
    ctx: &JobContext,
    pinned: PinnedSpec,
    job: JobId,
    seed: &PlannedSeed,
) -> Result<Outcome, RunError> {
    let shard: ShardSpec = ctx.spec()?;
    let state =
        ctx.state::<ShardState>()?.unwrap_or(ShardState { next: shard.first, tally: Tally::default() });
    let spec = &pinned.spec;
    let sampler = Sampler::new(pinned.random_seed(), spec.pairing, seed.records, spec.records)
        .ok_or_else(|| JobError::permanent("no_seed_records", "the plan left no seed record"))?;
    let seeds = Seeds::open(ctx, seed).await?;
    let recipe = Arc::new(Recipe { template: compile(&pinned)?, pinned, job, sampler, seeds });
    let mut making = Making {
        ctx,
        end: shard.first + shard.count,
        launched: state.next,
        writer: Writer::new(ctx.clone(), Arc::clone(&recipe), state, shard),
        recipe,
        in_flight: JoinSet::new(),
        finished: BTreeMap::new(),
    };
    let exceeded = making.all().await?;
    let tally = making.writer.close().await?;
    let result = serde_json::to_value(&tally).expect("a tally is made of numbers and texts");
    let output = Output { result, artifacts: Vec::new() };
    Ok(if exceeded { Outcome::Partial(output) } else { Outcome::Done(output) })
}

/// The records of a shard that are being made. They finish in any order and are written in the order of their indices.
struct Making<'a> {
    ctx: &'a JobContext,
    recipe: Arc<Recipe>,
    /// The index after the last one.
    end: u64,
    /// The next index to start.
    launched: u64,
    in_flight: JoinSet<(u64, Result<Finished, RunError>)>,
    /// What waits for the indices before it.
    finished: BTreeMap<u64, Finished>,
    writer: Writer,
}

impl Making<'_> {
    /// Makes them all; true when the budget ended it before.
    async fn all(&mut self) -> Result<bool, RunError> {
        let mut exceeded = false;
        loop {
            if !exceeded {
                self.launch();
            }
            let joined = tokio::select! {
                joined = self.in_flight.join_next() => joined,
                stop = self.ctx.stopped() => return Err(self.give_up(RunError::Stopped(stop)).await),
            };
            let Some(joined) = joined else { break };
            let (index, outcome) = joined.map_err(|error| {
                JobError::transient("record_panicked", format!("making a record failed: {error}"))
            })?;
            match outcome {
                Ok(finished) => {
                    self.finished.insert(index, finished);
                    self.write_ready().await?;
                }
                Err(RunError::Stopped(Stop::BudgetExceeded)) => exceeded = true,
                Err(error) => return Err(self.give_up(error).await),
            }
        }
        // what lies behind an index that found no room has been paid for: keep it
        for (index, finished) in std::mem::take(&mut self.finished) {
            self.writer.skip_to(index)?;
            self.writer.add(finished).await?;
        }
        Ok(exceeded)
    }

    /// Starts records up to the concurrency, but not so far ahead of the oldest one that memory would grow.
    fn launch(&mut self) {
        let concurrency = self.recipe.pinned.spec.concurrency as usize;
        let ahead = self.writer.next() + WINDOW * u64::from(self.recipe.pinned.spec.concurrency);
        while self.in_flight.len() < concurrency && self.launched < self.end.min(ahead) {
            let (ctx, recipe, index) = (self.ctx.clone(), Arc::clone(&self.recipe), self.launched);
            self.in_flight.spawn(async move {
                let outcome = record::make(&ctx, &recipe, index).await;
                (index, outcome)
            });
            self.launched += 1;
        }
    }

    async fn write_ready(&mut self) -> Result<(), RunError> {
        while let Some(finished) = self.finished.remove(&self.writer.next()) {
            self.writer.add(finished).await?;
        }
        Ok(())
    }

    /// Saves what is finished in order; the answers of the rest stand in the journal for the next run.
    async fn give_up(&mut self, why: RunError) -> RunError {
        self.in_flight.abort_all();
        match self.writer.flush().await {
            Ok(()) | Err(RunError::Stopped(_)) => why,
            Err(failed) => failed,
        }
    }
}

fn compile(pinned: &PinnedSpec) -> Result<CompiledTemplate, JobError> {
    let broken = |errors: Vec<FieldError>| {
        let first = errors.first().map(ToString::to_string).unwrap_or_default();
        JobError::permanent("bad_template", format!("the pinned template can't be compiled: {first}"))
    };
    let document = TemplateDocument::parse(&pinned.template.text).map_err(broken)?;
    CompiledTemplate::compile(document, &pinned.template.fragments()).map_err(broken)
}
