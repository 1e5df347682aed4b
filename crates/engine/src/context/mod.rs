//! All that a run can do to the world.

mod call;
mod objects;
mod progress;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock};

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tracing::{Instrument as _, Span};
use windrow_api_types::worker::{Checkpoint, Child, Lease, NewChild, Part};
use windrow_core::{JobError, JobId, RetryPolicy, SharedClock, Timestamp};
use windrow_models::Models;

use crate::meter::Meter;
use crate::{AssetCache, Backoff, Engine, EngineError, MAX_CHILDREN_A_CALL, Stop, StopSignal};

pub use call::CallAnswer;
use progress::Reports;

/// Why a run comes back without an outcome.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Failed(#[from] JobError),
    #[error("the run must stop: {0:?}")]
    Stopped(Stop),
}

/// What all runs of a worker share.
#[derive(Clone)]
pub struct RunServices {
    pub engine: Arc<dyn Engine>,
    pub models: Arc<Models>,
    pub clock: SharedClock,
    pub assets: Arc<AssetCache>,
    /// How failed model calls are retried within a run.
    pub call_retry: RetryPolicy,
}

/// All that a run can do to the world. Cheap to clone: a handler hands it to its concurrent records.
#[derive(Clone)]
pub struct JobContext {
    inner: Arc<Inner>,
}

struct Inner {
    services: RunServices,
    lease: Lease,
    /// The run's, for what handlers do in tasks of their own.
    span: Span,
    stop: StopSignal,
    scratch: OnceLock<PathBuf>,
    /// Where the run's directory is made.
    scratches: Arc<Path>,
    meter: Arc<Meter>,
    /// Monotonic microseconds of the last sign of progress; the stall limit counts from here.
    last_progress: AtomicU64,
    reports: Mutex<Reports>,
}

impl JobContext {
    /// Made within the run's span. `scratches` is the directory in which the run's own will be made on first use; whoever ends
    /// the run removes it.
    pub fn new(
        services: RunServices,
        lease: Lease,
        stop: StopSignal,
        scratches: impl Into<Arc<Path>>,
    ) -> Self {
        let meter = Arc::new(Meter::new(Arc::clone(&services.engine), &lease));
        let context = Inner {
            services,
            lease,
            span: Span::current(),
            stop,
            scratch: OnceLock::new(),
            scratches: scratches.into(),
            meter,
            last_progress: AtomicU64::new(0),
            reports: Mutex::default(),
        };
        let context = Self { inner: Arc::new(context) };
        context.note_progress();
        context
    }

    pub fn lease(&self) -> &Lease {
        &self.inner.lease
    }

    pub fn models(&self) -> &Arc<Models> {
        &self.inner.services.models
    }

    pub fn now(&self) -> Timestamp {
        self.inner.services.clock.now()
    }

    /// The spec as the workload's own type.
    pub fn spec<T: serde::de::DeserializeOwned>(&self) -> Result<T, JobError> {
        serde::Deserialize::deserialize(&*self.inner.lease.spec).map_err(|error| {
            JobError::permanent("bad_spec", format!("the stored spec can't be read: {error}"))
        })
    }

    /// What the last checkpoint saved, as the workload's own type; none in a job's first run.
    pub fn state<T: serde::de::DeserializeOwned>(&self) -> Result<Option<T>, JobError> {
        let state = self.inner.lease.state.as_ref().map(serde::Deserialize::deserialize).transpose();
        state.map_err(|error| {
            JobError::permanent("bad_checkpoint", format!("the last checkpoint can't be read: {error}"))
        })
    }

    /// Seeded by the job's id and `purpose`: the same in every run of the job.
    pub fn rng(&self, purpose: &str) -> ChaCha12Rng {
        let seed = Sha256::new().chain_update(self.inner.lease.run.job.0).chain_update(purpose).finalize();
        ChaCha12Rng::from_seed(seed.into())
    }

    /// Whether the run should come back, and why. Handlers ask between items.
    pub fn stop(&self) -> Option<Stop> {
        self.inner.stop.get()
    }

    /// [`Self::stop`] for handlers that come back with `?`.
    pub fn check_stop(&self) -> Result<(), RunError> {
        self.stop().map_or(Ok(()), |why| Err(RunError::Stopped(why)))
    }

    /// Resolves when the run should come back.
    pub async fn stopped(&self) -> Stop {
        self.inner.stop.stopped().await
    }

    /// Resolves when calls in flight need not be waited for any more; a drain waits for them.
    pub async fn halted(&self) -> Stop {
        self.inner.stop.halted().await
    }

    /// Saves what the next run goes on from. `covered` names the calls whose answers are in `parts` or `state` now; their journal lines are
    /// dropped. Waits for all settles of calls that were answered before it.
    pub async fn checkpoint<S: serde::Serialize>(
        &self,
        state: &S,
        parts: Vec<Part>,
        covered: Vec<String>,
    ) -> Result<(), RunError> {
        let state = serde_json::to_value(state).map_err(|error| {
            JobError::permanent("bad_checkpoint", format!("the state is no JSON: {error}"))
        })?;
        let span = self.within(tracing::debug_span!(parent: &self.inner.span, "checkpoint"));
        self.write_checkpoint(state, parts, covered).instrument(span).await
    }

