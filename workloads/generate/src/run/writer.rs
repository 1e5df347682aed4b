//! Writes finished records as parts, each with its checkpoint. While one part is on its way to the disk, records go on.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use windrow_api_types::worker::Part;
use windrow_core::{JobError, Timestamp};
use windrow_engine::{JobContext, RunError};

use super::ShardSpec;
use super::record::{Finished, Recipe};
use super::shard::{Again, ShardState};
use super::tally::{ERROR_RATE_FROM, Tally};
use crate::record::PartBuilder;

/// A checkpoint is due after so many records …
const CHECKPOINT_RECORDS: u64 = 50;
/// … or after this time.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);

pub(super) struct Writer {
    ctx: JobContext,
    recipe: Arc<Recipe>,
    shard: ShardSpec,
    part: PartBuilder,
    /// What the next checkpoint says.
    state: ShardState,
    /// The calls whose answers stand in the part.
    covered: Vec<String>,
    flushed_at: Timestamp,
    /// The part before, on its way.
    writing: Option<JoinHandle<Result<(), RunError>>>,
}

impl Writer {
    pub(super) fn new(ctx: JobContext, recipe: Arc<Recipe>, state: ShardState, shard: ShardSpec) -> Self {
        let flushed_at = ctx.now();
        let part = PartBuilder::new(state.next);
        Self { ctx, recipe, shard, part, state, covered: Vec::new(), flushed_at, writing: None }
    }

    /// Adds what became of an index, and writes a part when one is due. Indices come in the order of
    /// [`ShardState::todo`]; those between that are left out are still to be made.
    ///
    /// # Errors
    /// When so many records failed that the job fails; what was finished is written before.
    pub(super) async fn add(&mut self, index: u64, finished: Finished) -> Result<(), RunError> {
        if self.part.next_index() != index {
            self.start_flush().await?;
            self.part = PartBuilder::new(index);
        }
        self.state.attempted(index);
        self.covered.extend(finished.calls);
        self.state.tally.add_usage(&finished.usage);
        let failed = finished.outcome.is_err();
        match finished.outcome {
            Ok(record) => {
                self.part.push_record(&record).map_err(|e| JobError::permanent("bad_record", e))?;
                self.state.tally.records += 1;
            }
            Err(reject) => {
                self.part.push_reject(&reject).map_err(|e| JobError::permanent("bad_record", e))?;
                self.state.tally.count_reject(&reject.error);
            }
        }
        if let Some(error) = self.verdict(failed) {
            self.flush().await?;
            return Err(error.into());
        }
        let late = self.ctx.now().since(self.flushed_at) >= CHECKPOINT_EVERY;
        if self.part.len() >= CHECKPOINT_RECORDS || late {
            self.start_flush().await?;
        }
        let done = self.state.next - self.shard.first - self.state.holes.len() as u64;
        self.ctx.progress("generating", done, Some(self.shard.count)).await;
        Ok(())
    }

    /// What is to be asked anew of an index, because it failed the job before.
    pub(super) fn again(&self, index: u64) -> Vec<Again> {
        self.state.again.iter().filter(|again| again.index == index).cloned().collect()
    }

    /// The job fails by its failed records, of which the first is told; what was finished before them is written. They are not noted
    /// as attempted, for who retries the job wants them too; and answers that are to blame are taken out of the journal, or the
    /// retry would find nothing else.
    pub(super) async fn fail(&mut self, failed: Vec<(u64, Finished)>) -> RunError {
        match self.write_failed(failed).await {
            Ok(detail) => JobError::user("record_failed", detail).into(),
            Err(error) => error,
        }
    }

    async fn write_failed(&mut self, failed: Vec<(u64, Finished)>) -> Result<String, RunError> {
        self.flush().await?;
        let (mut detail, mut covered) = (None, std::mem::take(&mut self.covered));
        for (index, finished) in failed {
            let Err(reject) = finished.outcome else { continue };
            let (step, why) = (&reject.step, &reject.error.message);
            detail.get_or_insert_with(|| format!("record {index} failed in step {step}: {why}"));
            covered.extend(finished.blame.calls);
            self.state.tally.add_usage(&finished.blame.usage);
            self.state.blame(index, finished.blame.steps);
        }
        self.ctx.checkpoint(&self.state, Vec::new(), covered).await?;
        Ok(detail.unwrap_or_else(|| "a record failed".to_owned()))
    }

    /// Whether what became of an index ends the job: the share of failed records, as of the first look at it.
    fn verdict(&self, failed: bool) -> Option<JobError> {
        let tally = &self.state.tally;
        let look = failed || tally.attempted() == ERROR_RATE_FROM;
        look.then(|| tally.excess(self.recipe.pinned.spec.max_error_rate)).flatten()
    }

    /// Begins to write the part in hand, once the one before is written.
    async fn start_flush(&mut self) -> Result<(), RunError> {
        self.finish_writing().await?;
        self.flushed_at = self.ctx.now();
        let Some(part) = self.part.finish() else { return Ok(()) };
        let state = self.state.clone();
        let (ctx, covered) = (self.ctx.clone(), std::mem::take(&mut self.covered));
        self.writing = Some(tokio::spawn(async move { write(&ctx, part, state, covered).await }));
        Ok(())
    }

    async fn finish_writing(&mut self) -> Result<(), RunError> {
        let Some(writing) = self.writing.take() else { return Ok(()) };
        writing.await.unwrap_or_else(|error| {
            Err(JobError::transient("part_panicked", format!("writing a part failed: {error}")).into())
        })
    }

    /// Writes all that was added; returns once it is on disk.
    pub(super) async fn flush(&mut self) -> Result<(), RunError> {
        self.start_flush().await?;
        self.finish_writing().await
    }

    /// Writes the rest, and gives the sums.
    pub(super) async fn close(mut self) -> Result<Tally, RunError> {
        self.flush().await?;
        Ok(self.state.tally)
    }
}

/// Puts a part and makes it count. Its name carries the run, so that a run that is no longer the job's can't stand in
/// the way of the next.
async fn write(
    ctx: &JobContext,
    part: crate::record::Part,
    state: ShardState,
    covered: Vec<String>,
) -> Result<(), RunError> {
    let (first, last) = (part.header.first, part.header.last);
    let run = ctx.lease().run.run;
    let name = format!("part-{first:010}-{last:010}-run-{run}.jsonl");
    let stored = ctx.put("checkpoints", &name, "application/x-ndjson", part.bytes.into()).await?;
    let part = Part {
        child_key: ctx.lease().child_key.clone().unwrap_or_default(),
        first: i64::try_from(first).unwrap_or(i64::MAX),
        last: i64::try_from(last).unwrap_or(i64::MAX),
        key: stored.key,
        sha256: stored.sha256,
        size: stored.size,
    };
    ctx.checkpoint(&state, vec![part], covered).await
}
