//! What becomes of a claim of which something goes wrong: this worker goes on living, so nobody else would find its runs.

use std::time::Duration;

use serde_json::json;
use windrow_core::{JobError, JobStatus};
use windrow_engine::testing::{Bench, Scripted};
use windrow_engine::{ClaimRequest, Engine as _, LocalSettings, Output, RunEnd};
use windrow_store::hot::Caps;
use windrow_test_support::{Dialect, on_both};

use crate::support::{bench, write};

on_both! {
    async fn a_run_that_can_neither_begin_nor_end_goes_back_once_the_database_takes_it(db) {
        let (bench, _dir) = bench(&db).await;
        let broken = bench.submit(json!({}), None).await;
        let sound = bench.submit(json!({}), None).await;
        write(&bench, "UPDATE jobs SET spec = '{' WHERE seq = (SELECT min(seq) FROM jobs)").await;
        write(&bench, "ALTER TABLE runs RENAME TO runs_away").await;
        assert_eq!(bench.claim_one().await.run.job, sound, "the others of its claim have no part in it");
        assert_eq!(bench.store.held(bench.back.worker()).await.unwrap().len(), 2);
        write(&bench, "ALTER TABLE runs_away RENAME TO runs").await;
        assert!(bench.claim().await.is_empty());
        let job = bench.job(broken).await;
        assert_eq!((job.status, job.code.as_deref()), (JobStatus::Failed, Some("unreadable_job")));
        assert_eq!(bench.store.held(bench.back.worker()).await.unwrap().len(), 1);
    }

    async fn a_row_that_cannot_be_read_fails_its_job_at_once(db) {
        let (bench, _dir) = bench(&db).await;
        let id = bench.submit(json!({}), None).await;
        write(&bench, "UPDATE jobs SET spec = '{'").await;
        assert!(bench.claim().await.is_empty());
        let job = bench.job(id).await;
        assert_eq!((job.status, job.code.as_deref()), (JobStatus::Failed, Some("unreadable_job")));
    }

    async fn a_traceparent_that_cannot_be_read_stops_no_job(db) {
        let (bench, _dir) = bench(&db).await;
        bench.submit(json!({}), None).await;
        write(&bench, "UPDATE jobs SET traceparent = 'nonsense'").await;
        assert_eq!(bench.claim_one().await.traceparent, None);
    }

    async fn an_end_that_the_database_refuses_ends_the_run_all_the_same(db) {
        let (bench, _dir) = bench(&db).await;
        let id = bench.submit(json!({}), None).await;
        let run = bench.claim_one().await.run;
        write(&bench, match db.dialect() {
            Dialect::Sqlite => "CREATE TRIGGER no BEFORE INSERT ON results BEGIN SELECT RAISE(ABORT, 'no'); END",
            Dialect::Postgres => "ALTER TABLE results ADD CONSTRAINT no CHECK (job_seq < 0)",
        })
        .await;
        let output = Output { result: json!("answer"), artifacts: vec![] };
        bench.engine.end(run, RunEnd::Done { output }).await.unwrap();
        let job = bench.job(id).await;
        assert_eq!((job.status, job.code.as_deref()), (JobStatus::Failed, Some("end_refused")));
    }

    async fn an_end_is_refused_where_nobody_knows_the_workload_and_taken_where_somebody_does(db) {
        let (bench, _dir) = bench(&db).await;
        let id = bench.submit(json!({}), None).await;
        let run = bench.claim_one().await.run;
        write(&bench, "UPDATE jobs SET workload = 'newer'").await;
        let beside = bench.back.sibling(LocalSettings::default()).await.unwrap();
        let end = || RunEnd::Done { output: Output { result: json!(1), artifacts: vec![] } };
        let refused = beside.end(run, end()).await.unwrap_err();
        assert!(refused.to_string().contains("no workload \"newer\""), "{refused}");
        write(&bench, "UPDATE jobs SET workload = 'scripted'").await;
        bench.engine.end(run, end()).await.unwrap();
        assert_eq!(bench.status(id).await, JobStatus::Completed);
    }

    async fn the_end_of_a_capped_run_wakes_the_claim_that_waits_for_its_room(db) {
        let dir = tempfile::tempdir().unwrap();
        let caps = Caps { per_owner: Some(1), ..Caps::default() };
        // so long a poll finds nothing in time
        let settings = LocalSettings { caps, poll: Duration::from_secs(3_600), ..LocalSettings::default() };
        let bench = Bench::local(db.url(), &dir.path().join("objects"), Scripted::echo(), settings).await;
        let (first, second) = (bench.submit(json!({}), None).await, bench.submit(json!({}), None).await);
        let run = bench.claim_one().await.run;
        assert_eq!(run.job, first);
        let request = ClaimRequest { slots: 5, wait_ms: 3_600_000, ..ClaimRequest::default() };
        let waiting = bench.engine.claim(&request);
        let end = async {
            // asked after the claim, whose first look finds the cap reached
            assert_eq!(bench.claim().await, []);
            let output = Output { result: json!("answer"), artifacts: vec![] };
            bench.engine.end(run, RunEnd::Done { output }).await
        };
        let both = async { futures::join!(waiting, end) };
        let (claimed, ended) = tokio::time::timeout(Duration::from_secs(30), both).await.expect("a wake-up");
        ended.unwrap();
        assert_eq!(claimed.unwrap()[0].run.job, second);
    }

    async fn a_failure_is_recorded_whatever_its_text(db) {
        let (bench, _dir) = bench(&db).await;
        let id = bench.submit(json!({}), None).await;
        let run = bench.claim_one().await.run;
        let sent = json!({"class": "permanent", "code": "odd", "message": "a\u{0}b"});
        let error: JobError = serde_json::from_value(sent).unwrap();
        assert_eq!(error, JobError::permanent("odd", "a\u{0}b"));
        bench.engine.end(run, RunEnd::Failed { error }).await.unwrap();
        assert_eq!(bench.job(id).await.error.as_deref(), Some("a\u{fffd}b"));
    }
}
