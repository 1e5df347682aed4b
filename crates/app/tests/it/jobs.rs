//! Listing, cancelling, retrying, deciding.

use std::time::Duration;

use serde_json::json;
use windrow_api_types::{CommaList, Decision, JobListQuery, RetryJob};
use windrow_app::AppSettings;
use windrow_core::{Clock, ErrorClass, JobError, JobId, JobStatus, Role, RunOutcome};
use windrow_store::Dialect;
use windrow_store::hot::{self, End};
use windrow_test_support::app::TestAppOptions;
use windrow_test_support::{TestApp, TestDb, on_both};

on_both! {
    async fn a_cancel_that_was_taken_is_told_though_the_children_could_not_be_stopped(db) {
        let test = TestApp::start(db).await;
        let ada = test.actor("ada").await;
        let parent = test.submit(&ada, json!({"text": "a"})).await;
        let run = test.claim(1).await.remove(0);
        let child = hot::NewChild {
            id: JobId::new(&*test.clock),
            key: "a".to_owned(),
            workload: "echo".to_owned(),
            spec: "{}".to_owned(),
            spec_version: 1,
            priority: None,
        };
        let mut tx = test.db.begin().await.unwrap();
        hot::add_children(&mut tx, run.at, &[child], test.clock.now()).await.unwrap();
        tx.commit().await.unwrap();
        test.end(&run, End::Await).await;
        let (refuse, allow) = match test.db.dialect() {
            Dialect::Sqlite => (
                "CREATE TRIGGER no BEFORE INSERT ON runs WHEN NEW.outcome = 'cancelled' BEGIN SELECT RAISE(ABORT, 'no'); END",
                "DROP TRIGGER no",
            ),
            Dialect::Postgres => (
                "ALTER TABLE runs ADD CONSTRAINT no CHECK (outcome <> 'cancelled')",
                "ALTER TABLE runs DROP CONSTRAINT no",
            ),
        };
        let write = async |sql: &'static str| {
            let mut tx = test.db.begin().await.unwrap();
            tx.raw(sql).await.unwrap();
            tx.commit().await.unwrap();
        };
        write(refuse).await;
        let told = test.app.cancel_job(&ada, parent.id).await.unwrap();
        assert_eq!(told.status, JobStatus::Waiting, "it ends when its child does");
        write(allow).await;
        test.app.parts.store.stop_children().await.unwrap();
        assert_eq!(test.app.show_job(&ada, parent.id).await.unwrap().status, JobStatus::Cancelled);
        test.finish().await;
    }

    async fn jobs_are_paged_without_gaps_or_repeats(db) {
        let test = TestApp::start(db).await;
        let ada = test.actor("ada").await;
        let mut made = Vec::new();
        for n in 0..5 {
            made.push(test.submit(&ada, json!({"text": n.to_string()})).await.id);
        }
        made.reverse();
        let mut query = JobListQuery { limit: Some(2), ..JobListQuery::default() };
        let mut seen = Vec::new();
        loop {
            let page = test.app.list_jobs(&ada, &query).await.unwrap();
            seen.extend(page.items.iter().map(|job| job.id));
            query.cursor = page.next_cursor;
            if query.cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, made);
        test.complete_all().await;
        let completed = JobListQuery { status: Some(CommaList(vec![JobStatus::Completed])), ..JobListQuery::default() };
        assert_eq!(test.app.list_jobs(&ada, &completed).await.unwrap().items.len(), 5);
        let bad = JobListQuery { cursor: Some("nonsense".to_owned()), ..JobListQuery::default() };
        assert_eq!(test.app.list_jobs(&ada, &bad).await.unwrap_err().code(), "bad_cursor");
        test.finish().await;
    }

    async fn a_queued_job_is_cancelled_at_once_and_only_once(db) {
        let test = TestApp::start(db).await;
        let ada = test.actor("ada").await;
        let job = test.submit(&ada, json!({"text": "a"})).await;
        let cancelled = test.app.cancel_job(&ada, job.id).await.unwrap();
        assert_eq!(cancelled.status, JobStatus::Cancelled);
        let error = test.app.cancel_job(&ada, job.id).await.unwrap_err();
        assert_eq!((error.status(), error.code()), (409, "job_state"));
        assert_eq!(test.complete_all().await, 0);
        test.finish().await;
    }

    async fn a_job_that_is_tried_again_shows_no_error_of_before(db) {
        let test = TestApp::start(db).await;
        let ada = test.actor("ada").await;
        let job = test.submit(&ada, json!({"text": "a"})).await;
        let run = test.claim(1).await.remove(0);
        let fail = || End::Fail { error: JobError::permanent("broken", "it broke"), dead_letter: true };
        test.end(&run, fail()).await;
        assert_eq!(test.app.show_job(&ada, job.id).await.unwrap().error.unwrap().code, "broken");
        let reopened = test.app.retry_job(&ada, job.id, &RetryJob::default()).await.unwrap();
        assert_eq!((reopened.status, reopened.error), (JobStatus::Queued, None));
        let run = test.claim(1).await.remove(0);
        assert_eq!(test.app.show_job(&ada, job.id).await.unwrap().error, None, "while it runs");
        let now = test.clock.now();
        test.end(&run, End::Retry { at: now, error: JobError::transient("busy", "later") }).await;
        let again = test.app.show_job(&ada, job.id).await.unwrap();
        assert_eq!((again.status, again.error.unwrap().code.as_str()), (JobStatus::Queued, "busy"), "its own");
        test.complete_all().await;
        test.finish().await;
    }

    async fn a_result_of_another_version_is_an_error_and_not_guessed(db) {
        let test = TestApp::start(db).await;
        let ada = test.actor("ada").await;
        let job = test.submit(&ada, json!({"text": "a"})).await;
        test.complete_all().await;
        assert!(test.app.show_job(&ada, job.id).await.unwrap().result.is_some());
        let mut tx = test.db.begin().await.unwrap();
        tx.raw("UPDATE results SET schema_version = 2").await.unwrap();
        tx.commit().await.unwrap();
        let shown = test.app.show_job(&ada, job.id).await.unwrap();
        let error = shown.error.unwrap();
        assert_eq!((shown.status, shown.result, error.code.as_str()), (JobStatus::Completed, None, "unknown_schema_version"));
        assert_eq!(error.class, ErrorClass::Permanent);
        assert_eq!(test.app.list_jobs(&ada, &JobListQuery::default()).await.unwrap().items.len(), 1);
        test.finish().await;
    }

    async fn a_running_job_is_asked_to_stop(db) {
        let test = TestApp::start(db).await;
        let ada = test.actor("ada").await;
        let job = test.submit(&ada, json!({"text": "a"})).await;
        let run = test.claim(1).await.remove(0);
        let running = test.app.show_job(&ada, job.id).await.unwrap();
        assert_eq!((running.status, running.run), (JobStatus::Running, 1));
        assert!(running.timeout_at > running.started_at);
        assert_eq!(test.app.cancel_job(&ada, job.id).await.unwrap().status, JobStatus::Running);
        test.end(&run, End::Cancel).await;
        assert_eq!(test.app.show_job(&ada, job.id).await.unwrap().status, JobStatus::Cancelled);
        test.finish().await;
    }

    async fn a_failed_job_is_retried_with_attempts_anew_and_run_numbers_going_on(db) {
        let test = TestApp::start(db).await;
        let ada = test.actor("ada").await;
        let job = test.submit(&ada, json!({"text": "a"})).await;
        let error = test.app.retry_job(&ada, job.id, &RetryJob::default()).await.unwrap_err();
        assert_eq!((error.status(), error.code()), (409, "job_state"));
        let run = test.claim(1).await.remove(0);
        test.end(&run, End::Fail { error: JobError::user("bad_file", "the file is encrypted"), dead_letter: false }).await;
        let failed = test.app.show_job(&ada, job.id).await.unwrap();
        assert_eq!((failed.status, failed.attempts), (JobStatus::Failed, 1));
        assert!(failed.error.unwrap().user_fault);
        assert!(failed.ended_at.is_some());
        let again = test.app.retry_job(&ada, job.id, &RetryJob::default()).await.unwrap();
        assert_eq!((again.status, again.attempts, again.ended_at), (JobStatus::Queued, 0, None));
        assert_eq!(test.complete_all().await, 1);
        let runs = test.app.job_runs(&ada, job.id).await.unwrap();
        let runs: Vec<_> = runs.iter().map(|run| (run.run, run.outcome)).collect();
        assert_eq!(runs, [(1, Some(RunOutcome::Failed)), (2, Some(RunOutcome::Completed))]);
        test.finish().await;
    }

    async fn attempts_are_runs_that_failed(db) {
        let test = TestApp::start(db).await;
        let ada = test.actor("ada").await;
        let job = test.submit(&ada, json!({"text": "waits"})).await;
        let run = test.claim(1).await.remove(0);
        test.end(&run, End::Await).await;
        assert_eq!(test.complete_all().await, 1);
        let done = test.app.show_job(&ada, job.id).await.unwrap();
        assert_eq!((done.status, done.run, done.attempts), (JobStatus::Completed, 2, 0));
        let job = test.submit(&ada, json!({"text": "fails once"})).await;
        let run = test.claim(1).await.remove(0);
        let error = JobError::transient("busy", "the model was busy");
        test.end(&run, End::Retry { at: test.clock.now(), error }).await;
        let run = test.claim(1).await.remove(0);
        test.end(&run, End::Cancel).await;
        let cancelled = test.app.show_job(&ada, job.id).await.unwrap();
        assert_eq!((cancelled.status, cancelled.run, cancelled.attempts), (JobStatus::Cancelled, 2, 1));
        test.finish().await;
    }

    async fn only_an_admin_decides_and_only_on_a_job_that_waits(db) {
        let test = TestApp::start(db).await;
        let (ada, admin) = (test.actor("ada").await, test.actor_with("root", Role::Admin).await);
        let job = test.submit(&ada, json!({"text": "a"})).await;
        let decision = Decision { reason: "looks fine".to_owned() };
        assert_eq!(test.app.approve_job(&ada, job.id, &decision).await.unwrap_err().code(), "role_too_low");
        assert_eq!(test.app.approve_job(&admin, job.id, &decision).await.unwrap_err().code(), "job_state");
        let empty = Decision::default();
        assert_eq!(test.app.reject_job(&admin, job.id, &empty).await.unwrap_err().code(), "invalid_request");
        // as a submit that needs approval leaves it
        let mut tx = test.db.begin().await.unwrap();
        let id = windrow_core::JobId::new(&*test.clock);
        let plain = windrow_store::hot::NewJob::plain(id, ada.owner(), "echo", test.clock.now());
        let new = windrow_store::hot::NewJob { needs_approval: true, ..plain };
        let second = windrow_store::hot::NewJob { id: windrow_core::JobId::new(&*test.clock), ..new.clone() };
        windrow_store::hot::submit(&mut tx, &[new.clone(), second.clone()], test.clock.now()).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(test.app.show_job(&ada, new.id).await.unwrap().status, JobStatus::PendingApproval);
        assert_eq!(test.app.approve_job(&admin, new.id, &decision).await.unwrap().status, JobStatus::Queued);
        assert_eq!(test.app.approve_job(&admin, new.id, &decision).await.unwrap_err().code(), "job_state");
        let rejected = test.app.reject_job(&admin, second.id, &decision).await.unwrap();
        assert_eq!(rejected.status, JobStatus::Rejected);
        let audit = test.app.list_audit(&admin, &windrow_api_types::AuditQuery::default()).await.unwrap();
        let actions: Vec<&str> = audit.items.iter().map(|entry| entry.action.as_str()).collect();
        assert_eq!(actions, ["job.reject", "job.approve", "user.grant"]);
        test.complete_all().await;
        test.finish().await;
    }
}

#[tokio::test]
async fn the_end_of_a_runs_time_follows_the_configured_deadline() {
    let seconds = Duration::from_secs;
    for (all, echo, expected) in
        [(None, None, 6 * 3600), (Some(60), None, 60), (Some(60), Some(5), 5), (None, Some(5), 5)]
    {
        let settings = AppSettings {
            run_deadline: all.map(seconds),
            run_deadline_by_workload: echo
                .map(|echo| ("echo".to_owned(), seconds(echo)))
                .into_iter()
                .collect(),
            ..AppSettings::default()
        };
        let options = TestAppOptions { settings: Some(settings), ..TestAppOptions::default() };
        let test = TestApp::start_with(TestDb::sqlite().await, options).await;
        let ada = test.actor("ada").await;
        let job = test.submit(&ada, json!({"text": "a"})).await;
        let run = test.claim(1).await.remove(0);
        let running = test.app.show_job(&ada, job.id).await.unwrap();
        assert_eq!(running.timeout_at, running.started_at.map(|at| at.plus(seconds(expected))));
        test.end(&run, End::Complete(None)).await;
        test.finish().await;
    }
}
