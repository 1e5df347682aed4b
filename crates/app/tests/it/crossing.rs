//! Somebody else's row is as absent as one that never was.

use bytes::Bytes;
use serde_json::json;
use windrow_api_types::{
    ArtifactQuery, CreateUpload, Decision, JobListQuery, LedgerQuery, PageQuery, RollupQuery,
};
use windrow_app::AppError;
use windrow_core::Role;
use windrow_test_support::{TestApp, on_both};

fn code<T>(result: Result<T, AppError>) -> (u16, &'static str) {
    result.map_or_else(|error| (error.status(), error.code()), |_| (200, "let in"))
}

on_both! {
    async fn two_owners_never_meet(db) {
        let test = TestApp::start(db).await;
        let ada = test.actor("ada").await;
        let job = test.submit(&ada, json!({"text": "a"})).await.id;
        test.complete_all().await;
        let artifact = test.artifact(job, "csv", Bytes::from_static(b"a")).await;
        let wish = CreateUpload { filename: "f".to_owned(), content_type: "text/csv".to_owned(), size: 1, sha256: None, purpose: None, workload: None };
        let upload = test.app.create_upload(&ada, &wish).await.unwrap().id;
        let app = &test.app;
        // not even an admin, but through admin endpoints
        for stranger in [test.actor("bob").await, test.actor_with("root", Role::Admin).await] {
            let stranger = &stranger;
            let answers = [
                code(app.show_job(stranger, job).await),
                code(app.job_runs(stranger, job).await),
                code(app.job_events(stranger, job, None).await),
                code(app.watch_job(stranger, job, None).await.map(drop)),
                code(app.job_ledger(stranger, job, &LedgerQuery::default()).await),
                code(app.job_artifacts(stranger, job).await),
                code(app.job_children(stranger, job, &PageQuery::default()).await),
                code(app.cancel_job(stranger, job).await),
                code(app.retry_job(stranger, job, &windrow_api_types::RetryJob::default()).await),
                code(app.show_artifact(stranger, artifact).await),
                code(app.download_artifact(stranger, artifact).await),
                code(app.show_upload(stranger, upload).await),
                code(app.complete_upload(stranger, upload).await),
            ];
            assert_eq!(answers, [(404, "not_found"); 13], "{}", stranger.sub());
            assert!(app.list_jobs(stranger, &JobListQuery::default()).await.unwrap().items.is_empty());
            assert!(app.list_artifacts(stranger, &ArtifactQuery::default()).await.unwrap().items.is_empty());
            assert!(app.list_uploads(stranger, &PageQuery::default()).await.unwrap().items.is_empty());
            assert!(app.ledger_rollups(stranger, &RollupQuery::default()).await.unwrap().is_empty());
        }
        let bob = test.actor("bob").await;
        assert_eq!(code(app.approve_job(&bob, job, &Decision { reason: "r".to_owned() }).await), (403, "role_too_low"));
        test.finish().await;
    }
}
