//! The example, run end to end by a real worker on both databases.
#![allow(clippy::unwrap_used, reason = "the bodies of `on_both!` tests are functions of their own")]

use std::sync::Arc;

use futures::{TryStreamExt as _, stream};
use serde_json::{Value, json};
use tempfile::TempDir;
use url::Url;
use windrow_api_types::{CreateUpload, Job, SubmitJob};
use windrow_app::Actor;
use windrow_core::JobStatus;
use windrow_engine::{
    AssetCache, ClaimRequest, Engine as _, JobContext, LocalEngine, LocalParts, LocalSettings, RunEnd,
    RunError, RunServices, Stop, StopSignal, Workload,
};
use windrow_runtime::{Worker, WorkerSettings};
use windrow_store::artifacts;
use windrow_test_support::app::{TestAppOptions, submit_request};
use windrow_test_support::{TestApp, TestDb, on_both};
use windrow_your_own_workload::WordCount;

const TEXT: &str = "The wind and the row and the hay. The end of the long row and the hay ";

async fn start(db: TestDb) -> TestApp {
    let workloads: Vec<Arc<dyn Workload>> = vec![Arc::new(WordCount)];
    TestApp::start_with(db, TestAppOptions { workloads, ..TestAppOptions::default() }).await
}

/// Uploads a text as a client does: through a signed link, then complete.
async fn upload(test: &TestApp, actor: &Actor, text: &'static str) -> Value {
    let wish = CreateUpload {
        filename: "hay.txt".to_owned(),
        content_type: "text/plain".to_owned(),
        size: text.len() as u64,
        sha256: None,
        purpose: None,
        workload: None,
    };
    let created = test.app.create_upload(actor, &wish).await.unwrap();
    let url: Url = created.url.parse().unwrap();
    let (key, query) = (url.path().strip_prefix("/blobs/").unwrap(), url.query().unwrap());
    let body = stream::iter([Ok::<_, String>(bytes::Bytes::from_static(text.as_bytes()))]);
    let length = Some(text.len() as u64);
    test.app.receive_blob(key, query, Some("text/plain"), length, body).await.unwrap();
    test.app.complete_upload(actor, created.id).await.unwrap();
    json!(created.id)
}

async fn submit(test: &TestApp, actor: &Actor, spec: Value) -> Job {
    let request = SubmitJob { workload: "word-count".to_owned(), ..submit_request(spec) };
    test.app.submit_job(actor, request, None).await.unwrap().job
}

async fn engine(test: &TestApp) -> LocalEngine {
    let parts = LocalParts {
        store: test.app.parts.store.clone(),
        blob: test.blob.clone(),
        salt: test.app.parts.salt,
        registry: test.app.parts.workloads.clone(),
        clock: test.app.parts.clock.clone(),
        drop_tags: None,
    };
    LocalEngine::register(parts, LocalSettings::default()).await.unwrap()
}

fn services(test: &TestApp, engine: &LocalEngine) -> RunServices {
    RunServices {
        engine: Arc::new(engine.clone()),
        models: Arc::clone(&test.app.parts.models),
        clock: test.app.parts.clock.clone(),
        assets: Arc::new(AssetCache::new(0)),
        call_retry: windrow_core::RetryPolicy::default(),
    }
}

/// Has a worker run what is in line until the job's history ends.
async fn work(test: &TestApp, actor: &Actor, job: &Job) -> Job {
    let dir = TempDir::new().unwrap();
    let settings = WorkerSettings { scratch: dir.path().to_owned(), ..WorkerSettings::default() };
    let services = services(test, &engine(test).await);
    let worker = Worker::start(services, test.app.parts.workloads.clone(), settings).unwrap();
    let events = test.app.watch_job(actor, job.id, None).await.unwrap();
    let _all: Vec<_> = events.try_collect().await.unwrap();
    worker.abort();
    test.app.show_job(actor, job.id).await.unwrap()
}

