//! Submit, its key, and batches.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};
use windrow_api_types::{BatchRequest, JobListQuery};
use windrow_app::{AppError, AppSettings};
use windrow_core::{Clock, JobStatus, PicoUsd, Priority};
use windrow_test_support::app::{TestAppOptions, submit_request};
use windrow_test_support::{TestApp, TestDb, on_both};

fn pointers(error: AppError) -> Vec<String> {
    error.into_field_errors().into_iter().map(|fault| fault.pointer).collect()
}

on_both! {
    async fn what_counts_against_a_budget_is_the_submits_to_say(db) {
        use windrow_core::LedgerKind::{Compute, Model, Storage};
        let test = TestApp::start(db).await;
        let ada = test.actor("ada").await;
        let request = |budget: Option<i64>, counts: Option<Vec<windrow_core::LedgerKind>>| {
            let mut request = submit_request(json!({"text": "a"}));
            (request.budget_usd, request.budget_counts) = (budget.map(windrow_core::PicoUsd::from_usd), counts);
            request
        };
        for (bad, said) in [
            (request(Some(1), Some(vec![Compute, Storage])), "model"),
            (request(Some(1), Some(vec![])), "model"),
            (request(None, Some(vec![Model])), "budget_usd"),
        ] {
            let refused = test.app.submit_job(&ada, bad, None).await.unwrap_err();
            assert_eq!(refused.status(), 422);
            let fault = refused.into_field_errors().remove(0);
            assert!(fault.pointer == "/budget_counts" && fault.message.contains(said), "{fault:?}");
        }
        for (counts, shown) in [
            (None, vec![Model]),
            (Some(vec![Storage, Model]), vec![Model, Storage]),
            (Some(vec![Model, Compute, Storage]), vec![Model, Compute, Storage]),
        ] {
            let job = test.app.submit_job(&ada, request(Some(1), counts), None).await.unwrap().job;
            assert_eq!(job.budget_counts, Some(shown));
        }
        let job = test.app.submit_job(&ada, request(None, None), None).await.unwrap().job;
        assert_eq!(job.budget_counts, None, "there is no budget");
        test.complete_all().await;
        test.finish().await;
    }

    async fn a_batch_that_breaks_off_tells_which_jobs_are_made(db) {
        let test = TestApp::start(db).await;
        let ada = test.actor("ada").await;
        let refusal: &[&str] = match test.db.dialect() {
            windrow_store::Dialect::Sqlite => &["CREATE TRIGGER no BEFORE INSERT ON jobs WHEN NEW.spec LIKE '%poison%' BEGIN SELECT RAISE(ABORT, 'no'); END"],
            windrow_store::Dialect::Postgres => &["ALTER TABLE jobs ADD CONSTRAINT no CHECK (spec NOT LIKE '%poison%')"],
        };
        let mut tx = test.db.begin().await.unwrap();
        for sql in refusal {
            tx.raw(*sql).await.unwrap();
        }
        tx.commit().await.unwrap();
        let text = |n: usize| if n == 1200 { "poison" } else { "a" };
        let jobs = (0..1500).map(|n| json!({"workload": "echo", "spec": {"text": text(n)}})).collect();
        let reply = test.app.submit_batch(&ada, BatchRequest { jobs }).await.unwrap();
        assert_eq!((reply.accepted, reply.refused, reply.items.len()), (1000, 500, 1500));
        let made: HashSet<_> = reply.items[..1000].iter().map(|item| (item.status, item.id.unwrap())).collect();
        assert_eq!(made.len(), 1000);
        for item in &reply.items[1000..] {
            let problem = item.problem.as_ref().unwrap();
            assert!(item.id.is_none() && item.status >= 500 && problem.status == item.status, "{item:?}");
        }
        assert_eq!(test.complete_all().await, 1000);
        test.finish().await;
    }

    async fn a_job_is_queued_and_shown_as_it_was_pinned(db) {
        let test = TestApp::start(db).await;
        let mut ada = test.actor("ada").await;
        ada.traceparent = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap());
        let mut request = submit_request(json!({"text": "hi", "pin": true}));
        request.budget_usd = Some(PicoUsd::from_usd(2));
        request.priority = Some(Priority::High);
        let reply = test.app.submit_job(&ada, request, None).await.unwrap();
        assert!(!reply.reused);
        let job = test.app.show_job(&ada, reply.job.id).await.unwrap();
        assert_eq!(job, reply.job);
        assert_eq!((job.status, job.priority, job.run), (JobStatus::Queued, Priority::High, 0));
        assert_eq!(job.budget_usd, Some(PicoUsd::from_usd(2)));
        assert_eq!(job.spec["pinned"], json!({"owner": ada.owner(), "budget": "2.00"}));
        assert_eq!(job.request_id.as_deref(), Some("request-of-ada"));
        test.complete_all().await;
        let done = test.app.show_job(&ada, job.id).await.unwrap();
        assert_eq!((done.status, done.run, done.error), (JobStatus::Completed, 1, None));
        assert_eq!(done.result.unwrap()["text"], "hi");
        assert_eq!(done.trace_id.as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        let events = test.app.job_events(&ada, job.id, None).await.unwrap();
        assert!(events.len() >= 3 && events.iter().all(|event| event.trace_id == done.trace_id), "{events:?}");
        test.finish().await;
    }

    async fn one_key_makes_one_job_for_one_request(db) {
        let test = TestApp::start(db).await;
        let (ada, bob) = (test.actor("ada").await, test.actor("bob").await);
        let request = submit_request(json!({"text": "a", "times": 2}));
        let first = test.app.submit_job(&ada, request.clone(), Some("k")).await.unwrap();
        let again = test.app.submit_job(&ada, request.clone(), Some("k")).await.unwrap();
        assert!((again.reused, again.job.id) == (true, first.job.id));
        // the key is looked at before the request is validated or pinned
        let other = submit_request(json!({"nonsense": 1}));
        let conflict = test.app.submit_job(&ada, other, Some("k")).await.unwrap_err();
        assert_eq!((conflict.status(), conflict.code()), (409, "idempotency_conflict"));
        let bobs = test.app.submit_job(&bob, request, Some("k")).await.unwrap();
        assert!(!bobs.reused && bobs.job.id != first.job.id);
        test.complete_all().await;
        test.finish().await;
    }

    async fn fifty_equal_posts_at_once_make_one_job(db) {
        let test = TestApp::start(db).await;
        let ada = test.actor("ada").await;
        let posts: Vec<_> = (0..50)
            .map(|_| {
                let (app, ada) = (test.app.clone(), ada.clone());
                tokio::spawn(async move {
                    app.submit_job(&ada, submit_request(json!({"text": "race"})), Some("race")).await.unwrap()
                })
            })
            .collect();
        let (mut ids, mut made) = (HashSet::new(), 0);
        for post in posts {
            let reply = post.await.unwrap();
            ids.insert(reply.job.id);
            made += usize::from(!reply.reused);
        }
        assert_eq!((ids.len(), made), (1, 1));
        assert_eq!(test.app.list_jobs(&ada, &JobListQuery::default()).await.unwrap().items.len(), 1);
        assert_eq!(test.complete_all().await, 1);
        test.finish().await;
    }

    async fn a_batch_is_answered_item_by_item(db) {
        let test = TestApp::start(db).await;
        let ada = test.actor("ada").await;
        let before = test.app.submit_job(&ada, submit_request(json!({"text": "0"})), Some("k0")).await.unwrap();
        let item = |text: &str, key: &str| json!({"workload": "echo", "spec": {"text": text}, "idempotency_key": key});
        let jobs: Vec<Value> = vec![
            item("1", "k1"),
            item("1", "k1"),
            item("other", "k1"),
            item("0", "k0"),
            json!({"workload": "echo", "spec": {}}),
            json!({"workload": "none", "spec": {}}),
            json!({"workload": "echo", "spec": {"text": "2"}, "priorty": "high"}),
            json!({"workload": "echo", "spec": {"text": "2", "refuse": true}}),
            json!(7),
            json!({"workload": "echo", "spec": {"text": "2"}}),
        ];
        let reply = test.app.submit_batch(&ada, BatchRequest { jobs }).await.unwrap();
        let statuses: Vec<u16> = reply.items.iter().map(|item| item.status).collect();
        assert_eq!(statuses, [202, 200, 409, 200, 422, 422, 422, 422, 422, 202]);
        assert_eq!((reply.accepted, reply.reused, reply.refused), (2, 2, 6));
        assert_eq!(reply.items[0].id, reply.items[1].id);
        assert_eq!(reply.items[3].id, Some(before.job.id));
        let problem = reply.items[4].problem.clone().unwrap();
        assert_eq!((problem.code.as_str(), problem.errors[0].pointer.as_str()), ("invalid_spec", "/jobs/4/spec/text"));
        assert_eq!(reply.items[7].problem.as_ref().unwrap().errors[0].pointer, "/jobs/7/spec/refuse");
        assert_eq!(test.complete_all().await, 3);
        test.finish().await;
    }
}

