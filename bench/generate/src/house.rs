//! A house for jobs: SQLite with everything synced, objects on the local disk, and one worker in this process with the
//! defaults of `windrow up`.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use windrow_blob::{
    BlobSettings, BlobStore, InstallationSalt, LocalSettings as Folder, ObjectAttributes, SigningKey,
};
use windrow_core::{JobId, JobSeq, JobStatus, OwnerId, PicoUsd, RetryPolicy, SharedClock, SystemClock};
use windrow_engine::{AssetCache, LocalEngine, LocalParts, LocalSettings, RunServices, WorkloadRegistry};
use windrow_generate::spec::{JobSpec, PinnedSpec, PinnedTemplate, pin};
use windrow_generate::template::TemplateDocument;
use windrow_models::Models;
use windrow_runtime::{Worker, WorkerHandle, WorkerSettings};
use windrow_store::hot::{NewBudget, NewJob};
use windrow_store::migrate::{self, PLATFORM};
use windrow_store::{Conn, Db, DbOptions, Store, StoreOptions, fetch_one, jobs};

const OWNER: OwnerId = OwnerId(1);

/// Calls in flight: what the job's spec asks for in each shard, and what the model's own limit holds all of them to.
pub(crate) const CONCURRENCY: u32 = 64;

/// The template of the jobs: one step with conditions, over the bundled thousand poems.
const TEMPLATE: &str = include_str!("../../../examples/templates/seasonal-poem.yaml");

pub(crate) struct House {
    store: Store,
    clock: SharedClock,
    models: Arc<Models>,
    worker: WorkerHandle,
    engine: LocalEngine,
}

/// How a job went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ran {
    /// From its submit until its dataset stood: plan, calls, checkpoints, assembly.
    pub(crate) whole: Duration,
    /// From its submit until its last shard had ended: all records made and on disk.
    pub(crate) making: Duration,
    pub(crate) spent: PicoUsd,
}

impl House {
    pub(crate) async fn open(dir: &Path, models: Models) -> Result<Self> {
        let clock = SystemClock::shared();
        let plugin = windrow_generate::plugin();
        let url = format!("sqlite://{}", dir.join("windrow.db").display());
        let db = Db::connect(&url, DbOptions::default()).await.context("the database opens")?;
        migrate::up(&db, &[PLATFORM, plugin.migrations], clock.now()).await?;
        let store = Store::open(db, clock.clone(), StoreOptions::default()).await?;
        let salt = InstallationSalt::from_bytes([0; 32]);
        let folder = Folder {
            root: dir.join("objects"),
            public_url: "http://127.0.0.1:1".parse().context("a URL")?,
            signing_key: SigningKey::from_bytes([0; 32]),
            salt,
        };
        let blob = BlobStore::open(BlobSettings::Local(folder), clock.clone())?;
        for sample in plugin.samples {
            let attributes = ObjectAttributes::of_type(sample.content_type);
            blob.put(&sample.key.parse()?, sample.bytes.into(), &attributes).await?;
        }
        let registry = WorkloadRegistry::new([plugin.workload]);
        let parts = LocalParts {
            store: store.clone(),
            blob,
            salt,
            registry: registry.clone(),
            clock: clock.clone(),
            drop_tags: None,
        };
        let engine = LocalEngine::register(parts, LocalSettings::default()).await?;
        let models = Arc::new(models);
        let services = RunServices {
            engine: Arc::new(engine.clone()),
            models: Arc::clone(&models),
            clock: clock.clone(),
            assets: Arc::new(AssetCache::new(64 << 20)),
            call_retry: RetryPolicy::default(),
        };
        let settings = WorkerSettings { scratch: dir.join("scratch"), ..WorkerSettings::default() };
        let worker = Worker::start(services, registry, settings)?;
        Ok(Self { store, clock, models, worker, engine })
    }

