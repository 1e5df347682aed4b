//! A whole installation in a temp directory: database, storage, login, use cases, on a clock that the test moves.

mod artifact;
mod echo;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tempfile::TempDir;
use url::Url;
use windrow_api_types::{ChangeUser, Job, SubmitJob};
use windrow_app::{Actor, App, AppParts, AppSettings, Authority, KeptLines, Reach, StoredKeys, Webhooks};
use windrow_auth::{Authenticator, LocalIssuer, TokenMode};
use windrow_blob::{BlobSettings, BlobStore, InstallationSalt, LocalSettings, SigningKey};
use windrow_core::{Clock, JobError, JobId, Role, SharedClock, TestClock};
use windrow_engine::{UnrunCommits, Workload, WorkloadRegistry};
use windrow_models::{Models, ModelsSettings};
use windrow_store::hot::{self, ClaimRequest, Claimed, Cursor, End, EndRun, WorkerKind};
use windrow_store::migrate::{self, PLATFORM};
use windrow_store::{Db, DbOptions, MigrationSet, Store, StoreOptions, WorkPrices, jobs};

pub use echo::Echo;

use crate::TestDb;

/// What signed local links begin with.
pub const PUBLIC_URL: &str = "http://windrow.test/";

/// An installation that only one test sees. A test ends with [`TestApp::finish`].
pub struct TestApp {
    pub app: App,
    pub db: Db,
    pub blob: BlobStore,
    pub clock: Arc<TestClock>,
    pub issuer: Arc<LocalIssuer>,
    test_db: TestDb,
    _dir: TempDir,
}

/// What a [`TestApp`] is made of besides the defaults.
#[derive(Default)]
pub struct TestAppOptions {
    /// Besides [`Echo`].
    pub workloads: Vec<Arc<dyn Workload>>,
    /// Besides the platform's.
    pub migrations: Vec<MigrationSet>,
    pub settings: Option<AppSettings>,
    /// Instead of the built-in ones.
    pub models: Option<Arc<Models>>,
    /// Who a request without a token is.
    pub default_owner: Option<String>,
    /// What is kept of a log.
    pub log: Option<Arc<dyn KeptLines>>,
    /// What the work of runs is booked at.
    pub prices: WorkPrices,
}

impl TestApp {
    /// With the workload [`Echo`] and default settings.
    ///
    /// # Panics
    /// When anything can't be made.
    pub async fn start(test_db: TestDb) -> Self {
        Self::start_with(test_db, TestAppOptions::default()).await
    }

    /// On SQLite.
    ///
    /// # Panics
    /// As [`TestApp::start`].
    pub async fn sqlite() -> Self {
        Self::start(TestDb::sqlite().await).await
    }

    /// # Panics
    /// As [`TestApp::start`].
    pub async fn start_with(test_db: TestDb, options: TestAppOptions) -> Self {
        let clock = TestClock::shared();
        let shared: SharedClock = clock.clone();
        let db = Db::connect(test_db.url(), DbOptions { prices: options.prices, ..DbOptions::default() })
            .await
            .expect("the test database opens");
        let mut workloads: Vec<Arc<dyn Workload>> = vec![Arc::new(Echo)];
        workloads.extend(options.workloads);
        let workloads = WorkloadRegistry::new(workloads);
        let db = db.with_end_hook(Arc::new(UnrunCommits::new(workloads.clone(), None)));
        let mut migrations = vec![PLATFORM];
        migrations.extend(options.migrations);
        migrate::up(&db, &migrations, clock.now()).await.expect("the migrations apply");
        let dir = tempfile::Builder::new().prefix("windrow-objects-").tempdir().expect("a temp directory");
        let salt = InstallationSalt::from_bytes([1; 32]);
        let local = LocalSettings {
            root: dir.path().to_owned(),
            public_url: Url::parse(PUBLIC_URL).expect("a URL"),
            signing_key: SigningKey::from_bytes([2; 32]),
            salt,
        };
        let blob =
            BlobStore::open(BlobSettings::Local(local), shared.clone()).expect("the object store opens");
        let issuer = Arc::new(LocalIssuer::generate().expect("a key"));
        let mode = TokenMode::Local(issuer.clone());
        let authenticator = Authenticator::new(mode, Arc::new(StoredKeys::new(db.clone())), shared.clone())
            .expect("an authenticator")
            .with_default_owner(options.default_owner);
        let store =
            Store::open(db.clone(), shared.clone(), StoreOptions::default()).await.expect("the store opens");
        let parts = AppParts {
            store,
            migrations,
            blob: blob.clone(),
            salt,
            authenticator,
            models: options.models.unwrap_or_else(|| {
                Arc::new(Models::new(ModelsSettings::default(), shared.clone()).expect("the models"))
            }),
            workloads,
            webhooks: Webhooks::new(b"test", Reach::Anywhere),
            log: options.log,
            clock: shared,
            settings: options.settings.unwrap_or_default(),
        };
        let app = App::new(parts).expect("the workloads' schemas are JSON Schemas");
        Self { app, db, blob, clock, issuer, test_db, _dir: dir }
    }