#[tokio::test]
async fn what_is_wrong_is_named_before_anything_is_stored() {
    let test = TestApp::sqlite().await;
    let ada = test.actor("ada").await;
    let submit = async |spec: Value| test.app.submit_job(&ada, submit_request(spec), None).await.unwrap_err();
    let error = submit(json!({"times": 0, "loud": true})).await;
    assert_eq!((error.status(), error.code()), (422, "invalid_spec"));
    let mut found = pointers(error);
    found.sort_unstable();
    assert_eq!(found, ["/spec/loud", "/spec/text", "/spec/times"]);
    assert_eq!(pointers(submit(json!({"text": "a", "refuse": true})).await), ["/spec/refuse"]);
    assert_eq!(pointers(submit(json!({"text": "a", "priced": true})).await), ["/spec/priced"]);
    let mut request = submit_request(json!({"text": "a"}));
    request.workload = "none".to_owned();
    let error = test.app.submit_job(&ada, request.clone(), None).await.unwrap_err();
    assert_eq!(error.code(), "unknown_workload");
    assert!(error.to_string().contains("echo"), "{error}");
    request.workload = "echo".to_owned();
    request.webhook_url = Some("ftp://example.org/".to_owned());
    request.schema_version = Some(9);
    request.budget_usd = Some(PicoUsd::from_pico(-1));
    let faults = pointers(test.app.submit_job(&ada, request, None).await.unwrap_err());
    assert_eq!(faults, ["/schema_version", "/budget_usd", "/webhook_url"]);
    for key in ["", "é", &"k".repeat(256)] {
        let request = submit_request(json!({"text": "a"}));
        let error = test.app.submit_job(&ada, request, Some(key)).await.unwrap_err();
        assert_eq!((error.status(), error.code()), (400, "invalid_idempotency_key"));
    }
    assert!(test.app.list_jobs(&ada, &JobListQuery::default()).await.unwrap().items.is_empty());
    test.finish().await;
}

