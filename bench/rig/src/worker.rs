//! A worker with the whole engine, in this process, as `windrow worker` starts one, and what keeps the database in order beside it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use serde_json::{Value, json};
use windrow_blob::{BlobSettings, BlobStore, InstallationSalt, SigningKey};
use windrow_core::{JobId, RetryPolicy};
use windrow_engine::{
    AssetCache, JobContext, LocalEngine, LocalParts, LocalSettings, Outcome, Output, RunError, RunServices,
    Workload, WorkloadRegistry,
};
use windrow_models::{Models, ModelsSettings};
use windrow_runtime::{
    Keeper, KeeperHandle, KeeperParts, KeeperSettings, Worker, WorkerHandle, WorkerSettings,
};
use windrow_store::Store;
use windrow_store::hot::Caps;

use crate::load::WORKLOAD;

/// What a worker is like.
pub struct Settings {
    /// Runs at once.
    pub slots: usize,
    pub caps: Caps,
    /// How long a job takes that does nothing.
    pub lasts: Duration,
    /// Told of each run at its start.
    pub ran: Box<dyn Fn(JobId) + Send + Sync>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { slots: 500, caps: Caps::default(), lasts: Duration::ZERO, ran: Box::new(|_| {}) }
    }
}

/// A worker at work.
pub struct RunningJobs {
    worker: WorkerHandle,
    keeper: Option<KeeperHandle>,
    started: Arc<Noop>,
}

impl RunningJobs {
    /// How many runs have begun.
    pub fn count(&self) -> usize {
        self.started.count.load(Ordering::Relaxed)
    }

    /// How many runs go on.
    pub fn held(&self) -> usize {
        self.worker.held()
    }

    /// Ends the worker in order; what runs is given back.
    pub async fn stop(self) -> Result<()> {
        let drained = self.worker.drain(Duration::from_secs(30)).await;
        if let Some(keeper) = self.keeper {
            keeper.stop().await;
        }
        ensure!(drained.left_behind == 0, "runs were left behind: {drained:?}");
        Ok(())
    }
}

/// Starts a worker on a store; `scratch` is for its files. With `kept`, the database is kept in order too: vacuum, scheduler,
/// rescuer, sweeper.
pub async fn start(store: &Store, settings: Settings, scratch: &Path, kept: bool) -> Result<RunningJobs> {
    let clock = Arc::clone(store.clock());
    let salt = InstallationSalt::from_bytes([0; 32]);
    let blob = BlobStore::open(
        BlobSettings::Local(windrow_blob::LocalSettings {
            root: scratch.join("objects"),
            public_url: "http://127.0.0.1:1".parse().context("a URL")?,
            signing_key: SigningKey::from_bytes([0; 32]),
            salt,
        }),
        Arc::clone(&clock),
    )?;
    let Settings { slots, caps, lasts, ran } = settings;
    let noop = Arc::new(Noop { lasts, ran, count: AtomicUsize::new(0) });
    let registry = WorkloadRegistry::new([Arc::clone(&noop) as Arc<dyn Workload>]);
    let keeper = kept.then(|| {
        Keeper::start(KeeperParts {
            store: store.clone(),
            blob: blob.clone(),
            salt,
            clock: Arc::clone(&clock),
            registry: registry.clone(),
            deliver: None,
            settings: KeeperSettings::default(),
        })
    });
    let parts = LocalParts {
        store: store.clone(),
        blob,
        salt,
        registry: registry.clone(),
        clock: Arc::clone(&clock),
        drop_tags: None,
    };
    let engine = LocalEngine::register(parts, LocalSettings { caps, ..LocalSettings::default() }).await?;
    let services = RunServices {
        engine: Arc::new(engine),
        models: Arc::new(Models::new(ModelsSettings::default(), Arc::clone(&clock))?),
        clock,
        assets: Arc::new(AssetCache::new(1 << 20)),
        call_retry: RetryPolicy::default(),
    };
    let settings = WorkerSettings { slots, scratch: scratch.join("scratch"), ..WorkerSettings::default() };
    Ok(RunningJobs { worker: Worker::start(services, registry, settings)?, keeper, started: noop })
}

/// Does nothing, for as long as it is told.
struct Noop {
    lasts: Duration,
    ran: Box<dyn Fn(JobId) + Send + Sync>,
    count: AtomicUsize,
}

#[async_trait]
impl Workload for Noop {
    fn name(&self) -> &'static str {
        WORKLOAD
    }

    fn spec_schema(&self) -> Value {
        json!({"type": "object"})
    }

    fn has_load(&self) -> bool {
        false
    }

    async fn run(&self, ctx: JobContext, _input: Value) -> Result<Outcome, RunError> {
        (self.ran)(ctx.lease().run.job);
        self.count.fetch_add(1, Ordering::Relaxed);
        if !self.lasts.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(self.lasts) => {}
                why = ctx.stopped() => return Err(RunError::Stopped(why)),
            }
        }
        Ok(Outcome::Done(Output { result: Value::Null, artifacts: Vec::new() }))
    }
}
