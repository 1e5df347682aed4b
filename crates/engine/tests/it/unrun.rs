//! Jobs that end without a run end with their workload's say.

use serde_json::{Value, json};
use tempfile::TempDir;
use windrow_core::{JobError, JobId, JobSeq, JobStatus};
use windrow_engine::testing::{Bench, Scripted};
use windrow_engine::{ClaimRequest, Lease, LocalSettings, NewChild, RunEnd};
use windrow_store::hot::{NewJob, Submitted};
use windrow_test_support::{TestDb, on_both};

async fn bench(db: &TestDb) -> (Bench, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let workload = Scripted::echo().with_commit();
    let bench = Bench::local(db.url(), &dir.path().join("objects"), workload, LocalSettings::default()).await;
    (bench, dir)
}

/// A job that waits for approval.
async fn unapproved(bench: &Bench) -> JobSeq {
    let id = JobId::new(&*bench.clock);
    let job = NewJob { needs_approval: true, ..NewJob::plain(id, bench.owner, Scripted::NAME, bench.now()) };
    match bench.store.submit(vec![job]).await.unwrap()[..] {
        [Submitted::Created { seq, .. }] => seq,
        ref other => panic!("{other:?}"),
    }
}

async fn claim_one_of_many(bench: &Bench) -> Lease {
    let request = ClaimRequest { slots: 1, ..ClaimRequest::default() };
    bench.engine.claim(&request).await.unwrap().remove(0)
}

/// A job that waits for a child of each of these specs.
async fn parent(bench: &Bench, specs: &[Value]) -> JobId {
    let id = bench.submit(json!({}), None).await;
    let run = bench.claim_one().await.run;
    let child = |(n, spec): (usize, &Value)| {
        let workload = Scripted::NAME.to_owned();
        NewChild { key: n.to_string(), workload, spec: spec.clone() }
    };
    bench.engine.add_children(run, specs.iter().enumerate().map(child).collect()).await.unwrap();
    bench.engine.end(run, RunEnd::Await).await.unwrap();
    id
}

on_both! {
    async fn a_cancel_a_rejection_and_an_approval_that_nobody_gave_are_told(db) {
        let (bench, _dir) = bench(&db).await;
        let queued = bench.submit(json!({}), None).await;
        bench.cancel(queued).await;
        assert_eq!(bench.written().await, ["ended cancelled"]);
        let rejected = unapproved(&bench).await;
        bench.store.reject(rejected, "no".to_owned()).await.unwrap();
        assert_eq!(bench.written().await, ["ended cancelled", "ended rejected"]);
        unapproved(&bench).await;
        bench.advance(std::time::Duration::from_secs(1)).await;
        assert_eq!(bench.store.expire_approvals(bench.now()).await.unwrap(), 1);
        assert_eq!(bench.written().await, ["ended cancelled", "ended rejected", "ended rejected"]);
    }

    async fn stopped_children_and_the_parent_that_they_end_are_told(db) {
        let (bench, _dir) = bench(&db).await;
        let parent = parent(&bench, &[json!({}), json!({})]).await;
        let run = claim_one_of_many(&bench).await.run;
        let error = JobError::permanent("broken", "it broke");
        bench.engine.end(run, RunEnd::Failed { error }).await.unwrap();
        assert_eq!(bench.written().await, ["ended failed"]);
        bench.store.stop_children().await.unwrap();
        assert_eq!(bench.status(parent).await, JobStatus::Failed);
        assert_eq!(bench.written().await, ["ended cancelled", "ended failed", "ended failed"]);
    }

    async fn a_refusal_undoes_what_it_wrote_and_nothing_else(db) {
        let (bench, _dir) = bench(&db).await;
        let refusing = json!({"commit_error": "always"});
        let alone = bench.submit(refusing.clone(), None).await;
        bench.cancel(alone).await;
        assert_eq!((bench.status(alone).await, bench.written().await.len()), (JobStatus::Cancelled, 0));
        let parent = parent(&bench, &[json!({}), refusing, json!({})]).await;
        bench.cancel(parent).await;
        assert_eq!(bench.status(parent).await, JobStatus::Cancelled);
        // two children and their parent
        assert_eq!(bench.written().await, ["ended cancelled"; 3]);
    }
}