#[tokio::test]
async fn the_default_budget_is_for_jobs_that_name_none() {
    let settings =
        AppSettings { default_budget: Some(PicoUsd::from_usd(1)), batch_max: 2, ..AppSettings::default() };
    let options = TestAppOptions { settings: Some(settings), ..TestAppOptions::default() };
    let test = TestApp::start_with(TestDb::sqlite().await, options).await;
    let ada = test.actor("ada").await;
    assert_eq!(
        test.submit(&ada, json!({"text": "a", "priced": true})).await.budget_usd,
        Some(PicoUsd::from_usd(1))
    );
    let too_many = BatchRequest { jobs: vec![json!({}); 3] };
    let error = test.app.submit_batch(&ada, too_many).await.unwrap_err();
    assert_eq!((error.status(), error.code()), (413, "batch_too_large"));
    test.complete_all().await;
    test.finish().await;
}

#[tokio::test]
async fn a_scheduled_job_says_when_it_will_run() {
    let test = TestApp::sqlite().await;
    let ada = test.actor("ada").await;
    let later = test.clock.now().plus(Duration::from_secs(3600));
    let mut request = submit_request(json!({"text": "a"}));
    request.run_at = Some(later);
    let job = test.app.submit_job(&ada, request, None).await.unwrap().job;
    assert_eq!((job.status, job.run_at), (JobStatus::Queued, Some(later)));
    assert_eq!(test.complete_all().await, 0);
    test.app.cancel_job(&ada, job.id).await.unwrap();
    test.finish().await;
}

#[tokio::test]
async fn the_largest_batch_is_accepted_whole_and_replayed_whole() {
    let test = TestApp::sqlite().await;
    let ada = test.actor("ada").await;
    let item = |n: u32| json!({"workload": "echo", "spec": {"text": "a"}, "idempotency_key": n.to_string()});
    let jobs: Vec<Value> = (0..10_000).map(item).collect();
    let reply = test.app.submit_batch(&ada, BatchRequest { jobs: jobs.clone() }).await.unwrap();
    assert_eq!((reply.accepted, reply.reused, reply.refused), (10_000, 0, 0));
    let again = test.app.submit_batch(&ada, BatchRequest { jobs }).await.unwrap();
    assert_eq!((again.accepted, again.reused, again.refused), (0, 10_000, 0));
    assert!(reply.items.iter().zip(&again.items).all(|(first, second)| first.id == second.id));
    assert_eq!(test.complete_all().await, 10_000);
    test.finish().await;
}

#[tokio::test]
async fn specs_that_take_long_to_prepare_keep_nobody_from_the_database() {
    let test = TestApp::sqlite().await;
    let ada = test.actor("ada").await;
    let hang = || test.app.submit_job(&ada, submit_request(json!({"text": "a", "hang": true})), None);
    // more than there are connections
    let hanging = futures::future::join_all((0..20).map(|_| hang()));
    let other = test.app.submit_job(&ada, submit_request(json!({"text": "b"})), None);
    let made = tokio::select! {
        biased;
        _ = hanging => unreachable!("they hang"),
        made = tokio::time::timeout(Duration::from_secs(10), other) => made,
    };
    made.expect("there is a connection left").unwrap();
    test.complete_all().await;
    test.finish().await;
}
