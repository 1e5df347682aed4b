//! The engine beside its database.

mod beat;
mod children;
mod claim;
mod counters;
mod end;
mod links;
mod money;
mod objects;
mod processes;
mod runs;
mod saved;
mod sweep;

pub use counters::count_from_zero;
pub use processes::Departure;

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::Value;
use tokio::sync::watch;
use windrow_api_types::worker::{
    BeatReply, Checkpoint, Child, ClaimRequest, EndReply, JournalEntry, Lease, NewChild, Part, Progress,
    Reserve, Reserved, RunEnd, RunRef, SCHEMA_VERSION, Settle, StoredObject,
};
use windrow_blob::{BlobStore, InstallationSalt};
use windrow_core::{JobError, JobId, RetryPolicy, SharedClock, WorkerId};
use windrow_store::hot::{self, Caps, WorkerKind};
use windrow_store::{Store, StoreError};

use crate::{Beater, Engine, EngineError, MAX_PAGE, ObjectStream, PutPlace, WorkloadRegistry};

/// How a local engine behaves.
#[derive(Clone, Debug)]
pub struct LocalSettings {
    /// The worker's name, for people.
    pub name: String,
    pub retry: RetryPolicy,
    /// The most runs at once, by owner and by workload.
    pub caps: Caps,
    /// Time limits of runs that replace the workload's own, by workload.
    pub limits: HashMap<String, LimitOverride>,
    /// How long artifacts are kept.
    pub artifact_life: Duration,
    /// How often a claim that waits looks for work that no wake-up told it about.
    pub poll: Duration,
    /// How often the worker beats.
    pub beat_every: Duration,
    /// Whether the runs handed out are held by leases that somebody renews ([`LocalEngine::renew`]), not by this process's beats.
    pub leased: bool,
    /// Whether somebody starts processes for suspects ([`LocalEngine::suspects`]); otherwise they run like others.
    pub isolate: bool,
    /// Starts the generator of retry jitter.
    pub seed: u64,
}

/// Limits of a workload's runs that its operator has set.
#[derive(Clone, Copy, Debug, Default)]
pub struct LimitOverride {
    pub deadline: Option<Duration>,
    pub stall: Option<Duration>,
    /// How often a job is tried.
    pub max_attempts: Option<u32>,
}

impl Default for LocalSettings {
    fn default() -> Self {
        Self {
            name: "local".to_owned(),
            retry: RetryPolicy::default(),
            caps: Caps::default(),
            limits: HashMap::new(),
            artifact_life: Duration::from_secs(90 * 24 * 3600),
            poll: Duration::from_secs(1),
            beat_every: Duration::from_secs(2),
            leased: false,
            isolate: false,
            seed: 0,
        }
    }
}

/// Called with the cache tags that a commit wants dropped, once it is on disk.
pub type DropTags = Arc<dyn Fn(&[String]) + Send + Sync>;

/// What a local engine stands on.
#[derive(Clone)]
pub struct LocalParts {
    pub store: Store,
    pub blob: BlobStore,
    pub salt: InstallationSalt,
    pub registry: WorkloadRegistry,
    pub clock: SharedClock,
    pub drop_tags: Option<DropTags>,
}

/// An engine over a database and an object store, registered as one worker. Cheap to clone.
#[derive(Clone)]
pub struct LocalEngine {
    inner: Arc<Inner>,
}

struct Inner {
    parts: LocalParts,
    settings: LocalSettings,
    worker: RwLock<WorkerId>,
    runs: runs::Runs,
    random: Mutex<StdRng>,
}

impl LocalEngine {
    /// Registers a worker and makes its engine.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn register(parts: LocalParts, settings: LocalSettings) -> Result<Self, EngineError> {
        let worker = register(&parts, &settings).await?;
        let inner = Inner {
            worker: RwLock::new(worker),
            runs: runs::Runs::default(),
            random: Mutex::new(StdRng::seed_from_u64(settings.seed)),
            parts,
            settings,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// A further worker on the same database and objects: for leases that others renew, beside this process's own runs.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn sibling(&self, settings: LocalSettings) -> Result<Self, EngineError> {
        Self::register(self.inner.parts.clone(), settings).await
    }

