//! A database, an object store, a clock that the test moves, and an engine over them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use windrow_api_types::worker::{ClaimRequest, Lease, RunRef, StopReason};
use windrow_blob::{BlobSettings, BlobStore, InstallationSalt, SigningKey};
use windrow_core::{Clock as _, JobId, JobStatus, OwnerId, PicoUsd, SharedClock, TestClock, Timestamp};
use windrow_store::hot::{NewBudget, NewJob, Submitted};
use windrow_store::migrate::{self, PLATFORM};
use windrow_store::{
    Db, DbOptions, Store, StoreOptions, WorkPrices, artifacts, dead_letters, fetch_all, jobs, sqlx, users,
};

use super::script::TABLE;
use crate::{Engine, LocalEngine, LocalParts, LocalSettings, UnrunCommits, Workload, WorkloadRegistry};

/// What a test of engines stands on. `engine` is under test; `back` is the one beside the database, which may be the
/// same.
pub struct Bench {
    pub store: Store,
    pub blob: BlobStore,
    pub registry: WorkloadRegistry,
    pub salt: InstallationSalt,
    pub clock: Arc<TestClock>,
    pub back: LocalEngine,
    pub engine: Arc<dyn Engine>,
    /// Whose jobs [`Bench::submit`] makes.
    pub owner: OwnerId,
}

impl Bench {
    /// An engine beside the database at `url`, with its objects under `dir`.
    ///
    /// # Panics
    /// When one of them can't be opened.
    pub async fn local(
        url: &str,
        dir: &Path,
        workload: impl Workload + 'static,
        settings: LocalSettings,
    ) -> Self {
        Self::priced(url, dir, workload, settings, WorkPrices::default()).await
    }

    /// The same where the work of runs has a price.
    ///
    /// # Panics
    /// As [`Bench::local`].
    pub async fn priced(
        url: &str,
        dir: &Path,
        workload: impl Workload + 'static,
        settings: LocalSettings,
        prices: WorkPrices,
    ) -> Self {
        let clock = TestClock::shared();
        let shared: SharedClock = clock.clone();
        let db = Db::connect(url, DbOptions { prices, ..DbOptions::default() })
            .await
            .expect("the test database opens");
        let registry = WorkloadRegistry::new([Arc::new(workload) as Arc<dyn Workload>]);
        let db = db.with_end_hook(Arc::new(UnrunCommits::new(registry.clone(), None)));
        migrate::up(&db, &[PLATFORM], clock.now()).await.expect("the platform's migrations apply");
        let mut tx = db.begin().await.expect("the test database takes a transaction");
        tx.raw(sqlx::AssertSqlSafe(TABLE)).await.expect("the test's table is made");
        let owner = users::ensure(&mut tx, "ada", clock.now()).await.expect("the owner is made").id;
        tx.commit().await.expect("the test's table is kept");
        let salt = InstallationSalt::from_bytes([7; 32]);
        let settings_of_blobs = BlobSettings::Local(windrow_blob::LocalSettings {
            root: dir.to_owned(),
            public_url: "http://127.0.0.1:1".parse().expect("a URL"),
            signing_key: SigningKey::from_bytes([7; 32]),
            salt,
        });
        let store =
            Store::open(db, Arc::clone(&shared), StoreOptions::default()).await.expect("the batcher starts");
        let blob = BlobStore::open(settings_of_blobs, Arc::clone(&shared));
        let blob = blob.expect("the test's objects have a place");
        let parts = LocalParts {
            store: store.clone(),
            blob: blob.clone(),
            salt,
            registry: registry.clone(),
            clock: shared,
            drop_tags: None,
        };
        let back = LocalEngine::register(parts, settings).await.expect("the test's worker is registered");
        let engine = Arc::new(back.clone());
        Self { store, blob, registry, salt, clock, back, engine, owner }
    }

