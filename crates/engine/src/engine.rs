//! The operations behind a [`JobContext`](crate::JobContext).

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde_json::Value;
use tokio::sync::watch;
use windrow_api_types::worker::{
    BeatReply, Checkpoint, Child, ClaimRequest, EndReply, JournalEntry, Lease, NewChild, Part, Progress,
    Reserve, Reserved, RunEnd, RunRef, Settle, StoredObject,
};
use windrow_core::{JobError, JobId};

/// A stream of an object's bytes.
pub type ObjectStream = BoxStream<'static, std::io::Result<Bytes>>;

/// The most children that one [`Engine::add_children`] takes.
pub const MAX_CHILDREN_A_CALL: usize = 500;

/// The most rows that one page of [`Engine::children`] and [`Engine::parts`] has.
pub const MAX_PAGE: usize = 1000;

/// Why an engine could not do what a worker asked for.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The run is no longer the job's. The worker throws the run's output away.
    #[error("the lease on this run is gone")]
    Stale,
    /// The worker was declared dead; it stops its runs and registers anew.
    #[error("this worker was declared dead")]
    WorkerDead,
    /// Worth trying again: the database, the storage or the server can't be reached. Whether the operation took place is
    /// not known; all of them may be repeated.
    #[error("the engine can't be reached: {0}")]
    Unavailable(String),
    /// The server no longer lets this worker in: its key was revoked, say. The worker stops; what it runs is lost.
    #[error("this worker is let in no more: {0}")]
    TurnedAway(String),
    #[error("no object {0}")]
    NotFound(String),
    /// The request makes no sense; trying again won't help.
    #[error("{0}")]
    Invalid(String),
    /// The job's own fault: it fails with this error.
    #[error(transparent)]
    Job(#[from] JobError),
}

/// Where a run puts an object.
#[derive(Clone, Copy, Debug)]
pub struct PutPlace<'a> {
    /// One of the storage prefixes that runs may write to: `checkpoints`, `outputs`, `artifacts`, `generated`.
    pub prefix: &'a str,
    /// One or more key segments; unique within the run.
    pub name: &'a str,
    pub content_type: &'a str,
}

/// The storage prefixes that a run may write to.
pub const RUN_PREFIXES: [&str; 4] = ["checkpoints", "outputs", "artifacts", "generated"];

/// Keeps a worker and its leases alive.
#[async_trait]
pub trait Beater: Send {
    /// How often [`Self::beat`] is due.
    fn every(&self) -> Duration;

    /// Keeps the worker and the leases `held` alive and tells which of them must stop. After [`EngineError::WorkerDead`]
    /// all of them must; the worker is registered anew.
    async fn beat(&mut self, held: &[RunRef]) -> Result<BeatReply, EngineError>;
}

/// Everything that a worker can do to the world. One value is one registered worker.
///
/// Every operation may be repeated when its outcome is unknown: a second time changes nothing.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Hands out leases; waits up to the request's time for the first. Empty when there is no work. May be given up by dropping
    /// it, followed by [`Self::release_others`].
    async fn claim(&self, request: &ClaimRequest) -> Result<Vec<Lease>, EngineError>;

    /// Puts back in line what this worker holds beyond `held`: leases whose claim was given up while it was answered.
    async fn release_others(&self, _held: &[RunRef]) -> Result<(), EngineError> {
        Ok(())
    }

    /// What keeps this worker alive, for a thread of its own: it shares no connection and no task with runs.
    fn beater(&self) -> Box<dyn Beater>;

    /// Moves when some run may have to stop, where that is known sooner than the next poll.
    fn cancels(&self) -> Option<watch::Receiver<u64>> {
        None
    }

    /// Which of the runs must stop, as of now; cheap enough to be asked twice a second.
    async fn stops(&self, held: &[RunRef]) -> Result<BeatReply, EngineError>;

    async fn checkpoint(&self, run: RunRef, checkpoint: Checkpoint) -> Result<(), EngineError>;

    async fn progress(&self, run: RunRef, progress: Progress) -> Result<(), EngineError>;

    /// Settles first, then reserves; all in one transaction. One answer for each of `reserve`, in order. The settles are
    /// written even when the run is stale; the reserves are then refused with [`EngineError::Stale`].
    async fn money(
        &self,
        run: RunRef,
        settle: &[Settle],
        reserve: &[Reserve],
    ) -> Result<Vec<Reserved>, EngineError>;

    /// All journalled answers of the job that no checkpoint covers yet.
    async fn journal(&self, run: RunRef) -> Result<Vec<JournalEntry>, EngineError>;

    /// Runs the workload's `save` for chunk `n`, once across all runs.
    async fn save(&self, run: RunRef, n: i64, chunk: Value) -> Result<(), EngineError>;

    /// The numbers of the chunks that are saved already, ascending.
    async fn saved(&self, run: RunRef) -> Result<Vec<i64>, EngineError>;

    /// Adds children, at most [`MAX_CHILDREN_A_CALL`]; a key that is there already is left as it is.
    async fn add_children(&self, run: RunRef, children: Vec<NewChild>) -> Result<(), EngineError>;

    /// The job's children in the order in which they were made, after `after`, at most `limit` (≤ [`MAX_PAGE`]).
    async fn children(
        &self,
        run: RunRef,
        after: Option<JobId>,
        limit: usize,
    ) -> Result<Vec<Child>, EngineError>;

    /// Parts of the job and of its children in order of `(first, key)`, after `after`, at most `limit` (≤ [`MAX_PAGE`]).
    async fn parts(
        &self,
        run: RunRef,
        after: Option<(i64, String)>,
        limit: usize,
    ) -> Result<Vec<Part>, EngineError>;

    /// An object's bytes, or a range of them. A run may read its owner's objects and the shared ones.
    async fn get(
        &self,
        run: RunRef,
        key: &str,
        range: Option<Range<u64>>,
    ) -> Result<ObjectStream, EngineError>;

    /// Puts an object under the job's own prefix, if it is absent. The key contains the run's number, so no run touches
    /// another's objects; a second put of a name in one run must have the same bytes.
    async fn put(&self, run: RunRef, place: PutPlace<'_>, bytes: Bytes) -> Result<StoredObject, EngineError>;

    /// The same from a local file, streamed.
    async fn put_file(
        &self,
        run: RunRef,
        place: PutPlace<'_>,
        file: &Path,
    ) -> Result<StoredObject, EngineError>;

    /// Ends the run, and with it the job unless it runs again.
    async fn end(&self, run: RunRef, end: RunEnd) -> Result<EndReply, EngineError>;
}
