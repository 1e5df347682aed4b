//! Dead letters.

use serde_json::json;
use windrow_api_types::{AuditQuery, DeadLetterDecision, DeadLetterFilter, DeadLetterQuery, Decision};
use windrow_app::Actor;
use windrow_app::DeadLetterAct::{Discard, Retry};
use windrow_core::{JobId, JobStatus, Role};
use windrow_test_support::{TestApp, on_both};

async fn listed(test: &TestApp, actor: &Actor) -> Vec<JobId> {
    let page = test.app.list_dead_letters(actor, &DeadLetterQuery::default()).await.unwrap();
    page.items.into_iter().map(|letter| letter.job_id).collect()
}

on_both! {
    async fn dead_letters_are_retried_discarded_and_purged(db) {
        let test = TestApp::start(db).await;
        let ada = test.actor("ada").await;
        let mut ids = Vec::new();
        for n in 0..4 {
            ids.push(test.submit(&ada, json!({"text": n.to_string()})).await.id);
        }
        let error = test.app.decide_dead_letter(&ada, ids[0], Retry).await.unwrap_err();
        assert_eq!((error.status(), error.code()), (409, "job_state"));
        test.kill_all().await;
        assert_eq!(listed(&test, &ada).await.len(), 4);
        let again = test.app.decide_dead_letter(&ada, ids[0], Retry).await.unwrap();
        assert_eq!((again.status, again.attempts), (JobStatus::Queued, 0));
        assert_eq!(test.app.decide_dead_letter(&ada, ids[1], Discard).await.unwrap().status, JobStatus::Failed);
        assert_eq!(test.app.decide_dead_letter(&ada, ids[1], Discard).await.unwrap_err().code(), "job_state");
        assert_eq!(listed(&test, &ada).await, [ids[3], ids[2]]);
        let none = DeadLetterFilter { workload: Some("other".to_owned()), ..DeadLetterFilter::default() };
        assert_eq!(test.app.decide_dead_letters(&ada, &none, Retry).await.unwrap().changed, 0);
        assert_eq!(test.app.decide_dead_letters(&ada, &DeadLetterFilter::default(), Retry).await.unwrap().changed, 2);
        assert_eq!(test.complete_all().await, 3);
        let job = test.submit(&ada, json!({"text": "again"})).await;
        test.kill_all().await;
        assert_eq!(test.app.decide_dead_letters(&ada, &DeadLetterFilter::default(), Discard).await.unwrap().changed, 1);
        assert_eq!(test.app.show_job(&ada, job.id).await.unwrap().status, JobStatus::Failed);
        assert!(listed(&test, &ada).await.is_empty());
        test.finish().await;
    }

    async fn admins_reach_others_only_by_what_is_audited(db) {
        let test = TestApp::start(db).await;
        let (ada, bob) = (test.actor("ada").await, test.actor("bob").await);
        let admin = test.actor_with("root", Role::Admin).await;
        let mut ids = Vec::new();
        for owner in [&ada, &ada, &bob] {
            ids.push(test.submit(owner, json!({"text": "a"})).await.id);
        }
        test.kill_all().await;
        let everything = DeadLetterFilter::default();
        assert_eq!(listed(&test, &bob).await, [ids[2]]);
        assert_eq!(test.app.decide_dead_letter(&bob, ids[0], Retry).await.unwrap_err().status(), 404);
        // what everybody may do is about one's own, an admin's too
        assert!(listed(&test, &admin).await.is_empty());
        assert_eq!(test.app.decide_dead_letter(&admin, ids[0], Retry).await.unwrap_err().status(), 404);
        assert_eq!(test.app.decide_dead_letter(&admin, ids[0], Discard).await.unwrap_err().status(), 404);
        assert_eq!(test.app.decide_dead_letters(&admin, &everything, Retry).await.unwrap().changed, 0);
        assert_eq!(test.app.decide_dead_letters(&admin, &everything, Discard).await.unwrap().changed, 0);

        let why = |reason: &str| Decision { reason: reason.to_owned() };
        let page = test.app.list_all_dead_letters(&admin, &DeadLetterQuery::default()).await.unwrap();
        assert_eq!(page.items.len(), 3);
        assert_eq!(test.app.list_all_dead_letters(&bob, &DeadLetterQuery::default()).await.unwrap_err().code(), "role_too_low");
        assert_eq!(test.app.decide_anybodys_dead_letter(&bob, ids[2], Retry, &why("mine")).await.unwrap_err().status(), 403);
        assert_eq!(test.app.decide_anybodys_dead_letter(&admin, ids[0], Retry, &why(" ")).await.unwrap_err().status(), 422);
        test.app.decide_anybodys_dead_letter(&admin, ids[0], Retry, &why("the provider is back")).await.unwrap();
        test.app.decide_anybodys_dead_letter(&admin, ids[1], Discard, &why("of no use")).await.unwrap();
        let all = DeadLetterDecision { reason: "a clean table".to_owned(), ..DeadLetterDecision::default() };
        assert_eq!(test.app.decide_everybodys_dead_letters(&bob, &all, Discard).await.unwrap_err().status(), 403);
        assert_eq!(test.app.decide_everybodys_dead_letters(&admin, &all, Discard).await.unwrap().changed, 1);
        assert_eq!(test.app.decide_everybodys_dead_letters(&admin, &all, Retry).await.unwrap().changed, 0);

        let query = AuditQuery { actor: Some("root".to_owned()), ..AuditQuery::default() };
        let audit = test.app.list_audit(&admin, &query).await.unwrap().items;
        let told: Vec<_> = audit.iter().rev().map(|line| (line.action.as_str(), line.target.clone(), line.reason.as_str())).collect();
        let job = |n: usize| format!("job:{}", ids[n]);
        assert_eq!(told, [
            ("dead_letter.retry", job(0), "the provider is back"),
            ("dead_letter.discard", job(1), "of no use"),
            ("dead_letter.discard", job(2), "a clean table"),
        ]);
        test.complete_all().await;
        test.finish().await;
    }
}
