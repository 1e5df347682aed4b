//! Dead letters.

use serde_json::json;
use windrow_api_types::{AuditQuery, DeadLetterFilter, DeadLetterQuery};
use windrow_app::Actor;
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
        let error = test.app.retry_dead_letter(&ada, ids[0]).await.unwrap_err();
        assert_eq!((error.status(), error.code()), (409, "job_state"));
        test.kill_all().await;
        assert_eq!(listed(&test, &ada).await.len(), 4);
        let again = test.app.retry_dead_letter(&ada, ids[0]).await.unwrap();
        assert_eq!((again.status, again.attempts), (JobStatus::Queued, 0));
        assert_eq!(test.app.discard_dead_letter(&ada, ids[1]).await.unwrap().status, JobStatus::Failed);
        assert_eq!(test.app.discard_dead_letter(&ada, ids[1]).await.unwrap_err().code(), "job_state");
        assert_eq!(listed(&test, &ada).await, [ids[3], ids[2]]);
        let none = DeadLetterFilter { workload: Some("other".to_owned()), ..DeadLetterFilter::default() };
        assert_eq!(test.app.retry_dead_letters(&ada, &none).await.unwrap().changed, 0);
        assert_eq!(test.app.retry_dead_letters(&ada, &DeadLetterFilter::default()).await.unwrap().changed, 2);
        assert_eq!(test.complete_all().await, 3);
        let job = test.submit(&ada, json!({"text": "again"})).await;
        test.kill_all().await;
        assert_eq!(test.app.purge_dead_letters(&ada, &DeadLetterFilter::default()).await.unwrap().changed, 1);
        assert_eq!(test.app.show_job(&ada, job.id).await.unwrap().status, JobStatus::Failed);
        assert!(listed(&test, &ada).await.is_empty());
        test.finish().await;
    }

    async fn admins_see_everybodys_and_what_they_do_is_audited(db) {
        let test = TestApp::start(db).await;
        let (ada, bob) = (test.actor("ada").await, test.actor("bob").await);
        let admin = test.actor_with("root", Role::Admin).await;
        let job = test.submit(&ada, json!({"text": "a"})).await;
        test.kill_all().await;
        assert!(listed(&test, &bob).await.is_empty());
        assert_eq!(test.app.retry_dead_letter(&bob, job.id).await.unwrap_err().status(), 404);
        assert_eq!(test.app.purge_dead_letters(&bob, &DeadLetterFilter::default()).await.unwrap().changed, 0);
        assert_eq!(listed(&test, &admin).await, [job.id]);
        test.app.retry_dead_letter(&admin, job.id).await.unwrap();
        let query = AuditQuery { action: Some("dead_letter.retry".to_owned()), ..AuditQuery::default() };
        let audit = test.app.list_audit(&admin, &query).await.unwrap().items;
        assert_eq!((audit.len(), audit[0].actor.as_str()), (1, "root"));
        assert_eq!(audit[0].target, format!("job:{}", job.id));
        test.complete_all().await;
        test.finish().await;
    }
}
