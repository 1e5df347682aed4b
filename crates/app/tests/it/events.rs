//! A job's history, read and watched.

use futures::{StreamExt, TryStreamExt};
use serde_json::json;
use windrow_api_types::Event;
use windrow_core::{JobError, RunNo};
use windrow_store::hot::{self, End, NewEvent, Progress};
use windrow_test_support::{TestApp, on_both};

fn kinds(events: &[Event]) -> Vec<(&str, Option<&str>)> {
    events.iter().map(|event| (event.kind.as_str(), event.id.as_deref())).collect()
}

on_both! {
    async fn a_watcher_sees_everything_once_and_ends_with_the_job(db) {
        let test = TestApp::start(db).await;
        let ada = test.actor("ada").await;
        let job = test.submit(&ada, json!({"text": "a"})).await;
        let mut stream = Box::pin(test.app.watch_job(&ada, job.id, None).await.unwrap());
        let first = stream.next().await.unwrap().unwrap();
        assert_eq!((first.kind.as_str(), first.id.as_deref()), ("submitted", Some("0.0.1")));
        let run = test.claim(1).await.remove(0);
        let started = stream.next().await.unwrap().unwrap();
        assert_eq!((started.kind.as_str(), started.payload["worker"].as_str()), ("started", Some("test-worker")));
        for done in 1..4 {
            let mut tx = test.db.begin().await.unwrap();
            let progress = Progress { at: run.at, stage: Some(format!("part {done}")), done, total: Some(4) };
            hot::progress(&mut tx, &[progress], test.app.parts.clock.now()).await.unwrap();
            tx.commit().await.unwrap();
            let progress = stream.next().await.unwrap().unwrap();
            assert_eq!((progress.kind.as_str(), progress.id), ("progress", None));
            assert_eq!(progress.payload, json!({"run": 1, "stage": format!("part {done}"), "done": done, "total": 4}));
        }
        test.end(&run, End::Complete(None)).await;
        let rest: Vec<Event> = stream.try_collect().await.unwrap();
        assert_eq!(kinds(&rest), [("ended", Some("0.1.2"))]);
        assert_eq!(rest[0].payload["outcome"], "completed");
        test.finish().await;
    }

    async fn whoever_comes_back_gets_the_rest(db) {
        let test = TestApp::start(db).await;
        let ada = test.actor("ada").await;
        let job = test.submit(&ada, json!({"text": "a"})).await;
        let run = test.claim(1).await.remove(0);
        let now = test.app.parts.clock.now();
        test.end(&run, End::Retry { at: now, error: JobError::transient("timeout", "no answer") }).await;
        let run = test.claim(1).await.remove(0);
        let mut tx = test.db.begin().await.unwrap();
        let note = NewEvent { job: run.at.job, run: RunNo(2), kind: "note".to_owned(), payload: "{\"a\":1}".to_owned(), schema_version: 1 };
        hot::append_events(&mut tx, &[note], now).await.unwrap();
        tx.commit().await.unwrap();
        test.end(&run, End::Complete(None)).await;
        let all = test.app.job_events(&ada, job.id, None).await.unwrap();
        let names: Vec<&str> = all.iter().map(|event| event.kind.as_str()).collect();
        assert_eq!(names, ["submitted", "started", "ended", "started", "note", "ended"]);
        for (seen, event) in all.iter().enumerate() {
            let rest: Vec<Event> =
                test.app.watch_job(&ada, job.id, event.id.as_deref()).await.unwrap().try_collect().await.unwrap();
            assert_eq!(rest, all[seen + 1..]);
        }
        let error = test.app.job_events(&ada, job.id, Some("x.y")).await.unwrap_err();
        assert_eq!((error.status(), error.code()), (400, "bad_event_id"));
        test.finish().await;
    }
}

#[tokio::test]
async fn many_watchers_of_many_jobs_each_see_their_own() {
    let test = TestApp::sqlite().await;
    let ada = test.actor("ada").await;
    let mut watchers = Vec::new();
    for n in 0..10 {
        let job = test.submit(&ada, json!({"text": n.to_string()})).await;
        for _ in 0..3 {
            let stream = test.app.watch_job(&ada, job.id, None).await.unwrap();
            let all = tokio::spawn(async move { stream.try_collect::<Vec<Event>>().await.unwrap() });
            watchers.push((job.id, all));
        }
    }
    test.complete_all().await;
    for (job, all) in watchers {
        let all = all.await.unwrap();
        assert!(all.iter().all(|event| event.job_id == job));
        assert_eq!(all.last().map(|event| event.kind.as_str()), Some("ended"));
    }
    test.finish().await;
}