    /// Runs one job to its end, and checks that it made what it was to make.
    pub(crate) async fn run(&self, records: u64, model: &str, budget: Option<PicoUsd>) -> Result<Ran> {
        let id = JobId::new(&*self.clock);
        let job = NewJob {
            spec: serde_json::to_string(&self.spec(records, model)?)?,
            budget: budget.map(NewBudget::of),
            ..NewJob::plain(id, OWNER, windrow_generate::NAME, self.clock.now())
        };
        let started = Instant::now();
        self.store.submit(vec![job]).await?;
        let mut making = None;
        let seq = loop {
            // one look in 5 ms: a job takes seconds
            tokio::time::sleep(Duration::from_millis(5)).await;
            let mut conn = self.store.read().await?;
            let head = jobs::head(&mut conn, OWNER, id).await?.context("the job is there")?;
            if making.is_none() && is_made(&mut conn, head.seq).await? {
                making = Some(started.elapsed());
            }
            match head.status {
                JobStatus::Completed => break head.seq,
                status if status.is_final() => {
                    let error =
                        windrow_store::jobs::get(&mut conn, OWNER, id).await?.and_then(|job| job.error);
                    bail!("the job is {status}: {error:?}")
                }
                _ => {}
            }
        };
        let whole = started.elapsed();
        let mut conn = self.store.read().await?;
        let row = jobs::get(&mut conn, OWNER, id).await?.context("the job is there")?;
        let result: Value = serde_json::from_str(row.output.as_deref().unwrap_or("null"))?;
        ensure!(result["records"] == json!(records), "the job made {} records", result["records"]);
        let sql = "SELECT count(*) FROM ledger l JOIN jobs j ON j.seq = l.job_seq WHERE l.kind = 'model' AND j.parent_seq = $1";
        let lines = fetch_one!(&mut conn, scalar i64, sql, seq)?;
        ensure!(u64::try_from(lines)? == records, "{lines} calls stand in the ledger");
        Ok(Ran { whole, making: making.unwrap_or(whole), spent: row.spent.unwrap_or(PicoUsd::ZERO) })
    }

    fn spec(&self, records: u64, model: &str) -> Result<PinnedSpec> {
        let spec = json!({
            "template": "seasonal-poem", "seed": "sample:poems", "records": records, "random_seed": 7,
            "overrides": {"model": model}, "concurrency": CONCURRENCY,
        });
        let spec = JobSpec::from_value(spec).map_err(|errors| anyhow::anyhow!("{errors:?}"))?;
        let document = TemplateDocument::parse(TEMPLATE)
            .map_err(|errors| anyhow::anyhow!("the template: {errors:?}"))?;
        let template = PinnedTemplate {
            id: "seasonal-poem".to_owned(),
            name: "seasonal-poem".to_owned(),
            version: 1,
            text: TEMPLATE.to_owned(),
            includes: std::collections::BTreeMap::new(),
        };
        let resolve = |name: &str| match self.models.resolve(name) {
            Ok(model) => Ok(model.id().to_owned()),
            Err(error) => Err(error.to_string()),
        };
        pin(spec, template, &document, 7, resolve).map_err(|errors| anyhow::anyhow!("{errors:?}"))
    }

    pub(crate) async fn close(self) -> Result<()> {
        let drained = self.worker.drain(Duration::from_secs(5)).await;
        ensure!(drained.left_behind == 0, "runs were left behind: {drained:?}");
        self.engine.leave().await?;
        self.store.close().await;
        Ok(())
    }
}

/// Whether the job has shards and all of them have ended.
async fn is_made(conn: &mut Conn, job: JobSeq) -> Result<bool> {
    let sql = "SELECT count(*) FROM jobs c WHERE c.parent_seq = $1
        AND NOT EXISTS (SELECT 1 FROM parents p WHERE p.job_seq = $1)";
    Ok(fetch_one!(conn, scalar i64, sql, job)? > 0)
}
