//! What becomes of the runs of processes beside the engine's own.

use std::time::Duration;

use tempfile::TempDir;
use windrow_api_types::worker::{ClaimRequest, Lease};
use windrow_core::JobStatus;
use windrow_engine::testing::{Bench, Scripted};
use windrow_engine::{Departure, Engine as _, LocalSettings};
use windrow_store::execute;
use windrow_test_support::TestDb;

const NAME: &str = "a child";

/// A bench that a child has been admitted to, with so many jobs in line.
async fn bench(jobs: usize) -> (Bench, (TestDb, TempDir)) {
    let (db, dir) = (TestDb::sqlite().await, tempfile::tempdir().unwrap());
    let settings = LocalSettings { isolate: true, ..LocalSettings::default() };
    let workload = Scripted::echo().with_commit();
    let bench = Bench::local(db.url(), &dir.path().join("objects"), workload, settings).await;
    assert!(bench.back.admit(NAME));
    for _ in 0..jobs {
        bench.submit(serde_json::json!({}), None).await;
    }
    (bench, (db, dir))
}

async fn claim(bench: &Bench) -> Vec<Lease> {
    let request = ClaimRequest { slots: 10, worker: Some(NAME.to_owned()), ..ClaimRequest::default() };
    bench.back.claim(&request).await.unwrap()
}

/// Ends when the engine gives up; the test fails when it never does.
async fn dismiss(bench: &Bench, departure: Departure<'_>) -> usize {
    let dismissed = bench.back.dismiss(NAME, departure);
    tokio::time::timeout(Duration::from_secs(20), dismissed).await.expect("it does not insist for ever")
}

#[tokio::test]
async fn one_run_that_can_not_be_lost_keeps_none_of_the_others() {
    let (bench, _kept) = bench(3).await;
    let leases = claim(&bench).await;
    assert_eq!(leases.len(), 3);
    let bad = leases[1].run.job;
    bench.cancel(bad).await;
    let seq = bench.job(bad).await.seq;
    let broken = bench.store.alone(move |tx| {
        Box::pin(async move { execute!(tx, "UPDATE jobs SET spec = '{' WHERE seq = $1", seq.0).map(drop) })
    });
    broken.await.unwrap();

    assert_eq!(dismiss(&bench, Departure::Died("it fell")).await, 3);

    let held = bench.store.held(bench.back.worker()).await.unwrap();
    assert!(held.is_empty(), "nobody would find {held:?}, for the worker in whose name they are held lives");
    for lease in [&leases[0], &leases[2]] {
        assert_eq!(bench.status(lease.run.job).await, JobStatus::Queued);
    }
}

#[tokio::test]
async fn a_process_whose_runs_are_over_leaves_nothing_to_lose() {
    let (bench, _kept) = bench(2).await;
    let leases = claim(&bench).await;
    bench.store.leave(bench.back.worker()).await.unwrap();
    assert_eq!(dismiss(&bench, Departure::Died("it fell")).await, 2);
    for lease in &leases {
        assert_eq!(bench.status(lease.run.job).await, JobStatus::Queued);
    }
    assert_eq!(dismiss(&bench, Departure::Died("it fell")).await, 0, "it was forgotten");
}

#[tokio::test]
async fn nothing_is_insisted_on_when_the_store_is_closed() {
    let (bench, _kept) = bench(1).await;
    assert_eq!(claim(&bench).await.len(), 1);
    bench.store.close().await;
    assert_eq!(dismiss(&bench, Departure::Died("it fell")).await, 1);
}

#[tokio::test]
async fn a_suspect_is_given_back_by_a_process_that_leaves_in_order_and_poison_in_one_that_dies() {
    let (bench, _kept) = bench(1).await;
    let mut job = None;
    for _ in 0..3 {
        job = claim(&bench).await.first().map(|lease| lease.run.job);
        assert_eq!(dismiss(&bench, Departure::Died("it fell")).await, 1);
        assert!(bench.back.admit(NAME));
    }
    let job = job.unwrap();
    for (departure, status, dead_letters) in
        [(Departure::InOrder, JobStatus::Queued, 0), (Departure::Died("it fell"), JobStatus::Failed, 1)]
    {
        assert!(claim(&bench).await.is_empty(), "it is set aside");
        let alone =
            ClaimRequest { slots: 1, worker: Some(NAME.to_owned()), suspects: true, ..Default::default() };
        assert_eq!(bench.back.claim(&alone).await.unwrap().len(), 1);
        assert_eq!(dismiss(&bench, departure).await, 1);
        assert_eq!(bench.status(job).await, status, "{departure:?}");
        assert_eq!(bench.dead_letters().await, dead_letters, "{departure:?}");
        bench.back.admit(NAME);
    }
}

#[tokio::test]
async fn an_engine_that_stops_hands_out_nothing_more() {
    let (bench, _kept) = bench(2).await;
    let request = ClaimRequest { slots: 1, worker: Some(NAME.to_owned()), ..ClaimRequest::default() };
    let held = bench.back.claim(&request).await.unwrap();
    assert_eq!(held.len(), 1);

    assert_eq!(bench.back.release_all().await.unwrap(), 1);

    // its process goes on asking until it sees that this one is gone
    let refused = bench.back.claim(&request).await.unwrap_err();
    assert!(refused.to_string().contains("is stopping"), "{refused}");
    assert!(bench.store.held(bench.back.worker()).await.unwrap().is_empty());
    assert_eq!(bench.status(held[0].run.job).await, JobStatus::Queued);
}