    /// Submits a job of the workload under test.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn submit(&self, spec: Value, budget_pico: Option<i64>) -> JobId {
        let id = JobId::new(&*self.clock);
        let job = NewJob {
            spec: spec.to_string(),
            budget: budget_pico.map(|cap| NewBudget::of(PicoUsd::from_pico(cap))),
            request_id: Some("r1".to_owned()),
            ..NewJob::plain(id, self.owner, super::Scripted::NAME, self.clock.now())
        };
        let submitted = self.store.submit(vec![job]).await.expect("the job is taken");
        assert!(matches!(submitted[..], [Submitted::Created { .. }]), "{submitted:?}");
        id
    }

    /// What is to be had now, at most ten.
    ///
    /// # Panics
    /// When the claim fails.
    pub async fn claim(&self) -> Vec<Lease> {
        let request = ClaimRequest { slots: 10, ..ClaimRequest::default() };
        self.engine.claim(&request).await.expect("the claim is answered")
    }

    /// The one lease that is to be had now.
    ///
    /// # Panics
    /// When there is none, or more.
    pub async fn claim_one(&self) -> Lease {
        let mut leases = self.claim().await;
        assert_eq!(leases.len(), 1, "{leases:?}");
        leases.remove(0)
    }

    /// # Panics
    /// When there is no such job.
    pub async fn job(&self, id: JobId) -> jobs::JobRow {
        let mut conn = self.store.read().await.expect("the database can be read");
        jobs::get(&mut conn, self.owner, id).await.expect("the job can be read").expect("the job is there")
    }

    pub async fn status(&self, id: JobId) -> JobStatus {
        self.job(id).await.status
    }

    /// Asks for a job's cancel, as its owner would.
    ///
    /// # Panics
    /// When the database refuses.
    pub async fn cancel(&self, id: JobId) {
        let seq = self.job(id).await.seq;
        self.store.cancel(seq).await.expect("the cancel is taken");
        self.store.stop_children().await.expect("the children are told");
    }

    /// Why the engine wants a run to stop, by whatever way it says so.
    ///
    /// # Panics
    /// When it can't be asked.
    pub async fn stop_of(&self, run: RunRef) -> Option<StopReason> {
        let polled = self.engine.stops(&[run]).await.expect("stop orders can be asked for");
        let beaten = self.engine.beater().beat(&[run]).await.expect("the beat gets through");
        polled.stop.iter().chain(&beaten.stop).find(|order| order.run == run).map(|order| order.reason)
    }

    /// Moves the clock and puts what is due then in line.
    ///
    /// # Panics
    /// When the database refuses.
    pub async fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.store.schedule_due().await.expect("due jobs are moved");
    }

    /// What the workload under test has written, in order.
    ///
    /// # Panics
    /// When it can't be read.
    pub async fn written(&self) -> Vec<String> {
        let mut conn = self.store.read().await.expect("the database can be read");
        fetch_all!(&mut conn, scalar String, "SELECT what FROM scripted ORDER BY what")
            .expect("the rows can be read")
    }

    /// How many dead letters wait for a person.
    ///
    /// # Panics
    /// When they can't be counted.
    pub async fn dead_letters(&self) -> i64 {
        let mut conn = self.store.read().await.expect("the database can be read");
        let filter = dead_letters::DeadLetterFilter { owner: Some(self.owner), ..Default::default() };
        dead_letters::count(&mut conn, &filter).await.expect("dead letters are counted")
    }

    /// Kind and version of what a job has recorded.
    ///
    /// # Panics
    /// When they can't be read.
    pub async fn artifacts(&self, id: JobId) -> Vec<(String, u32)> {
        let resource = artifacts::Resource::job(self.job(id).await.seq);
        let mut conn = self.store.read().await.expect("the database can be read");
        let shown = artifacts::shown(&mut conn, self.owner, &resource).await.expect("artifacts are listed");
        shown.into_iter().map(|artifact| (artifact.kind, artifact.version)).collect()
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
