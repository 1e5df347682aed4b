//! An installation with this workload, its routes, and a worker that a test starts and stops.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use windrow_api_types::{Job, SubmitJob};
use windrow_core::{Clock as _, JobId, JobStatus, LedgerKind, RetryPolicy, SystemClock};
use windrow_engine::{AssetCache, LocalEngine, LocalParts, LocalSettings, RunServices};
use windrow_generate::{NAME, plugin};
use windrow_models::Models;
use windrow_rest::{ApiState, HttpLimits};
use windrow_runtime::{Worker, WorkerHandle, WorkerSettings};
use windrow_store::WorkPrices;
use windrow_test_support::app::TestAppOptions;
use windrow_test_support::{TestApp, TestDb};

pub struct Installation {
    pub test: TestApp,
    router: Router,
    scratch: tempfile::TempDir,
    sub: &'static str,
}

pub struct Answer {
    pub status: StatusCode,
    pub body: Vec<u8>,
}

impl Answer {
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    #[track_caller]
    pub fn json(self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Installation {
    pub async fn start(db: TestDb, models: Option<Arc<Models>>) -> Self {
        Self::priced(db, models, WorkPrices::default()).await
    }

    /// Where the work of runs has a price.
    pub async fn priced(db: TestDb, models: Option<Arc<Models>>, prices: WorkPrices) -> Self {
        let plugin = plugin();
        let options = TestAppOptions {
            prices,
            workloads: vec![plugin.workload],
            migrations: vec![plugin.migrations],
            models,
            ..TestAppOptions::default()
        };
        let test = TestApp::start_with(db, options).await;
        for sample in plugin.samples {
            let attributes = windrow_blob::ObjectAttributes::of_type(sample.content_type);
            test.blob.put(&sample.key.parse().unwrap(), sample.bytes.into(), &attributes).await.unwrap();
        }
        let state = ApiState { app: test.app.clone(), jwks: None, engine: None, metrics: None };
        let router = windrow_rest::router(state, vec![plugin.routes], &HttpLimits::default());
        Self { test, router, scratch: tempfile::tempdir().unwrap(), sub: "alice" }
    }

    /// Somebody else from now on.
    pub fn be(&mut self, sub: &'static str) {
        self.sub = sub;
    }

    pub async fn call(&self, method: &str, path: &str, body: Option<(&str, Vec<u8>)>) -> Answer {
        let mut request =
            Request::builder().method(method).uri(path).header("authorization", self.test.bearer(self.sub));
        if let Some((content_type, _)) = &body {
            request = request.header("content-type", *content_type);
        }
        let body = body.map_or_else(Body::empty, |(_, bytes)| Body::from(bytes));
        let answer = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let status = answer.status();
        Answer { status, body: answer.into_body().collect().await.unwrap().to_bytes().to_vec() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, Some(("application/json", body.to_string().into_bytes()))).await
    }

    /// Puts seed data as an upload that is stored.
    pub async fn upload(&self, bytes: &[u8]) -> String {
        let wish = json!({
            "filename": "seed", "content_type": "application/octet-stream", "size": bytes.len(),
            "purpose": "seed_data", "workload": NAME,
        });
        let made = self.post("/v1/uploads", &wish).await.expect(201).json();
        let id = made["id"].as_str().unwrap().to_owned();
        let url = made["url"].as_str().unwrap();
        let path = &url[url.find("/blobs/").unwrap()..];
        self.call("PUT", path, Some(("application/octet-stream", bytes.to_vec()))).await;
        self.post(&format!("/v1/uploads/{id}/complete"), &json!({})).await.expect(200);
        id
    }

    /// Creates a template; gives its id.
    pub async fn template(&self, text: &str) -> String {
        let made = self.post("/v1/templates", &json!({ "document": text })).await.expect(201).json();
        made["id"].as_str().unwrap().to_owned()
    }

    pub async fn submit(&self, spec: Value, budget: Option<&str>) -> Job {
        self.submit_counting(spec, budget, None).await
    }

    /// With what counts against the budget.
    pub async fn submit_counting(
        &self,
        spec: Value,
        budget: Option<&str>,
        budget_counts: Option<Vec<LedgerKind>>,
    ) -> Job {
        let actor = self.test.actor(self.sub).await;
        let request = SubmitJob {
            workload: NAME.to_owned(),
            spec,
            priority: None,
            run_at: None,
            budget_usd: budget.map(|budget| budget.parse().unwrap()),
            budget_counts,
            webhook_url: None,
            schema_version: None,
            idempotency_key: None,
        };
        self.test.app.submit_job(&actor, request, None).await.unwrap().job
    }

    pub async fn job(&self, id: JobId) -> Job {
        let actor = self.test.actor(self.sub).await;
        self.test.app.show_job(&actor, id).await.unwrap()
    }

    pub async fn worker(&self) -> (WorkerHandle, LocalEngine) {
        let parts = &self.test.app.parts;
        // the installation's own clock stands still; a worker that waits needs one that goes
        let clock = SystemClock::shared();
        let local = LocalParts {
            store: parts.store.clone(),
            blob: parts.blob.clone(),
            salt: parts.salt,
            registry: parts.workloads.clone(),
            clock: Arc::clone(&clock),
            drop_tags: None,
        };
        let settings = LocalSettings { poll: Duration::from_millis(20), ..LocalSettings::default() };
        let engine = LocalEngine::register(local, settings).await.unwrap();
        let services = RunServices {
            engine: Arc::new(engine.clone()),
            models: Arc::clone(&parts.models),
            clock,
            assets: Arc::new(AssetCache::new(1 << 20)),
            call_retry: RetryPolicy { base: Duration::ZERO, ..RetryPolicy::default() },
        };
        let settings = WorkerSettings {
            slots: 4,
            workloads: vec![NAME.to_owned()],
            claim_wait: Duration::from_millis(50),
            stop_poll: Duration::from_millis(20),
            scratch: self.scratch.path().to_owned(),
            ..WorkerSettings::default()
        };
        let worker = Worker::start(services, parts.workloads.clone(), settings).unwrap();
        (worker, engine)
    }

    /// Runs whatever is in line until `job` has ended.
    pub async fn finish(&self, job: JobId) -> Job {
        let (worker, engine) = self.worker().await;
        let ended = tokio::time::timeout(Duration::from_secs(60), self.ended(job)).await;
        worker.drain(Duration::from_secs(5)).await;
        engine.leave().await.unwrap();
        ended.unwrap_or_else(|_| panic!("job {job} does not end"))
    }

    pub async fn ended(&self, job: JobId) -> Job {
        loop {
            let now = self.job(job).await;
            if now.status.is_final() {
                return now;
            }
            // what the server's keeper does all the time
            self.test.app.parts.store.stop_children().await.unwrap();
            // the worker's clock goes, and what it puts in line would else be due in the store's far future
            let behind = SystemClock::shared().now().since(self.test.clock.now());
            self.test.clock.advance(behind);
            self.test.app.parts.store.schedule_due().await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The bytes of a job's latest artifact of a kind.
    pub async fn artifact(&self, job: JobId, kind: &str) -> Vec<u8> {
        self.artifact_version(job, kind, 1).await
    }

    /// The same of a job that was assembled so many times.
    pub async fn artifact_version(&self, job: JobId, kind: &str, version: u64) -> Vec<u8> {
        let groups = self.get(&format!("/v1/jobs/{job}/artifacts")).await.expect(200).json();
        let group = groups.as_array().unwrap().iter().find(|group| group["kind"] == kind);
        let group = group.unwrap_or_else(|| panic!("no {kind} among {groups}"));
        assert_eq!(group["latest"]["version"], version);
        let actor = self.test.actor(self.sub).await;
        let id = serde_json::from_value(group["latest"]["id"].clone()).unwrap();
        let signed = self.test.app.download_artifact(&actor, id).await.unwrap();
        let path = &signed.url[signed.url.find("/blobs/").unwrap()..];
        assert_eq!(path.matches("/run-").count(), 1, "a run's own folder, once: {path}");
        self.get(path).await.expect(200).body
    }

    /// The dataset as JSON.
    pub async fn records(&self, job: JobId) -> Vec<Value> {
        lines(&self.artifact(job, "jsonl").await)
    }
}

/// JSONL.
pub fn lines(bytes: &[u8]) -> Vec<Value> {
    bytes
        .split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

/// The indices of records.
pub fn indices(records: &[Value]) -> Vec<u64> {
    records.iter().map(|record| record["index"].as_u64().unwrap()).collect()
}

/// The end that a test is about.
#[track_caller]
pub fn assert_status(job: &Job, status: JobStatus) {
    assert_eq!(job.status, status, "{:?}", job.error);
}
