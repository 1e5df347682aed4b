//! Jobs that wait for an admin's yes because of what they may cost.

use std::collections::BTreeMap;

use serde_json::json;
use windrow_api_types::{AuditQuery, BatchRequest, Decision, RetryJob, SubmitJob};
use windrow_app::AppSettings;
use windrow_core::{JobError, JobStatus, PicoUsd, Role};
use windrow_store::hot::End;
use windrow_store::outbox;
use windrow_test_support::app::{TestAppOptions, submit_request};
use windrow_test_support::{TestApp, TestDb, on_both};

fn usd(text: &str) -> PicoUsd {
    text.parse().unwrap()
}

async fn above_five(db: TestDb) -> TestApp {
    let settings = AppSettings { approval_above: Some(usd("5")), ..AppSettings::default() };
    TestApp::start_with(db, TestAppOptions { settings: Some(settings), ..TestAppOptions::default() }).await
}

fn request(spec: serde_json::Value, budget: &str) -> SubmitJob {
    SubmitJob { budget_usd: Some(usd(budget)), ..submit_request(spec) }
}

on_both! {
    async fn a_job_above_the_limit_runs_when_an_admin_says_so(db) {
        let test = above_five(db).await;
        let (ada, admin) = (test.actor("ada").await, test.actor_with("root", Role::Admin).await);
        let at_limit = test.app.submit_job(&ada, request(json!({"text": "a"}), "5"), None).await.unwrap().job;
        assert_eq!(at_limit.status, JobStatus::Queued);
        let job = test.app.submit_job(&ada, request(json!({"text": "b"}), "5.01"), None).await.unwrap().job;
        assert_eq!(job.status, JobStatus::PendingApproval);
        // a key that is used again finds it waiting
        let batch = json!({"workload": "echo", "spec": {"text": "c"}, "budget_usd": "6"});
        let batch = test.app.submit_batch(&ada, BatchRequest { jobs: vec![batch] }).await.unwrap();
        let third = batch.items[0].id.unwrap();
        assert_eq!(test.app.show_job(&ada, third).await.unwrap().status, JobStatus::PendingApproval);
        assert_eq!(test.complete_all().await, 1, "what waits is claimed by nobody");

        let decision = Decision { reason: "the customer pays".to_owned() };
        let approved = test.app.approve_job(&admin, job.id, &decision).await.unwrap();
        assert_eq!(approved.status, JobStatus::Queued);
        assert_eq!(test.complete_all().await, 1);
        let events = test.app.job_events(&ada, job.id, None).await.unwrap();
        let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
        assert_eq!(kinds, ["submitted", "approved", "started", "ended"]);
        let audit = test.app.list_audit(&admin, &AuditQuery::default()).await.unwrap();
        assert_eq!((audit.items[0].action.as_str(), audit.items[0].reason.as_str()), ("job.approve", "the customer pays"));

        assert_eq!(test.app.cancel_job(&ada, third).await.unwrap().status, JobStatus::Cancelled);
        assert_eq!(test.app.approve_job(&admin, third, &decision).await.unwrap_err().code(), "job_state");
        test.finish().await;
    }

    async fn a_job_that_could_not_be_submitted_any_more_is_not_approved(db) {
        let test = above_five(db).await;
        let (ada, admin) = (test.actor("ada").await, test.actor_with("root", Role::Admin).await);
        let stale = request(json!({"text": "a", "stale": true}), "6");
        let stale = SubmitJob { webhook_url: Some("https://example.org/hook".to_owned()), ..stale };
        let job = test.app.submit_job(&ada, stale, None).await.unwrap().job;
        let decision = Decision { reason: "fine".to_owned() };
        let error = test.app.approve_job(&admin, job.id, &decision).await.unwrap_err();
        assert_eq!((error.status(), error.code()), (409, "job_state"));
        assert!(error.to_string().contains("no longer what 6.00 USD pay for"), "{error}");
        // all of it was undone
        assert_eq!(test.app.show_job(&ada, job.id).await.unwrap().status, JobStatus::PendingApproval);
        let audit = test.app.list_audit(&admin, &AuditQuery::default()).await.unwrap();
        assert!(audit.items.iter().all(|entry| entry.action != "job.approve"));
        let events = test.app.job_events(&ada, job.id, None).await.unwrap();
        assert_eq!(events.len(), 1);
        assert_eq!(outbox::waiting(&mut test.db.read().await.unwrap(), "webhook").await.unwrap(), 0);
        let rejected = test.app.reject_job(&admin, job.id, &decision).await.unwrap();
        assert_eq!(rejected.status, JobStatus::Rejected);
        assert_eq!(outbox::waiting(&mut test.db.read().await.unwrap(), "webhook").await.unwrap(), 1);
        test.finish().await;
    }

    async fn a_retry_may_raise_the_budget_as_far_as_a_submit_may_ask_for(db) {
        let test = above_five(db).await;
        let (ada, admin) = (test.actor("ada").await, test.actor_with("root", Role::Admin).await);
        let job = test.app.submit_job(&ada, request(json!({"text": "a"}), "2"), None).await.unwrap().job;
        let with = |budget: &str| RetryJob { budget_usd: Some(usd(budget)) };
        let queued = test.app.retry_job(&ada, job.id, &with("3")).await.unwrap_err();
        assert_eq!(queued.code(), "job_state");
        let run = test.claim(1).await.remove(0);
        let spent = JobError::new(windrow_core::ErrorClass::Budget, "budget_exceeded", "no room");
        test.end(&run, End::BudgetExceeded { output: None, error: spent }).await;
        assert_eq!(test.app.show_job(&ada, job.id).await.unwrap().status, JobStatus::BudgetExceeded);
        for (budget, said) in [("2", "above the job's budget of 2.00 USD"), ("1", "above the job's budget"), ("5.1", "admin's approval")] {
            let error = test.app.retry_job(&ada, job.id, &with(budget)).await.unwrap_err();
            let told = error.to_string();
            assert_eq!(error.into_field_errors()[0].pointer, "/budget_usd");
            assert!(told.contains(said), "{told}");
        }
        assert_eq!(test.app.show_job(&ada, job.id).await.unwrap().status, JobStatus::BudgetExceeded, "nothing of it stood");
        let again = test.app.retry_job(&ada, job.id, &with("5")).await.unwrap();
        assert_eq!((again.status, again.budget_usd), (JobStatus::Queued, Some(usd("5"))));
        let audit = AuditQuery { action: Some("job.raise_budget".to_owned()), ..AuditQuery::default() };
        let audit = test.app.list_audit(&admin, &audit).await.unwrap().items;
        assert_eq!(audit.len(), 1);
        let (before, after) = (json!({"budget_usd": "2.00"}), json!({"budget_usd": "5.00"}));
        assert_eq!((audit[0].before.clone(), audit[0].after.clone()), (Some(before), Some(after)));
        test.complete_all().await;
        let events = test.app.job_events(&ada, job.id, None).await.unwrap();
        let raised = events.iter().find(|event| event.kind == "budget_raised").unwrap();
        assert_eq!(raised.payload, json!({"from": "2.00", "to": "5.00"}));
        let unpriced = test.submit(&ada, json!({"text": "b"})).await;
        let run = test.claim(1).await.remove(0);
        test.end(&run, End::Fail { error: JobError::user("bad", "bad"), dead_letter: false }).await;
        let error = test.app.retry_job(&ada, unpriced.id, &with("1")).await.unwrap_err();
        assert!(error.to_string().contains("has no budget"), "{error}");
        test.app.retry_job(&ada, unpriced.id, &RetryJob::default()).await.unwrap();
        test.complete_all().await;
        test.finish().await;
    }

    async fn without_a_budget_the_estimate_counts_and_is_kept(db) {
        let test = above_five(db).await;
        let ada = test.actor("ada").await;
        for (estimate, status) in [("5", JobStatus::Queued), ("5.000001", JobStatus::PendingApproval)] {
            let job = test.submit(&ada, json!({"text": "a", "estimate": estimate})).await;
            assert_eq!((job.status, job.cost.estimate), (status, Some(usd(estimate))));
        }
        // the budget is what it may cost, whatever is likely
        let cheap = test.app.submit_job(&ada, request(json!({"text": "a", "estimate": "9"}), "1"), None).await.unwrap();
        assert_eq!(cheap.job.status, JobStatus::Queued);
        let unknown = test.submit(&ada, json!({"text": "a"})).await;
        assert_eq!((unknown.status, unknown.cost.estimate), (JobStatus::Queued, None));
        test.complete_all().await;
        let waiting = windrow_api_types::JobListQuery {
            status: Some(windrow_api_types::CommaList(vec![JobStatus::PendingApproval])),
            ..windrow_api_types::JobListQuery::default()
        };
        for job in test.app.list_jobs(&ada, &waiting).await.unwrap().items {
            test.app.cancel_job(&ada, job.id).await.unwrap();
        }
        test.finish().await;
    }
}

#[test]
fn a_workloads_own_limit_goes_before_the_general_one() {
    let settings = AppSettings {
        approval_above: Some(usd("5")),
        approval_above_by_workload: BTreeMap::from([("dear".to_owned(), usd("50"))]),
        ..AppSettings::default()
    };
    assert!(settings.needs_approval("echo", Some(usd("6")), None));
    assert!(!settings.needs_approval("dear", Some(usd("6")), None));
    assert!(settings.needs_approval("dear", Some(usd("51")), None));
    assert!(!AppSettings::default().needs_approval("echo", Some(usd("1000000")), None));
}