    /// The span, or the run's where it is not recorded: log lines name the run either way.
    fn within(&self, span: Span) -> Span {
        if span.is_disabled() { self.inner.span.clone() } else { span }
    }

    async fn write_checkpoint(
        &self,
        state: Value,
        parts: Vec<Part>,
        covered: Vec<String>,
    ) -> Result<(), RunError> {
        let inner = &self.inner;
        self.insist(|| inner.meter.flush()).await?;
        let free_calls = inner.meter.take_free();
        let progress = self.take_pending_progress();
        let checkpoint = Checkpoint { state, parts, covered, free_calls, progress };
        let run = inner.lease.run;
        let written = self.insist(|| inner.services.engine.checkpoint(run, checkpoint.clone())).await;
        if written.is_err() {
            checkpoint.free_calls.into_iter().for_each(|call| inner.meter.collect_free(call));
        }
        self.note_progress();
        written
    }

    /// Has the workload's `save` write chunk `n` of an output too large for one commit, once across all runs.
    pub async fn save(&self, n: i64, chunk: Value) -> Result<(), RunError> {
        let run = self.inner.lease.run;
        self.insist(|| self.inner.services.engine.save(run, n, chunk.clone())).await?;
        self.note_progress();
        Ok(())
    }

    /// The numbers of the chunks that are saved already, ascending.
    pub async fn saved(&self) -> Result<Vec<i64>, RunError> {
        self.insist(|| self.inner.services.engine.saved(self.inner.lease.run)).await
    }

    /// Adds child jobs, any number; keys that are there already are left as they are. They start at once; come back with
    /// [`Outcome::Await`](crate::Outcome::Await) to wait for them.
    pub async fn add_children(&self, children: Vec<NewChild>) -> Result<(), RunError> {
        let run = self.inner.lease.run;
        for page in children.chunks(MAX_CHILDREN_A_CALL) {
            self.insist(|| self.inner.services.engine.add_children(run, page.to_vec())).await?;
            self.note_progress();
        }
        Ok(())
    }

    /// The job's children in the order in which they were made, after `after`, at most `limit`.
    pub async fn children(&self, after: Option<JobId>, limit: usize) -> Result<Vec<Child>, RunError> {
        let run = self.inner.lease.run;
        self.insist(|| self.inner.services.engine.children(run, after, limit)).await
    }

    /// The parts of the job and of its children in order of `(first, key)`, after `after`, at most `limit`.
    pub async fn parts(&self, after: Option<(i64, String)>, limit: usize) -> Result<Vec<Part>, RunError> {
        let run = self.inner.lease.run;
        self.insist(|| self.inner.services.engine.parts(run, after.clone(), limit)).await
    }

    /// A directory of this run's own on the local disk, made on first use, removed at the run's end.
    pub fn scratch(&self) -> Result<&Path, JobError> {
        let inner = &self.inner;
        let path = inner.scratch.get_or_init(|| inner.scratches.join(inner.lease.run.to_string()));
        std::fs::create_dir_all(path)
            .map_err(|error| JobError::transient("no_scratch", format!("{}: {error}", path.display())))?;
        Ok(path)
    }

    /// The run's directory if [`Self::scratch`] was asked for, so that there may be something to remove.
    pub fn used_scratch(&self) -> Option<&Path> {
        self.inner.scratch.get().map(PathBuf::as_path)
    }

    /// The run's span.
    pub fn span(&self) -> &Span {
        &self.inner.span
    }

    /// Waits until all that this run's calls cost is on disk. Whoever ends a run does this first.
    pub async fn settle_all(&self) -> Result<(), RunError> {
        self.insist(|| self.inner.meter.flush()).await
    }

    /// Repeats an operation while the engine can't be reached; the run's deadline ends it at the latest.
    async fn insist<T, F, O>(&self, operation: F) -> Result<T, RunError>
    where
        F: Fn() -> O,
        O: Future<Output = Result<T, EngineError>>,
    {
        let mut backoff = Backoff::of_engine();
        loop {
            let error = match operation().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            match error {
                EngineError::Unavailable(why) => {
                    tracing::warn!(run = %self.inner.lease.run, why, "the engine is tried again");
                    if self.stop() == Some(Stop::LeaseLost) {
                        return Err(RunError::Stopped(Stop::LeaseLost));
                    }
                    backoff.rest().await;
                }
                EngineError::Stale | EngineError::WorkerDead | EngineError::TurnedAway(_) => {
                    self.inner.stop.stop(Stop::LeaseLost);
                    return Err(RunError::Stopped(Stop::LeaseLost));
                }
                EngineError::NotFound(what) => {
                    let problem = format!("there is no object {what}");
                    return Err(JobError::permanent("object_missing", problem).into());
                }
                EngineError::Invalid(why) => return Err(JobError::permanent("invalid_request", why).into()),
                EngineError::Job(error) => return Err(error.into()),
            }
        }
    }
}
