//! Writes finished records as parts, each with its checkpoint. While one part is on its way to the disk, records go on.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use windrow_api_types::worker::Part;
use windrow_core::{ErrorClass, JobError, Timestamp};
use windrow_engine::{JobContext, RunError};

use super::ShardSpec;
use super::record::{Finished, Recipe};
use super::shard::{ShardState, Tally};
use crate::record::{PartBuilder, Reject, RejectError};
use crate::spec::OnError;

/// A checkpoint is due after so many records …
const CHECKPOINT_RECORDS: u64 = 50;
/// … or after this time.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);

pub(super) struct Writer {
    ctx: JobContext,
    recipe: Arc<Recipe>,
    shard: ShardSpec,
    part: PartBuilder,
    tally: Tally,
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
        Self { ctx, recipe, shard, part, tally: state.tally, covered: Vec::new(), flushed_at, writing: None }
    }

    /// The index that is due.
    pub(super) fn next(&self) -> u64 {
        self.part.next_index()
    }

    /// Adds what became of the index that is due, and writes a part when one is due.
    ///
    /// # Errors
    /// When the spec says that a failed record, or so many of them, fail the job; what was finished is written before.
    pub(super) async fn add(&mut self, finished: Finished) -> Result<(), RunError> {
        self.covered.extend(finished.calls);
        self.tally.add_usage(&finished.usage);
        match finished.outcome {
            Ok(record) => {
                self.part.push_record(&record).map_err(|e| JobError::permanent("bad_record", e))?;
                self.tally.records += 1;
            }
            Err(reject) => {
                self.push_reject(&reject)?;
                if let Some(error) = self.verdict(&reject) {
                    self.flush().await?;
                    return Err(error.into());
                }
            }
        }
        let late = self.ctx.now().since(self.flushed_at) >= CHECKPOINT_EVERY;
        if self.part.len() >= CHECKPOINT_RECORDS || late {
            self.start_flush().await?;
        }
        let done = self.next() - self.shard.first;
        self.ctx.progress("generating", done, Some(self.shard.count)).await;
        Ok(())
    }

    /// Marks the indices before `index` as not made for want of money.
    pub(super) fn skip_to(&mut self, index: u64) -> Result<(), RunError> {
        while self.next() < index {
            let error = RejectError {
                code: "budget_exceeded".to_owned(),
                message: "the budget had no room for its next call".to_owned(),
                class: ErrorClass::Budget,
            };
            let reject = Reject { index: self.next(), step: String::new(), model: None, error, attempts: 0 };
            self.push_reject(&reject)?;
            self.tally.unaffordable += 1;
        }
        Ok(())
    }

    fn push_reject(&mut self, reject: &Reject) -> Result<(), RunError> {
        self.part.push_reject(reject).map_err(|e| JobError::permanent("bad_record", e))?;
        self.tally.rejects += 1;
        self.tally.count_error(format!("{}: {}", reject.error.code, reject.error.message), 1);
        Ok(())
    }

    /// Whether a failed record ends the job.
    fn verdict(&self, reject: &Reject) -> Option<JobError> {
        let spec = &self.recipe.pinned.spec;
        if spec.on_record_error == OnError::Fail {
            let detail =
                format!("record {} failed in step {}: {}", reject.index, reject.step, reject.error.message);
            return Some(JobError::user("record_failed", detail));
        }
        self.tally.excess(spec.max_error_rate)
    }

    /// Begins to write the part in hand, once the one before is written.
    async fn start_flush(&mut self) -> Result<(), RunError> {
        self.finish_writing().await?;
        self.flushed_at = self.ctx.now();
        let Some(part) = self.part.finish() else { return Ok(()) };
        let state = ShardState { next: part.header.last + 1, tally: self.tally.clone() };
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
        Ok(self.tally)
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
