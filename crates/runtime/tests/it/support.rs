//! A bench with workers.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;
use tempfile::TempDir;
use windrow_core::{JobId, JobStatus, RetryPolicy};
use windrow_engine::testing::{Bench, Scripted};
use windrow_engine::{
    AssetCache, Engine, JobContext, LocalEngine, LocalSettings, Outcome, Output, RunError, RunServices,
    WorkloadRegistry,
};
use windrow_models::{Models, ModelsSettings};
use windrow_runtime::{Worker, WorkerHandle, WorkerSettings};
use windrow_test_support::TestDb;

/// Long enough for any machine; a test that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A bench whose jobs are run by workers.
pub struct Site {
    pub bench: Bench,
    registry: WorkloadRegistry,
    models: Arc<Models>,
    dir: TempDir,
    starts: tokio::sync::watch::Receiver<u64>,
    _db: TestDb,
}

impl Site {
    pub async fn new(db: TestDb, workload: Scripted) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let starts = workload.starts();
        let settings = LocalSettings {
            poll: Duration::from_millis(20),
            beat_every: Duration::from_millis(20),
            ..LocalSettings::default()
        };
        let bench = Bench::local(db.url(), &dir.path().join("objects"), workload, settings).await;
        let registry = bench.registry.clone();
        let models = Arc::new(Models::new(ModelsSettings::default(), bench.clock.clone()).unwrap());
        Self { bench, registry, models, dir, starts, _db: db }
    }

    /// A worker on the bench's own engine.
    pub fn worker(&self) -> WorkerHandle {
        self.worker_on(Arc::new(self.bench.back.clone()))
    }

    /// A further worker process: an engine of its own on the same database.
    pub async fn further_engine(&self) -> LocalEngine {
        self.bench
            .back
            .sibling(LocalSettings {
                name: "further".to_owned(),
                beat_every: Duration::from_millis(20),
                poll: Duration::from_millis(20),
                ..LocalSettings::default()
            })
            .await
            .unwrap()
    }

    pub fn worker_on(&self, engine: Arc<dyn Engine>) -> WorkerHandle {
        let services = RunServices {
            engine,
            models: Arc::clone(&self.models),
            clock: self.bench.clock.clone(),
            assets: Arc::new(AssetCache::new(1 << 20)),
            call_retry: RetryPolicy::default(),
        };
        let settings = WorkerSettings {
            claim_wait: Duration::from_millis(100),
            stop_poll: Duration::from_millis(10),
            watch_every: Duration::from_millis(10),
            scratch: self.dir.path().join("scratch"),
            ..WorkerSettings::default()
        };
        Worker::start(services, self.registry.clone(), settings).unwrap()
    }

    /// Waits until so many runs have begun.
    pub async fn has_started(&self, runs: u64) {
        let mut starts = self.starts.clone();
        let started = tokio::time::timeout(PATIENCE, starts.wait_for(|starts| *starts >= runs));
        started.await.expect("the runs begin in time").unwrap();
    }

    /// Waits until the job has this status.
    pub async fn reaches(&self, job: JobId, status: JobStatus) {
        let reached = async {
            while self.bench.status(job).await != status {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, reached).await.is_err() {
            let job = self.bench.job(job).await;
            panic!("the job is not {status}: {job:?}");
        }
    }

    /// Waits until the job's last run has ended with this error.
    pub async fn fails_with(&self, job: JobId, code: &str) {
        let failed = async {
            while self.bench.job(job).await.code.as_deref() != Some(code) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, failed).await.is_err() {
            let job = self.bench.job(job).await;
            panic!("no run has ended with {code}: {job:?}");
        }
    }
}

/// A workload whose run is this function.
pub fn workload<F, R>(handler: F) -> Scripted
where
    F: Fn(JobContext) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Outcome, RunError>> + Send + 'static,
{
    Scripted::new(move |context, _| -> BoxFuture<'static, Result<Outcome, RunError>> {
        Box::pin(handler(context))
    })
}

pub fn done(result: Value) -> Result<Outcome, RunError> {
    Ok(Outcome::Done(Output { result, artifacts: vec![] }))
}
