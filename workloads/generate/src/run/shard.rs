//! A run of a shard: records with bounded concurrency, written as parts in the order of their indices.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use windrow_api_types::worker::Output;
use windrow_core::{FieldError, JobError, JobId};
use windrow_engine::{JobContext, Outcome, RunError, Stop};

use super::record::{self, Finished, Recipe};
use super::seeds::Seeds;
use super::tally::Tally;
use super::writer::Writer;
use super::{PlannedSeed, ShardSpec};
use crate::sampler::Sampler;
use crate::spec::{OnError, PinnedSpec, SCHEMA_VERSION};
use crate::template::{CompiledTemplate, TemplateDocument};

/// How many times the concurrency a record may be ahead of the oldest one in flight.
const WINDOW: u64 = 4;

/// The checkpoint of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ShardState {
    /// The indices before this one are written, but for the holes.
    pub(super) next: u64,
    /// Indices that found no room in the budget, while later ones did; ascending. They are made when there is more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) holes: Vec<u64>,
    /// Steps whose answers failed the job, where the spec says that a failed record does: who retries it wants others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) again: Vec<Again>,
    pub(super) tally: Tally,
}

/// How often the answers to a step of a record failed the job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Again {
    pub(super) index: u64,
    pub(super) step: String,
    pub(super) times: u32,
}

impl ShardState {
    /// Where a shard begins.
    fn at(first: u64) -> Self {
        Self { next: first, ..Self::default() }
    }

    /// The indices that are to be made before `end`, in the order in which they are written.
    fn todo(&self, end: u64) -> Todo {
        Todo { holes: self.holes.clone(), next: self.next, end }
    }

    /// Notes that an index was made, and that those before it which were not are still to be.
    pub(super) fn attempted(&mut self, index: u64) {
        self.again.retain(|again| again.index != index);
        match self.holes.binary_search(&index) {
            Ok(hole) => drop(self.holes.remove(hole)),
            Err(_) => {
                self.holes.extend(self.next..index);
                self.next = index + 1;
            }
        }
    }

    /// Notes that the answers to these steps of a record failed the job.
    pub(super) fn blame(&mut self, index: u64, steps: Vec<String>) {
        for step in steps {
            match self.again.iter_mut().find(|again| again.index == index && again.step == step) {
                Some(again) => again.times += 1,
                None => self.again.push(Again { index, step, times: 1 }),
            }
        }
    }
}

/// Indices that are to be made: first the holes, then a range.
struct Todo {
    holes: Vec<u64>,
    next: u64,
    end: u64,
}

impl Todo {
    fn len(&self) -> u64 {
        self.holes.len() as u64 + self.end.saturating_sub(self.next)
    }

    /// The index at a place, from 0 to before [`Self::len`].
    fn index(&self, place: u64) -> u64 {
        let hole = usize::try_from(place).ok().and_then(|place| self.holes.get(place));
        hole.copied().unwrap_or(self.next + place.saturating_sub(self.holes.len() as u64))
    }
}

