//! Cancels and drains.

use std::time::{Duration, Instant};

use serde_json::json;
use windrow_core::JobStatus;
use windrow_engine::{RunError, Stop};
use windrow_test_support::on_both;

use crate::support::{Site, workload};

on_both! {
    async fn a_cancel_stops_a_run_within_a_second(db) {
        let site = Site::new(db, workload(|context| async move {
            let why = context.stopped().await;
            context.checkpoint(&json!("kept"), vec![], vec![]).await?;
            Err(RunError::Stopped(why))
        })).await;
        let job = site.bench.submit(json!({}), None).await;
        let _worker = site.worker();
        site.has_started(1).await;
        let asked = Instant::now();
        site.bench.cancel(job).await;
        site.reaches(job, JobStatus::Cancelled).await;
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    }

    async fn a_run_that_does_not_come_back_is_dropped_after_a_cancel(db) {
        let site = Site::new(db, workload(|_| std::future::pending())).await;
        let job = site.bench.submit(json!({}), None).await;
        let worker = site.worker();
        site.has_started(1).await;
        site.bench.cancel(job).await;
        // the grace of a told run counts from when its watch has seen the stop
        while site.bench.status(job).await == JobStatus::Running {
            site.bench.clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(site.bench.status(job).await, JobStatus::Cancelled);
        worker.drain(Duration::from_secs(10)).await;
    }

    async fn a_drain_lets_runs_reach_their_checkpoint_and_burns_no_attempt(db) {
        let site = Site::new(db, workload(|context| async move {
            assert_eq!(context.stopped().await, Stop::Draining);
            context.checkpoint(&json!({"next": 3}), vec![], vec![]).await?;
            Err(RunError::Stopped(Stop::Draining))
        })).await;
        let job = site.bench.submit(json!({}), None).await;
        let worker = site.worker();
        site.has_started(1).await;
        let drained = worker.drain(Duration::from_secs(10)).await;
        assert_eq!((drained.given_back, drained.left_behind), (0, 0));
        assert_eq!(site.bench.status(job).await, JobStatus::Queued);
        let lease = site.bench.claim_one().await;
        // a claim that the drain gave up may have had it in between, and has put it back
        assert!(lease.run.run.0 >= 2, "{:?}", lease.run);
        assert_eq!((lease.attempts, lease.state), (0, Some(json!({"next": 3}))));
    }

    async fn a_run_that_does_not_come_back_is_given_back_within_the_grace(db) {
        let site = Site::new(db, workload(|_| std::future::pending())).await;
        let _submitted = site.bench.submit(json!({}), None).await;
        let worker = site.worker();
        site.has_started(1).await;
        let began = Instant::now();
        let drained = worker.drain(Duration::from_secs(1)).await;
        assert_eq!((drained.given_back, drained.left_behind), (1, 0));
        assert!(began.elapsed() < Duration::from_secs(2));
        let lease = site.bench.claim_one().await;
        assert!(lease.run.run.0 >= 2, "{:?}", lease.run);
        assert_eq!(lease.attempts, 0);
    }

    async fn a_draining_worker_claims_nothing_more(db) {
        let site = Site::new(db, workload(|context| async move {
            context.stopped().await;
            Err(RunError::Stopped(Stop::Draining))
        })).await;
        let mut jobs = Vec::new();
        for _ in 0..40 {
            jobs.push(site.bench.submit(json!({}), None).await);
        }
        let worker = site.worker();
        site.has_started(16).await;
        worker.drain(Duration::from_secs(10)).await;
        for job in jobs {
            assert_eq!(site.bench.status(job).await, JobStatus::Queued);
        }
    }
}