/// Has one run do one slice and give the job back. Gives the offset that it was handed.
async fn one_slice(test: &TestApp) -> Option<u64> {
    let engine = engine(test).await;
    let request = ClaimRequest { slots: 1, ..ClaimRequest::default() };
    let lease = engine.claim(&request).await.unwrap().remove(0);
    let (stop, dir) = (StopSignal::default(), TempDir::new().unwrap());
    stop.stop(Stop::Draining);
    let ctx = JobContext::new(services(test, &engine), lease.clone(), stop, dir.path().join("run"));
    let stopped = WordCount.run(ctx, lease.input.clone()).await;
    assert!(matches!(stopped, Err(RunError::Stopped(Stop::Draining))), "{stopped:?}");
    engine.end(lease.run, RunEnd::Released).await.unwrap();
    lease.state.map(|state| state["offset"].as_u64().unwrap())
}

/// The document of the job's only artifact.
async fn words(test: &TestApp, actor: &Actor, job: &Job) -> Value {
    let groups = test.app.job_artifacts(actor, job.id).await.unwrap();
    assert_eq!((groups.len(), groups[0].latest.version), (1, 1), "{groups:?}");
    let mut conn = test.app.read().await.unwrap();
    let row = artifacts::get(&mut conn, actor.owner(), groups[0].latest.id).await.unwrap().unwrap();
    serde_json::from_slice(&test.blob.get(&row.object_key.parse().unwrap()).await.unwrap()).unwrap()
}

fn assert_counted(document: &Value) {
    assert_eq!(document["total"], 17, "{document}");
    let counts =
        ["the", "and", "row", "hay", "hay.", "end"].map(|word| document["words"][word].as_u64().unwrap());
    assert_eq!(counts, [6, 3, 2, 1, 1, 1], "{document}");
}

on_both! {
    async fn words_are_counted(db) {
        let test = start(db).await;
        let ada = test.actor("ada").await;
        let spec = json!({"upload": upload(&test, &ada, TEXT).await, "slice_bytes": 16});
        let job = submit(&test, &ada, spec).await;
        let ended = work(&test, &ada, &job).await;
        assert_eq!(ended.status, JobStatus::Completed, "{ended:?}");
        assert_eq!(ended.result, Some(json!({"total": 17, "distinct": 9})));
        assert_counted(&words(&test, &ada, &ended).await);
        test.finish().await;
    }

    async fn the_next_run_goes_on_from_the_checkpoint(db) {
        let test = start(db).await;
        let ada = test.actor("ada").await;
        let spec = json!({"upload": upload(&test, &ada, TEXT).await, "slice_bytes": 16});
        let job = submit(&test, &ada, spec).await;
        // each run is stopped before it begins, so it comes back after one slice
        let offsets = [one_slice(&test).await, one_slice(&test).await, one_slice(&test).await];
        assert_eq!(offsets, [None, Some(13), Some(29)]);
        let ended = work(&test, &ada, &job).await;
        assert_eq!(ended.status, JobStatus::Completed, "{ended:?}");
        assert_counted(&words(&test, &ada, &ended).await);
        test.finish().await;
    }

    async fn somebody_elses_upload_is_refused_and_a_text_without_blanks_is_the_users_fault(db) {
        let test = start(db).await;
        let (ada, bob) = (test.actor("ada").await, test.actor("bob").await);
        let upload = upload(&test, &ada, "a_text_that_never_takes_a_breath").await;
        let spec = json!({"upload": upload, "slice_bytes": 16});
        let request = SubmitJob { workload: "word-count".to_owned(), ..submit_request(spec.clone()) };
        let refused = test.app.submit_job(&bob, request, None).await.unwrap_err();
        assert_eq!(refused.status(), 422);
        let job = submit(&test, &ada, spec).await;
        let ended = work(&test, &ada, &job).await;
        assert_eq!((ended.status, ended.error.unwrap().code.as_ref()), (JobStatus::Failed, "no_words"));
        test.finish().await;
    }
}

#[test]
fn it_is_a_hundred_lines_of_code() {
    let code = include_str!("../../src/lib.rs").lines().map(str::trim);
    let code = code.filter(|line| !line.is_empty() && !line.starts_with("//")).count();
    assert!(code <= 100, "{code} lines: the documentation says a hundred");
}
