//! A worker process: it runs no-op jobs through the engine and the runtime, as `windrow worker` does, until so many have
//! ended, and says how that went.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Notify;
use windrow_bench_gauge as gauge;
use windrow_blob::{BlobSettings, BlobStore, InstallationSalt, SigningKey};
use windrow_core::{RetryPolicy, SystemClock};
use windrow_engine::{
    AssetCache, JobContext, LocalEngine, LocalParts, LocalSettings, Outcome, Output, RunError, RunServices,
    Workload, WorkloadRegistry,
};
use windrow_models::{Models, ModelsSettings};
use windrow_runtime::{Worker, WorkerSettings};
use windrow_store::{Db, DbOptions, Store, StoreOptions};

use crate::log;

/// What a worker process prints, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// From the start of the worker until its last run's end was on disk.
    pub seconds: f64,
    /// Processor time in that time, of all threads.
    pub cpu_seconds: f64,
    /// The most memory that was resident, in KiB.
    pub rss_kib: u64,
    /// Of write-ahead log (PostgreSQL), or to files (SQLite).
    pub bytes: u64,
}

/// Runs `jobs` jobs that stand in line.
pub async fn work(url: &str, jobs: usize, slots: usize, scratch: &Path) -> Result<Report> {
    let db = Db::connect(url, DbOptions::default()).await.context("the database opens")?;
    let clock = SystemClock::shared();
    let store = Store::open(db.clone(), clock.clone(), StoreOptions::default()).await?;
    let salt = InstallationSalt::from_bytes([0; 32]);
    let blob = BlobStore::open(
        BlobSettings::Local(windrow_blob::LocalSettings {
            root: scratch.join("objects"),
            public_url: "http://127.0.0.1:1".parse().context("a URL")?,
            signing_key: SigningKey::from_bytes([0; 32]),
            salt,
        }),
        clock.clone(),
    )?;
    let noop = Arc::new(Noop { left: AtomicUsize::new(jobs), last: Notify::new() });
    let registry = WorkloadRegistry::new([Arc::clone(&noop) as Arc<dyn Workload>]);
    let parts = LocalParts {
        store: store.clone(),
        blob,
        salt,
        registry: registry.clone(),
        clock: clock.clone(),
        drop_tags: None,
    };
    let engine = LocalEngine::register(parts, LocalSettings::default()).await?;
    let services = RunServices {
        engine: Arc::new(engine),
        models: Arc::new(Models::new(ModelsSettings::default(), clock.clone())?),
        clock,
        assets: Arc::new(AssetCache::new(1 << 20)),
        call_retry: RetryPolicy::default(),
    };
    let settings = WorkerSettings { slots, scratch: scratch.join("scratch"), ..WorkerSettings::default() };
    let before = log::written(&db).await?;
    let (started, cpu) = (Instant::now(), gauge::cpu_seconds("self")?);
    let worker = Worker::start(services, registry, settings)?;
    noop.last.notified().await;
    // the last run has begun: its end and those beside it are on disk a moment later
    while worker.held() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let seconds = started.elapsed().as_secs_f64();
    let cpu_seconds = gauge::cpu_seconds("self")? - cpu;
    let bytes = log::written(&db).await? - before;
    let drained = worker.drain(Duration::from_secs(5)).await;
    ensure!(drained.left_behind == 0, "runs were left behind: {drained:?}");
    store.close().await;
    Ok(Report { seconds, cpu_seconds, rss_kib: gauge::peak_rss()?, bytes })
}

/// Does nothing, and counts.
struct Noop {
    left: AtomicUsize,
    last: Notify,
}

#[async_trait]
impl Workload for Noop {
    fn name(&self) -> &'static str {
        crate::load::WORKLOAD
    }

    fn spec_schema(&self) -> Value {
        json!({"type": "object"})
    }

    async fn run(&self, _ctx: JobContext, _input: Value) -> Result<Outcome, RunError> {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.last.notify_one();
        }
        Ok(Outcome::Done(Output { result: Value::Null, artifacts: Vec::new() }))
    }
}