    /// The value of an `Authorization` header for this subject, good for an hour.
    ///
    /// # Panics
    /// When the subject is none.
    pub fn bearer(&self, sub: &str) -> String {
        let ttl = Duration::from_secs(3600);
        format!("Bearer {}", self.issuer.mint(sub, ttl, self.clock.now()).expect("a token"))
    }

    /// Somebody who is logged in; a first-seen subject becomes a consumer.
    ///
    /// # Panics
    /// When nobody is let in.
    pub async fn actor(&self, sub: &str) -> Actor {
        let request_id = Some(format!("request-of-{sub}"));
        self.app.authenticate(Some(&self.bearer(sub)), request_id).await.expect("the actor is let in")
    }

    /// Somebody with a role.
    ///
    /// # Panics
    /// When the role can't be given.
    pub async fn actor_with(&self, sub: &str, role: Role) -> Actor {
        let change = ChangeUser { role: Some(role), status: None, reason: "for a test".to_owned() };
        self.app.grant(Authority::Operator, sub, &change).await.expect("the operator gives roles");
        self.actor(sub).await
    }

    /// A job of the workload [`Echo`].
    ///
    /// # Panics
    /// When it is refused.
    pub async fn submit(&self, actor: &Actor, spec: Value) -> Job {
        let request = submit_request(spec);
        self.app.submit_job(actor, request, None).await.expect("the job is accepted").job
    }

    /// Claims whatever is in line, as a worker would.
    ///
    /// # Panics
    /// When the database fails.
    pub async fn claim(&self, slots: usize) -> Vec<Claimed> {
        let now = self.clock.now();
        let mut tx = self.db.begin().await.expect("a transaction");
        let worker = hot::register_worker(&mut tx, "test-worker", WorkerKind::Process, now);
        let request = ClaimRequest {
            worker: worker.await.expect("a worker"),
            workloads: self.app.parts.workloads.names().map(str::to_owned).collect(),
            slots,
            caps: hot::Caps::default(),
            leased: false,
        };
        let claimed = hot::claim(&mut tx, &request, &mut Cursor::new(0), now, self.clock.monotonic()).await;
        tx.commit().await.expect("the claim commits");
        claimed.expect("a claim")
    }

    /// Ends a claimed run.
    ///
    /// # Panics
    /// When the database fails.
    pub async fn end(&self, run: &Claimed, end: End) {
        let mut tx = self.db.begin().await.expect("a transaction");
        let batch = [EndRun { at: run.at, end }];
        hot::end_runs(&mut tx, &batch, self.clock.now()).await.expect("the run ends");
        tx.commit().await.expect("the end commits");
    }

    /// Runs everything that is in line to a successful end, whatever it is. Gives how many there were.
    ///
    /// # Panics
    /// When the database fails.
    pub async fn complete_all(&self) -> usize {
        let mut completed = 0;
        loop {
            let claimed = self.claim(1000).await;
            if claimed.is_empty() {
                return completed;
            }
            completed += claimed.len();
            let ends: Vec<EndRun> = claimed
                .iter()
                .map(|run| {
                    let output = hot::Output { schema_version: 1, json: run.spec.clone() };
                    EndRun { at: run.at, end: End::Complete(Some(output)) }
                })
                .collect();
            let mut tx = self.db.begin().await.expect("a transaction");
            hot::end_runs(&mut tx, &ends, self.clock.now()).await.expect("the runs end");
            tx.commit().await.expect("the ends commit");
        }
    }

    /// Makes a dead letter of whatever is in line.
    ///
    /// # Panics
    /// When the database fails.
    pub async fn kill_all(&self) {
        for run in self.claim(100).await {
            let error = JobError::transient("no_luck", "failed for the last time");
            self.end(&run, End::Fail { error, dead_letter: true }).await;
        }
    }

    /// Puts an object for a job and records it as an artifact of the job, as the end of a run does.
    ///
    /// # Panics
    /// When storage or database fail.
    pub async fn artifact(&self, job: JobId, kind: &str, bytes: Bytes) -> windrow_core::ArtifactId {
        artifact::record(self, job, kind, bytes).await
    }

    /// Ends the test: no job may be open.
    ///
    /// # Panics
    /// When jobs are still open.
    pub async fn finish(self) {
        let mut conn = self.db.read().await.expect("a reader");
        let open = jobs::open_jobs(&mut conn).await.expect("the open jobs");
        drop(conn);
        let open: Vec<String> =
            open.iter().map(|job| format!("{} ({}, {})", job.id, job.workload, job.status)).collect();
        assert!(open.is_empty(), "jobs are still open: {}", open.join(", "));
        self.app.parts.store.close().await;
        drop(self.test_db);
    }
}

/// A submit of the workload [`Echo`].
pub fn submit_request(spec: Value) -> SubmitJob {
    SubmitJob {
        workload: "echo".to_owned(),
        spec,
        priority: None,
        run_at: None,
        budget_usd: None,
        budget_counts: None,
        webhook_url: None,
        schema_version: None,
        idempotency_key: None,
    }
}
