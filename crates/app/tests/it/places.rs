//! Health, readiness, smoke, traces.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use windrow_api_types::CheckState;
use windrow_app::{Authority, KeptLines};
use windrow_core::{Clock, JobId, OwnerId, Role};
use windrow_store::depth::depths;
use windrow_store::hot::{self, NewJob};
use windrow_store::jobs::{self, JobFilter};
use windrow_store::migrate::{self, PLATFORM};
use windrow_test_support::app::TestAppOptions;
use windrow_test_support::{TestApp, TestDb, on_both};

on_both! {
    async fn the_queue_smoke_test_leaves_nothing_behind_not_even_of_one_that_was_killed(db) {
        let test = TestApp::start(db).await;
        let (ada, root) = (test.actor("ada").await, test.actor_with("root", Role::Admin).await);
        let waiting = test.submit(&ada, json!({"text": "in line before it"})).await;
        // as one that was killed after it had sent
        let killed = NewJob { workload: "smoke:killed".to_owned(), ..a_job(&test) };
        test.app.parts.store.submit(vec![killed]).await.unwrap();
        test.clock.advance(Duration::from_secs(601));
        let report = test.app.smoke_queue(Authority::Actor(&root)).await.unwrap();
        let steps: Vec<&str> = report.steps.iter().map(|step| step.step.as_str()).collect();
        assert_eq!((report.ok, steps), (true, vec!["send", "receive", "delete"]), "{report:?}");
        let mut conn = test.db.read().await.unwrap();
        let everybodys = jobs::list(&mut conn, OwnerId(0), &JobFilter::default(), None, 10).await.unwrap();
        assert_eq!(everybodys.len(), 0);
        let depths = depths(&mut conn).await.unwrap();
        let left: Vec<(&str, i64)> = depths.iter().map(|depth| (depth.workload.as_str(), depth.jobs)).collect();
        assert_eq!(left, [("echo", 1)], "only what others sent is in line");
        assert_eq!(hot::live_beats(&mut conn).await.unwrap().len(), 0);
        drop(conn);
        assert_eq!(test.app.smoke_queue(Authority::Actor(&ada)).await.unwrap_err().code(), "role_too_low");
        test.complete_all().await;
        assert_eq!(test.app.show_job(&ada, waiting.id).await.unwrap().run, 1);
        test.finish().await;
    }

    async fn a_process_is_ready_when_database_schema_and_storage_are(db) {
        let test = TestApp::start(db).await;
        let ada = test.actor("ada").await;
        assert_eq!(test.app.health().status, "ok");
        let ready = test.app.ready().await;
        assert!(ready.ready, "{ready:?}");
        assert_eq!(ready.workloads[0].last_success_at, None);
        test.submit(&ada, json!({"text": "a"})).await;
        test.complete_all().await;
        assert_eq!(test.app.ready().await.workloads[0].last_success_at, None, "it was asked a moment ago");
        let completed = test.app.parts.clock.now();
        test.clock.advance(Duration::from_secs(10));
        assert_eq!(test.app.ready().await.workloads[0].last_success_at, Some(completed));
        migrate::rollback(&test.db, &[PLATFORM], 1).await.unwrap();
        test.clock.advance(Duration::from_secs(30));
        let ready = test.app.ready().await;
        let failed: Vec<&str> =
            ready.checks.iter().filter(|c| c.state == CheckState::Failed).map(|c| c.name.as_str()).collect();
        assert_eq!((ready.ready, failed), (false, vec!["migrations"]));
        test.db.close().await;
        let ready = test.app.ready().await;
        assert!(!ready.ready && ready.checks.iter().any(|c| c.name == "database" && c.state == CheckState::Failed));
    }

    async fn a_request_is_traced_to_its_jobs_and_their_runs(db) {
        let test = TestApp::start(db).await;
        let (ada, bob) = (test.actor("ada").await, test.actor("bob").await);
        let admin = test.actor_with("root", Role::Admin).await;
        let job = test.submit(&ada, json!({"text": "a"})).await;
        test.complete_all().await;
        let trace = test.app.trace(&ada, "request-of-ada").await.unwrap();
        assert_eq!(trace.jobs.iter().map(|j| (j.id, j.runs.len())).collect::<Vec<_>>(), [(job.id, 1)]);
        assert_eq!(test.app.trace(&bob, "request-of-ada").await.unwrap_err().status(), 404);
        assert_eq!(test.app.trace(&admin, "request-of-ada").await.unwrap().jobs.len(), 1);
        test.finish().await;
    }
}

/// What a log would hold of two owners who chose the same request id.
struct Lines(Vec<Value>);

impl KeptLines for Lines {
    fn find(&self, wanted: &dyn Fn(&Value) -> bool, most: usize) -> io::Result<Vec<Value>> {
        Ok(self.0.iter().filter(|line| wanted(line)).take(most).cloned().collect())
    }
}

#[tokio::test]
async fn log_lines_are_shown_to_admins_and_to_whom_they_are_about() {
    let line = |owner: u64, n: u64| json!({"request_id": "theirs", "owner": owner, "n": n});
    let other = json!({"request_id": "another", "owner": 2, "n": 3});
    let mut lines = vec![line(1, 1), line(2, 2), other, json!({"request_id": "theirs", "n": 4})];
    // more of one owner's than are shown of anybody's keep nothing of another owner's from being shown
    lines.splice(1..1, (0..1000).map(|_| line(1, 0)));
    let log: Arc<dyn KeptLines> = Arc::new(Lines(lines));
    let options = TestAppOptions { log: Some(log), ..TestAppOptions::default() };
    let test = TestApp::start_with(TestDb::sqlite().await, options).await;
    let (ada, bob) = (test.actor("ada").await, test.actor("bob").await);
    let admin = test.actor_with("root", Role::Admin).await;
    assert_eq!((ada.owner(), bob.owner()), (OwnerId(1), OwnerId(2)));
    for (actor, count, last) in [(&ada, 1000, 0), (&bob, 1, 2), (&admin, 1000, 0)] {
        let log = test.app.trace(actor, "theirs").await.unwrap().log.unwrap();
        assert_eq!((log.len(), log.last().unwrap()["n"].as_i64()), (count, Some(last)));
    }
    let eve = test.actor("eve").await;
    assert_eq!(test.app.trace(&eve, "theirs").await.unwrap_err().status(), 404);
    test.finish().await;
}

fn a_job(test: &TestApp) -> NewJob {
    NewJob::plain(JobId::new(&*test.clock), OwnerId(0), String::new(), test.clock.now())
}

#[tokio::test]
async fn the_storage_smoke_test_cleans_up_after_itself() {
    let test = TestApp::sqlite().await;
    let report = test.app.smoke_storage(Authority::Operator).await.unwrap();
    let steps: Vec<&str> = report.steps.iter().map(|step| step.step.as_str()).collect();
    assert_eq!((report.ok, steps), (true, vec!["put", "head", "get", "delete"]));
    let ada = test.actor("ada").await;
    assert_eq!(test.app.smoke_storage(Authority::Actor(&ada)).await.unwrap_err().code(), "role_too_low");
    test.finish().await;
}