    /// Who this engine is in the table of workers.
    pub fn worker(&self) -> WorkerId {
        *self.inner.worker.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers anew after the worker was declared dead.
    async fn rise(&self) -> Result<(), EngineError> {
        let worker = register(&self.inner.parts, &self.inner.settings).await?;
        *self.inner.worker.write().unwrap_or_else(PoisonError::into_inner) = worker;
        Ok(())
    }

    /// Leaves in order: what is still held is put back in line for others.
    ///
    /// # Errors
    /// When the database can't be reached; the worker will then be found dead.
    pub async fn leave(&self) -> Result<(), EngineError> {
        Ok(self.store().leave(self.worker()).await?)
    }

    fn store(&self) -> &Store {
        &self.inner.parts.store
    }

    fn now(&self) -> windrow_core::Timestamp {
        self.inner.parts.clock.now()
    }

    fn random(&self) -> MutexGuard<'_, StdRng> {
        self.inner.random.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn register(parts: &LocalParts, settings: &LocalSettings) -> Result<WorkerId, EngineError> {
    let kind = if settings.leased { WorkerKind::Remote } else { WorkerKind::Process };
    Ok(parts.store.register_worker(settings.name.clone(), kind).await?)
}

impl From<StoreError> for EngineError {
    fn from(error: StoreError) -> Self {
        let wait = error.is_transient() || error.is_disk() || matches!(error, StoreError::Closed);
        if wait { Self::Unavailable(error.to_string()) } else { Self::Invalid(error.to_string()) }
    }
}

/// A run's name in tables.
fn at(run: RunRef, job: &runs::Served) -> hot::RunRef {
    hot::RunRef { job: job.record.seq, run: run.run }
}

#[async_trait]
impl Engine for LocalEngine {
    async fn claim(&self, request: &ClaimRequest) -> Result<Vec<Lease>, EngineError> {
        self.claim_leases(request).await
    }

    async fn release_others(&self, held: &[RunRef]) -> Result<(), EngineError> {
        self.release_all_but(held).await
    }

    fn beater(&self) -> Box<dyn Beater> {
        Box::new(beat::LocalBeater::new(self.clone()))
    }

    fn cancels(&self) -> Option<watch::Receiver<u64>> {
        Some(self.store().wakes().cancel())
    }

    async fn stops(&self, held: &[RunRef]) -> Result<BeatReply, EngineError> {
        self.stop_orders(held).await
    }

    async fn checkpoint(&self, run: RunRef, checkpoint: Checkpoint) -> Result<(), EngineError> {
        self.write_checkpoint(run, checkpoint).await
    }

    async fn progress(&self, run: RunRef, progress: Progress) -> Result<(), EngineError> {
        self.write_progress(run, progress).await
    }

    async fn money(
        &self,
        run: RunRef,
        settle: &[Settle],
        reserve: &[Reserve],
    ) -> Result<Vec<Reserved>, EngineError> {
        self.exchange(run, settle, reserve).await
    }

    async fn journal(&self, run: RunRef) -> Result<Vec<JournalEntry>, EngineError> {
        self.read_journal(run).await
    }

    async fn save(&self, run: RunRef, n: i64, chunk: Value) -> Result<(), EngineError> {
        self.save_chunk(run, n, chunk).await
    }

    async fn saved(&self, run: RunRef) -> Result<Vec<i64>, EngineError> {
        self.saved_chunks(run).await
    }

    async fn add_children(&self, run: RunRef, children: Vec<NewChild>) -> Result<(), EngineError> {
        self.make_children(run, children).await
    }

    async fn children(
        &self,
        run: RunRef,
        after: Option<JobId>,
        limit: usize,
    ) -> Result<Vec<Child>, EngineError> {
        self.list_children(run, after, limit).await
    }

    async fn parts(
        &self,
        run: RunRef,
        after: Option<(i64, String)>,
        limit: usize,
    ) -> Result<Vec<Part>, EngineError> {
        self.list_parts(run, after, limit).await
    }

    async fn get(
        &self,
        run: RunRef,
        key: &str,
        range: Option<Range<u64>>,
    ) -> Result<ObjectStream, EngineError> {
        self.get_object(run, key, range).await
    }

    async fn put(&self, run: RunRef, place: PutPlace<'_>, bytes: Bytes) -> Result<StoredObject, EngineError> {
        self.put_bytes(run, place, bytes).await
    }

    async fn put_file(
        &self,
        run: RunRef,
        place: PutPlace<'_>,
        file: &Path,
    ) -> Result<StoredObject, EngineError> {
        self.put_local_file(run, place, file).await
    }

    async fn end(&self, run: RunRef, end: RunEnd) -> Result<EndReply, EngineError> {
        self.end_run(run, end).await
    }
}

/// What another version of this program wrote can't be guessed: whose job it is fails by it.
fn known_version(what: &str, version: i64) -> Result<(), EngineError> {
    if version == i64::from(SCHEMA_VERSION) {
        return Ok(());
    }
    let problem = format!("the {what}'s schema_version is {version}; this program knows {SCHEMA_VERSION}");
    Err(EngineError::Job(JobError::permanent("unknown_schema_version", problem)))
}

/// Texts that this program wrote as JSON.
fn json(what: &str, id: impl std::fmt::Display, text: &str) -> Result<Value, EngineError> {
    serde_json::from_str(text)
        .map_err(|error| StoreError::invariant(what.to_owned(), "json", id, error).into())
}

fn page_limit(limit: usize) -> i64 {
    i64::try_from(limit.min(MAX_PAGE)).unwrap_or(i64::MAX)
}