pub(super) async fn run(
    ctx: &JobContext,
    pinned: PinnedSpec,
    job: JobId,
    seed: &PlannedSeed,
    reopened: i64,
) -> Result<Outcome, RunError> {
    let shard: ShardSpec = ctx.spec()?;
    if shard.schema_version != SCHEMA_VERSION {
        let problem = format!(
            "the shard's schema_version is {}; this program knows {SCHEMA_VERSION}",
            shard.schema_version
        );
        return Err(JobError::permanent("unknown_schema_version", problem).into());
    }
    let mut state = ctx.state::<ShardState>()?.unwrap_or_else(|| ShardState::at(shard.first));
    state.tally.retried(reopened);
    let spec = &pinned.spec;
    let sampler = Sampler::new(pinned.random_seed(), spec.pairing, seed.records, spec.records)
        .ok_or_else(|| JobError::permanent("no_seed_records", "the plan left no seed record"))?;
    let seeds = Seeds::open(ctx, seed).await?;
    let recipe = Arc::new(Recipe { template: compile(&pinned)?, pinned, job, sampler, seeds });
    let mut making = Making {
        ctx,
        todo: state.todo(shard.first + shard.count),
        launched: 0,
        written: 0,
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

/// The records of a shard that are being made. They finish in any order and are written in the order of [`Todo`], whose
/// places are counted here.
struct Making<'a> {
    ctx: &'a JobContext,
    recipe: Arc<Recipe>,
    todo: Todo,
    /// The next place to start.
    launched: u64,
    /// The next place to write.
    written: u64,
    in_flight: JoinSet<(u64, Result<Finished, RunError>)>,
    /// What waits for the places before it.
    finished: BTreeMap<u64, Finished>,
    writer: Writer,
}

impl Making<'_> {
    /// Makes them all; true when the budget ended it before. A drain begins nothing more and waits for the calls in flight: what
    /// they answer would otherwise be paid for again by the next run.
    async fn all(&mut self) -> Result<bool, RunError> {
        let mut exceeded = false;
        loop {
            if !exceeded && self.ctx.stop().is_none() {
                self.launch();
            }
            let joined = tokio::select! {
                joined = self.in_flight.join_next() => joined,
                stop = self.ctx.halted() => return Err(self.give_up(RunError::Stopped(stop)).await),
            };
            let Some(joined) = joined else { break };
            let (place, outcome) = joined.map_err(|error| {
                JobError::transient("record_panicked", format!("making a record failed: {error}"))
            })?;
            match outcome {
                Ok(finished) => {
                    self.finished.insert(place, finished);
                    self.write_ready().await?;
                }
                Err(RunError::Stopped(Stop::BudgetExceeded)) => exceeded = true,
                // it stopped between two calls
                Err(RunError::Stopped(Stop::Draining)) => {}
                Err(error) => return Err(self.give_up(error).await),
            }
        }
        if self.ctx.stop() == Some(Stop::Draining) && self.written < self.todo.len() {
            return Err(self.give_up(RunError::Stopped(Stop::Draining)).await);
        }
        if self.recipe.pinned.spec.on_record_error == OnError::Fail
            && self.finished.values().any(|finished| finished.outcome.is_err())
        {
            return Err(self.fail().await);
        }
        // what lies behind an index that found no room has been paid for: keep it
        for (place, finished) in std::mem::take(&mut self.finished) {
            self.writer.add(self.todo.index(place), finished).await?;
        }
        Ok(exceeded)
    }

    /// Starts records up to the concurrency, but not so far ahead of the oldest one that memory would grow.
    fn launch(&mut self) {
        let concurrency = self.recipe.pinned.spec.concurrency as usize;
        let ahead = self.written + WINDOW * u64::from(self.recipe.pinned.spec.concurrency);
        while self.in_flight.len() < concurrency && self.launched < self.todo.len().min(ahead) {
            let (ctx, recipe, place) = (self.ctx.clone(), Arc::clone(&self.recipe), self.launched);
            let index = self.todo.index(place);
            let again = self.writer.again(index);
            self.in_flight.spawn(async move {
                let outcome = record::make(&ctx, &recipe, index, again).await;
                (place, outcome)
            });
            self.launched += 1;
        }
    }

    async fn write_ready(&mut self) -> Result<(), RunError> {
        while let Some(finished) = self.finished.remove(&self.written) {
            if finished.outcome.is_err() && self.recipe.pinned.spec.on_record_error == OnError::Fail {
                self.finished.insert(self.written, finished);
                return Err(self.fail().await);
            }
            self.writer.add(self.todo.index(self.written), finished).await?;
            self.written += 1;
        }
        Ok(())
    }

    /// A failed record fails the job. Those behind it that have failed too would fail its retry.
    async fn fail(&mut self) -> RunError {
        let failed =
            std::mem::take(&mut self.finished).into_iter().filter(|(_, finished)| finished.outcome.is_err());
        let failed = failed.map(|(place, finished)| (self.todo.index(place), finished)).collect();
        self.writer.fail(failed).await
    }

    /// Saves what is finished in order; the answers of the rest stand in the journal for the next run. Only what is in flight by
    /// now, at a stop that waits for nothing, is asked for again.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_found_no_room_is_made_first_when_there_is_more() {
        let mut state = ShardState::at(10);
        for index in [10, 11, 13, 16] {
            state.attempted(index);
        }
        assert_eq!((state.next, state.holes.as_slice()), (17, [12, 14, 15].as_slice()));
        let todo = state.todo(19);
        let indices: Vec<u64> = (0..todo.len()).map(|place| todo.index(place)).collect();
        assert_eq!(indices, [12, 14, 15, 17, 18]);
        // again not all of them, and something behind them
        for index in [12, 15, 18] {
            state.attempted(index);
        }
        assert_eq!((state.next, state.holes.as_slice()), (19, [14, 17].as_slice()));
        assert_eq!(state.todo(19).len(), 2);
    }
}
